"""The simulator as part of the everyday suite: new seeds, determinism, mutants."""

import os
import random
import subprocess
import sys

import pytest
from quorate.chaos.simulator.mutants import MUTANTS, hunt
from quorate.chaos.simulator.run import OPERATIONS_MIN, run_seed

# Seeds that notice a mutant quickly; `quorate simulate --mutants` hunts anew.
CATCHES = {
    "ack-before-sync": 1,
    "append-acked-before-disk": 1,
    "leader-counts-unsynced": 1,
    "segments-dropped-early": 1,
    "stale-append-truncates": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(3))
def test_a_seed_that_nobody_has_seen_before_holds_every_invariant(turn: int) -> None:
    seed = random.SystemRandom().randrange(1, 1 << 32)
    print(f"turn {turn}: quorate simulate --replay {seed}")
    result = run_seed(seed)
    assert result.acknowledged >= OPERATIONS_MIN
    assert result.simulated_us >= 20_000_000


@pytest.mark.slow
def test_a_seed_gives_the_same_world_in_another_process_with_other_hashes() -> None:
    outputs: set[bytes] = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-m", "quorate", "simulate", "--seeds", "11..12"],
            env=environment,
            capture_output=True,
            check=True,
            timeout=240,
        )
        assert b"trace" in done.stdout
        outputs.add(done.stdout)
    assert len(outputs) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", CATCHES)
def test_a_broken_safety_rule_is_noticed(name: str) -> None:
    seed = CATCHES[name]
    catch = hunt(name, range(seed, seed + 10))
    assert catch is not None, f"{name} survived: {MUTANTS[name].breaks}"


def test_a_mutant_is_gone_when_its_hunt_is_over() -> None:
    before = {
        name: getattr(mutant.module, mutant.predicate)
        for name, mutant in MUTANTS.items()
    }
    assert hunt("ack-before-sync", range(1, 2)) is not None
    for name, mutant in MUTANTS.items():
        assert getattr(mutant.module, mutant.predicate) is before[name]
