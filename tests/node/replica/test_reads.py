"""Reads that share a round are answered as each of them alone would be."""

from collections.abc import Iterable

import pytest
from quorate.node.database import history
from quorate.node.replica import Effects, Replica, Request, reads
from quorate.storage.errors import CorruptionError
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    ErrorCode,
    GetRequest,
    Level,
    RangeRequest,
    RequestKind,
    decode_error,
    decode_get_reply,
    decode_range_reply,
    encode_delete,
    encode_get,
    encode_put,
    encode_range,
)

from .together import Together

LINEARIZABLE = Level.LINEARIZABLE


class Readers:
    """Three replicas, of whose keys some were written over, and one is gone."""

    def __init__(self, requests_max: int = 16384) -> None:
        self.together = Together(requests_max=requests_max)
        for key, value in (
            (b"a", b"1"),
            (b"b", b""),
            (b"c", b"x" * 5000),
            (b"a", b"2"),
        ):
            self.together.done(encode_put(key, value))
        self.together.done(encode_delete(b"b"))

    def read_together(
        self, at: int, wanted: Iterable[GetRequest | RangeRequest]
    ) -> int:
        """Ask for all of them before any turn; the first one's number."""
        together = self.together
        replica = together.replicas[at]
        first = together.request_id + 1
        for each in wanted:
            together.request_id += 1
            if isinstance(each, GetRequest):
                kind, body = RequestKind.GET, encode_get(each)
            else:
                kind, body = RequestKind.RANGE, encode_range(each)
            number, deadline = together.request_id, together.now_ms + 10_000
            replica.submit(Request(together.caller, number, kind, body, deadline))
        together.settle()
        return first


def get(key: bytes, *, least: int = 0, revision: int = 0) -> GetRequest:
    return GetRequest(LINEARIZABLE, 0, least, key, revision)


def test_gets_of_one_round_find_what_the_database_has() -> None:
    readers = Readers()
    together = readers.together
    for at in (together.leader, together.follower):
        database = together.replicas[at].database
        rounds = together.replicas[at].reads.round_count
        keys = [b"a", b"b", b"c", b"never", b"a\0"]
        first = readers.read_together(at, map(get, keys))
        assert together.replicas[at].reads.round_count == rounds + 1
        for number, key in enumerate(keys, first):
            _, status, body = together.caller.replies[number]
            reply = decode_get_reply(body)
            assert status == OK
            assert reply.header.revision == database.revision
            assert reply.header.level is LINEARIZABLE
            assert reply.record == database.get(key)
    together.nothing_is_left()


def test_what_is_no_get_of_the_newest_is_answered_in_the_same_round() -> None:
    readers = Readers()
    together = readers.together
    leader = together.leader
    database = together.replicas[leader].database
    newest = database.revision
    first = readers.read_together(
        leader,
        [
            get(b"a", revision=newest - 2),
            RangeRequest(LINEARIZABLE, 0, 0, b"", b""),
            get(b"a", revision=newest + 1),
            get(b"c", least=newest),
        ],
    )
    replies = [together.caller.replies[first + place] for place in range(4)]
    assert decode_get_reply(replies[0][2]).record == database.get(b"a", newest - 2)
    found = decode_range_reply(replies[1][2]).records
    assert [record.key for record in found] == [b"a", b"c"]
    refused = decode_error(replies[2][2], DEFAULT_LIMITS)
    assert refused.code is ErrorCode.FUTURE_REVISION
    assert decode_get_reply(replies[3][2]).record == database.get(b"c")
    together.nothing_is_left()


def test_a_get_waits_for_the_revision_that_its_caller_has_seen() -> None:
    readers = Readers()
    together = readers.together
    leader = together.leader
    newest = together.replicas[leader].database.revision
    first = readers.read_together(leader, [get(b"a", least=newest + 1), get(b"a")])
    assert not together.answered(first)
    assert together.answered(first + 1)
    assert together.replicas[leader].reads.count() == 1
    together.done(encode_put(b"a", b"3"))
    together.run(1)
    reply = decode_get_reply(together.caller.replies[first][2])
    assert reply.record is not None
    assert reply.record.value == b"3"
    together.nothing_is_left()


@pytest.mark.parametrize("level", [Level.LINEARIZABLE, Level.LOCAL])
def test_replies_are_made_a_turns_worth_at_a_time(
    level: Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: a thousand gets of a mebibyte each, in one round, took a gibibyte at once;
    only what was made was counted, and refused, afterwards.
    """
    monkeypatch.setattr(reads, "_TURN_BYTES", 12_000)
    readers = Readers()
    together = readers.together
    made: list[int] = []
    carry_out = together.carry_out

    def counted(replica: Replica, effects: Effects) -> None:
        made.append(sum(len(reply.body) for reply in effects.replies))
        carry_out(replica, effects)

    monkeypatch.setattr(together, "carry_out", counted)
    first = readers.read_together(
        together.leader, [GetRequest(level, 0, 0, b"c"), _everything(level)] * 10
    )
    together.run(1)
    assert max(made) < 12_000 + 5_200
    assert len([size for size in made if size > 12_000]) > 5
    for number in range(first, first + 20):
        assert together.code(number) is None
    assert not together.replicas[together.leader].has_work(True)
    together.nothing_is_left()


@pytest.mark.parametrize("keys_only", [False, True])
def test_short_records_cost_a_turn_as_long_ones_do(
    keys_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: three hundred pages of a thousand short records each were made in a turn,
    and of pages without values any number, though the values are read.
    """
    readers = Readers()
    together = readers.together
    page = RangeRequest(LINEARIZABLE, 0, 0, b"a", b"b", 0, keys_only)
    monkeypatch.setattr(reads, "_TURN_BYTES", reads.ITEM_BYTES)
    made: list[int] = []
    carry_out = together.carry_out

    def counted(replica: Replica, effects: Effects) -> None:
        made.append(len(effects.replies))
        carry_out(replica, effects)

    monkeypatch.setattr(together, "carry_out", counted)
    first = readers.read_together(together.leader, [page] * 5)
    together.run(1)
    assert max(made) == 1
    for number in range(first, first + 5):
        assert together.code(number) is None
    together.nothing_is_left()


def _everything(level: Level) -> RangeRequest:
    return RangeRequest(level, 0, 0, b"", b"")


def test_reads_of_the_future_cost_the_turns_before_it_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Story: each turn looked at all of them, four milliseconds for 16,384."""
    readers = Readers()
    together = readers.together
    replica = together.replicas[together.leader]
    newest = replica.database.revision
    wanted = [GetRequest(Level.LOCAL, 0, newest + n, b"a") for n in (1000, 2, 1, 1001)]
    first = readers.read_together(together.leader, wanted)
    looked: list[int] = []
    serve = replica.reads._serve_or_wait

    def counted(read: reads.Read, now_ms: int, asked_ms: int | None = None) -> None:
        looked.append(read.wanted.min_revision)
        serve(read, now_ms, asked_ms)

    monkeypatch.setattr(replica.reads, "_serve_or_wait", counted)
    together.run(20)
    for number in (1, 2):
        together.done(encode_put(b"a", b"new"))
        together.run(1)
        assert together.answered(first + 3 - number)
    assert looked == [newest + 1, newest + 2]
    together.run_ms(10_000)
    assert together.code(first) is ErrorCode.TOO_STALE
    together.nothing_is_left()


def test_so_many_reads_wait_and_no_more_until_they_are_answered() -> None:
    readers = Readers(requests_max=3)
    together = readers.together
    leader = together.leader
    cut = set(together.replicas) - {leader}
    together.cut |= cut
    first = readers.read_together(leader, [get(b"a")] * 5)
    assert together.replicas[leader].reads.count() == 3
    codes = [together.code(first + place) for place in (3, 4)]
    assert codes == [ErrorCode.TOO_BUSY] * 2
    # The round that is under way is one of theirs, too.
    late = readers.read_together(leader, [get(b"a")])
    assert together.code(late) is ErrorCode.TOO_BUSY
    together.heal()
    together.run(10)
    assert [together.code(first + place) for place in range(3)] == [None] * 3
    assert together.code(readers.read_together(together.leader, [get(b"a")])) is None
    together.nothing_is_left()


def test_reads_that_are_over_leave_room_for_others() -> None:
    readers = Readers(requests_max=2)
    together = readers.together
    leader = together.leader
    together.cut |= set(together.replicas) - {leader}
    first = readers.read_together(leader, [get(b"a")] * 2)
    together.run_ms(11_000)
    assert together.answered(first + 1)
    assert together.replicas[leader].reads.count() == 0


def test_reads_of_a_revision_to_come_are_bounded_at_each_level() -> None:
    """Story: local reads of a revision to come were kept, however many they were."""
    readers = Readers(requests_max=3)
    together = readers.together
    leader = together.leader
    least = together.replicas[leader].database.revision + 1
    local = GetRequest(Level.LOCAL, 0, least, b"a")
    first = readers.read_together(leader, [local] * 5)
    codes = [together.code(first + place) for place in (3, 4)]
    assert codes == [ErrorCode.TOO_BUSY] * 2
    together.done(encode_put(b"a", b"3"))
    together.run(1)
    assert [together.code(first + place) for place in range(3)] == [None] * 3
    together.nothing_is_left()


class Past:
    """A leader, and a page of the past that passes a dozen keys by, one a turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, level: Level) -> None:
        monkeypatch.setattr(history, "_PASSED_AT_ONCE", 1)
        monkeypatch.setattr(reads, "_PASS_BYTES", reads._TURN_BYTES)
        self.together = Readers().together
        self.replica = self.together.replicas[self.together.leader]
        self.revision = self.replica.database.revision
        for n in range(12):
            self.together.done(encode_put(b"b%d" % n, b""))
        self.together.settle()
        wanted = RangeRequest(level, 1000, 0, b"", b"", revision=self.revision)
        self.number = self.submit(RequestKind.RANGE, encode_range(wanted))

    def submit(self, kind: RequestKind, body: bytes) -> int:
        self.together.request_id += 1
        number, deadline = self.together.request_id, self.together.now_ms + 10_000
        caller = self.together.caller
        self.replica.submit(Request(caller, number, kind, body, deadline))
        return number

    def turn(self) -> Effects:
        """Of this replica alone."""
        effects = self.replica.turn(can_persist=False)
        self.together.carry_out(self.replica, effects)
        return effects


def test_a_page_of_the_past_leaves_others_their_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Story: it passed by all that had come since in one step. With 200,000 keys the
    loop stood still for 400 ms, and whoever led was not heard.
    """
    past = Past(monkeypatch, Level.LOCAL)
    turns, others = 0, 0
    while not past.together.answered(past.number):
        assert past.replica.reads.count() == 1
        assert past.replica.has_work(can_persist=False)
        effects = past.turn()
        if others:
            assert past.together.code(others) is None
        assert effects.again == bool(past.replica.reads.begun)
        wanted = GetRequest(Level.LOCAL, 0, 0, b"a")
        others = past.submit(RequestKind.GET, encode_get(wanted))
        assert not past.replica.reads.behind, "it is answered in this very turn"
        turns += 1
    assert turns >= 12
    assert past.together.code(past.number) is None
    reply = decode_range_reply(past.together.caller.replies[past.number][2])
    assert [record.key for record in reply.records] == [b"a", b"c"]
    assert not reply.more
    past.turn()
    past.together.nothing_is_left()


def test_a_page_that_is_not_whole_in_time_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    past = Past(monkeypatch, Level.LOCAL)
    past.turn()
    past.replica.reads.expire(past.together.now_ms + 10_000)
    past.turn()
    assert past.together.code(past.number) is ErrorCode.TOO_STALE
    past.together.nothing_is_left()


def test_a_page_that_is_not_whole_is_not_answered_from_what_was_condemned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    past = Past(monkeypatch, Level.LOCAL)
    past.turn()
    past.replica.healing.found(CorruptionError("a table", 0, "a test"))
    past.turn()
    assert past.together.code(past.number) is ErrorCode.DAMAGED


def test_a_page_that_became_too_old_meanwhile_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    past = Past(monkeypatch, Level.BOUNDED)
    # Fresh, as its first round has told; and then under way as long as that is allowed.
    past.together.wait_for(lambda: past.together.answered(past.number))
    wanted = RangeRequest(Level.BOUNDED, 1000, 0, b"", b"", revision=past.revision)
    past.number = past.submit(RequestKind.RANGE, encode_range(wanted))
    past.turn()
    (begun,) = past.replica.reads.begun
    past.replica.advance(past.replica.now_ms + 1001, 0)
    while past.replica.reads.begun:
        past.turn()
    assert not past.together.answered(past.number)
    past.together.run(5)
    assert past.together.code(past.number) is None
    reply = decode_range_reply(past.together.caller.replies[past.number][2])
    assert reply.header.staleness_ms <= 1000
    assert begun.page.records == list(reply.records)
