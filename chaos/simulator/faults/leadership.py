"""Faults that follow the leadership: several steps, each waits for the one before.

Law: each function starts one fault and answers how to end it, or None. They aim at
what chance hardly ever hits: two successions while a leader sleeps, and a write under
way to a disk when a newer leader replaces what it writes.
"""

from random import Random

from ..node import Node
from ..world import MILLISECOND, SECOND
from .ground import Ground, Undo
from .plan import Fault

_LOOK_US = 5 * MILLISECOND
_SLOW = 500
_PATIENCE_US = 4 * SECOND


def _leads_after(ground: Ground, term: int) -> Node | None:
    """Who leads a newer term, and has committed in it."""
    for node in ground.nodes:
        if node.up and not node.paused and node.raft.is_leader:
            log = node.raft.log
            if node.raft.term > term and log.term(log.commit_index) == node.raft.term:
                return node
    return None


def heirs(ground: Ground, fault: Fault, dice: Random) -> None:
    """The leader sleeps; so does whoever follows it, once it has led; then all wake.

    Just before, nobody hears the leader: what it proposes then is replaced, and that is
    committed, before it hears of any of it.
    """
    del fault
    first = ground.acting_leader(dice)
    if first is None:
        return
    network, member = ground.network, first.member
    unheard = [pair for pair in network.between([member]) if pair[0] == member]
    heard_again = network.close(unheard)
    ground.at_end.append(heard_again)
    gone: list[Node] = []

    def sleep() -> None:
        heard_again()
        if first.up:
            gone.append(first)
            first.pause(True)
            look(first.raft.term)

    def end() -> None:
        for node in gone:
            node.pause(False)
        gone.clear()

    def look(term: int) -> None:
        if not gone:
            return
        heir = _leads_after(ground, term)
        if heir is None:
            ground.later(_LOOK_US, look, term)
        elif len(gone) == 2:
            end()
        else:
            term = heir.raft.term
            gone.append(heir)
            if len(ground.voters) > 3:
                heir.pause(True)
            else:
                # Of three two must be awake: this one only forgets that it led.
                heir.stop("kill")
                heir.start()
            look(term)

    ground.later(dice.randrange(10, 80) * MILLISECOND, sleep)
    ground.later(_PATIENCE_US, end)


def stranded_leader(ground: Ground, fault: Fault, dice: Random) -> Undo | None:
    """The leader loses its links while its disk hangs, until another one leads.

    What it is still writing down is replaced before the disk has answered.
    """
    leader = ground.acting_leader(dice)
    if leader is None:
        return None
    inside = [leader]
    others = [node for node in ground.nodes if node is not leader]
    if fault.strength and others:
        # One follower shares its fate.
        inside.append(dice.choice(others))
    for node in inside:
        node.slow = _SLOW
    links = ground.network.between(node.member for node in inside)
    open_again = ground.network.close(links)

    def look(term: int) -> None:
        if _leads_after(ground, term) is None:
            ground.later(_LOOK_US, look, term)
        else:
            open_again()

    def end() -> None:
        open_again()
        for node in inside:
            node.slow = 1

    look(leader.raft.term)
    return end
