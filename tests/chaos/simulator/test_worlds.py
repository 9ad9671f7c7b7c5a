"""Damage beyond a minority, at one place: repaired from one copy, or a safe halt."""

import random

import pytest
from quorate.chaos.simulator.mutants import planted
from quorate.chaos.simulator.world import Violation
from quorate.chaos.simulator.worlds import no_good_copy, one_good_copy


@pytest.mark.slow
def test_one_good_copy_of_the_last_batch_repairs_all_others() -> None:
    for _ in range(3):
        seed = random.SystemRandom().randrange(1, 1 << 20)
        print(f"quorate simulate --world one-good-copy --seeds {seed}")
        assert "repaired from" in one_good_copy(seed)


@pytest.mark.slow
def test_without_a_good_copy_all_halt_and_keep_what_they_have() -> None:
    for _ in range(3):
        seed = random.SystemRandom().randrange(1, 1 << 20)
        print(f"quorate simulate --world no-good-copy --seeds {seed}")
        assert "refuse" in no_good_copy(seed)


@pytest.mark.slow
def test_who_reads_slowly_keeps_no_world_from_its_damage() -> None:
    """A client that took three seconds for a message was to be told all in 23."""
    assert "refuse" in no_good_copy(784709)


@pytest.mark.slow
def test_damage_that_is_taken_for_absence_is_noticed() -> None:
    with planted("doubt-is-absence"), pytest.raises(Violation):
        one_good_copy(1)


@pytest.mark.slow
def test_a_hole_that_is_cut_is_noticed() -> None:
    """In segments of their own a later batch proves it, too: hence several worlds."""
    noticed = 0
    with planted("damage-taken-for-tail"):
        for seed in range(1, 9):
            try:
                no_good_copy(seed)
            except Violation:
                noticed += 1
    assert noticed > 0
