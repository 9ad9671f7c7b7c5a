"""The nodes of somebody's cluster, as far as the user named them.

Law: they are asked and nothing else. Before anything is tried it must be known that
they are one cluster, each named once, and that our clients may write there.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from ...client import AsyncClient, QuorateError
from ...client.options import ClientOptions
from ..harness.served import Endpoint, NodeStatus, Served
from .errors import NotAttached

WATCH_SECONDS: Final = 0.25
CONNECTIONS: Final = 2


class _Told(msgspec.Struct):
    """The part of a status that says who somebody is."""

    name: str
    id: str
    cluster_id: str
    revision: int


class Attached(Served[Endpoint]):
    """Nodes that somebody else runs; `first_revision` is before all of our writes."""

    def __init__(self, nodes: list[Endpoint], first_revision: int) -> None:
        super().__init__(nodes)
        self.first_revision = first_revision

    async def watch(self) -> None:
        """Know who answers."""
        await asyncio.gather(*map(self._watch, self.nodes))

    async def _watch(self, node: Endpoint) -> None:
        while True:
            self.note(node, await node.status())
            await asyncio.sleep(WATCH_SECONDS)

    def note(self, node: Endpoint, status: NodeStatus | None) -> None:
        """A node has answered, or it has not."""
        if status is not None:
            node.up.set()
            self.any_up.set()
        else:
            node.up.clear()
            if not any(one.up.is_set() for one in self.nodes):
                self.any_up.clear()

    def look_away(self) -> None:
        """Nobody knows any more who answers: whoever waits for a node tries any."""
        for node in self.nodes:
            node.up.set()
        self.any_up.set()

    async def close(self) -> None:
        """End all clients."""
        for node in self.nodes:
            await node.close()


async def attach(
    endpoints: Sequence[str], options: ClientOptions, prefix: str, seconds: float
) -> Attached:
    """The cluster at these endpoints. Raises NotAttached."""
    told = [await _ask(endpoint, options, seconds) for endpoint in endpoints]
    if len({one.cluster_id for one in told}) > 1:
        raise NotAttached("the endpoints are of more than one cluster")
    if len({one.id for one in told}) < len(told):
        raise NotAttached("two of the endpoints are the same node")
    await _try_to_write(endpoints[0], options, prefix, seconds)
    nodes = [
        Endpoint(one.name, endpoint, endpoint, CONNECTIONS, options=options)
        for one, endpoint in zip(told, endpoints, strict=True)
    ]
    for node in nodes:
        node.up.set()
    cluster = Attached(nodes, max(one.revision for one in told) + 1)
    cluster.any_up.set()
    return cluster


async def _ask(endpoint: str, options: ClientOptions, seconds: float) -> _Told:
    alone: ClientOptions = {**options, "learn": False}
    async with AsyncClient(endpoint, **alone) as client:
        try:
            told = await client.status(endpoint, timeout=seconds)
        except QuorateError as error:
            raise NotAttached(f"{endpoint}: {error}") from error
    return msgspec.convert(told, _Told)


async def _try_to_write(
    endpoint: str, options: ClientOptions, prefix: str, seconds: float
) -> None:
    """Who may not write has found nothing about the nodes."""
    alone: ClientOptions = {**options, "learn": False}
    async with AsyncClient(endpoint, **alone) as client:
        try:
            await client.put(f"{prefix}first", b"", timeout=seconds)
            await client.delete(f"{prefix}first", timeout=seconds)
        except QuorateError as error:
            raise NotAttached(f"{endpoint}: no write is done: {error}") from error
