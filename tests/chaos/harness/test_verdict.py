"""The verdict: valid only for a run that tried, violated whatever else it was."""

import pytest
from quorate.chaos.harness.verdict import (
    RoundResult,
    Violation,
    judge,
    leader_gaps,
    quantile,
    void_reasons,
)

BROKEN = Violation("lost write", "chaos/w001/0000", "counter 2", "nothing")


def result(
    number: int = 1,
    kind: str = "kill-one",
    victims: tuple[str, ...] = ("n1",),
    *,
    leader_hit: bool = False,
    overlapped: int = 5,
    gap_ms: float = 50.0,
) -> RoundResult:
    return RoundResult(
        number, kind, victims, leader_hit, 1.0, overlapped, gap_ms, 4.0, 900.0
    )


def test_a_run_that_did_what_was_planned_is_not_void() -> None:
    results = [result(1), result(2, "kill-all")]
    assert void_reasons(["kill-one", "kill-all"], 2, results, 1000) == []


def test_a_planned_kind_that_never_came_makes_a_run_void() -> None:
    reasons = void_reasons(["kill-one", "kill-all"], None, [result()], 1000)
    assert reasons == ["the planned fault kill-all never hit a cluster at work"]


def test_a_fault_that_hit_an_idle_cluster_does_not_count() -> None:
    reasons = void_reasons(["kill-one"], 1, [result(overlapped=0)], 1000)
    assert reasons == ["the planned fault kill-one never hit a cluster at work"]


def test_a_kind_that_hit_once_may_miss_another_time() -> None:
    results = [result(1), result(2, overlapped=0)]
    assert void_reasons(["kill-one"], 2, results, 1000) == []


def test_fewer_rounds_than_planned_make_a_run_void() -> None:
    reasons = void_reasons(["kill-one"], 2, [result()], 1000)
    assert reasons == ["1 of 2 planned rounds took place"]


@pytest.mark.parametrize(("rounds", "needed"), [(1, 100), (5, 100), (50, 1000)])
def test_too_few_writes_make_a_run_void(rounds: int, needed: int) -> None:
    results = [result(number) for number in range(1, rounds + 1)]
    assert void_reasons(["kill-one"], rounds, results, needed) == []
    reasons = void_reasons(["kill-one"], rounds, results, needed - 1)
    assert reasons == [f"{needed - 1} writes were acknowledged, {needed} are needed"]


def test_a_violation_outweighs_what_was_not_tried() -> None:
    assert judge([], []) == "valid"
    assert judge([], ["too little"]) == "void"
    assert judge([BROKEN], []) == "violated"
    assert judge([BROKEN], ["too little"]) == "violated"


def test_a_violation_tells_key_and_both_sides() -> None:
    assert str(BROKEN) == (
        "lost write: chaos/w001/0000\n  expected: counter 2\n  found:    nothing"
    )


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 5.0), (0.9, 9.0), (0.91, 10.0), (1.0, 10.0)]
)
def test_a_quantile_is_a_value_that_occurred(share: float, expected: float) -> None:
    values = [float(number) for number in (3, 1, 2, 10, 9, 8, 7, 6, 5, 4)]
    assert quantile(values, share) == expected


def test_only_rounds_that_killed_the_leader_alone_measure_a_failover() -> None:
    results = [
        result(1, gap_ms=5.0),
        result(2, "kill-leader", leader_hit=True, gap_ms=80.0),
        result(3, leader_hit=True, gap_ms=100.0),
        result(4, "kill-all", ("n1", "n2", "n3"), leader_hit=True, gap_ms=3000.0),
    ]
    assert leader_gaps(results) == {
        "count": 2,
        "median": 80.0,
        "p90": 100.0,
        "max": 100.0,
    }
    assert leader_gaps(results[:1]) == {}
