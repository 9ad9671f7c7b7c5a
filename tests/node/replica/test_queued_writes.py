"""Writes beyond those that may be in flight wait for room, briefly and in order."""

from quorate.node.replica.writes import QUEUE_MS
from quorate.raft import AppendEntriesReply
from quorate.wire import ErrorCode, encode_put

from .together import Together

MAX = 4
ROOM = 4 * MAX


def _stalled() -> tuple[Together, list[int]]:
    """Nothing is committed, and as many writes are in flight as may be."""
    together = Together(requests_max=MAX)
    together.loses = lambda message: isinstance(message, AppendEntriesReply)
    numbers = _puts(together, range(MAX))
    assert together.replicas[together.leader].writes.count() == MAX
    return together, numbers


def _puts(together: Together, keys: range, timeout_ms: int = 10_000) -> list[int]:
    leader = together.leader
    return [
        together.ask(encode_put(b"key-%02d" % key, b""), leader, timeout_ms)
        for key in keys
    ]


def _written(together: Together) -> list[int]:
    """The numbers of the keys, in the order of their revisions."""
    database = together.replicas[together.leader].database
    records = [database.get(b"key-%02d" % key) for key in range(MAX + ROOM + 1)]
    there = [record for record in records if record is not None]
    there.sort(key=lambda record: record.mod_revision)
    return [int(record.key[-2:]) for record in there]


def test_what_is_too_much_for_a_moment_is_done_in_order() -> None:
    together, first = _stalled()
    more = _puts(together, range(MAX, MAX + ROOM))
    assert not any(map(together.answered, first + more))
    together.heal()
    together.wait_for(lambda: all(map(together.answered, first + more)))
    assert {together.code(number) for number in first + more} == {None}
    assert _written(together) == list(range(MAX + ROOM))
    together.nothing_is_left()


def test_a_full_queue_refuses_at_once() -> None:
    together, first = _stalled()
    queued = _puts(together, range(MAX, MAX + ROOM))
    (one_more,) = _puts(together, range(MAX + ROOM, MAX + ROOM + 1))
    assert together.code(one_more) is ErrorCode.TOO_BUSY
    together.heal()
    together.wait_for(lambda: all(map(together.answered, first + queued)))
    assert _written(together) == list(range(MAX + ROOM))
    together.nothing_is_left()


def test_nobody_is_queued_for_long() -> None:
    """Whoever is refused so was not written, also when there is room at last."""
    together, first = _stalled()
    queued = _puts(together, range(MAX, MAX + 2))
    together.run_ms(QUEUE_MS - 10)
    assert not any(map(together.answered, queued))
    together.run_ms(100)
    assert [together.code(number) for number in queued] == [ErrorCode.TOO_BUSY] * 2
    together.heal()
    together.wait_for(lambda: all(map(together.answered, first)))
    assert _written(together) == list(range(MAX))
    together.nothing_is_left()


def test_a_node_that_ends_answers_the_queue() -> None:
    together, first = _stalled()
    queued = _puts(together, range(MAX, MAX + 3))
    replies, _ = together.replicas[together.leader].end()
    told = {reply.request_id for reply in replies}
    assert told == {*first, *queued}
    assert together.replicas[together.leader].writes.bytes == 0
    assert not together.replicas[together.leader].writes.queued


def test_a_follower_queues_what_it_cannot_hand_on() -> None:
    """Nobody leads: those in flight wait, the others not for long."""
    together = Together(requests_max=MAX)
    follower = together.follower
    together.cut.add(follower)
    together.run(200)
    asked = [
        together.ask(encode_put(b"key-%02d" % key, b""), follower) for key in range(6)
    ]
    together.run_ms(QUEUE_MS + 100)
    codes = [together.code(n) for n in asked if together.answered(n)]
    assert codes == [ErrorCode.TOO_BUSY] * 2
    together.heal()
    together.wait_for(lambda: all(map(together.answered, asked)))
    assert _written(together) == list(range(MAX))
    together.nothing_is_left()
