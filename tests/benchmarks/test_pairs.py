"""Pairs: whose turn it is, and what is said of the two."""

import pytest
from quorate.benchmarks.pairs import Leg, alternate, cost_ratios, ratios, spread, turns


def test_the_order_of_the_legs_turns_from_pair_to_pair() -> None:
    order = list(turns(3))
    assert order == ["left", "right", "right", "left", "left", "right"]


def test_legs_of_one_pair_are_compared_with_each_other() -> None:
    """A machine that gets slower hurts both, and the ratio stays."""
    clock = iter(range(1, 100))

    def leg(share: float) -> Leg:
        pair = (next(clock) + 1) // 2
        return Leg(share * 100 / pair)

    left, right = alternate(7, lambda: leg(3.0), lambda: leg(1.0))
    assert len(left) == len(right) == 7
    found = ratios(left, right)
    assert found.median == pytest.approx(3.0)
    assert found.low == pytest.approx(found.high)
    assert found.pairs == 7


def test_a_median_tells_its_lowest_and_highest_value() -> None:
    found = spread([5.0, 1.0, 2.0])
    assert (found.median, found.low, found.high) == (2.0, 1.0, 5.0)
    assert str(found) == "2.00 (1.00–5.00)"


def test_costs_are_compared_only_where_both_sides_have_them() -> None:
    costly, free = Leg(1.0, cpu_us=30.0), Leg(1.0)
    assert cost_ratios([costly], [free]) is None
    found = cost_ratios([costly], [Leg(1.0, cpu_us=60.0)])
    assert found is not None
    assert found.median == 0.5
