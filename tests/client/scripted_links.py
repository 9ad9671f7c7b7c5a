"""Ways to nodes that do what a script says, without a socket: for exact times.

They run on the loop whose clock jumps (jumping.py).
"""

import asyncio
from collections.abc import Callable, Container
from typing import cast

from quorate.client.calls import Calls
from quorate.client.connection import Broken, Connection, Expired, RequestFailed
from quorate.client.endpoints import Endpoint
from quorate.client.links import ConnectFailed, Link
from quorate.client.watching import Watch
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    REFUSED,
    ErrorCode,
    Outcome,
    ReplyFrame,
    RequestKind,
    WatchRequest,
    decode_watch,
    encode_created,
    encode_error,
    error_reply,
)


class Takes:
    """A node that takes watches, until it is broken."""


class Mute:
    """A node that is not connected to, ever."""


class Silent:
    """A node that says hello and nothing more."""


Node = Takes | Mute | Silent | ErrorCode | BaseException


class ScriptedConnection:
    """What a watch uses of a connection."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.take: Callable[[ReplyFrame | RequestFailed], None] | None = None
        self.wanted: list[WatchRequest] = []

    def stream(
        self, kind: int, body: bytes, take: Callable[[ReplyFrame | RequestFailed], None]
    ) -> int:
        assert kind == RequestKind.WATCH
        self.wanted.append(decode_watch(body, DEFAULT_LIMITS))
        self.take = take
        if isinstance(self.node, Takes):
            self.tell(OK, encode_created(1))
        elif isinstance(self.node, ErrorCode):
            error = error_reply(self.node, Outcome.NONE, "told so", 0)
            self.tell(REFUSED, encode_error(error, DEFAULT_LIMITS))
        return 1

    def request(
        self, kind: int, body: bytes, timeout_ms: int, deadline: float
    ) -> asyncio.Future[ReplyFrame]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[ReplyFrame] = loop.create_future()
        if isinstance(self.node, Takes):
            answer.set_result(ReplyFrame(kind, OK, 2, body))
        else:
            expired = Expired("no answer before the deadline")
            loop.call_at(deadline, answer.set_exception, expired)
        return answer

    def tell(self, status: int, body: bytes) -> None:
        assert self.take is not None
        frame = ReplyFrame(RequestKind.WATCH, status, 1, body)
        asyncio.get_running_loop().call_soon(self.take, frame)

    def tell_now(self, body: bytes) -> None:
        if self.take is not None:
            self.take(ReplyFrame(RequestKind.WATCH, OK, 1, body))

    def close(self, reason: str) -> None:
        take, self.take = self.take, None
        if take is not None:
            asyncio.get_running_loop().call_soon(take, Broken(reason))

    def pause_reading(self) -> None:
        self.take = None


class ScriptedLink:
    """What a watch uses of a link."""

    def __init__(self, calls: "ScriptedCalls", number: int) -> None:
        self.calls = calls
        self.number = number
        self.endpoint = calls.endpoints[number]
        self.connection: ScriptedConnection | None = None

    async def connect(self, patience: float) -> Connection:
        node = self.calls.nodes[self.number]
        self.calls.asked.append(self.number)
        self.calls.open.add(self)
        if isinstance(node, Mute):
            await asyncio.sleep(patience)
            raise ConnectFailed("too slow", too_slow=True)
        if isinstance(node, BaseException):
            raise node
        self.connection = ScriptedConnection(node)
        self.calls.connections.append(self.connection)
        self.calls.connected.set()
        return cast(Connection, self.connection)

    async def close(self, reason: str) -> None:
        if self.connection is not None:
            self.connection.close(reason)
        # As one that waits for the other side's goodbye.
        await asyncio.sleep(self.calls.goodbye_seconds)
        self.calls.open.discard(self)


class ScriptedCalls:
    """What a watch uses of a client's calls: one way to each of these nodes."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = list(nodes)
        self.endpoints = [Endpoint("node", 1 + number) for number in range(len(nodes))]
        self.goodbye_seconds = 0.0
        # The numbers of the nodes that were asked, in order.
        self.asked: list[int] = []
        self.connections: list[ScriptedConnection] = []
        self.connected = asyncio.Event()
        self.open: set[ScriptedLink] = set()

    async def wait_for_connections(self, count: int) -> None:
        while len(self.connections) < count:
            self.connected.clear()
            await self.connected.wait()

    def next_link(self, tried: Container[Endpoint]) -> Link:
        untried = [at for at in self.endpoints if at not in tried]
        number = untried[0].port - 1 if untried else 0
        return cast(Link, ScriptedLink(self, number))

    def watch(self, *, timeout: float = 6.0, patience: float = 60.0) -> Watch:
        request = WatchRequest(b"a", b"b")
        return Watch(cast(Calls, self), request, timeout, patience, set())
