"""The histogram: what it loses is less than a thousandth, and sums are exact."""

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from quorate.chaos.load.histogram import (
    SUB_BUCKETS,
    Histogram,
    bucket_bounds,
    bucket_of,
)

# Up to ten hours.
latencies = st.integers(0, 36_000_000_000_000)
many = st.lists(latencies, max_size=50)
percents = st.integers(0, 100_000).map(lambda thousandths: thousandths / 1000)


def histogram(values: list[int]) -> Histogram:
    made = Histogram()
    for value in values:
        made.record(value)
    return made


@given(latencies)
@example(2 * SUB_BUCKETS - 1)
@example(2 * SUB_BUCKETS)
def test_a_value_lies_in_its_bucket(value: int) -> None:
    lowest, highest = bucket_bounds(bucket_of(value))
    assert lowest <= value <= highest
    assert (highest - lowest) * SUB_BUCKETS <= lowest
    assert list(histogram([value]).counts) == [bucket_of(value)]


@given(st.integers(0, 40_000))
def test_buckets_have_neither_gaps_nor_overlaps(bucket: int) -> None:
    assert bucket_bounds(bucket)[1] + 1 == bucket_bounds(bucket + 1)[0]
    assert bucket_of(bucket_bounds(bucket)[0]) == bucket


@given(many, many)
def test_merged_histograms_are_the_histogram_of_all(
    some: list[int], others: list[int]
) -> None:
    merged = histogram(some)
    merged.add(histogram(others))
    assert merged == histogram(some + others)


@given(st.lists(latencies, min_size=1, max_size=50), percents)
def test_a_percentile_is_off_by_less_than_a_bucket_and_never_too_small(
    values: list[int], percent: float
) -> None:
    rank = max(-(-round(percent * 1000) * len(values) // 100_000), 1)
    true = sorted(values)[rank - 1]
    told = histogram(values).percentile_ns(percent)
    assert true <= told <= bucket_bounds(bucket_of(true))[1]
    assert told <= max(values)


def test_a_percentile_is_not_moved_to_the_next_rank_by_rounding() -> None:
    values = list(range(1, 1001))
    assert histogram(values).percentile_ns(99.9) == 999
    assert histogram(values).percentile_ns(100.0) == 1000
    assert histogram(values).percentile_ns(0.0) == 1


@given(many)
def test_mean_and_maximum_are_exact(values: list[int]) -> None:
    made = histogram(values)
    assert made.max_ns == max(values, default=0)
    assert made.mean_ns == (sum(values) / len(values) if values else 0.0)


def test_nothing_has_percentiles_of_zero() -> None:
    assert Histogram().percentile_ns(99.0) == 0


@given(many)
def test_a_histogram_survives_json(values: list[int]) -> None:
    made = histogram(values)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Histogram) == made
