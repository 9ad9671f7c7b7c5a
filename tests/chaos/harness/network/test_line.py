"""One direction of a connection: nothing is lost or out of order, however slow."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.chaos.harness.network.line import Line
from quorate.chaos.harness.network.rules import Rule

RULES = st.sampled_from(
    [
        Rule(),
        Rule("hold"),
        Rule(delay_ms=50.0, jitter_ms=200.0),
        Rule(bytes_per_second=20),
        Rule("half-open", delay_ms=1.0),
    ]
)
STEPS = st.lists(
    st.one_of(RULES, st.binary(min_size=1, max_size=40), st.floats(0.0, 1.0)),
    max_size=40,
)


def line(rule: Rule) -> Line:
    return Line(Random(1), rule)


def drained(one: Line, now_s: float) -> bytes:
    """What comes out from now on, in its own time."""
    taken = one.take(now_s)
    while (due_s := one.next_due()) is not None:
        assert due_s >= now_s
        now_s = due_s
        taken += one.take(now_s)
    return taken


@pytest.mark.slow
@given(STEPS)
def test_whatever_the_rules_were_all_bytes_come_in_order(
    steps: list[Rule | bytes | float],
) -> None:
    one, now_s, sent, taken = line(Rule()), 0.0, b"", b""
    for step in steps:
        if isinstance(step, Rule):
            one.rule = step
        elif isinstance(step, bytes):
            one.put(step, now_s)
            sent += step
        else:
            now_s += step
        taken += one.take(now_s)
        assert sent.startswith(taken)
        assert one.queued_bytes == len(sent) - len(taken)
    one.rule = Rule()
    now_s += 10.0
    assert taken + drained(one, now_s) == sent
    assert one.idle


def test_nothing_passes_while_it_is_held_and_nothing_would_later() -> None:
    one = line(Rule("hold"))
    one.put(b"later", 1.0)
    assert one.take(1e9) == b""
    assert one.next_due() is None
    one.rule = Rule()
    assert one.take(1e9) == b"later"


def test_a_delay_is_at_least_what_it_says_and_at_most_its_jitter_more() -> None:
    one = line(Rule(delay_ms=100.0, jitter_ms=50.0))
    one.put(b"x", 2.0)
    due_s = one.next_due()
    assert due_s is not None
    assert 2.1 <= due_s <= 2.15
    assert one.take(due_s - 0.001) == b""
    assert one.take(due_s) == b"x"


def test_bytes_that_come_later_are_never_earlier() -> None:
    one = line(Rule(delay_ms=100.0))
    one.put(b"first", 0.0)
    one.rule = Rule()
    assert not one.idle
    one.put(b"second", 0.01)
    assert one.take(0.05) == b""
    assert one.take(0.1) == b"firstsecond"


def test_a_trickle_takes_as_long_as_its_rate_says() -> None:
    one, now_s, taken = line(Rule(bytes_per_second=1000)), 0.0, b""
    one.put(bytes(2000), 0.0)
    while len(taken) < 2000:
        due_s = one.next_due()
        assert due_s is not None
        now_s = max(now_s, due_s)
        taken += one.take(now_s)
    assert now_s == pytest.approx(2.0, abs=0.06)


def test_a_trickle_keeps_pieces_in_their_order() -> None:
    one = line(Rule(bytes_per_second=40))
    for piece in (b"first", b"second", b"third"):
        one.put(piece, 0.0)
    assert drained(one, 0.0) == b"firstsecondthird"


def test_one_bit_of_a_connection_is_flipped_and_only_one() -> None:
    one, sent, taken = line(Rule(flip=True)), b"", b""
    for number in range(200):
        one.put(bytes([number] * 3), 0.0)
        sent += bytes([number] * 3)
        taken += one.take(0.0)
    wrong = [a ^ b for a, b in zip(sent, taken, strict=True) if a != b]
    assert one.flipped
    assert len(wrong) == 1
    assert wrong[0].bit_count() == 1
