"""A whole session: a cluster, a small load, commands until they end, and a verdict.

Law: nothing outlives it, however it ends. What the load wrote is judged as in a run of
the harness: when the last command is done everything is healed and started, all nodes
are asked for every key, and the operations go through the checkers of histories. Its
keys are its own, below a prefix that no other session has, and go at the end.
"""

import asyncio
import os
import secrets
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from ...client import QuorateError
from ...node.launcher import LocalCluster
from ..harness.broom import sweep
from ..harness.cluster import ANSWER_SECONDS_MAX, Cluster, Node
from ..harness.errors import SetupFailed
from ..harness.finale import check_recording, compare_hashes, compared_all, read_all
from ..harness.history import History, Recording
from ..harness.janitor import Janitor
from ..harness.ledger import Ledger
from ..harness.network import Network
from ..harness.until import run_until
from ..harness.verdict import (
    Counts,
    Verdict,
    Violation,
    WorkloadCount,
    judge,
    void_reasons,
)
from ..harness.workload import PREFIX as REGISTERS
from ..harness.workload import Clock, Gap, Pace, Workload
from ..harness.workloads import Loads, Shared
from .commands import Command, Misunderstood, parse
from .keyboard import Keyboard
from .screen import Screen
from .stage import Stage
from .view import LoadView, load_text, rows

# Names a key of a node's configuration: where it dials others, instead of directly.
DIAL: Final = "QUORATE_PEER_DIAL"
WRITERS: Final = 4
PACE: Final = Pace(probe_s=0.05, rest_s=0.05)
LOAD: Final = {"transfers": 10.0, "lists": 5.0}
VALUE_BYTES: Final = 64
# A quarter of an hour of it; what comes later is not judged as a whole.
OPERATIONS_MAX: Final = 200_000
PROGRESS_SECONDS_MAX: Final = 30.0
ENOUGH_SECONDS_MAX: Final = 10.0
SHOW_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.05
# What does something to the cluster, so that a gap may be its doing.
_HURTS: Final = frozenset({"kill", "stop", "pause", "partition", "slow"})

T = TypeVar("T")
Ready: TypeAlias = Callable[[], None]


class Outcome(msgspec.Struct, frozen=True):
    """What there is to say in the end."""

    verdict: Verdict
    violations: Sequence[Violation]
    reasons: Sequence[str]
    checks: Sequence[str]
    load: str


class Session:
    """One of them; `run` does it, and the rest says afterwards what it was."""

    def __init__(
        self,
        local: LocalCluster,
        keyboard: Keyboard,
        screen: Screen,
        ending: asyncio.Event,
        ready: Ready,
    ) -> None:
        self.local = local
        self.keyboard = keyboard
        self.screen = screen
        self.ending = ending
        self.ready = ready
        self.prefix = f"quorate-chaos/{secrets.token_hex(4)}/"
        self.seed = secrets.randbits(32)
        self.clock = Clock()
        self.counts = Counts()
        self.ledger = Ledger(VALUE_BYTES)
        self.recording = Recording(OPERATIONS_MAX)
        self.checks: list[str] = []
        self.reasons: list[str] = []
        self.workloads: dict[str, WorkloadCount] = {}
        self.started = False
        self._per_second = 0.0
        self._whole = Gap(0.0)
        self._since = Gap(0.0)
        self._cause = ""

    async def run(self) -> None:
        """Raises Violated or SetupFailed, alone or in groups."""
        names = [node.name for node in self.local.nodes]
        network = Network(names, self.seed)
        cluster: Cluster | None = None
        try:
            await network.start()
            cluster = _cluster(self.local, network)
            await network.aim(cluster.targets)
            await self._run_on(cluster)
        finally:
            if cluster is not None:
                await cluster.close()
            await network.close()

    async def _run_on(self, cluster: Cluster) -> None:
        await _start_all(cluster)
        leading = await cluster.leader()
        first = 2 if leading is None else leading[1].revision + 1
        self.started = True
        self.ready()
        with History(Path(os.devnull)) as history:
            load, shared = self._loads(cluster, history, first)
            loads = Loads(shared, self.recording, LOAD)
            try:
                await self._play(cluster, load, loads)
                self.screen.say("comparing all nodes")
                self.checks.append(await self._compare(cluster, history))
                await loads.finish()
            finally:
                await shared.close()
        self.checks.append(check_recording(self.recording))
        self.checks += loads.check()
        await self._sweep(cluster)
        await cluster.end([node for node in cluster.nodes if node.process.alive])

    def _loads(
        self, cluster: Cluster, history: History, first_revision: int
    ) -> tuple[Workload, Shared]:
        load = Workload(
            *(cluster, self.ledger, history, self.recording, self.clock, self.counts),
            seed=self.seed,
            writers=WRITERS,
            prefix=self.prefix,
            pace=PACE,
        )
        shared = Shared(
            *(cluster, self.clock.now, history, self.counts, load, self.seed),
            prefix=self.prefix,
            first_revision=first_revision,
        )
        self.workloads = shared.tallies
        return load, shared

    # -- while commands come ---------------------------------------------------------

    async def _play(self, cluster: Cluster, load: Workload, loads: Loads) -> None:
        stage = Stage(cluster, self.screen.note)
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(stage.watch()),
                group.create_task(self._show_on(stage)),
            ]
            load.start(group)
            loads.start(group)
            with load.measured_gap() as self._whole, load.measured_gap() as self._since:
                await load.next_acknowledgement(0.0, ANSWER_SECONDS_MAX)
                self._whole.restart(self.clock.now())
                await self._obey(stage)
                self.screen.say("healing and starting everything")
                await stage.gather()
                await load.next_acknowledgement(self.clock.now(), PROGRESS_SECONDS_MAX)
                loads.need(0)
                await self._until_enough()
            for task in background:
                task.cancel()
            self.screen.close()
            load.stop()

    async def _obey(self, stage: Stage) -> None:
        """Every command, until there are no more or it is to end."""
        self.keyboard.start()
        while not self.screen.broken:
            self.screen.ask()
            line = await self._unless_ending(self.keyboard.next())
            if line is None:
                return
            self.screen.heard(line)
            try:
                command = parse(line, len(stage.cluster.nodes))
                if command is not None and command.verb == "quit":
                    return
                if command is not None:
                    self._begin(command, line)
                    told = await self._unless_ending(stage.do(command))
                    if told is None:
                        return
                    self._tell(command, told)
            except Misunderstood as error:
                self.screen.say(str(error))

    def _tell(self, command: Command, told: str) -> None:
        self.screen.say(told)
        if command.verb == "status":
            self.screen.say(load_text(self._load_view()))

    async def _unless_ending(self, coroutine: Coroutine[Any, Any, T]) -> T | None:
        """What comes of it; None when it is to end before that."""
        doing = asyncio.ensure_future(coroutine)
        ending = asyncio.ensure_future(self.ending.wait())
        try:
            await asyncio.wait({doing, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            if not doing.done():
                doing.cancel()
                await asyncio.wait({doing})
        return None if doing.cancelled() else doing.result()

    def _begin(self, command: Command, line: str) -> None:
        if command.verb in _HURTS:
            self._cause = line.strip()
            self._since.restart(self.clock.now())

    async def _show_on(self, stage: Stage) -> None:
        """The live rows, until it is cancelled."""
        done, at_s = self.counts.operations, self.clock.now()
        while True:
            nodes = await stage.look()
            now_s = self.clock.now()
            if now_s - at_s >= 1.0:
                self._per_second = (self.counts.operations - done) / (now_s - at_s)
                done, at_s = self.counts.operations, now_s
            self.screen.show(rows(nodes, stage.links, self._load_view()))
            await asyncio.sleep(SHOW_SECONDS)

    def _load_view(self) -> LoadView:
        now_s = self.clock.now()
        counts = self.counts
        # What others stood in the way of is no failure.
        refused = sum(one.refused for one in self.workloads.values())
        return LoadView(
            counts.operations,
            counts.rejected - refused + counts.unknown + counts.reads_failed,
            self._per_second,
            self._whole.until(now_s),
            self._cause,
            self._since.until(now_s),
        )

    # -- the end ---------------------------------------------------------------------

    async def _until_enough(self) -> None:
        """A load that has just begun would show nothing."""
        deadline_s = self.clock.now() + ENOUGH_SECONDS_MAX
        # Counters are plain numbers: nothing can wake who waits for them.
        while self._void_reasons() and self.clock.now() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)

    def _void_reasons(self) -> list[str]:
        return void_reasons((), None, (), self.counts.acknowledged, self.workloads)

    async def _compare(self, cluster: Cluster, history: History) -> str:
        compared = await compare_hashes(cluster)
        self.reasons += compared.reasons
        count = await read_all(
            *(cluster, self.ledger, self.recording, history, self.clock),
            f"{self.prefix}{REGISTERS}",
        )
        return compared_all(cluster, count, compared)

    async def _sweep(self, cluster: Cluster) -> None:
        try:
            await sweep(cluster.nodes[0].control, self.prefix)
        except QuorateError as error:
            self.screen.say(f"keys below {self.prefix} are left: {error}")

    def outcome(
        self, violations: Sequence[Violation], reasons: Sequence[str]
    ) -> Outcome:
        """What is said of it in the end."""
        if not violations and not reasons:
            reasons = [*self.reasons, *self._void_reasons()]
        verdict = judge(violations, reasons)
        load = load_text(self._load_view())
        return Outcome(verdict, violations, reasons, self.checks, load)


async def run_prompt(
    session: Session, temporary: Path | None, stop: asyncio.Event
) -> Outcome:
    """Do it, and judge it; `stop` ends it at once. Raises SetupFailed."""
    with Janitor(session.local.directory, temporary):
        violations, reasons = await run_until(session.run(), stop)
    session.screen.close()
    if not session.started and not stop.is_set():
        raise SetupFailed(str(violations[0]) if violations else reasons[0])
    return session.outcome(violations, reasons)


def _cluster(local: LocalCluster, network: Network) -> Cluster:
    """The nodes of a folder, which dial each other through the network while this is.

    Only the environment says so: started by hand they dial each other directly.
    """
    cluster = Cluster(
        local, command=None, power_loss=False, connections=1, network=network
    )
    for node in cluster.nodes:
        others = [other.name for other in cluster.nodes if other is not node]
        ways = (f"{other}={network.address((node.name, other))}" for other in others)
        node.process.environment[DIAL] = ",".join(ways)
    return cluster


async def _start_all(cluster: Cluster) -> None:
    async def start(node: Node) -> None:
        if node.local.running_pid() is None:
            await cluster.start(node)
        else:
            await cluster.found(node)

    joining = [node for node in cluster.nodes if node.local.joins]
    await asyncio.gather(*(start(n) for n in cluster.nodes if n not in joining))
    await cluster.find_leader(ANSWER_SECONDS_MAX)
    for node in joining:
        await start(node)
