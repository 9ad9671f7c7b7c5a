"""A whole run: a cluster, a load, rounds of faults, and the questions at the end.

Law: nothing outlives a run, however it ends: processes are killed, temporary folders
removed (kept as evidence after a violation, and after a bug of the harness). The first
violation ends the run, so that what it left behind is still fresh.
"""

import asyncio
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

import msgspec

from ... import __version__
from .cluster import ANSWER_SECONDS_MAX, Cluster, Node
from .errors import SetupFailed, Violated
from .faults import MEMBER_KINDS, Fault, Round, draw_rounds
from .finale import check_all, check_recording
from .folders import Folders
from .history import HISTORY_FILE, History, Recording, Struck
from .janitor import Janitor
from .ledger import Ledger
from .network import Network
from .options import HarnessOptions
from .report import write_page
from .strikes import Striker
from .until import Span, leaves, run_until
from .verdict import (
    Counts,
    FaultResult,
    Summary,
    Violation,
    WorkloadCount,
    count_faults,
    judge,
    leader_gaps,
    void_reasons,
    without_report,
)
from .workload import Clock, Gap, Workload, rested
from .workloads import Loads, Shared

# How long a cluster with a majority may refuse writes.
PROGRESS_SECONDS_MAX: Final = 30.0
MOMENT_SECONDS: Final = 0.25
WRITERS_PER_CONNECTION: Final = 16
LAST_KILL: Final = "last-power-loss"
SCHEDULE_FILE: Final = "schedule.json"
SUMMARY_FILE: Final = "summary.json"


class Started(msgspec.Struct, frozen=True):
    """The cluster serves and the load runs; rounds begin."""

    command: str
    where: str
    in_memory: bool


class Moment(msgspec.Struct, frozen=True):
    """How far the run is, told several times a second."""

    seconds: float
    rounds: int
    acknowledged: int
    unknown: int
    doing: str


Event: TypeAlias = Started | Moment | FaultResult


class Harness:
    """One run; `run` does it, and the rest says afterwards what it was."""

    def __init__(
        self, options: HarnessOptions, folders: Folders, tell: Callable[[Event], None]
    ) -> None:
        assert options.rounds is not None or options.duration_s is not None
        assert options.kinds
        self.options = options
        self.folders = folders
        self.tell = tell
        self.clock = Clock()
        self.ledger = Ledger(options.value_bytes)
        self.recording = Recording()
        self.counts = Counts()
        self.strikes: list[FaultResult] = []
        self.rounds = 0
        self.workloads: dict[str, WorkloadCount] = {}
        self.checks: list[str] = []
        self.doing = "starting"
        self.logs: dict[str, Path] = {}

    def schedule(self) -> Iterator[Round]:
        """The rounds that are planned; endless when only a duration is given."""
        dice = Random(f"{self.options.seed}:schedule")
        options = self.options
        count = options.nodes + options.replicas
        rounds = draw_rounds(dice, options.kinds, count, options.at_once)
        return rounds if self.options.rounds is None else islice(rounds, self._count)

    @property
    def _count(self) -> int:
        """How many rounds are planned; for a timed run, as many as it has kinds."""
        return self.options.rounds or len(self.options.kinds)

    def void_reasons(self) -> list[str]:
        """Why this run, if it found nothing, has shown nothing."""
        planned = islice(self.schedule(), self._count)
        timed = self.options.duration_s is not None
        return void_reasons(
            [fault.kind for round_ in planned for fault in round_.faults],
            None if timed else self.options.rounds,
            self.strikes,
            self.counts.acknowledged,
            self.workloads,
        )

    async def run(self) -> None:
        """Raises Violated or SetupFailed, alone or in groups."""
        options = self.options
        count = options.nodes + options.replicas + options.spares
        names = [f"n{i}" for i in range(1, count + 1)]
        network = Network(names, self.options.seed) if self.options.relays else None
        try:
            if network is not None:
                await network.start()
            await self._run_on(self._create(names, network))
        finally:
            if network is not None:
                await network.close()

    def _create(self, names: Sequence[str], network: Network | None) -> Cluster:
        options = self.options
        cluster = Cluster.create(
            self.folders.nodes,
            names[: options.nodes],
            replicas=names[options.nodes :],
            command=options.command,
            power_loss=options.power_loss,
            connections=max(1, options.writers // WRITERS_PER_CONNECTION),
            network=network,
            doors=options.doors,
            spares=options.spares,
        )
        dice = Random(f"{options.seed}:damage")
        cluster.damaged = dice.choice(cluster.nodes[: options.nodes])
        self.logs = {node.name: node.local.log for node in cluster.everybody}
        return cluster

    async def _run_on(self, cluster: Cluster) -> None:
        try:
            if cluster.network is not None:
                await cluster.network.aim(cluster.targets)
            await self._start_all(cluster)
            with History(self.folders.report / HISTORY_FILE) as history:
                async with asyncio.TaskGroup() as group:
                    background = [
                        group.create_task(cluster.watch()),
                        group.create_task(self._tell_moments()),
                    ]
                    load = Workload(
                        *(cluster, self.ledger, history, self.recording),
                        *(self.clock, self.counts),
                        seed=self.options.seed,
                        writers=self.options.writers,
                        pace=rested(self.options.rest_s),
                    )
                    shared = Shared(
                        *(cluster, self.clock.now, history, self.counts, load),
                        self.options.seed,
                        drift=self.options.drift,
                    )
                    self.workloads = shared.tallies
                    loads = Loads(shared, self.recording, self.options.load)
                    try:
                        await self._load_and_faults(cluster, history, load, loads)
                        await self._finale(cluster, history, loads)
                    finally:
                        await shared.close()
                    for task in background:
                        task.cancel()
            self.doing = "stopping"
            problems = await cluster.stop()
            if problems:
                raise Violated(problems[0])
            self.doing = "checking the history"
            self.checks.append(check_recording(self.recording))
            self.checks += loads.check()
        finally:
            await cluster.close()

    async def _start_all(self, cluster: Cluster) -> None:
        """The first start; what fails here has nothing to do with any fault."""
        try:
            async with asyncio.TaskGroup() as group:
                for node in cluster.nodes:
                    if node.local.voter:
                        group.create_task(cluster.start(node))
            await cluster.find_leader(ANSWER_SECONDS_MAX)
            for node in cluster.replicas:
                await cluster.start(node)
        except* Violated as failed:
            raise SetupFailed(str(leaves(failed)[0])) from failed

    async def _tell_moments(self) -> None:
        while True:
            self.tell(
                Moment(
                    self.clock.now(),
                    self.rounds,
                    self.counts.acknowledged,
                    self.counts.unknown,
                    self.doing,
                )
            )
            await asyncio.sleep(MOMENT_SECONDS)

    # -- rounds ----------------------------------------------------------------------

    async def _load_and_faults(
        self, cluster: Cluster, history: History, load: Workload, loads: Loads
    ) -> None:
        options = self.options
        async with asyncio.TaskGroup() as group:
            striker = self._striker(cluster, history)
            load.start(group)
            loads.start(group)
            span = Span(options.duration_s, self.clock.now)
            await load.next_acknowledgement(self.clock.now(), ANSWER_SECONDS_MAX)
            self.tell(
                Started(
                    options.replay(),
                    f"nodes in {self.folders.nodes}",
                    self.folders.in_memory,
                )
            )
            for round_ in self.schedule():
                await span.rest(round_.calm_s)
                if span.is_over:
                    break
                await self._round(round_, cluster, load, striker)
            while options.rounds is None and not span.is_over:
                await span.rest(MOMENT_SECONDS)
            self.doing = "ending the load"
            loads.need(self.rounds)
            load.stop()

    def _striker(self, cluster: Cluster, history: History) -> Striker:
        return Striker(cluster, history, self.clock, self.ledger)

    async def _round(
        self, round_: Round, cluster: Cluster, load: Workload, striker: Striker
    ) -> None:
        results = await self._together(round_, cluster, load, striker)
        self.rounds += 1
        for fault, result in zip(round_.faults, results, strict=True):
            if not result.touched and len(results) > 1:
                # Another one had left it nothing to strike: a node that was removed,
                # or whose disk had failed, has no links to cut.
                alone = msgspec.structs.replace(round_, faults=(fault,))
                await self._together(alone, cluster, load, striker)

    async def _together(
        self, round_: Round, cluster: Cluster, load: Workload, striker: Striker
    ) -> list[FaultResult]:
        """All faults of a round at once, until writes are acknowledged after them."""
        self.doing = " and ".join(fault.kind for fault in round_.faults)
        leader = await cluster.find_leader(PROGRESS_SECONDS_MAX)
        with ExitStack() as stack:
            gaps = [stack.enter_context(load.measured_gap()) for _ in round_.faults]
            async with asyncio.TaskGroup() as group:
                strikes = [
                    group.create_task(
                        self._strike(fault, leader, round_, load, striker, gap)
                    )
                    for fault, gap in zip(round_.faults, gaps, strict=True)
                ]
            over_s = self.clock.now()
            await load.next_acknowledgement(over_s, PROGRESS_SECONDS_MAX)
            for gap in gaps:
                gap.note(self.clock.now())
        if any(fault.kind == "flip" for fault in round_.faults):
            await striker.check_flipped()
        results: list[FaultResult] = []
        for strike, gap in zip(strikes, gaps, strict=True):
            longest_gap_ms = round(gap.longest_s * 1000, 1)
            results.append(
                msgspec.structs.replace(strike.result(), longest_gap_ms=longest_gap_ms)
            )
            self.strikes.append(results[-1])
            self.tell(results[-1])
        return results

    async def _strike(
        self,
        fault: Fault,
        leader: Node,
        round_: Round,
        load: Workload,
        striker: Striker,
        gap: Gap,
    ) -> FaultResult:
        """One fault of a round, from its strike until all is as before."""
        await asyncio.sleep(fault.after_s)
        targets = striker.targets(fault, leader)
        struck: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        begun, in_flight = load.begun, load.in_flight
        gap.restart(self.clock.now())
        async with asyncio.TaskGroup() as group:
            acknowledged = group.create_task(
                self._acknowledged_after(struck, fault, load)
            )
            strike = await striker.strike(fault, leader, round_.number, struck)
            until_s = self.clock.now()
            overlapped = in_flight + load.begun - begun
            await load.next_acknowledgement(until_s, PROGRESS_SECONDS_MAX)
        names = strike.who or tuple(node.name for node in targets)
        striker.history.record(
            Struck(strike.at_s, until_s, round_.number, fault.kind, names)
        )
        return FaultResult(
            number=round_.number,
            kind=fault.kind,
            targets=names,
            leader_hit=leader.name in names,
            at_s=round(strike.at_s, 3),
            until_s=round(until_s, 3),
            touched=strike.touched,
            overlapped=overlapped,
            gap_ms=round((acknowledged.result() - strike.at_s) * 1000, 1),
            longest_gap_ms=0.0,
            dying_ms=round(max(strike.gone_s - strike.at_s, 0.0) * 1000, 1),
            at_once=len(round_.faults),
        )

    async def _acknowledged_after(
        self, struck: "asyncio.Future[float]", fault: Fault, load: Workload
    ) -> float:
        """When the first write that began after a strike is acknowledged.

        While members change a majority is there all the time; what else strikes may
        take it away for as long as it lasts.
        """
        seconds = PROGRESS_SECONDS_MAX if fault.kind in MEMBER_KINDS else None
        return await load.next_acknowledgement(await struck, seconds)

    # -- the end ---------------------------------------------------------------------

    async def _finale(self, cluster: Cluster, history: History, loads: Loads) -> None:
        self.doing = "comparing all nodes"
        if self.options.power_loss:
            # At once: what is checked before it is lost may be safe by then.
            await self._lose_power(cluster, self._striker(cluster, history))
            self.doing = "comparing all nodes after the last power loss"
        self.checks.append(
            await check_all(cluster, self.ledger, self.recording, history, self.clock)
        )
        self.doing = "asking each workload's last questions"
        await loads.finish()

    async def _lose_power(self, cluster: Cluster, striker: Striker) -> None:
        """Everything goes at once, after the last acknowledgement, and comes back."""
        striker.kill(cluster.nodes, self.rounds + 1, LAST_KILL)
        await cluster.reap(cluster.nodes)
        async with asyncio.TaskGroup() as group:
            for node in cluster.nodes:
                group.create_task(striker.bring_back(node, 0.0))

    def summary(
        self, violations: Sequence[Violation], reasons: Sequence[str]
    ) -> Summary:
        """What is said about the run in the end."""
        return Summary(
            verdict=judge(violations, reasons),
            reasons=[] if violations else list(reasons),
            violations=list(violations),
            options=msgspec.to_builtins(self.options, enc_hook=str),
            command=self.options.replay(),
            version=__version__,
            python=platform.python_version(),
            seconds=round(self.clock.now(), 1),
            counts=self.counts,
            keys=len(self.ledger.keys),
            faults=count_faults(self.options.kinds, self.strikes),
            strikes=self.strikes,
            leader_gap_ms=leader_gaps(self.strikes),
            checks=self.checks,
            workloads=self.workloads,
        )


def put_away(
    folders: Folders,
    janitor: Janitor,
    summary: Summary,
    planned: Sequence[object],
    names: Sequence[str],
    logs: dict[str, Path] | None = None,
) -> None:
    """Write the report and let go of the folders; the summary says if it can't be."""
    keep = bool(summary.violations)
    if keep:
        janitor.dismiss()
    summary.files = folders.remaining(keep=keep)
    try:
        if logs is not None:
            folders.collect_logs(logs)
        folders.write(SCHEDULE_FILE, planned)
        folders.write(SUMMARY_FILE, summary)
        write_page(folders.report, summary, names)
    except OSError as error:
        without_report(summary, str(error))
    folders.close(keep=keep)


async def run_harness(
    options: HarnessOptions, tell: Callable[[Event], None], stop: asyncio.Event
) -> Summary:
    """Do a run and judge it; `stop` ends it early, which leaves it void."""
    folders = Folders(options.directory, options.report)
    keep = False
    try:
        harness = Harness(options, folders, tell)
        with Janitor(folders.nodes, folders.temporary) as janitor:
            with folders.kept_after_a_bug():
                violations, reasons = await run_until(harness.run(), stop)
            if not violations and not reasons:
                reasons = harness.void_reasons()
            summary = harness.summary(violations, reasons)
            keep = bool(violations)
            planned = _schedule(harness)
            names, logs = list(harness.logs), harness.logs
            put_away(folders, janitor, summary, planned, names, logs)
    finally:
        folders.close(keep=keep)
    return summary


def _schedule(harness: Harness) -> list[Round]:
    """The planned rounds, of a timed run those that took place."""
    count = harness.options.rounds or harness.rounds
    return list(islice(harness.schedule(), count))
