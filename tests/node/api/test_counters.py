"""Budget and timings: the two kinds of counting."""

import pytest
from quorate.node.api.budget import SharedBudget
from quorate.node.timings import BOUNDS_S, Timings


def test_a_budget_is_never_overdrawn() -> None:
    budget = SharedBudget(10)
    assert budget.reserve(6)
    assert not budget.reserve(5)
    assert budget.held_bytes == 6
    assert not budget.fits(5)
    assert budget.fits(4)
    assert budget.reserve(4)
    budget.release(10)
    assert budget.held_bytes == 0


def test_giving_back_more_than_was_taken_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        SharedBudget(10).release(1)


def test_a_time_is_counted_in_the_first_bucket_that_is_not_below_it() -> None:
    histogram = Timings().of("get", "ok")
    histogram.observe(0.0)
    histogram.observe(BOUNDS_S[0])
    histogram.observe(BOUNDS_S[3], 5)
    histogram.observe(BOUNDS_S[-1] + 1)
    assert histogram.counts[0] == 2
    assert histogram.counts[3] == 5
    assert histogram.counts[-1] == 1
    assert sum(histogram.counts) == 8
    expected = BOUNDS_S[0] + 5 * BOUNDS_S[3] + BOUNDS_S[-1] + 1
    assert histogram.total_s == pytest.approx(expected)


def test_each_operation_and_result_has_one_histogram() -> None:
    timings = Timings()
    assert timings.of("get", "ok") is timings.of("get", "ok")
    assert timings.of("get", "ok") is not timings.of("get", "internal")
