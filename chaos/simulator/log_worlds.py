"""Worlds with a name: entries that were replaced, and what must not bring them back.

Law: as doubt_worlds, and nothing is damaged. A leader writes entries that are replaced
before a majority has them; then something old speaks of them: its own disk, a late
answer, a state beside which they still stand. Votes and rounds may be as late.
"""

from collections.abc import Callable
from typing import Final

from ...raft import AppendEntriesReply, HeartbeatReply, RequestVoteReply
from ...raft.candidate import start_election
from .faults.process import hold_down
from .node import Node
from .scene import Scene, tell_story

_WHOLE: Final = {
    "append_entries_max": 4096,
    "append_bytes_max": 1 << 20,
    "inflight_messages_max": 8,
}
# So many entries are replaced by one.
_REPLACED: Final = 3
# After each entry, and of everything that was written.
_STATE_AT_ONCE: Final = {
    "checkpoint_entries": 1,
    "checkpoint_bytes": 1,
    "log_keep_entries": 0,
}


def dropped_tail(seed: int) -> str:
    """Three entries were replaced by one, and the process ended: one is found again.

    The journal has all four. Says what happened; raises Violation.
    """
    return tell_story(seed, _dropped_tail, 3, 0, _WHOLE, members=False)


def _dropped_tail(scene: Scene) -> str:
    first = scene.leader
    second, third = scene.others(first)
    cut_off = scene.writes_alone(first, _REPLACED)
    second = scene.elected(second, third)
    cut_off()
    scene.tell(second, first, *scene.others(first, second))
    index = scene.base + 1
    log = first.raft.log
    scene.wait(lambda: log.last_index == index and log.stable_index == index)
    # Nothing may come after it: that would be in the place of the others.
    hold_down(scene.cluster.nodes, "power")
    for node in scene.cluster.nodes:
        node.wanted = True
        node.start()
    scene.end()
    return f"{first.name} has dropped {_REPLACED} entries for one, and remembers it"


def late_acknowledgement(seed: int) -> str:
    """What a follower has acknowledged was replaced; its answer comes when it counts.

    Who wrote those entries leads again, at the same indexes. Says what happened;
    raises Violation.
    """
    return tell_story(seed, _late_acknowledgement, 5, 0, _WHOLE, members=False)


def _late_acknowledgement(scene: Scene) -> str:
    network, first = scene.network, scene.leader
    follower, *rest = scene.others(first)
    held, let_through = scene.hold(
        AppendEntriesReply,
        lambda m: (m.sender, m.to) == (follower.member, first.member),
    )
    pair = [first.member, follower.member]
    scene.tell(first, follower)
    cut_off = network.close(network.between(pair))
    for _ in range(_REPLACED):
        scene.put(first)
    index = scene.base + _REPLACED
    scene.wait(lambda: any(m.accepted and m.index >= index for m in held))
    late = next(m for m in held if m.accepted and m.index >= index)
    # Another one leads, and its one entry takes the place of all of them.
    second = scene.elected(*rest)
    let_through()
    cut_off()
    scene.tell(second, *scene.others(second))
    scene.wait(
        lambda: all(_ends_at(node, scene.base + 1) for node in (first, follower))
    )
    scene.wait(lambda: second.raft.log.commit_index > scene.base)
    # Then the first one leads again, and only one other is told of what it writes.
    scene.told.clear()
    scene.base += 1
    second.transfer_leadership(first.member)
    scene.wait(lambda: first.raft.is_leader)
    scene.tell(first, next(node for node in rest if node is not second))
    for _ in range(_REPLACED):
        scene.put(first)
    scene.wait(lambda: first.raft.log.stable_index >= late.index)
    first.deliver(late)
    scene.pass_timeouts(1)
    scene.end()
    return f"{first.name} counts {follower.name} no more for index {late.index}"


def late_vote(seed: int) -> str:
    """A vote arrives when its term is over, and another one leads in the next.

    Its candidate stands again, in that very term. Says what happened; raises Violation.
    """
    return tell_story(seed, _late_vote, 3, 0, _WHOLE, members=False)


def _late_vote(scene: Scene) -> str:
    network, first = scene.network, scene.leader
    hold_down([first], "kill")
    held, let_through = scene.hold(RequestVoteReply, lambda m: m.granted)
    scene.wait(lambda: bool(held))
    late, term = held[0], held[0].term
    candidate = scene.cluster.by_member[late.to]
    network.close(network.between([candidate.member]))
    let_through()
    # Of those left the one that led before is elected by the one that voted.
    first.wanted = True
    first.start()
    voter = scene.cluster.by_member[late.sender]
    other = scene.elected(first, voter)
    scene.need(other.raft.term == term + 1, "it took more terms")
    scene.need(candidate.raft.term == term, "it has heard of a later term")
    start_election(candidate.raft, transfer=True)
    candidate.plan_turn()
    scene.wait(lambda: candidate.up and not candidate.persisting)
    candidate.deliver(late)
    scene.pass_timeouts(1)
    scene.end()
    return f"{candidate.name} is not elected in term {term + 1} by a vote of {term}"


def late_round(seed: int) -> str:
    """A round is answered late, when its leader leads again, and again is replaced.

    Rounds begin anew with each term. Says what happened; raises Violation.
    """
    return tell_story(seed, _late_round, 3, 0, _WHOLE, members=False)


def _late_round(scene: Scene) -> str:
    network, first = scene.network, scene.leader
    old, third = scene.others(first)
    scene.tell_all()
    answers = (third.member, old.member)
    held, _ = scene.hold(
        HeartbeatReply,
        lambda m: (m.sender, m.to) == answers and m.round > 0,
        copies=True,
    )
    _hands_over(scene, first, old)
    scene.get(old)
    scene.wait(lambda: bool(held))
    _hands_over(scene, old, first)
    _hands_over(scene, first, old)
    scene.need(old.raft.round < held[0].round, "it has asked in this term")
    # It sleeps while another one is elected, and then is heard by nobody.
    old.pause(True)
    network.close(network.between([old.member]))
    new = scene.elected(first, third)
    client = scene.put(new)
    scene.wait(lambda: client.current is None)
    scene.need(client.history[-1].outcome == "ok", "it is not acknowledged")
    old.pause(False)
    scene.get(old)
    scene.wait(lambda: old.raft.round >= held[0].round)
    scene.need(old.raft.is_leader, "it knows that it was replaced")
    old.deliver(held[0])
    scene.pass_timeouts(1)
    scene.end()
    return f"{old.name} answers no read by round {held[0].round} of an older term"


def state_over_tail(seed: int) -> str:
    """A state is installed in the place of a longer log, and the process ends.

    The journal has yet to be told. Says what happened; raises Violation.
    """
    return tell_story(
        seed, _state_over_tail, 3, 0, _WHOLE, members=False, replica=_STATE_AT_ONCE
    )


def _state_over_tail(scene: Scene) -> str:
    first = scene.leader
    second, third = scene.others(first)
    cut_off = scene.writes_alone(first, _REPLACED)
    second = scene.elected(second, third)
    base = scene.base
    scene.tell_all()
    scene.wait(lambda: second.raft.log.base_index > base, timeouts=40)
    first.arm("snapshot-installed")
    cut_off()
    scene.wait(lambda: first.failpoint is None, timeouts=40)
    last = second.raft.snapshot.index
    scene.pass_timeouts(2)
    scene.end()
    return f"{first.name} has dropped its log for a state of index {last}"


LOG_WORLDS: Final[dict[str, Callable[[int], str]]] = {
    "dropped-tail": dropped_tail,
    "late-acknowledgement": late_acknowledgement,
    "late-round": late_round,
    "late-vote": late_vote,
    "state-over-tail": state_over_tail,
}


def _hands_over(scene: Scene, leader: Node, heir: Node) -> None:
    """The heir leads, and what it began its term with is committed."""
    leader.transfer_leadership(heir.member)
    scene.wait(lambda: heir.raft.is_leader)
    log = heir.raft.log
    scene.wait(lambda: log.term(log.commit_index) == heir.raft.term)


def _ends_at(node: Node, index: int) -> bool:
    log = node.raft.log
    return log.last_index == log.stable_index == index
