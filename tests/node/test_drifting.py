"""A clock that runs fast or slow goes on from where it is."""

from hypothesis import given
from hypothesis import strategies as st
from quorate.node.drifting import DriftingClock


class Still:
    """A true clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.ns = 5_000_000_000

    def __call__(self) -> int:
        return self.ns


def test_it_is_a_true_clock_until_it_is_told_a_rate_and_keeps_what_it_gained() -> None:
    true = Still()
    clock = DriftingClock(true)
    true.ns += 1_000_000_000
    assert clock.now_ms() == 6_000
    clock.run_at(1.05)
    assert clock.now_ms() == 6_000
    true.ns += 10_000_000_000
    assert clock.now_ms() == 16_500
    clock.run_at(1.0)
    true.ns += 1_000_000_000
    assert clock.now_ms() == 17_500


@given(st.lists(st.tuples(st.floats(0.9, 1.1), st.integers(0, 10**11)), max_size=20))
def test_it_never_goes_back_nor_leaves_the_range_of_its_rates(
    steps: list[tuple[float, int]],
) -> None:
    true = Still()
    clock = DriftingClock(true)
    shown = clock.now_ms()
    for rate, ns in steps:
        clock.run_at(rate)
        assert abs(clock.now_ms() - shown) <= 1
        before = clock.now_ms()
        true.ns += ns
        gained = clock.now_ms() - before
        assert 0.9 * ns / 1e6 - 1.01 <= gained <= 1.1 * ns / 1e6 + 1.01
        shown = clock.now_ms()


@given(st.floats(0.5, 2.0), st.integers(1, 2000))
def test_ticks_come_at_the_rate_and_one_at_a_time_if_it_is_true(
    rate: float, count: int
) -> None:
    clock = DriftingClock(Still())
    assert [clock.ticks() for _ in range(5)] == [1] * 5
    clock.run_at(rate)
    assert abs(sum(clock.ticks() for _ in range(count)) - rate * count) < 1.01
    clock.run_at(1.0)
    assert [clock.ticks() for _ in range(5)] == [1] * 5
