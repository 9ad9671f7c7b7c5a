"""The simulator as part of the everyday suite: new seeds, determinism, mutants."""

import os
import random
import subprocess
import sys

import pytest
from quorate.chaos.simulator.campaign import (
    VOID_SEEDS_MIN,
    Coverage,
    Outcome,
    run_seeds,
    try_seed,
)
from quorate.chaos.simulator.catches import CATCHES
from quorate.chaos.simulator.faults import KINDS, Plan
from quorate.chaos.simulator.mutants import MUTANTS, hunt, planted
from quorate.chaos.simulator.run import OPERATIONS_MIN, RunOptions, run_seed
from quorate.chaos.simulator.shrink import shrink
from quorate.chaos.simulator.world import SECOND

# A few of those on record; `quorate simulate --mutants` replays all of them.
QUICK = (
    "ack-before-sync",
    "append-acked-before-disk",
    "leader-counts-unsynced",
    "message-before-disk",
    "older-term-committed",
    "stale-append-truncates",
)


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(6))
def test_a_seed_that_nobody_has_seen_before_holds_every_invariant(turn: int) -> None:
    seed = random.SystemRandom().randrange(1, 1 << 32)
    print(f"turn {turn}: quorate simulate --replay {seed}")
    result = run_seed(seed)
    assert result.acknowledged >= OPERATIONS_MIN
    assert result.simulated_us >= 20 * SECOND


@pytest.mark.slow
def test_a_seed_gives_the_same_world_in_another_process_with_other_hashes() -> None:
    outputs: set[bytes] = set()
    for hash_seed, jobs in (("1", ()), ("2", ("--jobs", "2"))):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-m", "quorate", "simulate", "--seeds", "11..13", *jobs],
            env=environment,
            capture_output=True,
            check=True,
            timeout=240,
        )
        assert b"trace" in done.stdout
        outputs.add(done.stdout)
    assert len(outputs) == 1


# -- mutants ----------------------------------------------------------------------


def test_every_mutant_has_a_seed_on_record() -> None:
    assert sorted(CATCHES) == sorted(MUTANTS)
    assert len(MUTANTS) >= 30


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_broken_safety_rule_is_noticed(name: str) -> None:
    seed = CATCHES[name]
    catch = hunt(name, range(seed, seed + 1))
    # With all rules in force the seed holds, else the hunt would have passed it over.
    assert catch is not None, f"{name} survived: {MUTANTS[name].breaks}"


def test_a_mutant_is_gone_when_its_hunt_is_over() -> None:
    before = {
        name: getattr(mutant.module, mutant.predicate)
        for name, mutant in MUTANTS.items()
    }
    seed = CATCHES["message-before-disk"]
    assert hunt("message-before-disk", range(seed, seed + 1)) is not None
    for name, mutant in MUTANTS.items():
        assert getattr(mutant.module, mutant.predicate) is before[name]


# -- plans ----------------------------------------------------------------------


def test_taking_a_fault_out_of_a_plan_changes_no_other() -> None:
    whole = Plan(5, KINDS, everything=True).segment(0, 20 * SECOND)
    assert len(whole) > 10
    without = frozenset(fault.number for fault in whole[1::2])
    rest = Plan(5, KINDS, everything=True, only=without).segment(0, 20 * SECOND)
    assert rest == whole[1::2]


@pytest.mark.slow
def test_a_failing_seed_shrinks_to_the_faults_that_it_takes() -> None:
    name = "failed-sync-ignored"
    told: list[str] = []
    with planted(name):
        found = shrink(CATCHES[name], RunOptions(members=False), told.append)
        assert found is not None
        assert len(found.faults) < found.before
        assert len(told) > 0
        alone = RunOptions(only=frozenset(found.faults), members=False)
        again = try_seed(CATCHES[name], alone)
        assert again == found.outcome
        assert again.result is None


def test_a_seed_that_holds_does_not_shrink() -> None:
    assert shrink(4, RunOptions(only=frozenset()), print) is None


# -- coverage ----------------------------------------------------------------------


def test_a_large_run_without_a_fault_of_the_menu_is_void_and_names_it() -> None:
    result = run_seed(3, RunOptions(only=frozenset()))
    coverage = Coverage()
    for seed in range(VOID_SEEDS_MIN):
        assert not coverage.missing()
        coverage.add(Outcome(seed, result))
    coverage.fired["kill"] = 1
    missing = coverage.missing()
    assert "power never struck" in missing
    assert "kill never struck an operation in flight" in missing
    assert "kill never struck" not in missing


def test_a_seed_with_too_few_operations_counts_as_failed() -> None:
    result = run_seed(3, RunOptions(only=frozenset()))
    result.acknowledged = OPERATIONS_MIN - 1
    coverage = Coverage()
    coverage.add(Outcome(3, result))
    assert coverage.failed == [3]


@pytest.mark.slow
def test_a_violation_in_a_worker_comes_back_with_its_seed() -> None:
    """Outcomes cross a process border; one seed's end does not end the others."""
    outcomes = list(run_seeds([1, 2], RunOptions(only=frozenset()), jobs=2))
    assert [outcome.seed for outcome in outcomes] == [1, 2]
    assert all(outcome.result is not None for outcome in outcomes)
