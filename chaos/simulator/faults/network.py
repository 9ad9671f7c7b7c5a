"""Faults of links: cuts of every shape, loss, repetition, delay, deafness to a kind.

Law: each function starts one fault and answers how to end it, or None.
"""

from collections.abc import Iterable
from random import Random

from ....node.replica import ForwardReply, ForwardRequest
from ....raft import (
    AppendEntries,
    AppendEntriesReply,
    Commit,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    PreVoteReply,
    ReadIndex,
    ReadIndexReply,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
)
from ..network import USUAL_DELAY_US
from ..world import MILLISECOND
from .ground import Ground, Undo
from .plan import Fault

Pairs = list[tuple[int, int]]

_MUTED: dict[str, tuple[type, ...]] = {
    "mute_appends": (AppendEntries, Commit),
    "mute_append_replies": (AppendEntriesReply,),
    "mute_heartbeats": (Heartbeat, HeartbeatReply),
    "mute_votes": (RequestVote, RequestVoteReply, RequestPreVote, PreVoteReply),
    "mute_reads": (ReadIndex, ReadIndexReply),
    "mute_snapshots": (InstallSnapshot,),
    "mute_forwards": (ForwardRequest, ForwardReply),
}


def _members(ground: Ground, fault: Fault, dice: Random) -> list[int]:
    return [node.member for node in ground.choose(fault, dice)]


def partition(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """The targets see each other, the others see each other."""
    inside = _members(ground, fault, dice)
    return ground.network.close(ground.network.between(inside))


def one_way_out(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """The targets hear everybody and nobody hears them."""
    inside = _members(ground, fault, dice)
    pairs = ground.network.between(inside)
    return ground.network.close(p for p in pairs if p[0] in inside)


def one_way_in(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """The targets are heard by everybody and hear nobody."""
    inside = _members(ground, fault, dice)
    pairs = ground.network.between(inside)
    return ground.network.close(p for p in pairs if p[1] in inside)


def some_links(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """Any directed links, a few or most of them."""
    members = ground.network.members
    pairs = [(a, b) for a in members for b in members if a != b]
    count = len(pairs) * (fault.strength + 1) // 4
    return ground.network.close(dice.sample(pairs, count))


def bridge(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """Two halves that only one node sees both of."""
    del fault
    members = list(ground.network.members)
    dice.shuffle(members)
    middle = members.pop()
    half = members[: len(members) // 2]
    pairs = ground.network.between(half)
    return ground.network.close(p for p in pairs if middle not in p)


def ring(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """Each sees a majority, and no two see the same one (the Cloudflare outage)."""
    del fault
    return _keep_only(ground, _neighbours(_shuffled(ground, dice), closed=True))


def chain(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """Each sees the one before and the one behind it."""
    del fault
    return _keep_only(ground, _neighbours(_shuffled(ground, dice), closed=False))


def star(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """All see one, and nobody else."""
    hub = _members(ground, fault, dice)[0]
    return _keep_only(ground, [(hub, other) for other in ground.network.members])


def _shuffled(ground: Ground, dice: Random) -> list[int]:
    members = list(ground.network.members)
    dice.shuffle(members)
    return members


def _neighbours(members: list[int], *, closed: bool) -> Pairs:
    reach = max(1, len(members) // 4)
    links: Pairs = []
    for position, member in enumerate(members):
        for step in range(1, reach + 1):
            if closed or position + step < len(members):
                links.append((member, members[(position + step) % len(members)]))
    return links


def _keep_only(ground: Ground, links: Iterable[tuple[int, int]]) -> Undo:
    kept = {pair for a, b in links for pair in ((a, b), (b, a))}
    members = ground.network.members
    return ground.network.close(
        (a, b) for a in members for b in members if (a, b) not in kept
    )


def flapping(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """The targets' links go down and up and down again."""
    pairs = ground.network.between(_members(ground, fault, dice))
    ended = False
    open_again: Undo | None = None

    def flap() -> None:
        nonlocal open_again
        if open_again is not None:
            open_again()
            open_again = None
        elif not ended:
            open_again = ground.network.close(pairs)
        if not ended:
            ground.later(dice.randrange(20, 600) * MILLISECOND, flap)

    def end() -> None:
        nonlocal ended
        ended = True
        if open_again is not None:
            flap()

    flap()
    return end


def swizzle(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """Links stop one by one, and come back in another order (FoundationDB)."""
    pairs = ground.network.between(_members(ground, fault, dice))
    dice.shuffle(pairs)
    closed: list[Undo] = []
    ended = False

    def close_next() -> None:
        if not ended and pairs:
            closed.append(ground.network.close([pairs.pop()]))
            ground.later(dice.randrange(1, 200) * MILLISECOND, close_next)

    def open_next() -> None:
        if closed:
            closed.pop(dice.randrange(len(closed)))()

    def end() -> None:
        nonlocal ended
        ended = True
        while closed:
            open_next()

    def begin_to_open() -> None:
        open_next()
        if closed and not ended:
            ground.later(dice.randrange(1, 200) * MILLISECOND, begin_to_open)

    close_next()
    ground.later(fault.duration_us // 2, begin_to_open)
    return end


def lossy(ground: Ground, fault: Fault, dice: Random) -> Undo:
    del dice
    ground.network.loss = (0.01, 0.1, 0.3)[fault.strength]

    def end() -> None:
        ground.network.loss = 0.0

    return end


def repeating(ground: Ground, fault: Fault, dice: Random) -> Undo:
    del dice
    ground.network.repeat = (0.05, 0.2, 0.5)[fault.strength]

    def end() -> None:
        ground.network.repeat = 0.0

    return end


def reordering(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """Some messages take up to fifty times as long and are overtaken."""
    del dice
    ground.network.late = (0.02, 0.1, 0.3)[fault.strength]

    def end() -> None:
        ground.network.late = 0.0

    return end


def slow_network(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """Every message takes longer."""
    del dice
    high = (10, 50, 250)[fault.strength] * MILLISECOND
    ground.network.delay_us = (high // 4, high)

    def end() -> None:
        ground.network.delay_us = USUAL_DELAY_US

    return end


def mute(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """Messages of one kind between the targets and the others are lost."""
    pairs = ground.network.between(_members(ground, fault, dice))
    return ground.network.silence(_MUTED[fault.kind], pairs)


def reset(ground: Ground, fault: Fault, dice: Random) -> None:
    """Connections break; what was on them is lost, and both ends notice."""
    for a, b in ground.network.between(_members(ground, fault, dice)):
        ground.network.break_connection((a, b))
        for node in ground.nodes:
            if node.member == a and node.up:
                node.link_broke(b, polite=False, refused=False)


MUTES = tuple(_MUTED)
