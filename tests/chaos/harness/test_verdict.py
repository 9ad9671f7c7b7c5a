"""The verdict: valid only for a run that tried, violated whatever else it was."""

import pytest
from quorate.chaos.harness.verdict import (
    FaultCount,
    FaultResult,
    Violation,
    WorkloadCount,
    count_faults,
    judge,
    leader_gaps,
    quantile,
    void_reasons,
)

BROKEN = Violation("lost write", "chaos/w001/0000", "counter 2", "nothing")


def result(
    number: int = 1,
    kind: str = "kill-one",
    *,
    leader_hit: bool = False,
    touched: int = 1,
    overlapped: int = 5,
    gap_ms: float = 50.0,
    at_once: int = 1,
) -> FaultResult:
    return FaultResult(
        number=number,
        kind=kind,
        targets=("n1",),
        leader_hit=leader_hit,
        at_s=1.0,
        until_s=2.0,
        touched=touched,
        overlapped=overlapped,
        gap_ms=gap_ms,
        longest_gap_ms=gap_ms / 2,
        dying_ms=4.0,
        at_once=at_once,
    )


def test_a_run_that_did_what_was_planned_is_not_void() -> None:
    results = [result(1), result(2, "kill-all")]
    assert void_reasons(["kill-one", "kill-all"], 2, results, 1000) == []


def test_a_planned_kind_that_never_came_makes_a_run_void() -> None:
    reasons = void_reasons(["kill-one", "kill-all"], None, [result()], 1000)
    assert reasons == ["the planned fault kill-all never struck anything"]


def test_a_fault_of_links_that_carried_nothing_has_not_struck() -> None:
    idle = result(1, "bridge", touched=0)
    assert void_reasons(["bridge"], 1, [idle], 1000) == [
        "the planned fault bridge never struck anything"
    ]


def test_rounds_of_several_faults_count_once() -> None:
    strikes = [result(1), result(1, "slow"), result(2)]
    assert void_reasons(["kill-one", "slow"], 2, strikes, 1000) == []
    assert void_reasons([], 3, strikes, 1000) == ["2 of 3 planned rounds took place"]


def test_what_became_of_each_kind_is_counted() -> None:
    strikes = [
        result(1, gap_ms=100.0),
        result(2, overlapped=0),
        result(3, "slow", touched=0),
    ]
    assert count_faults(["flip", "slow"], strikes) == {
        "flip": FaultCount(0, 0, 0.0),
        "slow": FaultCount(0, 0, 25.0),
        "kill-one": FaultCount(2, 1, 50.0),
    }


def test_a_fault_that_hit_an_idle_cluster_does_not_count() -> None:
    reasons = void_reasons(["kill-one"], 1, [result(overlapped=0)], 1000)
    assert reasons == ["the planned fault kill-one never hit a cluster at work"]


def test_a_kind_that_hit_once_may_miss_another_time() -> None:
    results = [result(1), result(2, overlapped=0)]
    assert void_reasons(["kill-one"], 2, results, 1000) == []


def test_fewer_rounds_than_planned_make_a_run_void() -> None:
    reasons = void_reasons(["kill-one"], 2, [result()], 1000)
    assert reasons == ["1 of 2 planned rounds took place"]


def test_a_workload_that_did_too_little_makes_a_run_void() -> None:
    loads = {"lists": WorkloadCount(ok=6, refused=9, unknown=9, needed=7)}
    reasons = void_reasons(["kill-one"], 1, [result()], 1000, loads)
    assert reasons == ["lists: 6 operations were done, 7 are needed"]
    loads["lists"].ok += 1
    assert void_reasons(["kill-one"], 1, [result()], 1000, loads) == []


def test_a_workload_that_only_read_makes_a_run_void() -> None:
    loads = {"levels": WorkloadCount(ok=90, changes=1, needed=7, changes_needed=2)}
    reasons = void_reasons(["kill-one"], 1, [result()], 1000, loads)
    assert reasons == ["levels: 1 changes were done, 2 are needed"]
    loads["levels"].changes += 1
    assert void_reasons(["kill-one"], 1, [result()], 1000, loads) == []


def test_a_workload_that_nobody_could_judge_makes_a_run_void() -> None:
    loads = {"watches": WorkloadCount(ok=9, needed=7, unjudged="it was compacted")}
    reasons = void_reasons(["kill-one"], 1, [result()], 1000, loads)
    assert reasons == ["watches: not judged: it was compacted"]


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
        result(4, "kill-all", leader_hit=True, gap_ms=3000.0),
        result(5, "pause-leader", leader_hit=True, gap_ms=900.0),
        result(6, "kill-leader", leader_hit=True, gap_ms=700.0, at_once=2),
    ]
    assert leader_gaps(results) == {
        "count": 2,
        "median": 80.0,
        "p90": 100.0,
        "max": 100.0,
    }
    assert leader_gaps(results[:1]) == {}
