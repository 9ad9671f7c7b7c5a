"""The schedule: drawn from the seed alone, every kind in every deck."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from random import Random

import pytest
from quorate.chaos.harness.faults import (
    ALL_KINDS,
    BUSY_KINDS,
    CALM_SECONDS,
    DAMAGE_KINDS,
    FAULTS,
    HOLD_SECONDS,
    LONG_HOLD_SECONDS,
    MEMBER_KINDS,
    PAUSE_SECONDS_MAX,
    Fault,
    Kind,
    Round,
    draw_rounds,
    usable,
)


def rounds(
    count: int,
    seed: int = 7,
    nodes: int = 3,
    kinds: Sequence[Kind] = FAULTS["kill"],
    at_once: int = 1,
) -> list[Round]:
    return list(islice(draw_rounds(Random(seed), kinds, nodes, at_once), count))


def fault(kind: Kind, *, at_leader: bool = False) -> Fault:
    return Fault(
        kind, 0.0, 1.0, at_leader, (2, 0, 1), (0.0, 0.0, 0.0), silent=True, strength=0.5
    )


def test_the_same_seed_draws_the_same_rounds_however_many_are_taken() -> None:
    assert rounds(50)[:20] == rounds(20)
    assert rounds(20) != rounds(20, seed=8)


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_every_deck_has_every_kind_once(at_once: int) -> None:
    drawn = rounds(200, kinds=ALL_KINDS, at_once=at_once)
    kinds = [fault.kind for round_ in drawn for fault in round_.faults]
    for first in range(0, len(kinds) - len(ALL_KINDS), len(ALL_KINDS)):
        deck = kinds[first : first + len(ALL_KINDS)]
        assert Counter(deck) == Counter(ALL_KINDS)


def test_so_many_kinds_strike_at_once_and_one_of_processes_at_most() -> None:
    drawn = rounds(200, kinds=ALL_KINDS, at_once=3)
    assert {len(round_.faults) for round_ in drawn} >= {3}
    for round_ in drawn:
        assert round_.faults[0].after_s == 0
        of_processes = [f for f in round_.faults if f.kind in BUSY_KINDS]
        assert len(of_processes) <= 1
        if any(one.kind.endswith("-all") for one in of_processes):
            assert len(round_.faults) == 1
        assert len(round_.faults) <= 3


def test_rounds_are_numbered_and_within_their_bounds() -> None:
    drawn = rounds(300, nodes=5)
    assert [round_.number for round_ in drawn] == list(range(1, 301))
    for round_ in drawn:
        assert CALM_SECONDS[0] <= round_.calm_s <= CALM_SECONDS[1]
        (one,) = round_.faults
        assert sorted(one.order) == [0, 1, 2, 3, 4]
        assert len(one.away_s) == 5
        assert all(0 <= away_s <= PAUSE_SECONDS_MAX for away_s in one.away_s)
    assert {round_.faults[0].order[0] for round_ in drawn} == set(range(5))


def test_some_faults_outlive_every_timeout() -> None:
    holds = [round_.faults[0].hold_s for round_ in rounds(300)]
    assert min(holds) >= HOLD_SECONDS[0]
    assert max(holds) <= LONG_HOLD_SECONDS[1]
    assert 30 < sum(hold_s > 5.0 for hold_s in holds) < 150


@pytest.mark.parametrize(
    ("kind", "victims"),
    [
        ("kill-one", (2,)),
        ("kill-all", (0, 1, 2)),
        ("storm", (0, 1, 2)),
        ("pause-all", (0, 1, 2)),
        ("isolate-one", ()),
    ],
)
def test_each_kind_names_its_victims(kind: Kind, victims: tuple[int, ...]) -> None:
    assert fault(kind).victims(leader=1) == victims


def test_what_is_aimed_at_the_leader_meets_whoever_leads() -> None:
    assert fault("stop-leader", at_leader=True).victims(leader=1) == (1,)
    assert fault("one-way-in", at_leader=True).along(leader=0) == (0, 2, 1)
    assert {r.faults[0].at_leader for r in rounds(20, kinds=["kill-leader"])} == {True}
    assert {r.faults[0].at_leader for r in rounds(20, kinds=["kill-one"])} == {False}


def test_a_shape_never_has_the_leader_in_its_middle() -> None:
    """Between two followers nothing is sent that a cut could stop."""
    assert fault("bridge", at_leader=True).along(leader=2) == (0, 1, 2)


def test_a_fault_fits_whoever_is_there() -> None:
    drawn = fault("kill-all")
    assert drawn.fitted(3) == drawn
    assert drawn.fitted(2).order == tuple(n for n in drawn.order if n < 2)
    more = drawn.fitted(7)
    assert more.order == (*drawn.order, 3, 4, 5, 6)
    assert more.victims(leader=6) == tuple(range(7))
    assert len(more.away_s) >= 7


def test_only_what_means_something_is_usable() -> None:
    assert usable(("ring", "ring", "flip", "kill-one"), 3) == ("flip", "kill-one")
    assert usable(("ring", "ring", "flip"), 5) == ("ring", "flip")
    assert set(usable(ALL_KINDS, 1)) == {
        *(BUSY_KINDS - DAMAGE_KINDS - set(MEMBER_KINDS)),
        *("client-cut", "client-reset", "client-slow"),
    }
    assert usable(ALL_KINDS, 5) == ALL_KINDS


def test_a_single_kind_is_drawn_for_ever() -> None:
    drawn = rounds(20, seed=1, kinds=["kill-leader"])
    assert {round_.faults[0].kind for round_ in drawn} == {"kill-leader"}
