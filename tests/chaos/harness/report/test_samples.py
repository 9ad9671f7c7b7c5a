"""What a page counts: all operations of the load, none of the last reads."""

import random

import pytest
from quorate.chaos.harness.history import (
    LAST_READER,
    Done,
    Input,
    Kill,
    Output,
    Start,
    Struck,
)
from quorate.chaos.harness.report.samples import (
    BINS_MAX,
    POINTS_PER_BIN,
    Down,
    Latencies,
    Samples,
    merged,
)


def done(start_s: float, end_s: float, outcome: str = "ok", *, client: int = 1) -> Done:
    return Done(
        *(client, "n1", "put", "k", start_s, end_s, outcome),
        Input("k:1"),
        Output(revision=2),
    )


def test_quantiles_are_at_most_a_bucket_too_high() -> None:
    one = Latencies()
    values = [random.Random(1).lognormvariate(-6, 2) for _ in range(5000)]
    for value in values:
        one.add(value)
    values.sort()
    for share in (0.5, 0.9, 0.99, 0.999):
        exact = values[int(share * 5000) - 1]
        assert exact <= one.quantile(share) * 1.0001
        assert one.quantile(share) <= exact * 1.05
    assert one.quantile(1.0) == one.max_s == values[-1]


def test_operations_are_counted_where_they_ended_and_by_how() -> None:
    samples = Samples(20.0, [])
    assert samples.width_s == 0.1
    samples.read(
        [
            done(0.0, 0.05),
            done(0.0, 1.05),
            done(1.0, 1.06, "unknown"),
            done(2.0, 99.0, "refused"),
            done(1.0, 1.01, client=LAST_READER),
        ]
    )
    assert samples.bins[0].counts == {"ok": 1, "refused": 0, "unknown": 0}
    assert samples.bins[10].counts == {"ok": 1, "refused": 0, "unknown": 1}
    assert samples.bins[-1].counts == {"ok": 0, "refused": 1, "unknown": 0}
    assert samples.bins[10].latencies.count == 1


def test_operations_that_touch_a_fault_are_told_apart_from_calm_ones() -> None:
    samples = Samples(10.0, [(2.0, 3.0), (5.0, 6.0)])
    samples.read([done(0.0, 1.9), done(1.0, 2.5), done(4.0, 7.0), done(6.5, 7.0)])
    counts = {key: one.count for key, one in samples.by_kind.items()}
    assert counts == {("put", False): 2, ("put", True): 2}


@pytest.mark.parametrize("seconds", [1.0, 70.0, 3600.0, 100_000.0])
def test_a_run_of_any_length_has_a_page_that_can_be_drawn(seconds: float) -> None:
    samples = Samples(seconds, [])
    assert len(samples.bins) <= max(BINS_MAX + 1, seconds / 300 + 1)


def test_of_many_points_the_slowest_stays() -> None:
    samples = Samples(1.0, [])
    samples.read(done(0.0, 0.01) for _ in range(500))
    samples.read([done(0.0, 0.09)])
    samples.read(done(0.0, 0.01) for _ in range(500))
    points = list(samples.points())
    assert len(points) <= POINTS_PER_BIN + 1
    assert max(point.latency_s for point in points) == 0.09


def test_a_node_is_down_from_its_kill_or_its_start_until_it_answers() -> None:
    samples = Samples(10.0, [])
    samples.read(
        [
            Kill(1.0, 1, "kill-one", ("n1",)),
            Start(2.0, "n1", 3.0),
            Start(4.0, "n2", 5.0),
            Struck(1.0, 3.0, 1, "kill-one", ("n1",)),
        ]
    )
    assert samples.downs == [Down("n1", 1.0, 3.0), Down("n2", 4.0, 5.0)]


def test_spans_that_touch_are_one() -> None:
    assert merged([(5, 6), (1, 3), (2, 4), (4, 4.5), (7, 8)]) == [
        *((1, 4.5), (5, 6), (7, 8)),
    ]
    assert merged([]) == []
