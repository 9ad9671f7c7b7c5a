"""Questions about leases: on their way to whoever leads, and never in a log."""

from collections.abc import Callable

import msgspec
import pytest
from quorate.node.replica import Effects, ForwardRequest, reads
from quorate.raft import AppendEntries, HeartbeatReply
from quorate.storage.errors import CorruptionError
from quorate.wire import (
    LEASES_LISTED_MAX,
    ErrorCode,
    Grant,
    KeepAlive,
    LeaseCommand,
    Limits,
    ListLeases,
    TimeToLive,
)

from .together import TTL_MS, Together, granted


def test_questions_of_a_follower_that_becomes_leader_are_not_proposed() -> None:
    together = granted()
    old = together.leader
    heir = together.follower
    together.cut |= {old, heir}
    # Nobody leads that heir knows of: they wait.
    together.wait_for(lambda: together.replicas[heir].raft.leader_id == 0)
    numbers = [together.ask(KeepAlive(7), heir), together.ask(ListLeases(), heir)]
    together.cut.remove(heir)
    together.wait_for(lambda: all(map(together.answered, numbers)))
    assert [together.code(number) for number in numbers] == [None, None]
    together.heal()
    together.nothing_is_left()


def _goodbye(together: Together, old: int, heir: int) -> None:
    together.replicas[heir].forwarding_ended(old, polite=True)


def _refusal(together: Together, old: int, heir: int) -> None:
    del old, heir
    together.heal()


@pytest.mark.parametrize("comes_back", [_goodbye, _refusal])
def test_questions_that_come_back_to_who_leads_now_are_not_proposed(
    comes_back: Callable[[Together, int, int], None],
) -> None:
    """Story: handed to the old leader, and given back once this one led and had
    answered other questions, they were taken for writes. The entry stopped apply, on
    every replica and for ever.
    """
    together = granted()
    old = together.leader
    members = [m for m in together.replicas if m != old]
    together.loses = lambda message: isinstance(message, ForwardRequest)
    numbers = {m: together.ask(KeepAlive(7), m) for m in members}
    together.cut.add(old)
    together.other_leader(old)
    heir = together.leader
    together.done(KeepAlive(7))
    assert not together.answered(numbers[heir])
    comes_back(together, old, heir)
    together.run(10)
    together.heal()
    together.wait_for(lambda: together.answered(numbers[heir]))
    assert together.code(numbers[heir]) is None
    together.done(KeepAlive(7))
    together.wait_for(lambda: all(map(together.answered, numbers.values())))
    together.nothing_is_left()


def test_questions_are_answered_while_leadership_is_handed_over() -> None:
    together = granted()
    old, heir = together.leader, together.follower
    together.loses = lambda message: isinstance(message, AppendEntries)
    together.replicas[old].raft.transfer_leadership(heir)
    numbers = [together.ask(KeepAlive(7), old), together.ask(KeepAlive(7), heir)]
    write = together.ask(Grant(8, TTL_MS), old)
    together.run(3)
    together.heal()
    together.wait_for(lambda: all(map(together.answered, (*numbers, write))))
    assert [together.code(number) for number in (*numbers, write)] == [None] * 3
    together.run(30)
    together.nothing_is_left()


# -- limits and the end of a node ------------------------------------------------------


def test_questions_that_wait_are_bounded() -> None:
    """Story: the leader took any number of them while no quorum confirmed it."""
    together = granted(requests_max=5)
    together.loses = lambda message: isinstance(message, HeartbeatReply)
    numbers = [together.ask(KeepAlive(7), together.leader) for _ in range(8)]
    codes = [together.code(n) for n in numbers if together.answered(n)]
    assert codes == [ErrorCode.TOO_BUSY] * 3
    together.heal()
    together.wait_for(lambda: all(map(together.answered, numbers)))
    together.nothing_is_left()


def test_a_question_ends_at_its_deadline() -> None:
    together = granted()
    together.cut.add(leader := together.leader)
    number = together.ask(KeepAlive(7), leader, timeout_ms=100)
    together.run(20)
    assert together.code(number) is ErrorCode.DEADLINE_EXCEEDED
    together.heal()
    together.run(60)
    together.nothing_is_left()


def test_more_leases_than_can_be_listed_in_one_step_are_listed_in_pages() -> None:
    """A hundred thousand took as long as ten turns, and nobody had his in between."""
    together = granted()
    leader = together.replicas[together.leader]
    kept = leader.database.lease_table.leases[7]
    many = dict.fromkeys(range(8, 7 + LEASES_LISTED_MAX), kept)
    leader.database.lease_table.leases.update(many)
    assert together.code(together.ask(ListLeases())) is None
    leader.database.lease_table.leases[1] = kept
    assert together.code(together.ask(ListLeases())) is ErrorCode.REQUEST_TOO_LARGE
    assert together.code(together.ask(ListLeases(0, 1000))) is None


def test_an_answer_that_no_frame_holds_is_refused() -> None:
    together = granted()
    for key in (b"b", b"c"):
        together.put(key * 3000, 7)
    for replica in together.replicas.values():
        limits = Limits(
            value_bytes_max=100, range_bytes_max=100, request_bytes_max=5000
        )
        replica.options = msgspec.structs.replace(replica.options, limits=limits)
    number = together.ask(TimeToLive(7, keys=True))
    assert together.code(number) is ErrorCode.REQUEST_TOO_LARGE


def test_a_question_that_was_on_its_way_elsewhere_is_answered_when_the_node_ends() -> (
    None
):
    """Story: one that had to be asked of somebody else waits for the next turn of the
    clock, and was forgotten when there was none.
    """
    together = granted()
    old = together.leader
    together.cut.add(old)
    number = together.ask(KeepAlive(7), old)
    together.other_leader(old)
    together.cut.clear()
    replica = together.replicas[old]
    together.wait_for(lambda: bool(replica.reads.elsewhere))
    replies, _ = replica.end()
    assert [reply.request_id for reply in replies] == [number]


def test_an_installed_state_that_cannot_be_read_is_damage_again() -> None:
    """Leases are read when it is installed. Story: nobody looked, and until something
    else was read there were none: a grant of one that was there would have been taken.
    """
    together = granted()
    replica = together.replicas[together.follower]
    replica.database.store.condemn(CorruptionError("a table", 0, "a flipped bit"))
    replica.healing.installed(replica.database.applied_index)
    assert replica.healing.damage is not None
    assert replica.raft.barred
    assert replica.reads.barred


@pytest.mark.parametrize("question", [TimeToLive(7, keys=True), ListLeases(0, 1000)])
def test_so_many_questions_are_answered_in_one_turn(
    question: LeaseCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: a thousand questions for the ten thousand keys of a lease, in one round,
    held the leader for forty seconds.
    """
    together = granted()
    for number in range(39):
        together.put(b"%d" % number, 7)
    leader = together.replicas[together.leader]
    monkeypatch.setattr(reads, "_TURN_BYTES", 40 * reads.ITEM_BYTES)
    made: list[int] = []
    turn = leader.turn

    def counted(can_persist: bool) -> Effects:
        effects = turn(can_persist)
        made.append(len(effects.replies))
        return effects

    monkeypatch.setattr(leader, "turn", counted)
    together.loses = lambda message: isinstance(message, HeartbeatReply)
    numbers = [together.ask(question) for _ in range(6)]
    together.heal()
    together.wait_for(lambda: all(map(together.answered, numbers)))
    assert max(made) == 1
    together.nothing_is_left()
