"""A whole run: a cluster, a load, rounds of faults, and the questions at the end.

Law: nothing outlives a run, however it ends: processes are killed, temporary folders
removed (kept as evidence after a violation). The first violation ends the run, so that
what it left behind is still fresh.
"""

import asyncio
import platform
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final, TypeAlias, cast

import msgspec

from ... import __version__
from .cluster import ANSWER_SECONDS_MAX, Cluster, Node
from .errors import HarnessError, SetupFailed, Violated
from .faults import Round, draw_rounds
from .finale import check_all, check_recording
from .folders import Folders
from .history import History, Kill, Recording, Start
from .ledger import Ledger
from .options import HarnessOptions
from .verdict import (
    Counts,
    RoundResult,
    Summary,
    Violation,
    judge,
    leader_gaps,
    void_reasons,
)
from .workload import Clock, Workload

# How long a cluster with a majority may refuse writes.
PROGRESS_SECONDS_MAX: Final = 30.0
MOMENT_SECONDS: Final = 0.25
WRITERS_PER_CONNECTION: Final = 16
LAST_KILL: Final = "last-power-loss"
HISTORY_FILE: Final = "history.jsonl"
SCHEDULE_FILE: Final = "schedule.json"
SUMMARY_FILE: Final = "summary.json"


class Started(msgspec.Struct, frozen=True):
    """The cluster serves and the load runs; rounds begin."""

    command: str
    directory: str
    in_memory: bool


class Moment(msgspec.Struct, frozen=True):
    """How far the run is, told several times a second."""

    seconds: float
    rounds: int
    acknowledged: int
    unknown: int
    doing: str


Event: TypeAlias = Started | Moment | RoundResult


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
        self.results: list[RoundResult] = []
        self.kills: Counter[str] = Counter()
        self.checks: list[str] = []
        self.doing = "starting"
        self.logs: dict[str, Path] = {}

    def schedule(self) -> Iterator[Round]:
        """The rounds that are planned; endless when only a duration is given."""
        dice = Random(f"{self.options.seed}:schedule")
        rounds = draw_rounds(dice, self.options.kinds, self.options.nodes)
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
            [round_.kind for round_ in planned],
            None if timed else self.options.rounds,
            self.results,
            self.counts.acknowledged,
        )

    async def run(self) -> None:
        """Raises Violated or SetupFailed, alone or in groups."""
        options = self.options
        cluster = Cluster.create(
            self.folders.nodes,
            options.nodes,
            command=options.command,
            power_loss=options.power_loss,
            connections=max(1, options.writers // WRITERS_PER_CONNECTION),
        )
        self.logs = {node.name: node.local.log for node in cluster.nodes}
        try:
            await self._start_all(cluster)
            with History(self.folders.report / HISTORY_FILE) as history:
                async with asyncio.TaskGroup() as group:
                    background = [
                        group.create_task(cluster.watch()),
                        group.create_task(self._tell_moments()),
                    ]
                    await self._load_and_faults(cluster, history)
                    await self._finale(cluster, history)
                    for task in background:
                        task.cancel()
            self.doing = "stopping"
            problems = await cluster.stop()
            if problems:
                raise Violated(problems[0])
            self.doing = "checking the history"
            self.checks.append(check_recording(self.recording))
        finally:
            await cluster.close()

    async def _start_all(self, cluster: Cluster) -> None:
        """The first start; what fails here has nothing to do with any fault."""
        try:
            async with asyncio.TaskGroup() as group:
                for node in cluster.nodes:
                    group.create_task(cluster.start(node))
        except* Violated as failed:
            raise SetupFailed(str(_leaves(failed)[0])) from failed

    async def _tell_moments(self) -> None:
        while True:
            self.tell(
                Moment(
                    self.clock.now(),
                    len(self.results),
                    self.counts.acknowledged,
                    self.counts.unknown,
                    self.doing,
                )
            )
            await asyncio.sleep(MOMENT_SECONDS)

    # -- rounds ----------------------------------------------------------------------

    async def _load_and_faults(self, cluster: Cluster, history: History) -> None:
        options = self.options
        load = Workload(
            cluster,
            self.ledger,
            history,
            self.recording,
            self.clock,
            self.counts,
            seed=options.seed,
            writers=options.writers,
        )
        async with asyncio.TaskGroup() as group:
            load.start(group)
            began_s = self.clock.now()
            await load.next_acknowledgement(began_s, ANSWER_SECONDS_MAX)
            self.tell(
                Started(
                    options.replay(), str(self.folders.nodes), self.folders.in_memory
                )
            )
            for round_ in self.schedule():
                await self._rest(round_.calm_s, began_s)
                if self._time_is_over(began_s):
                    break
                await self._round(round_, cluster, load, history)
            while options.rounds is None and not self._time_is_over(began_s):
                await self._rest(MOMENT_SECONDS, began_s)
            self.doing = "ending the load"
            load.stop()

    def _time_is_over(self, began_s: float) -> bool:
        duration_s = self.options.duration_s
        return duration_s is not None and self.clock.now() - began_s >= duration_s

    async def _rest(self, seconds: float, began_s: float) -> None:
        """Let the load run without faults, but not beyond the run's time."""
        duration_s = self.options.duration_s
        if duration_s is not None:
            left = began_s + duration_s - self.clock.now()
            seconds = min(seconds, max(left, 0.0))
        await asyncio.sleep(seconds)

    async def _round(
        self, round_: Round, cluster: Cluster, load: Workload, history: History
    ) -> None:
        self.doing = round_.kind
        leader = await cluster.find_leader(PROGRESS_SECONDS_MAX)
        numbers = round_.victims(cluster.nodes.index(leader))
        victims = [cluster.nodes[number] for number in numbers]
        begun, in_flight = load.begun, load.in_flight
        killed_s = self._kill(cluster, victims, round_, leader, history)
        async with asyncio.TaskGroup() as group:
            # Before anything is waited for: the first answer may come at once.
            acknowledged = group.create_task(
                load.next_acknowledgement(killed_s, PROGRESS_SECONDS_MAX)
            )
            await cluster.reap(victims)
            gone_s = self.clock.now()
            for number, node in zip(numbers, victims, strict=True):
                pause_s = round_.pauses_s[number]
                group.create_task(self._bring_back(cluster, node, pause_s, history))
        back_s = self.clock.now()
        overlapped = in_flight + load.begun - begun
        await load.next_acknowledgement(back_s, PROGRESS_SECONDS_MAX)
        result = RoundResult(
            number=round_.number,
            kind=round_.kind,
            victims=tuple(node.name for node in victims),
            leader_hit=leader in victims,
            at_s=round(killed_s, 3),
            overlapped=overlapped,
            gap_ms=round((acknowledged.result() - killed_s) * 1000, 1),
            dying_ms=round((gone_s - killed_s) * 1000, 1),
            down_ms=round((back_s - killed_s) * 1000, 1),
        )
        self.results.append(result)
        self.tell(result)

    def _kill(
        self,
        cluster: Cluster,
        victims: Sequence[Node],
        round_: Round,
        leader: Node,
        history: History,
    ) -> float:
        killed_s = self.clock.at(cluster.kill(victims))
        self.kills[round_.kind] += 1
        names = tuple(node.name for node in victims)
        history.record(Kill(killed_s, round_.number, round_.kind, names, leader.name))
        return killed_s

    async def _bring_back(
        self, cluster: Cluster, node: Node, pause_s: float, history: History
    ) -> None:
        await asyncio.sleep(pause_s)
        at_s = self.clock.now()
        await cluster.start(node)
        history.record(Start(at_s, node.name, self.clock.now()))

    # -- the end ---------------------------------------------------------------------

    async def _finale(self, cluster: Cluster, history: History) -> None:
        self.doing = "comparing all nodes"
        if self.options.power_loss:
            # At once: what is checked before it is lost may be safe by then.
            await self._lose_power(cluster, history)
            self.doing = "comparing all nodes after the last power loss"
        self.checks.append(
            await check_all(cluster, self.ledger, self.recording, self.clock)
        )

    async def _lose_power(self, cluster: Cluster, history: History) -> None:
        """Everything goes at once, after the last acknowledgement, and comes back."""
        at_s = self.clock.at(cluster.kill(cluster.nodes))
        self.kills[LAST_KILL] += 1
        names = tuple(node.name for node in cluster.nodes)
        history.record(Kill(at_s, len(self.results) + 1, LAST_KILL, names, None))
        await cluster.reap(cluster.nodes)
        async with asyncio.TaskGroup() as group:
            for node in cluster.nodes:
                group.create_task(self._bring_back(cluster, node, 0.0, history))

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
            kills=dict(self.kills),
            rounds=self.results,
            leader_gap_ms=leader_gaps(self.results),
            checks=self.checks,
        )


async def run_harness(
    options: HarnessOptions, tell: Callable[[Event], None], stop: asyncio.Event
) -> Summary:
    """Do a run and judge it; `stop` ends it early, which leaves it void."""
    folders = Folders(options.directory, options.report)
    keep = False
    try:
        harness = Harness(options, folders, tell)
        violations, reasons = await _run_until(harness.run(), stop)
        if not violations and not reasons:
            reasons = harness.void_reasons()
        summary = harness.summary(violations, reasons)
        keep = bool(violations)
        folders.collect_logs(harness.logs)
        folders.write(SCHEDULE_FILE, _schedule(harness))
        summary.files = folders.remaining(keep=keep)
        folders.write(SUMMARY_FILE, summary)
    finally:
        folders.close(keep=keep)
    return summary


async def _run_until(
    work: Coroutine[None, None, None], stop: asyncio.Event
) -> tuple[list[Violation], list[str]]:
    """The violations of a run, and why it is void if it is; all else is raised."""
    running = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        running.cancel()
        await asyncio.wait({running})
    if running.cancelled():
        return [], ["it was interrupted"]
    error = running.exception()
    if error is None:
        return [], []
    leaves = _leaves(error)
    if not all(isinstance(leaf, HarnessError) for leaf in leaves):
        raise error
    violations = [leaf.violation for leaf in leaves if isinstance(leaf, Violated)]
    failed = [str(leaf) for leaf in leaves if isinstance(leaf, SetupFailed)]
    return violations, failed


def _leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a tree of groups, in order."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for inner in group.exceptions for leaf in _leaves(inner)]


def _schedule(harness: Harness) -> list[Round]:
    """The planned rounds, of a timed run those that took place."""
    count = harness.options.rounds or len(harness.results)
    return list(islice(harness.schedule(), count))
