"""Faults of a machine: its disk fails, fills up or rots; its clock and loop are wrong.

Law: as in strikes. A node that ends because its disk failed gives the right answer: it
is started again when the fault is over, as whoever operates it would. One whose disk is
full, slow or rotten has to stay, or may refuse to start on it: then the bit is flipped
back.
"""

import asyncio
from collections.abc import Sequence
from random import Random
from signal import SIGKILL
from typing import Final, TypeVar

import msgspec

from .cluster import STOP_SECONDS_MAX, Cluster, Node
from .damage import Flip, flip_one
from .door import Rules
from .errors import Violated
from .faults import DAMAGE_KINDS, DRIFT_MAX, Fault
from .history import History, Kill, Start
from .verdict import Violation
from .workload import Clock

T = TypeVar("T")

ALWAYS: Final = -1
# How a node ends whose disk has failed, and one that has died in a write.
FAILED: Final = (1,)
TORN: Final = (-SIGKILL,)
# So long a node that has met an error may take until it ends of it.
ENDING_SECONDS: Final = 1.0
SYNC_SECONDS: Final = (0.02, 1.0)
STALL_SECONDS: Final = (0.2, 2.5)
# The strengths of a jump: seconds, an hour, a day, years; forward and back.
JUMPS_SECONDS: Final = (2.0, -2.0, 3600.0, -3600.0, 86_400.0, -86_400.0, 1e9, -1e9)
# How much of the true time a clock gains; the last ones are the largest.
DRIFTS: Final = (0.001, -0.001, 0.01, -0.01, DRIFT_MAX, -DRIFT_MAX)
# Kinds by which a process dies at once.
DEADLY: Final = frozenset({"torn-write", "failpoint"})
# The places of one turn: those with a dot stand before an operation of the disk, the
# others right after a step.
POINTS: Final = (
    "journal.write",
    "journal.sync",
    "batch-synced",
    "batch-acknowledged",
    "entries-applied",
    "messages-sent",
)
# The places of a flush, which a node does when it is asked to end.
FLUSH_POINTS: Final = (
    "engine.rename",
    "engine.write",
    "engine.sync",
    "engine.sync_directory",
)
_POLL_SECONDS: Final = 0.02


class Strike(msgspec.Struct):
    """What a fault met; `gone_s` is when the processes that it ended were gone.

    `who` names whom it met, where that is not whom it was aimed at.
    """

    at_s: float
    touched: int = 0
    gone_s: float = 0.0
    who: tuple[str, ...] = ()


class Machines:
    """Does to one machine of a cluster what faults say."""

    def __init__(self, cluster: Cluster, history: History, clock: Clock) -> None:
        self.cluster = cluster
        self.history = history
        self.clock = clock

    def kill(self, nodes: Sequence[Node], number: int, kind: str) -> float:
        """End nodes by force, all at once; the moment. `Cluster.reap` them then."""
        at_s = self.clock.at(self.cluster.kill(nodes))
        names = tuple(node.name for node in nodes)
        self.history.record(Kill(at_s, number, kind, names))
        return at_s

    async def start(self, node: Node) -> None:
        """Start a node again, and wait until it answers."""
        at_s = self.clock.now()
        await self.cluster.start(node)
        self.history.record(Start(at_s, node.name, self.clock.now()))

    async def strike(
        self, fault: Fault, node: Node, number: int, struck: "asyncio.Future[float]"
    ) -> Strike:
        """Do it and undo it; `struck` learns the moment when it began."""
        if fault.kind in DAMAGE_KINDS:
            return await self._damage(fault, node, number, struck)
        if fault.kind in ("stall", "wall-jump", "drift"):
            return await self._confuse(fault, node, struck)
        if fault.kind == "failpoint-flush":
            return await self._die_in_flush(fault, node, number, struck)
        return await self._hurt_disk(fault, node, number, struck)

    # -- through the door --------------------------------------------------------------

    async def _hurt_disk(
        self, fault: Fault, node: Node, number: int, struck: "asyncio.Future[float]"
    ) -> Strike:
        before = await _say(node, Rules()) or 0
        node.may_end = fault.kind.startswith("eio-") or fault.kind in DEADLY
        at_s = self.clock.now()
        struck.set_result(at_s)
        await _say(node, rules_of(fault), die_at=step_of(fault))
        await self._while_it_runs(node, fault.hold_s)
        after = await _say(node, Rules())
        hits = 1 if after is None else after - before
        if hits and node.may_end:
            await self._while_it_runs(node, ENDING_SECONDS)
        gone_s = 0.0
        if not node.process.alive:
            self.cluster.check_alive([node])
            gone_s = self.clock.now()
            self.history.record(Kill(gone_s, number, fault.kind, (node.name,)))
            codes = TORN if fault.kind in DEADLY else FAILED
            await self.cluster.bury(node, codes)
            await self.start(node)
        elif hits and node.may_end:
            # It has read or written on, as it may. But such a disk is taken out.
            self.kill([node], number, fault.kind)
            await self.cluster.reap([node])
            gone_s = self.clock.now()
            await self.start(node)
        node.may_end = False
        return Strike(at_s, hits, gone_s)

    async def _while_it_runs(self, node: Node, seconds: float) -> None:
        until_s = self.clock.now() + seconds
        # Nothing wakes who waits for a process that is not asked to end.
        while node.process.alive and self.clock.now() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)

    async def _confuse(
        self, fault: Fault, node: Node, struck: "asyncio.Future[float]"
    ) -> Strike:
        """The loop stands still once, or the wall clock is wrong for a while."""
        at_s = self.clock.now()
        struck.set_result(at_s)
        if fault.kind == "stall":
            stall_s = _between(STALL_SECONDS, fault.strength)
            done = await _say(node, Rules(), stall_s=stall_s)
            await asyncio.sleep(stall_s)
        elif fault.kind == "drift":
            done = await _say(node, Rules(), drift=_one_of(DRIFTS, fault.strength))
            await asyncio.sleep(fault.hold_s)
        else:
            offset_s = _one_of(JUMPS_SECONDS, fault.strength)
            done = await _say(node, Rules(), wall_offset_s=offset_s)
            await asyncio.sleep(fault.hold_s)
        await _say(node, Rules())
        # One that had ended was not confused.
        return Strike(at_s, int(done is not None))

    async def _die_in_flush(
        self, fault: Fault, node: Node, number: int, struck: "asyncio.Future[float]"
    ) -> Strike:
        """It is asked to end, and dies when it writes down what it has."""
        node.may_end = True
        await _say(node, Rules(die_before=_one_of(FLUSH_POINTS, fault.strength)))
        at_s = self.clock.now()
        struck.set_result(at_s)
        node.process.terminate()
        await self._while_it_runs(node, STOP_SECONDS_MAX)
        gone_s = self.clock.now()
        died = node.process.exit_code in TORN
        self.history.record(Kill(gone_s, number, fault.kind, (node.name,)))
        await self.cluster.bury(node, (*TORN, 0))
        await self.start(node)
        return Strike(at_s, int(died), gone_s)

    # -- from outside ------------------------------------------------------------------

    async def _damage(
        self, fault: Fault, node: Node, number: int, struck: "asyncio.Future[float]"
    ) -> Strike:
        dice = Random(f"{fault.order}:{fault.strength}")
        if fault.kind == "flip-stopped":
            return await self._damage_stopped(fault, node, number, dice, struck)
        at_s = self.clock.now()
        struck.set_result(at_s)
        flip = flip_one(node.local.directory, dice, tables=True)
        await asyncio.sleep(fault.hold_s)
        return Strike(at_s, int(flip is not None))

    async def _damage_stopped(
        self,
        fault: Fault,
        node: Node,
        number: int,
        dice: Random,
        struck: "asyncio.Future[float]",
    ) -> Strike:
        at_s = self.kill([node], number, fault.kind)
        struck.set_result(at_s)
        await self.cluster.reap([node])
        gone_s = self.clock.now()
        flip = flip_one(node.local.directory, dice, tables=False)
        started_s = self.clock.now()
        if not await self.cluster.start_unless_refused(node):
            # It does not serve from a disk that it can't trust.
            await self.cluster.bury(node, FAILED)
            _flip_back(node, flip)
            await self.cluster.start(node)
        self.history.record(Start(started_s, node.name, self.clock.now()))
        return Strike(at_s, int(flip is not None), gone_s)


def _flip_back(node: Node, flip: Flip | None) -> None:
    """With the bit as it was a disk is whole again. Raises Violated when it can't be.

    A node refuses for damage alone, and whoever refuses for it deletes nothing (I-24).
    """
    if flip is None:
        expected = "a node that serves from a disk that nobody has damaged"
        raise Violated(
            Violation(
                "refused to start", node.name, expected, node.process.last_words()
            )
        )
    if not flip.apply():
        expected = f"{flip.path} with all its bytes, as it is why the node refuses"
        found = "it is gone, or cut off before the bit that was flipped"
        raise Violated(Violation("damage deleted", node.name, expected, found))


def rules_of(fault: Fault) -> Rules:
    """What fails on the disk; the weaker half of errors comes once."""
    times = 1 if fault.strength < 0.5 else ALWAYS
    match fault.kind:
        case "eio-read":
            return Rules(reads=times)
        case "eio-write":
            return Rules(writes=times)
        case "eio-sync":
            return Rules(syncs=times)
        case "full-disk":
            return Rules(full=True)
        case "slow-sync":
            return Rules(sync_delay_s=_between(SYNC_SECONDS, fault.strength))
        case "failpoint":
            point = _one_of(POINTS, fault.strength)
            return Rules(die_before=point if "." in point else "")
        case _:
            assert fault.kind == "torn-write", fault.kind
            # Never all of it: that would be whole.
            return Rules(tear=_between((0.02, 0.98), fault.strength))


def step_of(fault: Fault) -> str:
    """The step at which a process dies; empty where it is none."""
    point = _one_of(POINTS, fault.strength) if fault.kind == "failpoint" else ""
    return "" if "." in point else point


def _one_of(choices: Sequence[T], strength: float) -> T:
    return choices[min(int(strength * len(choices)), len(choices) - 1)]


def _between(span: tuple[float, float], strength: float) -> float:
    return round(span[0] + strength * (span[1] - span[0]), 3)


async def _say(
    node: Node,
    rules: Rules,
    *,
    stall_s: float = 0.0,
    wall_offset_s: float = 0.0,
    drift: float = 0.0,
    die_at: str = "",
) -> int | None:
    assert node.door is not None
    return await node.door.say(
        rules,
        lambda: node.process.alive,
        stall_s=stall_s,
        wall_offset_s=wall_offset_s,
        drift=drift,
        die_at=die_at,
    )
