"""What is read out of a node's metrics, and what is said of it."""

import pytest
from quorate.benchmarks.clusters import BenchmarkFailed
from quorate.benchmarks.overload import (
    Leg,
    Round,
    lines_of,
    parse_writes,
    percentile_s,
)

from ..node.api.support import http, open_port


async def test_only_writes_that_were_done_are_read_out_of_a_nodes_metrics() -> None:
    async with open_port() as port:
        metrics = (await http(port, "GET", "/metrics")).body.decode()
        assert parse_writes(metrics) == {}
        for body in (b'{"key":"YQ==","value":"YQ=="}', b'{"key":"!"}'):
            await http(port, "POST", "/v3/kv/put", body)
        counts = parse_writes((await http(port, "GET", "/metrics")).body.decode())
        assert max(counts.values()) == counts[float("inf")] == 1


def test_a_percentile_lies_within_its_bucket() -> None:
    before = {0.01: 5.0, 0.1: 5.0, float("inf"): 5.0}
    after = {0.01: 5.0, 0.1: 105.0, float("inf"): 105.0}
    assert percentile_s(before, after, 0.5) == pytest.approx(0.055)
    assert percentile_s(before, after, 1.0) == pytest.approx(0.1)
    assert percentile_s({}, {0.01: 99.0, 0.1: 100.0}, 0.99) == pytest.approx(0.01)
    with pytest.raises(BenchmarkFailed, match="not one"):
        percentile_s(after, after, 0.5)


def test_what_is_aimed_at_stands_beside_what_came_out() -> None:
    normal, more = Leg(1000.0, 0.0, 0.02), Leg(700.0, 4000.0, 0.06)
    text = "\n".join(lines_of([Round(normal, more, 1.5)], 0))
    assert "1,000 writes/s, p99 20.0 ms" in text
    assert "ratio 0.70 (0.70–0.70); aim ≥ 0.8: missed" in text
    assert "ratio 3.00 (3.00–3.00); aim ≤ 5: met" in text
    assert "after 1.5 s at most; aim ≤ 10 s: met" in text
    assert "elections: 0; aim 0: met" in text
    assert "elections: 1; aim 0: missed" in "\n".join(
        lines_of([Round(normal, more, 1.5)], 1)
    )
