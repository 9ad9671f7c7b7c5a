"""A cluster as its clients see it: nodes that answer, and which of them to ask.

Law: no processes here, and nothing that hurts; whoever started the nodes, loads and
last questions are the same. Whoever sends an operation chooses its node, so that every
finding has a "via"; nodes that are known to be down are not chosen, and one that
listens again is, at once: a node that has just come back is the one most likely to be
wrong.
"""

import asyncio
import time
from collections.abc import Sequence
from random import Random
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from ...client import AsyncClient, QuorateError
from ...client.options import ClientOptions
from .errors import Violated
from .verdict import Violation

STATUS_SECONDS_MAX: Final = 2.0
_POLL_SECONDS: Final = 0.02


class NodeStatus(msgspec.Struct):
    """The part of a node's status that a run looks at."""

    name: str
    id: str
    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    proposals_pending: int
    reads_pending: int
    revision: int
    keys: int
    state_hash: str


class Endpoint:
    """One node, and clients that talk to it and to no other.

    Clients dial it at `address`; `control` dials it at `direct`, whatever its links
    suffer. `up` says whether it answers. A `voter` is one of the first.
    """

    def __init__(
        self,
        name: str,
        direct: str,
        address: str,
        connections: int,
        *,
        voter: bool = True,
        options: ClientOptions | None = None,
    ) -> None:
        self.name = name
        self.direct = direct
        self.address = address
        self.voter = voter
        self.options: ClientOptions = {**(options or {}), "learn": False}
        self.clients: Sequence[AsyncClient] = [
            AsyncClient(address, **self.options) for _ in range(connections)
        ]
        self.control = AsyncClient(direct, **self.options)
        self.up = asyncio.Event()

    def client(self, number: int) -> AsyncClient:
        """The connection that user `number` has to it."""
        return self.clients[number % len(self.clients)]

    async def status(self) -> NodeStatus | None:
        """What it tells about itself; None when it does not answer."""
        try:
            told = await self.control.status(self.direct, timeout=STATUS_SECONDS_MAX)
        except QuorateError:
            return None
        return msgspec.convert(told, NodeStatus)

    async def close(self) -> None:
        """End its clients."""
        for client in (*self.clients, self.control):
            await client.close()


class Front(Protocol):
    """What loads and last questions need of a cluster."""

    @property
    def nodes(self) -> Sequence[Endpoint]: ...

    @property
    def replicas(self) -> Sequence[Endpoint]: ...

    async def pick(self, dice: Random) -> Endpoint: ...

    async def statuses(self) -> list[NodeStatus | None]: ...


E = TypeVar("E", bound=Endpoint)


class Served(Generic[E]):
    """The nodes of a cluster that can be asked."""

    def __init__(self, nodes: list[E]) -> None:
        self.nodes = nodes
        self.any_up = asyncio.Event()

    @property
    def replicas(self) -> list[E]:
        """Those that do not vote."""
        return [node for node in self.nodes if not node.voter]

    async def pick(self, dice: Random) -> E:
        """One of the nodes that are up, waiting for one if there is none."""
        while True:
            up = [node for node in self.nodes if node.up.is_set()]
            if up:
                return dice.choice(up)
            await self.any_up.wait()

    async def leader(self) -> tuple[E, NodeStatus] | None:
        """The node that leads in the highest term, among those that answer."""
        # Members may come and go while they are asked.
        nodes = list(self.nodes)
        told = await asyncio.gather(*(node.status() for node in nodes))
        leading = [
            (node, status)
            for node, status in zip(nodes, told, strict=True)
            if status is not None and status.role == "leader"
        ]
        return max(leading, key=lambda pair: pair[1].term, default=None)

    async def find_leader(self, seconds: float) -> E:
        """The node that leads; Violated when none does in time."""
        deadline = time.monotonic() + seconds
        while (leading := await self.leader()) is None:
            if time.monotonic() > deadline:
                raise Violated(
                    Violation(
                        "no progress",
                        "all nodes",
                        f"a leader within {seconds:g} s",
                        describe(self.nodes, await self.statuses()),
                    )
                )
            await asyncio.sleep(_POLL_SECONDS)
        return leading[0]

    async def statuses(self) -> list[NodeStatus | None]:
        """What each node tells, in the order of `nodes`."""
        return await asyncio.gather(*(node.status() for node in self.nodes))


def describe(nodes: Sequence[Endpoint], told: Sequence[NodeStatus | None]) -> str:
    """All statuses in one line, for a violation's text."""
    return "; ".join(
        f"{node.name}: no answer"
        if status is None
        else f"{node.name}: {status.role} in term {status.term}, committed"
        f" {status.commit_index}, applied {status.applied_index} of"
        f" {status.last_index}, {status.proposals_pending} pending,"
        f" hash {status.state_hash}"
        for node, status in zip(nodes, told, strict=True)
    )
