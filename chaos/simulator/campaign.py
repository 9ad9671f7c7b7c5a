"""Many seeds: one after the other or side by side, and what they covered together.

Law: what is told depends on the seeds alone, not on how many processes ran them or in
which order they ended. Whatever ends a seed is told with its number, and the others
still run.
"""

import gc
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import Final

import msgspec

from .failpoints import FAILPOINTS
from .faults import KINDS, MEMBER_KINDS
from .run import Result, RunOptions, run_seed
from .world import Violation

# Runs of so many seeds are void when a fault never struck anything.
VOID_SEEDS_MIN: Final = 100
# A failpoint is a one-in-twenty choice of one kind: it needs more of them.
VOID_FAILPOINT_SEEDS_MIN: Final = 1000
_CHUNK: Final = 4


class Outcome(msgspec.Struct, frozen=True):
    """How one seed ended: with a result, or with what a checker or a core objects to.

    `invariant` is what was violated; any other exception is called by its type's name.
    """

    seed: int
    result: Result | None
    invariant: str = ""
    detail: str = ""


def try_seed(seed: int, options: RunOptions) -> Outcome:
    """Run one seed and say how it ended."""
    try:
        return Outcome(seed, run_seed(seed, options))
    except Violation as error:
        return Outcome(seed, None, error.invariant, str(error))
    except Exception as error:  # noqa: BLE001 - it fails its seed, not the others
        name = type(error).__name__
        return Outcome(seed, None, name, f"{name}: {error}")


def _begin_worker() -> None:
    _without_collector()
    Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """One that is killed tells nobody; its workers would go on for hours."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _without_collector() -> None:
    # A world is one large cycle: looking for garbage while it lives finds none.
    gc.disable()


def _in_worker(options: RunOptions, seed: int) -> Outcome:
    outcome = try_seed(seed, options)
    gc.collect()
    return outcome


def run_seeds(
    seeds: Iterable[int], options: RunOptions, jobs: int
) -> Iterator[Outcome]:
    """Run all seeds in `jobs` processes; outcomes come in the order of the seeds."""
    work = partial(_in_worker, options)
    if jobs == 1:
        _without_collector()
        yield from map(work, seeds)
        return
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_begin_worker
    ) as pool:
        yield from pool.map(work, seeds, chunksize=_CHUNK)


class Coverage:
    """What all seeds of a run did together."""

    def __init__(self) -> None:
        self.seeds = 0
        self.failed: list[int] = []
        self.simulated_us = 0
        self.operations = 0
        self.acknowledged = 0
        self.snapshots = 0
        self.flushes = 0
        self.compactions = 0
        self.heals = 0
        self.broken = 0
        self.halted = 0
        self.undecided = 0
        self.told = 0
        self.changing = 0
        self.configurations = 0
        self.answers: Counter[str] = Counter()
        self.events = 0
        self.fired: Counter[str] = Counter()
        self.overlapped: Counter[str] = Counter()
        self.failpoints: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        result = outcome.result
        if result is None or not result.enough:
            self.failed.append(outcome.seed)
        if result is None:
            return
        self.simulated_us += result.simulated_us
        self.operations += result.operations
        self.acknowledged += result.acknowledged
        self.snapshots += result.snapshots
        self.flushes += result.flushes
        self.compactions += result.compactions
        self.heals += result.heals
        self.broken += result.broken
        self.halted += result.halted
        self.undecided += result.undecided
        self.told += result.told
        self.changing += result.changing
        self.configurations += result.configurations
        self.answers.update(result.answers)
        self.events += result.events
        self.fired.update(result.fired)
        self.overlapped.update(result.overlapped)
        self.failpoints.update(result.failpoints)

    def missing(self) -> list[str]:
        """What a run of this size should have reached, and did not."""
        missing: list[str] = []
        kinds = [*KINDS, *MEMBER_KINDS]
        if self.seeds >= VOID_SEEDS_MIN:
            missing += [
                f"{kind} never struck" for kind in kinds if not self.fired[kind]
            ]
            missing += [
                f"{kind} never struck an operation in flight"
                for kind in kinds
                if self.fired[kind] and not self.overlapped[kind]
            ]
        if self.seeds >= VOID_FAILPOINT_SEEDS_MIN:
            missing += [
                f"nobody died at {name}"
                for name in FAILPOINTS
                if not self.failpoints[name]
            ]
        return missing
