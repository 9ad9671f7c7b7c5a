"""Who was handed a write, and leads no more, has a moment to answer it (I-54, I-56)."""

from quorate.node.replica.writes import FORMER_LEADER_MS
from quorate.wire import ErrorCode, encode_put

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
