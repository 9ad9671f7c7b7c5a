"""Every crash state of every storage workload of a few operations.

Law: bounded and exhaustive, in the sense of CrashMonkey and ACE (Mohan and others, OSDI
2018): what is counted is enumerated, what is sampled is counted apart, and all numbers
are the same in every process.

All sequences of legal operations are walked depth first. Each operation runs once at
the end of its sequence: right before each of its mutations, and once behind the last,
the power fails. Mutations of operations before the last one belong to the shorter
sequence that ends there. The process need not be stopped: nothing of a mutation has
happened when the hook is called, so the disk is what a stopped process leaves. There

- all states that the power loss may leave are recovered: every prefix of the pending
  names, and of the pending writes each one kept, lost, or torn behind its first sector;
- then the states in which each pending write is torn in another way, alike for all;
- then the process is killed: its successor finds the page cache, and the power fails
  right after its recovery, in every way again.

States are told apart by what was kept. Many have the same bytes, and share a recovery
as long as it is remembered.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random

import msgspec
from msgspec.structs import replace

from ....storage.errors import DirectoryLocked
from ....storage.journal import Batch
from ....storage.journal_format import segment_sequence
from ....storage.memory_env import MemoryEnv, Operation, TooManyCrashStates
from .crash_journal import journal_family
from .crash_model import Told, Wanted, complaints_about
from .crash_recovery import Recovery
from .crash_replica import birth_family, replica_family
from .crash_run import (
    FAILURES,
    LOCK,
    SALT_AFTER_KILL,
    Family,
    Run,
    Step,
    Tearing,
    last_sector,
)

STATES_MAX = 2_000  # of one stop; beyond it they are sampled
SAMPLES = 200
VIOLATIONS_MAX = 20  # then the walk ends: more of the same say nothing


def all_but_the_first(count: int) -> int:
    return (1 << count) - 2


def all_but_the_last(count: int) -> int:
    return (1 << (count - 1)) - 1


TEARS = (last_sector, all_but_the_first, all_but_the_last)


class Summary(msgspec.Struct):
    """What was done. `stops` are the places where the power failed.

    `states` were enumerated, `sampled` were drawn where there were too many.
    """

    workloads: int = 0
    stops: int = 0
    states: int = 0
    sampled: int = 0
    violations: list[str] = []


FAMILIES = {
    family.name: family
    for family in (
        journal_family("journal of two blocks", blocks=2, spares_max=1),
        journal_family("journal of three blocks", blocks=3, spares_max=2),
        birth_family(),
        replica_family(),
    )
}


def enumerate_crash_states(
    operations_max: int,
    *,
    workloads: Sequence[str] | None = None,
    report: Callable[[str], None],
) -> Summary:
    """Walk all sequences of 1 to `operations_max` operations of each workload family.

    `workloads` are names in FAMILIES, all of them by default. `report` gets one line
    for each family. The walk ends early after VIOLATIONS_MAX violations.
    """
    total = Summary()
    for name in FAMILIES if workloads is None else workloads:
        part = Walk(FAMILIES[name]).run(operations_max)
        report(f"{name}: {line_of(part)}")
        total.workloads += part.workloads
        total.stops += part.stops
        total.states += part.states
        total.sampled += part.sampled
        total.violations += part.violations
    return total


def line_of(summary: Summary) -> str:
    return (
        f"{summary.workloads:,} sequences, {summary.stops:,} stops,"
        f" {summary.states:,} states, {summary.sampled:,} sampled,"
        f" {len(summary.violations)} violations"
    )


def ends_batch(operation: Operation) -> bool:
    """Is this the sync of a segment of the journal?"""
    name = operation.path.rpartition("/")[2]
    return operation.kind == "sync" and segment_sequence(name) is not None


class Walk:
    """All sequences of one family."""

    def __init__(self, family: Family, states_max: int = STATES_MAX) -> None:
        self.family = family
        self.states_max = states_max
        self.summary = Summary()
        self.recovery = Recovery(family)
        self.names: list[str] = []
        self.where = ""

    def run(self, operations_max: int) -> Summary:
        run = self.family.begin(self.family)
        self.where = "before anything"
        self.stop(run)
        self.descend(run, operations_max)
        return self.summary

    @property
    def full(self) -> bool:
        return len(self.summary.violations) >= VIOLATIONS_MAX

    def descend(self, run: Run, left: int) -> None:
        """Do each legal step on a copy of `run`, and then what may follow it."""
        for step in self.family.steps:
            if self.full or not step.legal(run):
                continue
            twin = run.clone()
            self.names.append(step.name)
            if self.perform(twin, step):
                if left > 1:
                    self.descend(twin, left - 1)
                self.locks_die_with_the_boot(twin)
            self.names.pop()

    def perform(self, run: Run, step: Step) -> bool:
        """Do one step, with a stop at each of its mutations; did it go well?"""
        self.summary.workloads += 1
        count = 0

        def hook(operation: Operation) -> None:
            nonlocal count
            count += 1
            if count == 1:
                return  # the disk is as the shorter sequence left it
            self.where = f"before {operation.kind} {operation.path} ({count})"
            self.stop(run, traced=ends_batch(operation))

        run.env.on_operation = hook
        try:
            step.act(run)
        except FAILURES as error:
            self.object("alive", f"recovery_succeeds: {type(error).__name__}: {error}")
            return False
        finally:
            run.env.on_operation = None
        self.where = "behind the last mutation"
        self.stop(run)
        return True

    # -- one stop --------------------------------------------------------------------

    def stop(self, run: Run, traced: bool = False) -> None:
        """The process ends here, in every way; is a batch written and not synced?"""
        if self.full:
            return
        self.summary.stops += 1
        wanted, states = run.wanted(), 0
        for states, state in enumerate(self.states_of(run.env), 1):
            self.recover(state, run.born, wanted, f"power, state {states}")
        if states == 1:
            return  # all is durable: nothing can be torn, and a kill changes nothing
        self.kill(run, wanted)
        wanted = replace(wanted, traced=traced and isinstance(run.tried, Batch))
        for how, state in self.torn_alike(run.env):
            self.recover(state, run.born, wanted, f"power, torn: {how}")

    def states_of(self, env: MemoryEnv) -> Iterator[MemoryEnv]:
        """What a power loss now may leave: all of it, or samples of too much."""
        try:
            unread = self.family.unread
            for state in env.crash_states(
                bound=self.states_max, tear=True, unread=unread
            ):
                self.summary.states += 1
                yield state
        except TooManyCrashStates:
            dice = Random(f"{self.names} {self.where}")
            for _ in range(SAMPLES):
                self.summary.sampled += 1
                state = env.copy()
                state.crash(dice)
                yield state

    def torn_alike(self, env: MemoryEnv) -> Iterator[tuple[str, MemoryEnv]]:
        for sectors in TEARS:
            state, dice = env.copy(), Tearing(sectors)
            state.crash(dice)
            if not dice.tore:
                return
            self.summary.states += 1
            yield sectors.__name__, state

    def kill(self, run: Run, wanted: Wanted) -> None:
        """What a successor reads from the page cache is durable once it was told."""
        self.summary.states += 1
        env = run.env.copy()
        try:
            _, told = self.family.boot(env, SALT_AFTER_KILL, run.born)
        except FAILURES as error:
            self.object("kill", f"recovery_succeeds: {type(error).__name__}: {error}")
            return
        self.judge(told, wanted, "kill")
        for number, state in enumerate(self.states_of(env), 1):
            outcome = self.recovery.outcome(state, True)
            what = outcome.complaint
            if outcome.told is None or outcome.told.answer != told.answer:
                what = f"what_was_told_is_durable: it is not; {what}"
            if what:
                self.object(f"kill, then power, state {number}", what)

    def locks_die_with_the_boot(self, run: Run) -> None:
        """I-82: the process is killed with its lock held, and the next one gets it."""
        run.env.kill()
        try:
            run.env.lock(LOCK)
        except DirectoryLocked as error:
            self.object("kill", f"locks_die_with_the_boot: {error}")

    # -- verdicts --------------------------------------------------------------------

    def recover(self, env: MemoryEnv, born: bool, wanted: Wanted, how: str) -> None:
        outcome = self.recovery.outcome(env, born)
        if outcome.complaint:
            self.object(how, outcome.complaint)
        if outcome.told is not None:
            self.judge(outcome.told, wanted, how)

    def judge(self, told: Told, wanted: Wanted, how: str) -> None:
        for complaint in complaints_about(told, wanted):
            self.object(how, complaint)

    def object(self, how: str, what: str) -> None:
        words = (self.family.name, ", ".join(self.names), self.where, how, what)
        self.summary.violations.append(" | ".join(words))
