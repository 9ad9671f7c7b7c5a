"""The schedule: drawn from the seed alone, every kind in every deck."""

from itertools import islice
from random import Random

import pytest
from quorate.chaos.harness.faults import (
    CALM_SECONDS,
    FAULTS,
    PAUSE_SECONDS_MAX,
    Kind,
    Round,
    draw_rounds,
)


def rounds(count: int, seed: int = 7, nodes: int = 3) -> list[Round]:
    return list(islice(draw_rounds(Random(seed), FAULTS["kill"], nodes), count))


def test_the_same_seed_draws_the_same_rounds_however_many_are_taken() -> None:
    assert rounds(50)[:20] == rounds(20)
    assert rounds(20) != rounds(20, seed=8)


def test_every_deck_has_every_kind_once() -> None:
    drawn = rounds(300)
    for first in range(0, 300, 3):
        deck = {round_.kind for round_ in drawn[first : first + 3]}
        assert deck == set(FAULTS["kill"])


def test_rounds_are_numbered_and_within_their_bounds() -> None:
    drawn = rounds(300, nodes=5)
    assert [round_.number for round_ in drawn] == list(range(1, 301))
    for round_ in drawn:
        assert CALM_SECONDS[0] <= round_.calm_s <= CALM_SECONDS[1]
        assert 0 <= round_.one < 5
        assert len(round_.pauses_s) == 5
        assert all(0 <= pause_s <= PAUSE_SECONDS_MAX for pause_s in round_.pauses_s)
    assert {round_.one for round_ in drawn} == set(range(5))


@pytest.mark.parametrize(
    ("kind", "victims"),
    [("kill-one", (2,)), ("kill-leader", (1,)), ("kill-all", (0, 1, 2))],
)
def test_each_kind_names_its_victims(kind: Kind, victims: tuple[int, ...]) -> None:
    round_ = Round(1, kind, 0.5, 2, (0.0, 0.0, 0.0))
    assert round_.victims(leader=1) == victims


def test_a_single_kind_is_drawn_for_ever() -> None:
    drawn = islice(draw_rounds(Random(1), ("kill-leader",), 3), 20)
    assert {round_.kind for round_ in drawn} == {"kill-leader"}
