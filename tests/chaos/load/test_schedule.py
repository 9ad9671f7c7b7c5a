"""When operations are due: the rate that was asked for, whatever the cluster does."""

from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.chaos.load.schedule import due_times


@given(st.integers(1, 5), st.floats(0.1, 1e6), st.floats(0, 1e6))
def test_processes_share_one_constant_schedule(
    processes: int, rate: float, begin_s: float
) -> None:
    all_times: list[float] = []
    for process in range(processes):
        times = due_times(
            "constant",
            begin_s,
            rate,
            Random(1),
            process=process,
            processes=processes,
        )
        all_times += islice(times, 4)
    expected = [begin_s + number / rate for number in range(4 * processes)]
    assert sorted(all_times) == expected


def test_poisson_arrivals_have_the_rate_but_no_rhythm() -> None:
    times = list(islice(due_times("poisson", 10.0, 100.0, Random(1)), 5000))
    assert times == sorted(times)
    assert times[0] > 10.0
    assert times[-1] - 10.0 == pytest.approx(50.0, rel=0.05)
    gaps = [b - a for a, b in pairwise(times)]
    # The deviation of an exponential distribution is its mean.
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance**0.5 == pytest.approx(mean, rel=0.05)


def test_poisson_arrivals_follow_the_dice() -> None:
    first, same, other = (
        list(islice(due_times("poisson", 0.0, 10.0, Random(seed)), 10))
        for seed in (1, 1, 2)
    )
    assert first == same != other


def test_poisson_processes_share_the_rate() -> None:
    times = due_times("poisson", 0.0, 100.0, Random(1), process=1, processes=4)
    *_, last = islice(times, 1000)
    assert last == pytest.approx(40.0, rel=0.1)
