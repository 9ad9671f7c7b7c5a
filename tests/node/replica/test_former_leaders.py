"""Who was handed a write, and leads no more, has a moment to answer it (I-54, I-56)."""

from quorate.node.replica import ForwardRequest, Request
from quorate.node.replica.writes import FORMER_LEADER_MS
from quorate.wire import ErrorCode, RequestKind, encode_put

from .together import Together

PUT = encode_put(b"a", b"1")


def test_a_write_that_was_handed_to_a_frozen_leader_is_unknown_soon() -> None:
    together = Together()
    frozen, follower = together.leader, together.follower
    together.paused.add(frozen)
    number = together.ask(PUT, follower, timeout_ms=60_000)
    together.other_leader(frozen)
    assert not together.answered(number)
    together.run_ms(FORMER_LEADER_MS + 100)
    assert together.code(number) == ErrorCode.UNKNOWN_OUTCOME
    # What it still had to say is for nobody.
    together.heal()
    together.run(50)
    together.nothing_is_left()


def test_a_leader_that_answers_in_that_moment_is_heard() -> None:
    together = Together()
    was, follower = together.leader, together.follower
    together.paused.add(was)
    number = together.ask(PUT, follower, timeout_ms=60_000)
    together.other_leader(was)
    together.heal()
    together.run_ms(FORMER_LEADER_MS + 100)
    # It did not take it: the one that leads now did.
    assert together.code(number) is None
    together.nothing_is_left()


def test_one_that_leads_again_is_waited_for() -> None:
    together = Together()
    was, follower = together.leader, together.follower
    together.paused.add(was)
    together.ask(PUT, follower, timeout_ms=60_000)
    writes = together.replicas[follower].writes
    writes.led_by(9, together.now_ms)
    assert list(writes.former) == [was]
    writes.led_by(was, together.now_ms)
    assert not writes.former


def handed(together: Together, follower: int, number: int) -> list[ForwardRequest]:
    """What this follower hands on in one turn, of so many large writes."""
    replica = together.replicas[follower]
    for _ in range(number):
        body = encode_put(b"a", bytes(3 << 20))
        deadline = together.now_ms + 10_000
        together.request_id += 1
        kind = RequestKind.WRITE
        sent = Request(together.caller, together.request_id, kind, body, deadline)
        replica.submit(sent)
    messages = replica.turn(True).messages
    return [each for each in messages if isinstance(each, ForwardRequest)]


def test_what_could_not_be_sent_is_handed_on_again() -> None:
    """Story: there was no link to a leader that had just died. The write was kept as if
    it were on its way, and its outcome was unknown in the end; it had never left.
    """
    together = Together()
    follower = together.follower
    (lost,) = handed(together, follower, 1)
    number, writes = together.request_id, together.replicas[follower].writes
    writes.not_sent([lost.id, 77])
    assert not writes.forwarded
    # It is handed on once more.
    together.wait_for(lambda: together.answered(number))
    assert together.code(number) is None
    together.nothing_is_left()


def test_no_more_is_handed_on_at_once_than_a_connection_takes() -> None:
    together = Together()
    first = handed(together, together.follower, 9)
    assert 2 <= len(first) <= 4
    replica = together.replicas[together.follower]
    assert len(replica.writes.waiting) == 9 - len(first)
