"""Which key is next: zipf's law, YCSB's scrambling, and nothing out of range."""

import itertools
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.chaos.load.distributions import (
    DISTRIBUTIONS,
    SCRAMBLED_ITEMS,
    THETA,
    Distribution,
    Zipf,
    make_chooser,
    scramble,
    zeta,
)

DRAWS = 20_000
chances = st.floats(0, 1, exclude_max=True)


def drawn(distribution: Distribution, keys: int) -> Counter[int]:
    choose = make_chooser(distribution, keys, Random(1))
    return Counter(choose(keys) for _ in range(DRAWS))


@given(st.integers(1, 10_000), chances)
def test_a_rank_is_one_of_those_there_are(count: int, chance: float) -> None:
    assert 0 <= Zipf(count).rank(chance) < count


@given(st.integers(1, 1000), chances, chances)
def test_more_chance_is_a_higher_rank(count: int, a: float, b: float) -> None:
    zipf = Zipf(count)
    assert zipf.rank(min(a, b)) <= zipf.rank(max(a, b))


def test_the_lower_a_rank_the_more_often_it_is_drawn() -> None:
    zipf = Zipf(1000)
    dice = Random(7)
    counts = Counter(zipf.rank(dice.random()) for _ in range(DRAWS))
    # Ranks in groups, each four times as long as the last: no luck reaches that far.
    edges = [0, 1, 4, 16, 64, 256]
    means = [
        sum(counts[rank] for rank in range(a, b)) / (b - a)
        for a, b in itertools.pairwise(edges)
    ]
    assert means == sorted(means, reverse=True)
    for rank in (0, 1):
        share = (rank + 1) ** -THETA / zeta(1000)
        assert counts[rank] / DRAWS == pytest.approx(share, rel=0.1)


@given(st.integers(1, 5000))
def test_zeta_is_the_sum_that_it_stands_for(count: int) -> None:
    exact = sum(i**-THETA for i in range(1, count + 1))
    assert zeta(count) == pytest.approx(exact, rel=1e-12)


def test_zeta_of_the_scrambled_items_is_the_constant_that_ycsb_has_written_down() -> (
    None
):
    assert zeta(SCRAMBLED_ITEMS) == pytest.approx(26.46902820178302, rel=1e-11)


@given(st.integers(1, 2000), st.integers(0, 500))
def test_growing_is_the_same_as_having_been_that_large(count: int, more: int) -> None:
    grown, large = Zipf(count), Zipf(count + more)
    grown.grow(count + more)
    assert grown.count == large.count
    # The two sums are added up in another order: a rank may differ at its very edge.
    for percent in range(100):
        assert abs(grown.rank(percent / 100) - large.rank(percent / 100)) <= 1


def test_ranks_are_scattered_as_fnv_does_it() -> None:
    # FNV-1a of eight zero bytes, as its authors publish it.
    assert scramble(0) % 2**64 == 0xA8C7F832281A39C5
    assert len({abs(scramble(rank)) for rank in range(10_000)}) == 10_000


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("keys", [1, 2, 3, 100])
def test_every_choice_is_a_key_that_exists(
    distribution: Distribution, keys: int
) -> None:
    choose = make_chooser(distribution, keys, Random(3))
    for more in range(200):
        assert 0 <= choose(keys + more) < keys + more


def test_uniform_favours_nobody() -> None:
    counts = drawn("uniform", 100)
    assert len(counts) == 100
    assert max(counts.values()) < 1.5 * DRAWS / 100


def test_zipf_has_favourites_that_are_not_the_first_keys() -> None:
    favourites = drawn("zipf", 1000).most_common(5)
    assert favourites[0][1] / DRAWS == pytest.approx(1 / 26.469, rel=0.2)
    assert {key for key, _ in favourites} != set(range(5))


def test_latest_favours_the_newest() -> None:
    counts = drawn("latest", 1000)
    assert counts.most_common(1)[0][0] == 999
    assert counts[999] > counts[990] > counts[500]
