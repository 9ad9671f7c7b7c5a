"""A whole run against somebody's cluster: a load, rounds of their faults, the verdict.

Law: every fault that was begun is ended, also when the run is interrupted or has found
something; then the keys go. A fault that can't be ended ends the run: more must not be
begun. Nodes that do not answer in the end can't be asked, and leave the run void.
"""

import asyncio
import platform
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from ... import __version__
from ...client import QuorateError
from ...client.options import ClientOptions
from ..harness.broom import sweep
from ..harness.finale import check_recording, compare_hashes, compared_all, read_all
from ..harness.folders import Folders
from ..harness.history import HISTORY_FILE, History, Recording, Struck
from ..harness.janitor import Janitor
from ..harness.ledger import Ledger
from ..harness.run import Event, Moment, Started, put_away
from ..harness.until import Span, run_until, undisturbed
from ..harness.verdict import (
    Counts,
    FaultResult,
    Summary,
    Violation,
    WorkloadCount,
    count_faults,
    judge,
    void_reasons,
)
from ..harness.workload import PREFIX as REGISTERS
from ..harness.workload import Clock, Gap, Pace, Workload
from ..harness.workloads import Loads, Shared
from .cluster import Attached, attach
from .commands import Ran, run_command
from .errors import NotHealed
from .faults import NamedFault, Planned, draw_plan
from .options import AttachOptions

PACE: Final = Pace(probe_s=0.02)
FIRST_SECONDS_MAX: Final = 30.0
MOMENT_SECONDS: Final = 0.25
COMMANDS_FOLDER: Final = "commands"


class AttachedRun:
    """One run; `run` does it, and the rest says afterwards what it was."""

    def __init__(
        self,
        options: AttachOptions,
        client: ClientOptions,
        report: Path,
        tell: Callable[[Event], None],
    ) -> None:
        self.options = options
        self.client = client
        self.report = report
        self.tell = tell
        self.prefix = f"quorate-chaos/{secrets.token_hex(8)}/"
        self.clock = Clock()
        self.counts = Counts()
        self.ledger = Ledger(options.value_bytes)
        self.recording = Recording()
        self.strikes: list[FaultResult] = []
        self.rounds = 0
        self.workloads: dict[str, WorkloadCount] = {}
        self.checks: list[str] = []
        self.reasons: list[str] = []
        self.doing = "asking who is there"
        self.names: list[str] = []
        self._faults = {fault.name: fault for fault in options.faults.faults}
        self._ran = 0

    def plan(self) -> Iterator[Planned]:
        """The rounds that are planned; endless when only a duration is given."""
        if not self._faults:
            return iter(())
        dice = Random(f"{self.options.seed}:plan")
        rounds = draw_plan(dice, self.options.faults.faults)
        count = self.options.rounds
        return rounds if count is None else islice(rounds, count)

    async def run(self) -> None:
        """Raises Violated, NotAttached or NotHealed, alone or in groups."""
        (self.report / COMMANDS_FOLDER).mkdir(exist_ok=True)
        cluster = await attach(
            *(self.options.endpoints, self.client, self.prefix, self.options.patience_s)
        )
        self.names = [node.name for node in cluster.nodes]
        try:
            await self._run_on(cluster)
        finally:
            await undisturbed(self._sweep(cluster))
            await cluster.close()

    async def _run_on(self, cluster: Attached) -> None:
        options = self.options
        with History(self.report / HISTORY_FILE) as history:
            load = Workload(
                *(cluster, self.ledger, history, self.recording),
                *(self.clock, self.counts),
                seed=options.seed,
                writers=options.writers,
                prefix=self.prefix,
                pace=PACE,
            )
            shared = Shared(
                *(cluster, self.clock.now, history, self.counts, load, options.seed),
                prefix=self.prefix,
                first_revision=cluster.first_revision,
            )
            self.workloads = shared.tallies
            loads = Loads(shared, self.recording, options.load)
            try:
                await self._load_and_faults(cluster, history, load, loads)
                self.doing = "asking all nodes for everything"
                self.checks.append(await self._ask_all(cluster, history))
                if cluster.nodes:
                    await loads.finish()
            finally:
                await shared.close()
        self.doing = "checking the history"
        self.checks.append(check_recording(self.recording))
        self.checks += loads.check()

    async def _load_and_faults(
        self, cluster: Attached, history: History, load: Workload, loads: Loads
    ) -> None:
        options = self.options
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(cluster.watch()),
                group.create_task(self._tell_moments()),
            ]
            load.start(group)
            loads.start(group)
            span = Span(options.duration_s, self.clock.now)
            await load.next_acknowledgement(self.clock.now(), FIRST_SECONDS_MAX)
            self.tell(Started(options.replay(), f"keys below {self.prefix}", False))
            for planned in self.plan():
                self.doing = "calm"
                await span.rest(planned.calm_s)
                if span.is_over:
                    break
                await self._round(planned, cluster, history, load)
            while options.rounds is None and not span.is_over:
                await span.rest(MOMENT_SECONDS)
            self.doing = "ending the load"
            loads.need(self.rounds)
            load.stop()
            for task in background:
                task.cancel()
            await asyncio.wait(background)
            # Where all nodes have gone, no operation would end by itself.
            cluster.look_away()

    # -- rounds ----------------------------------------------------------------------

    async def _round(
        self, planned: Planned, cluster: Attached, history: History, load: Workload
    ) -> None:
        fault = self._faults[planned.fault]
        self.doing = fault.name
        leading = await cluster.leader()
        leader = "" if leading is None else leading[0].name
        begun, in_flight = load.begun, load.in_flight
        with load.measured_gap() as gap:
            async with asyncio.TaskGroup() as group:
                struck: asyncio.Future[float] = (
                    asyncio.get_running_loop().create_future()
                )
                back = group.create_task(self._back(struck, fault, load))
                began = await self._strike(planned, fault, struck)
                at_s, until_s = struck.result(), self.clock.now()
                overlapped = in_flight + load.begun - begun
                # From here on: `back` has the time of the whole fault.
                await load.next_acknowledgement(until_s, self.options.recover_s)
            gap.note(self.clock.now())
        self.rounds += 1
        names = tuple(name for name in fault.nodes if name in self.names)
        result = _result(planned, fault, names, leader in names, at_s, until_s, gap)
        result = msgspec.structs.replace(
            result,
            touched=int(began),
            overlapped=overlapped,
            gap_ms=round((back.result() - at_s) * 1000, 1),
        )
        history.record(Struck(at_s, until_s, planned.number, fault.name, names))
        self.strikes.append(result)
        self.tell(result)

    async def _back(
        self, struck: "asyncio.Future[float]", fault: NamedFault, load: Workload
    ) -> float:
        """When the first write that began after a strike is acknowledged.

        It may take as long as the fault lasts, and then as long as any.
        """
        seconds = fault.hold_s[1] + fault.timeout_s + self.options.recover_s
        return await load.next_acknowledgement(await struck, seconds)

    async def _strike(
        self, planned: Planned, fault: NamedFault, struck: "asyncio.Future[float]"
    ) -> bool:
        """Begin it and end it; whether it did begin. Raises NotHealed."""
        try:
            ran = await self._do(fault, "begin", fault.begin)
            struck.set_result(self.clock.now())
            if ran.failed:
                self.reasons.append(f"{fault.name} did not begin: {ran}")
            else:
                await asyncio.sleep(planned.hold_s)
        finally:
            # Also when it began in part; and not half, whoever is interrupted.
            if fault.end:
                await undisturbed(self._end(fault))
        return not ran.failed

    async def _end(self, fault: NamedFault) -> None:
        ended = await self._do(fault, "end", fault.end)
        if ended.failed:
            raise NotHealed(f"{fault.name} was not ended: {ended}")

    async def _do(self, fault: NamedFault, part: str, command: str) -> Ran:
        self._ran += 1
        name = f"{self._ran:04d}-{fault.name}-{part}.txt"
        output = self.report / COMMANDS_FOLDER / name
        return await run_command(command, fault.timeout_s, output)

    async def _tell_moments(self) -> None:
        while True:
            counts = self.counts
            moment = Moment(
                *(self.clock.now(), self.rounds, counts.acknowledged, counts.unknown),
                self.doing,
            )
            self.tell(moment)
            await asyncio.sleep(MOMENT_SECONDS)

    # -- the end ---------------------------------------------------------------------

    async def _ask_all(self, cluster: Attached, history: History) -> str:
        """Every key through every node that answers; what was compared."""
        told = await cluster.statuses()
        missing = [n for n, s in zip(cluster.nodes, told, strict=True) if s is None]
        self.reasons += [f"{node.name} does not answer in the end" for node in missing]
        for node in missing:
            cluster.nodes.remove(node)
            await node.close()
        if not cluster.nodes:
            return "nobody could be asked in the end"
        compared = await compare_hashes(cluster)
        self.reasons += compared.reasons
        count = await read_all(
            *(cluster, self.ledger, self.recording, history, self.clock),
            f"{self.prefix}{REGISTERS}",
        )
        return compared_all(cluster, count, compared)

    async def _sweep(self, cluster: Attached) -> None:
        """Take our keys away, through whoever does it."""
        for node in cluster.nodes:
            with suppress(QuorateError):
                await sweep(node.control, self.prefix)
                return
        self.reasons.append(f"keys below {self.prefix} are left: nobody deletes them")

    def void_reasons(self) -> list[str]:
        """Why this run, if it found nothing, has shown nothing."""
        planned = [one.fault for one in islice(self.plan(), self._planned)]
        return self.reasons + void_reasons(
            *(planned, self.options.rounds, self.strikes, self.counts.acknowledged),
            self.workloads,
        )

    @property
    def _planned(self) -> int:
        """Of a timed run each kind has to strike."""
        decks = sum(fault.often for fault in self.options.faults.faults)
        return decks if self.options.rounds is None else self.options.rounds

    def summary(
        self, violations: Sequence[Violation], reasons: Sequence[str]
    ) -> Summary:
        """What is said about the run in the end."""
        return Summary(
            verdict=judge(violations, reasons),
            reasons=[] if violations else list(reasons),
            violations=list(violations),
            options=msgspec.to_builtins(self.options),
            command=self.options.replay(),
            version=__version__,
            python=platform.python_version(),
            seconds=round(self.clock.now(), 1),
            counts=self.counts,
            keys=len(self.ledger.keys),
            faults=count_faults(self._faults, self.strikes),
            strikes=self.strikes,
            leader_gap_ms={},
            checks=self.checks,
            workloads=self.workloads,
            attached=True,
        )


def _result(
    planned: Planned,
    fault: NamedFault,
    names: tuple[str, ...],
    leader_hit: bool,
    at_s: float,
    until_s: float,
    gap: Gap,
) -> FaultResult:
    return FaultResult(
        number=planned.number,
        kind=fault.name,
        targets=names,
        leader_hit=leader_hit,
        at_s=round(at_s, 3),
        until_s=round(until_s, 3),
        touched=0,
        overlapped=0,
        gap_ms=0.0,
        longest_gap_ms=round(gap.longest_s * 1000, 1),
        dying_ms=0.0,
    )


async def run_attached(
    options: AttachOptions,
    client: ClientOptions,
    report: Path | None,
    tell: Callable[[Event], None],
    stop: asyncio.Event,
) -> Summary:
    """Do a run and judge it; `stop` ends it early, which leaves it void."""
    # Nodes have no folder here: the janitor must find none where the report is either.
    nobody = None if report is None else report / COMMANDS_FOLDER
    folders = Folders(nobody, report)
    keep = False
    try:
        run = AttachedRun(options, client, folders.report, tell)
        with Janitor(folders.nodes, folders.temporary) as janitor:
            with folders.kept_after_a_bug():
                violations, reasons = await run_until(run.run(), stop)
            reasons = [*reasons, *run.reasons] if reasons else run.void_reasons()
            summary = run.summary(violations, reasons)
            keep = bool(violations)
            planned = list(islice(run.plan(), options.rounds or run.rounds))
            put_away(folders, janitor, summary, planned, run.names)
    finally:
        folders.close(keep=keep)
    return summary
