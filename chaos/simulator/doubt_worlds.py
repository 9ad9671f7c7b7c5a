"""Worlds with a name: an entry in doubt that the wrong rule would lose (0004).

Law: each is one story of docs/decisions/0004, which seeds hardly ever draw. A write is
acknowledged, one copy of it is damaged and the other one is away; who is left must not
go on without it. Or it was never committed, and an old copy of it must not take the
place of what a leader has given since.
"""

from collections.abc import Callable
from typing import Final

from ...raft import EntriesReply, Refused, RequestPreVote, RequestVote
from ...wire import MemberRole
from .faults.disk import lose_head
from .faults.process import hold_down
from .node import Node
from .scene import Missed, Pair, Scene, tell_story
from .workload import Client

_WHOLE: Final = {
    "append_entries_max": 4096,
    "append_bytes_max": 1 << 20,
    "inflight_messages_max": 8,
}
_PIECES: Final = {"append_entries_max": 1, "inflight_messages_max": 1}
# So long the node in doubt asks, and whoever could be elected campaigns.
_PATIENCE: Final = 12


def changed_voters(seed: int) -> str:
    """The damaged batch has the change of voters as well: whom to ask is in there.

    Of the voters that the node in doubt knows, two are none any more, and lack the
    write. Says what happened; raises Violation.
    """
    return tell_story(seed, _changed_voters, 5, 0, _WHOLE, members=True)


def _changed_voters(scene: Scene) -> str:
    leader = scene.leader
    doubter, third, *out = scene.others(leader)
    left = sorted(node.member for node in (leader, doubter, third))
    scene.tell(leader, third, *out)
    membership = scene.cluster.membership
    assert membership is not None
    for node in out:
        membership.operators.reassign(node.member, MemberRole.REPLICA)
    raft = leader.raft

    def changed() -> bool:
        return raft.configuration.voters == tuple(left) and not raft.configuration.joint

    scene.wait(changed, timeouts=40)
    scene.wait(lambda: leader.raft.log.applied_index == leader.raft.log.last_index)
    scene.told.clear()
    scene.base = leader.raft.log.last_index
    client = scene.put(leader)
    index = scene.base + 1
    scene.wait(lambda: leader.raft.log.stable_index >= index)
    # All that it lacks comes at once.
    scene.tell(leader, doubter)
    _committed(scene, leader, client, index)
    return _doubts(scene, doubter, index, leader)


def joint_voters(seed: int) -> str:
    """Two of four voters are a majority of both sets of three, and had the write.

    One of them is damaged, the other one away. Says what happened; raises Violation.
    """
    return tell_story(seed, _joint_voters, 3, 1, _PIECES, members=True)


def _joint_voters(scene: Scene) -> str:
    leader = scene.leader
    heir, *others = sorted(scene.others(leader), key=_votes)
    doubter, out = others
    _begin_change(scene, [leader, doubter, heir], [out])
    client = scene.put(leader)
    _durable(scene, scene.base)
    index = scene.base + 1
    scene.need(client.current is not None, "the put has ended")
    # With the change before it, it is committed by these two.
    scene.tell(leader, doubter)
    _committed(scene, leader, client, index)
    scene.network.close([(leader.member, doubter.member)])
    return _doubts(scene, doubter, index, leader)


def left_voters(seed: int) -> str:
    """The damaged batch left the joint configuration: the new voters alone decided.

    All that the node in doubt knows is the joint one; of the old voters all others lack
    the write. Says what happened; raises Violation.
    """
    return tell_story(seed, _left_voters, 3, 2, _WHOLE, members=True)


def _left_voters(scene: Scene) -> str:
    doubter = scene.leader
    third, witness, *out = sorted(scene.others(doubter), key=_votes)
    _begin_change(scene, [doubter, third, witness], out)
    log = doubter.raft.log
    # The end of the change is written with the write, in one batch.
    scene.wait(lambda: log.last_index > scene.base)
    client = scene.put(doubter)
    index = scene.base + 2
    _durable(scene, scene.base)
    scene.tell(doubter, witness)
    _committed(scene, doubter, client, index)
    return _doubts(scene, doubter, index, witness)


def undone_change(seed: int) -> str:
    """The damaged batch has overwritten a change of voters: the old ones decided alone.

    It can't be read, so that the change seems to be in force. Of the new voters all
    others lack the write. Says what happened; raises Violation.
    """
    return tell_story(seed, _undone_change, 5, 1, _WHOLE, members=True)


def _undone_change(scene: Scene) -> str:
    network, first = scene.network, scene.leader
    heir, *voters = sorted(scene.others(first), key=_votes)
    doubter, *rest = voters
    index = scene.base + 1
    scene.tell(first, doubter, heir)
    _enter(scene, [first, doubter, heir], rest)
    scene.wait(lambda: doubter.raft.log.stable_index >= index)
    scene.wait(lambda: heir.raft.log.stable_index >= index)
    # Whoever knows of the change does not lead.
    network.close(network.between([first.member, heir.member]))
    asks = [(doubter.member, each.member) for each in rest]
    network.silence((RequestPreVote, RequestVote), asks)
    second = scene.elected(*rest)
    third = next(node for node in rest if node is not second)
    client = scene.put(second)
    scene.wait(lambda: second.raft.log.stable_index > index)
    scene.tell(second, doubter, third)
    _committed(scene, second, client, index + 1)
    return _doubts(scene, doubter, index + 1, second, third)


def counted_before(seed: int) -> str:
    """A leader has counted what is damaged now, and needs one more for a quorum.

    All others lack the write while they are asked, since that leader has not told them
    yet. Says what happened; raises Violation.
    """
    return tell_story(seed, _counted_before, 5, 0, _WHOLE, members=False)


def _counted_before(scene: Scene) -> str:
    leader = scene.leader
    doubter, third, *_ = scene.others(leader)
    index = scene.base + 1
    scene.tell(leader, doubter)
    client = scene.put(leader)
    scene.wait(lambda: _matches(leader, doubter) >= index)
    scene.told.clear()
    scene.network.close(_both_ways(leader, doubter))
    scene.damage(doubter)
    doubt = doubter.raft.doubt
    scene.need(doubt is not None and doubt[1] >= index, "it is not in doubt")
    scene.pass_timeouts(1)
    scene.tell(leader, third)
    _committed(scene, leader, client, index)
    hold_down([leader, third], "kill")
    return _stays_in_doubt(scene, doubter, doubt, leader, third)


def damaged_vote(seed: int) -> str:
    """The damaged batch is a vote, and there is another candidate in that term.

    Says what happened; raises Violation.
    """
    return tell_story(seed, _damaged_vote, 3, 0, _WHOLE, members=False)


def _damaged_vote(scene: Scene) -> str:
    first = scene.leader
    hold_down([first], "kill")
    rest = scene.others(first)
    term = max(node.raft.term for node in rest)
    second = scene.elected(*rest)
    voter = next(node for node in rest if node is not second)
    scene.need(voter.raft.term > term and not voter.persisting, "it is too late")
    given = (voter.raft.term, voter.raft.vote)
    scene.need(given[1] == second.member, "it did not vote")
    hold_down([second, voter], "kill")
    lose_head(voter)
    for node in (voter, first):
        node.wanted = True
        node.start()
    scene.need(voter.raft.doubt is None, "there was an entry in that batch")
    scene.pass_timeouts(_PATIENCE)
    scene.end()
    return f"{voter.name} remembers its vote for {second.name} in term {given[0]}"


def late_answer(seed: int) -> str:
    """An old copy of what is in doubt comes when a leader has given other entries.

    Those were acknowledged to that leader. Says what happened; raises Violation.
    """
    return tell_story(seed, _late_answer, 5, 0, _PIECES, members=False)


def _late_answer(scene: Scene) -> str:
    network, base, first = scene.network, scene.base, scene.leader
    # The first leader writes alone,
    cut_off = scene.writes_alone(first, 2)
    # the second one to itself and one more,
    rest = scene.others(first)
    second = scene.elected(*rest)
    doubter, *others = scene.others(first, second)
    scene.tell(second, doubter)
    scene.put(second)
    scene.wait(lambda: doubter.raft.log.stable_index > base + 1)
    lost = doubter.raft.last()
    scene.told.clear()
    for each in (first, *others):
        network.close(_both_ways(second, each))
    meet_again = network.close(_both_ways(second, doubter))
    # It is not discarded: nobody says yet that it is absent.
    absent = [(each.member, doubter.member) for each in (first, *others)]
    network.silence((EntriesReply,), absent)
    scene.damage(doubter)
    scene.need(doubter.raft.doubt == lost, "something else is in doubt")
    # and the first one leads again: what it gives now is older than what is in doubt.
    cut_off()
    scene.tell(first, doubter)
    scene.wait(lambda: _matches(first, doubter) > base)
    scene.need(doubter.raft.doubt == lost, "the doubt is over")
    scene.need(doubter.raft.log.commit_index <= base, "that is committed")
    away = network.close([(first.member, doubter.member)])
    scene.tell(first, *others)
    meet_again()
    scene.wait(lambda: first.raft.log.commit_index > base)
    scene.pass_timeouts(_PATIENCE)
    scene.need(first.raft.is_leader, "another one leads")
    away()
    scene.tell_all()
    scene.pass_timeouts(1)
    scene.end()
    return f"{doubter.name} keeps what {first.name} gave, and is not given {lost} again"


DOUBT_WORLDS: Final[dict[str, Callable[[int], str]]] = {
    "changed-voters": changed_voters,
    "counted-before": counted_before,
    "damaged-vote": damaged_vote,
    "joint-voters": joint_voters,
    "left-voters": left_voters,
    "late-answer": late_answer,
    "undone-change": undone_change,
}


def _both_ways(one: Node, other: Node) -> list[Pair]:
    return [(one.member, other.member), (other.member, one.member)]


def _votes(node: Node) -> bool:
    return node.raft.configuration.is_voter(node.member)


def _matches(leader: Node, member: Node) -> int:
    """How far the one is known to have what the other one leads; 0: it does not."""
    progress = leader.raft.progress.get(member.member) if leader.up else None
    return 0 if progress is None else progress.match_index


def _begin_change(scene: Scene, voters: list[Node], learners: list[Node]) -> None:
    """The leader's Raft enters a joint configuration, and all are told of that alone.

    The steward would take its time, and changes it back in the end.
    """
    _enter(scene, voters, learners)
    scene.base += 1


def _enter(scene: Scene, voters: list[Node], learners: list[Node]) -> None:
    members = [[n.member for n in nodes] for nodes in (voters, learners)]
    index = scene.leader.raft.change_configuration(*members)
    if isinstance(index, Refused):
        raise Missed(index.name)
    scene.leader.plan_turn()
    scene.need(index == scene.base + 1, "there was something before it")


def _durable(scene: Scene, index: int) -> None:
    """All have it on their disks."""
    nodes = scene.cluster.nodes
    scene.wait(lambda: all(node.raft.log.stable_index >= index for node in nodes))


def _committed(scene: Scene, leader: Node, client: Client, index: int) -> None:
    """The client was told that its put is done, at `index`."""
    scene.wait(lambda: client.current is None)
    scene.need(client.history[-1].outcome == "ok", "it is not acknowledged")
    scene.need(leader.raft.log.applied_index >= index, "it is somewhere else")


def _doubts(scene: Scene, doubter: Node, index: int, *holders: Node) -> str:
    """What is in doubt stays so while all others that have it are away."""
    scene.damage(doubter, *holders)
    doubt = doubter.raft.doubt
    scene.need(doubt is not None and doubt[1] >= index, "it is not in doubt")
    scene.need(doubter.raft.log.last_index < index, "it is whole")
    return _stays_in_doubt(scene, doubter, doubt, *holders)


def _stays_in_doubt(
    scene: Scene, doubter: Node, doubt: tuple[int, int] | None, *holders: Node
) -> str:
    """All who are there talk to each other, and nobody of them has it."""
    scene.tell_all()
    scene.network.heal()
    scene.pass_timeouts(2)
    # It has written in its new term by now, and the doubt with it.
    doubter.stop("kill")
    doubter.start()
    scene.pass_timeouts(_PATIENCE)
    if doubter.raft.doubt != doubt:
        scene.world.fail("I-23", f"{doubter.name} has given up its doubt about {doubt}")
    scene.end()
    names = " ".join(node.name for node in holders)
    return f"{doubter.name} doubts {doubt} until it hears {names}"
