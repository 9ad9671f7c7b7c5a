"""A cluster that faults strike by a schedule, while tests of others use it.

Law: the harness's cluster, schedule and strikes, without its load and its judges; what
it judges is how nodes end. It runs in a thread with a loop of its own, so that tests
need know nothing of asyncio. Whoever began a siege ends it: then every node has been
asked to end, and relays and thread are gone.

    begin    the cluster is started and serves; from now on, round after round
    heal     the round that is on ends, every node answers, and nothing is hurt any more
    end      the nodes are stopped
"""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

from .harness.cluster import ANSWER_SECONDS_MAX, Cluster
from .harness.errors import Violated
from .harness.faults import FAULTS, MEMBER_KINDS, Kind, Round, draw_rounds, usable
from .harness.history import HISTORY_FILE, History, Struck
from .harness.janitor import Janitor
from .harness.ledger import Ledger
from .harness.network import Network
from .harness.options import HarnessOptions
from .harness.strikes import Striker
from .harness.until import leaves
from .harness.workload import Clock

# From its last fault until a cluster is healed it takes a few seconds; far more where
# much else runs.
HEALED_SECONDS_MAX: Final = 300.0
# The variable of the key client.advertise (docs/configuration.md).
_CLIENT_ADVERTISE: Final = "QUORATE_CLIENT_ADVERTISE"


def kinds_of(faults: Sequence[str], nodes: int) -> tuple[Kind, ...]:
    """The kinds that names of faults and of groups stand for.

    Raises ValueError for a name that there is not, for what changes the members, and
    for what means nothing in a cluster of so many nodes.
    """
    kinds: list[Kind] = []
    for name in faults:
        if name not in FAULTS:
            raise ValueError(f"no such fault: {name} ({', '.join(FAULTS)})")
        found: list[Kind] = [one for one in FAULTS[name] if one not in MEMBER_KINDS]
        if not usable(found, nodes):
            raise ValueError(f"{name} strikes nothing in a cluster of {nodes} nodes")
        kinds += found
    return usable(kinds, nodes)


class Siege:
    """`nodes` voters under `kinds` of fault, in the order that `seed` draws."""

    def __init__(
        self, directory: Path, nodes: int, kinds: Sequence[Kind], seed: int
    ) -> None:
        self._directory = directory
        self._options = HarnessOptions(seed=seed, faults=tuple(kinds), nodes=nodes)
        # Those that met something.
        self.struck: list[Struck] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cluster: Cluster | None = None
        self._serving: Future[None] = Future()
        self._healed: Future[None] = Future()
        self._over: Future[None] = Future()
        self._heal = asyncio.Event()
        self._end = asyncio.Event()

    @property
    def seed(self) -> int:
        """What draws the schedule."""
        return self._options.seed

    @property
    def addresses(self) -> list[str]:
        """Where clients dial each node: relays, as there are faults of links, too.

        Nodes tell of no others.
        """
        return [node.address for node in self._begun.nodes]

    @property
    def direct(self) -> list[str]:
        """Where each node listens, whatever its links suffer."""
        return [node.direct for node in self._begun.nodes]

    @property
    def logs(self) -> list[Path]:
        """What each node says."""
        return [node.local.log for node in self._begun.nodes]

    @property
    def _begun(self) -> Cluster:
        assert self._cluster is not None, "it has not begun"
        return self._cluster

    def begin(self) -> None:
        """Start the cluster; returns when it serves. Raises SetupFailed."""
        self._thread = threading.Thread(target=self._run, name="quorate-siege")
        self._thread.start()
        try:
            self._serving.result()
        except BaseException:
            # Whoever does not want to wait any longer leaves nothing behind either.
            self._stop(self._thread)
            raise

    def heal(self) -> None:
        """No more faults, and the last ones undone. Raises Violated."""
        self._tell(self._heal)
        self._healed.result(HEALED_SECONDS_MAX)

    def end(self) -> None:
        """Heal it and stop the nodes. Raises Violated, also for what was before."""
        assert self._thread is not None
        self._stop(self._thread)
        self._over.result()

    def _stop(self, thread: threading.Thread) -> None:
        self._tell(self._heal)
        self._tell(self._end)
        thread.join()

    def _tell(self, event: asyncio.Event) -> None:
        loop = self._loop
        if loop is None:
            event.set()
            return
        # Of a loop that has ended nobody waits for anything.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(event.set)

    # -- in its thread -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001
            # The first that is no consequence of another; whoever waits is told.
            found = leaves(error)[0]
            for future in (self._serving, self._healed, self._over):
                if not future.done():
                    future.set_exception(found)
        else:
            self._over.set_result(None)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._directory.mkdir(parents=True, exist_ok=True)
        names = [f"n{number}" for number in range(1, self._options.nodes + 1)]
        network = Network(names, self._options.seed) if self._options.relays else None
        nodes = self._directory / "nodes"
        with Janitor(nodes, None):
            try:
                if network is not None:
                    await network.start()
                self._cluster = Cluster.create(
                    nodes,
                    names,
                    command=None,
                    power_loss=False,
                    connections=1,
                    network=network,
                    doors=self._options.doors,
                )
                await self._besiege(self._cluster)
            finally:
                if network is not None:
                    await network.close()

    async def _besiege(self, cluster: Cluster) -> None:
        try:
            if cluster.network is not None:
                await cluster.network.aim(cluster.targets)
                for node in cluster.nodes:
                    # Clients learn addresses from nodes: one behind the relays would
                    # take them away from all that their links shall suffer.
                    node.process.environment[_CLIENT_ADVERTISE] = node.address
            async with asyncio.TaskGroup() as group:
                for node in cluster.nodes:
                    group.create_task(cluster.start(node))
            await cluster.find_leader(ANSWER_SECONDS_MAX)
            with History(self._directory / HISTORY_FILE) as history:
                async with asyncio.TaskGroup() as group:
                    watching = group.create_task(cluster.watch())
                    self._serving.set_result(None)
                    clock = Clock()
                    striker = Striker(cluster, history, clock, Ledger(1))
                    await self._strike_on(cluster, striker, clock)
                    await cluster.find_leader(ANSWER_SECONDS_MAX)
                    self._healed.set_result(None)
                    await self._end.wait()
                    watching.cancel()
            problems = await cluster.stop()
            if problems:
                raise Violated(problems[0])
        finally:
            await cluster.close()

    async def _strike_on(
        self, cluster: Cluster, striker: Striker, clock: Clock
    ) -> None:
        options = self._options
        dice = Random(f"{options.seed}:schedule")
        for round_ in draw_rounds(dice, options.kinds, options.nodes):
            try:
                async with asyncio.timeout(round_.calm_s):
                    await self._heal.wait()
            except TimeoutError:
                await self._round(round_, cluster, striker, clock)
            else:
                return

    async def _round(
        self, round_: Round, cluster: Cluster, striker: Striker, clock: Clock
    ) -> None:
        leader = await cluster.find_leader(ANSWER_SECONDS_MAX)
        for fault in round_.faults:
            names = tuple(node.name for node in striker.targets(fault, leader))
            struck: asyncio.Future[float] = asyncio.get_running_loop().create_future()
            strike = await striker.strike(fault, leader, round_.number, struck)
            told = Struck(
                *(strike.at_s, clock.now(), round_.number, fault.kind),
                strike.who or names,
            )
            striker.history.record(told)
            if strike.touched:
                self.struck.append(told)
            if fault.kind == "flip":
                await striker.check_flipped()
