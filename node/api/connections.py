"""What all connections of one client port share, and the clock that ends dead ones.

Law: every connection is in the registry from its first byte to its last callback, so
that closing the port can wait for all of them, and each has one timer that ends it when
nothing moves: a frame that never completes, replies that nobody reads.
"""

import asyncio
import select
import socket
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Final, Protocol, cast

from ...wire.fences import Fence
from ...wire.hello import ClientHello, ServerHello, choose_version
from ..client_tls import ClientTls
from ..sockets import probe
from ..timings import Timings
from . import rights
from .budget import SharedBudget
from .door import Door
from .handshakes import Handshakes
from .options import ApiOptions
from .rights import Action, Operation, Principal, Refusal
from .service import Service

# Less than this in a whole period is no progress, so that one byte a second is none.
PROGRESS_BYTES: Final = 65536
# So many places that were taken are remembered.
_TAKEN_MAX: Final = 1000


class Connection(Protocol):
    """One connection, as the registry sees it."""

    protocol_name: str

    def abort(self) -> None:
        """End at once, whatever is unsent."""
        ...

    def drain(self) -> None:
        """Start nothing more, and close when what was started is done, soon."""
        ...


class Secured(Protocol):
    """What is beneath a connection with TLS."""

    @property
    def above(self) -> Connection: ...

    def overdue(self, tls: ClientTls, now_s: float) -> bool: ...


class Flow(Protocol):
    """A connection, as its stall timer sees it."""

    def receiving(self) -> int | None:
        """None with nothing half-received, else a count of all received before."""
        ...

    def replies_begun(self) -> int:
        """A count that grows only while replies can be written, or as they leave."""
        ...


class ClientPort:
    """Service, limits and counters of one listener, handed to its connections."""

    def __init__(
        self,
        service: Service,
        options: ApiOptions,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.service: Door = Door(service, options)
        self.options: ApiOptions = options
        self.http_timings: Timings = Timings()
        self.native_timings: Timings = Timings()
        self.loop: asyncio.AbstractEventLoop = loop
        self.partial: SharedBudget = SharedBudget(options.partial_bytes_max)
        self.unsent: SharedBudget = SharedBudget(options.unsent_bytes_max)
        self.sorting: SharedBudget = SharedBudget(options.sorting_bytes_max)
        self.closing: bool = False
        self._numbers: Iterator[int] = count(1)
        self.refused: int = 0
        # Requests that want a lock, or to lead.
        self.waiting: int = 0
        # Places that were taken here lately, by their keys: since which revision.
        self._taken: dict[bytes, int] = {}
        self.handshakes: Handshakes = Handshakes(loop)
        self.secured: set[Secured] = set()
        self._connections: set[Connection] = set()
        self._empty: asyncio.Event = asyncio.Event()
        self._empty.set()

    def greeting(self, hello: ClientHello, principal: Principal) -> ServerHello:
        """Who we are, or why we have nothing to say to each other."""
        options, refused = self.options, ""
        try:
            rights.authorize(principal, Operation(Action.ENTER))
        except Refusal as refusal:
            refused = refusal.reason
        return ServerHello(
            version=choose_version(hello),
            cluster_id=options.cluster_id,
            member_id=options.member_id,
            name=options.name,
            server=f"quorate/{options.version}",
            request_bytes_max=options.limits.request_bytes_max,
            endpoints=() if refused else self.service.endpoints(),
            refused=refused,
        )

    def number(self) -> int:
        """Another one for each caller, to tell watchers apart."""
        return next(self._numbers)

    def note_taken(self, fence: Fence) -> None:
        """Whoever made that key was told that he has what it stands for."""
        self._taken.pop(fence.key, None)
        self._taken[fence.key] = fence.revision
        if len(self._taken) > _TAKEN_MAX:
            del self._taken[next(iter(self._taken))]

    def was_taken(self, fence: Fence) -> bool:
        """Is that known? False: not here, or it was forgotten."""
        return self._taken.get(fence.key) == fence.revision

    @property
    def has_room(self) -> bool:
        """False when another connection has to be refused."""
        return not self.closing and len(self._connections) < (
            self.options.connections_max
        )

    def add(self, connection: Connection) -> None:
        """A connection that is open."""
        self._connections.add(connection)
        self._empty.clear()

    def has(self, connection: Connection) -> bool:
        """Whether it is open, and known."""
        return connection in self._connections

    def replace(self, old: Connection, new: Connection) -> None:
        """The same connection, now that its protocol is known."""
        self._connections.remove(old)
        self._connections.add(new)

    def remove(self, connection: Connection) -> None:
        """A connection that is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def all(self) -> list[Connection]:
        """The open connections, as of now."""
        return list(self._connections)

    def counts(self) -> dict[str, int]:
        """Open connections by what they speak."""
        return dict(Counter(each.protocol_name for each in self._connections))

    def end_overdue(self, now_s: float) -> None:
        """Drain who came with a certificate that is good no more."""
        tls = self.options.tls
        if tls is None:
            return
        for each in list(self.secured):
            if each.overdue(tls.current, now_s):
                each.above.drain()

    async def wait_for_empty(self, timeout_s: float) -> bool:
        """True once no connection is left, False when that takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True


class StallTimer:
    """Aborts a connection that stood still in one direction for a whole period."""

    __slots__ = (
        "_begun",
        "_flow",
        "_handle",
        "_loop",
        "_period_s",
        "_received",
        "_transport",
        "_unsent",
    )

    def __init__(
        self, port: ClientPort, transport: asyncio.Transport, flow: Flow
    ) -> None:
        self._loop: asyncio.AbstractEventLoop = port.loop
        self._period_s: float = port.options.stall_timeout_s
        self._transport: asyncio.Transport = transport
        self._flow: Flow = flow
        self._received: int | None = None
        self._begun: int = 0
        self._unsent: int = 0
        self._handle: asyncio.TimerHandle = self._later()

    def stop(self) -> None:
        """The connection is gone."""
        self._handle.cancel()

    def _later(self) -> asyncio.TimerHandle:
        return self._loop.call_later(self._period_s, self._tick)

    def _tick(self) -> None:
        received = self._flow.receiving()
        begun = self._flow.replies_begun()
        unsent = self._transport.get_write_buffer_size()
        unread = (
            self._unsent > 0
            and unsent > self._unsent - min(PROGRESS_BYTES, self._unsent)
            and begun == self._begun
        )
        if unread or (received is not None and received == self._received):
            self._transport.abort()
            return
        self._received, self._begun, self._unsent = received, begun, unsent
        self._handle = self._later()


def keep_alive(transport: asyncio.Transport) -> None:
    """Let the kernel find out, in about two minutes, that the other end is gone."""
    probe(transport, 60, 10, 6)


def hung_up(transport: asyncio.BaseTransport) -> bool:
    """Whether the other end has reset the connection, or closed both ways.

    Asked of the kernel, for a transport that reads no more: it would not notice.
    """
    sock = cast("socket.socket | None", transport.get_extra_info("socket"))
    descriptor = -1 if sock is None else sock.fileno()
    if descriptor < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))
