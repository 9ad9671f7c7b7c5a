"""Damage beyond a minority, at one place: repaired from one copy, or a safe halt."""

import random

import pytest
from quorate.chaos.simulator.caretaker_mutants import CARETAKER_MUTANTS
from quorate.chaos.simulator.caretaker_worlds import lost_voters
from quorate.chaos.simulator.catches import CATCHES
from quorate.chaos.simulator.doubt_mutants import DOUBT_MUTANTS
from quorate.chaos.simulator.doubt_worlds import DOUBT_WORLDS
from quorate.chaos.simulator.log_mutants import LOG_MUTANTS
from quorate.chaos.simulator.log_worlds import LOG_WORLDS
from quorate.chaos.simulator.mutants import hunt, planted
from quorate.chaos.simulator.state_worlds import no_disk_reads, slow_and_damaged
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


@pytest.mark.slow
def test_a_moment_in_which_no_disk_reads_passes() -> None:
    seed = random.SystemRandom().randrange(1, 1 << 20)
    print(f"quorate simulate --world no-disk-reads --seeds {seed}")
    assert "ended to read again" in no_disk_reads(seed)


def test_nodes_that_wait_for_a_state_that_nobody_has_are_noticed() -> None:
    with planted("waits-for-ever"), pytest.raises(Violation, match="I-73"):
        no_disk_reads(3)


@pytest.mark.slow
def test_a_state_that_comes_to_a_slow_disk_waits_for_its_entries() -> None:
    seed = random.SystemRandom().randrange(1, 1 << 20)
    print(f"quorate simulate --world slow-and-damaged --seeds {seed}")
    assert "replaced" in slow_and_damaged(seed)


@pytest.mark.slow
def test_a_state_that_is_ahead_of_its_journal_is_noticed() -> None:
    with planted("state-before-its-entries"), pytest.raises(Violation, match="I-7"):
        slow_and_damaged(6)


@pytest.mark.slow
@pytest.mark.parametrize("name", DOUBT_WORLDS)
def test_what_is_in_doubt_is_neither_lost_nor_brought_back(name: str) -> None:
    seed = random.SystemRandom().randrange(1, 1 << 20)
    print(f"quorate simulate --world {name} --seeds {seed}")
    assert DOUBT_WORLDS[name](seed)


@pytest.mark.parametrize("name", LOG_WORLDS)
def test_what_is_late_or_was_replaced_counts_for_nothing(name: str) -> None:
    seed = random.SystemRandom().randrange(1, 1 << 20)
    print(f"quorate simulate --world {name} --seeds {seed}")
    assert LOG_WORLDS[name](seed)


@pytest.mark.slow
def test_voters_that_are_lost_are_replaced_by_spares_and_no_others() -> None:
    seed = random.SystemRandom().randrange(1, 1 << 20)
    print(f"quorate simulate --world lost-voters --seeds {seed}")
    assert "replaced" in lost_voters(seed)


_TOLD = (*DOUBT_MUTANTS, *LOG_MUTANTS, *CARETAKER_MUTANTS)
_STORIES = [mutant.name for mutant in _TOLD if mutant.world is not None]


@pytest.mark.slow
@pytest.mark.parametrize("name", _STORIES)
def test_a_broken_rule_is_noticed_by_its_story(name: str) -> None:
    seed = CATCHES[name]
    catch = hunt(name, range(seed, seed + 1))
    assert catch is not None
    # It was told to its end, and not given up on the way.
    assert "comes to it" not in catch.what
