"""What is read out of a long run, and a short one of them."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from quorate.benchmarks.clusters import BenchmarkFailed
from quorate.benchmarks.million import (
    Leg,
    late_at_most,
    lines_of,
    parse_lag,
    quorate_leg,
)


class Told(Collector):
    def __init__(self, *counts: float) -> None:
        self.counts = counts

    def collect(self) -> list[Metric]:
        bounds = ("0.01", "0.05", "0.1", "+Inf")
        lag = HistogramMetricFamily("quorate_process_loop_lag_seconds", "Late.")
        lag.add_metric((), list(zip(bounds, self.counts, strict=True)), 1.0)
        longest = GaugeMetricFamily("quorate_process_loop_lag_max_seconds", "Max.", 0.3)
        return [lag, longest]


def exposed(*counts: float) -> str:
    registry = CollectorRegistry()
    registry.register(Told(*counts))
    return generate_latest(registry).decode()


def test_only_what_came_in_between_counts_as_late() -> None:
    before = parse_lag(exposed(100.0, 100.0, 100.0, 150.0))
    after = parse_lag(exposed(1090.0, 1099.0, 1100.0, 1150.0))
    assert after.longest_s == 0.3
    assert late_at_most(before, after, 0.99) == 0.01
    assert late_at_most(before, after, 0.999) == 0.05
    assert late_at_most(before, after, 1.0) == 0.1
    assert late_at_most(before, parse_lag(exposed(100, 100, 100, 200)), 0.5) == (
        float("inf")
    )


def test_other_metrics_tell_nothing_of_a_loop() -> None:
    with pytest.raises(BenchmarkFailed, match="how late"):
        parse_lag("quorate_raft_term 1.0\n")


def test_what_is_aimed_at_stands_beside_what_came_out() -> None:
    ours = [Leg(20_000.0, 16_000.0, 50.0, 200.0, 1.5, 0.4, 0.05, 0.08)]
    theirs = [Leg(8_000.0, 8_000.0, 100.0, 300.0, 0.7)]
    text = "\n".join(lines_of(ours, theirs))
    assert "debt paid 2.00 (2.00–2.00); aim ≥ 3×: missed" in text
    assert "of the nodes 0.50 (0.50–0.50); aim ≤ 0.4×: missed" in text
    assert "serving again: 1.50 s; aim ≤ 2 s: met" in text
    assert "at most: 50.00 ms; aim ≤ 50 ms: met" in text
    alone = "\n".join(lines_of(ours, []))
    assert "etcd" not in alone
    assert "longest time without an answer: 0.40 s; aim ≤ 1 s: met" in alone


@pytest.mark.slow
def test_a_short_run_ends_with_its_nodes_serving_again(tmp_path: Path) -> None:
    leg = quorate_leg(tmp_path / "q", puts=2000, keys=500, seed=1)
    assert leg.per_second >= leg.per_second_paid > 0
    assert 0 < leg.late_s < float("inf")
    assert leg.cpu_us > 0
    assert leg.restart_s > 0
    assert leg.anonymous_mb > 10
