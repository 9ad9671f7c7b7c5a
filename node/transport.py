"""Peer connections: mutual TLS, hello, then frames; one write per connection and turn.

Law: a shell. It carries messages and tells what happened to links; it decides nothing
about the cluster. Before `_Session.open` nothing a stranger sent is parsed but its
certificate and, after that, its hello.

Each node dials each peer twice, for Raft's messages and for forwarded requests (so that
large requests do not hold heartbeats back); a snapshot gets a connection of its own.
Raft's messages flow from the dialler to the dialled; forwarded requests are answered on
the connection that they came by.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol, cast

from .address import Address
from .peer_hello import (
    BODY_BYTES_MAX,
    HEAD_BYTES,
    Hello,
    HelloError,
    Introduction,
    Stream,
    check_introduction,
    encode_hello,
    encode_refusal,
    encode_welcome,
    parse_hello,
    parse_welcome,
)
from .peer_wire import Encoder, FrameParser, Goodbye, PeerProtocolError
from .replica import ForwardReply, ForwardRequest, PeerMessage
from .tls import Kind, StrangerError, peer_uri

HANDSHAKE_TIMEOUT_S: Final = 5.0
BUFFER_BYTES_MAX: Final = 32 << 20
RETRY_MIN_S: Final = 0.02
RETRY_MAX_S: Final = 0.5
HANDSHAKES_MAX: Final = 64

logger = logging.getLogger("quorate.peer")


class Host(Protocol):
    """What the transport needs of its node."""

    cluster_id: int
    member_id: int

    def introduction(self, to: int) -> Introduction: ...
    def known_member(self, member: int) -> bool: ...
    async def meet(self, who: Introduction) -> None:
        """Check and durably record a boot pair; raises HelloError."""
        ...

    def received(self, member: int, message: PeerMessage) -> None: ...
    def link_up(self, member: int) -> None: ...
    def link_down(self, member: int, polite: bool) -> None: ...
    def link_refused(self, member: int) -> None: ...
    def stranger(self, where: str, reason: str) -> None: ...
    def snapshot_stream(self, member: int, session: "Session") -> None: ...


class Session(asyncio.Protocol):
    """One TLS connection between two members, from either end."""

    def __init__(
        self,
        host: Host,
        dialled: int = 0,
        stream: Stream = Stream.RAFT,
        opened: "Callable[[Session], None] | None" = None,
    ) -> None:
        self.host = host
        self.dialled = dialled
        self.stream = stream
        self.opened = opened
        self.member = 0
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.ready = asyncio.get_running_loop().create_future()
        self.closed = asyncio.get_running_loop().create_future()
        self.parser: FrameParser | None = None
        self.on_data: Callable[[bytes], None] | None = None
        self.polite = False
        self.received_bytes = 0
        self.sent_bytes = 0
        self.deadline: asyncio.TimerHandle | None = None
        self.resumed = asyncio.Event()
        self.resumed.set()
        self.meeting: asyncio.Task[None] | None = None

    # -- asyncio ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transport is one without saying so.
        transport = cast("asyncio.Transport", transport)
        self.transport = transport
        if self.opened is not None:
            self.opened(self)
        transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX // 4)
        _tune(transport)
        loop = asyncio.get_running_loop()
        self.deadline = loop.call_later(HANDSHAKE_TIMEOUT_S, self._too_slow)
        try:
            self.certified = self._certified(transport)
        except StrangerError as error:
            self._turn_away(str(error))
            return
        if self.dialled:
            hello = encode_hello(self.stream, self.host.introduction(self.dialled))
            transport.write(hello)

    def _certified(self, transport: asyncio.Transport) -> int:
        """The member that the certificate names; nobody else gets to say a word."""
        ssl_object: ssl.SSLObject = transport.get_extra_info("ssl_object")
        identity = peer_uri(ssl_object)
        if identity.cluster_id != self.host.cluster_id:
            raise StrangerError(f"a certificate of cluster {identity.cluster_id:016x}")
        if identity.kind is not Kind.MEMBER:
            raise StrangerError("a certificate that is not a member's")
        if self.dialled and identity.member_id != self.dialled:
            raise StrangerError(f"the certificate of member {identity.member_id:016x}")
        if not self.host.known_member(identity.member_id):
            raise StrangerError(f"member {identity.member_id:016x} is not known here")
        return identity.member_id

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self.transport is None or self.transport.is_closing():
            return
        if self.on_data is not None:
            self.on_data(data)
            return
        self.buffer += data
        if self.meeting is None:
            self._greet()
        elif len(self.buffer) > BUFFER_BYTES_MAX:
            self._turn_away("it does not wait for the welcome")

    def connection_lost(self, exc: Exception | None) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        self.resumed.set()
        if not self.ready.done():
            self.ready.set_exception(
                HelloError(f"the connection ended early: {exc or 'closed'}")
            )
            self.ready.exception()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self.resumed.clear()

    def resume_writing(self) -> None:
        self.resumed.set()

    # -- hello -----------------------------------------------------------------------

    def _greet(self) -> None:
        try:
            if self.dialled:
                found = parse_welcome(self.buffer)
                who = None if found is None else found[0]
            else:
                found = parse_hello(self.buffer)
                who = None if found is None else found[0].introduction
            if found is None or who is None:
                if len(self.buffer) > HEAD_BYTES + BODY_BYTES_MAX:
                    raise HelloError("the hello is too long")
                return
            check_introduction(
                who,
                self.certified,
                self.host.cluster_id,
                self.host.member_id,
                bool(self.dialled),
            )
        except HelloError as error:
            self._turn_away(str(error))
            return
        self.buffer = self.buffer[found[1] :]
        if isinstance(found[0], Hello):
            self.stream = found[0].stream
        self.meeting = asyncio.ensure_future(self._meet(who))

    async def _meet(self, who: Introduction) -> None:
        """Only once the boot pair is durable may the two speak (design: peers)."""
        try:
            await self.host.meet(who)
        except HelloError as error:
            self._turn_away(str(error))
            return
        if self.transport is None or self.transport.is_closing():
            return
        if self.deadline is not None:
            self.deadline.cancel()
        self.member = who.member_id
        if not self.dialled:
            welcome = encode_welcome(self.host.introduction(0))
            self.transport.write(welcome)
        if self.stream is Stream.SNAPSHOT:
            if not self.dialled:
                self.host.snapshot_stream(self.member, self)
        else:
            self.parser = FrameParser()
            self.on_data = self._frames
        if not self.ready.done():
            self.ready.set_result(None)
        data, self.buffer = self.buffer, b""
        if data and self.on_data is not None:
            self.on_data(data)

    def _frames(self, data: bytes) -> None:
        assert self.parser is not None
        try:
            for message in self.parser.feed(data):
                if isinstance(message, Goodbye):
                    self.polite = True
                elif message.sender != self.member:
                    raise PeerProtocolError("a message in another member's name")
                else:
                    self.host.received(self.member, message)
        except PeerProtocolError as error:
            self._turn_away(str(error))

    def _too_slow(self) -> None:
        self._turn_away("no hello in time")

    def _turn_away(self, reason: str) -> None:
        assert self.transport is not None
        peer = self.transport.get_extra_info("peername")
        where = f"{peer[0]}:{peer[1]}" if peer else "a closed connection"
        self.host.stranger(where, reason)
        if not self.dialled and self.member == 0:
            self.transport.write(encode_refusal(reason))
        if not self.ready.done():
            self.ready.set_exception(HelloError(reason))
            self.ready.exception()
        self.transport.close()

    # -- sending ---------------------------------------------------------------------

    def write(self, data: bytes) -> bool:
        """False, and nothing sent, when too much waits already (I-78)."""
        transport = self.transport
        if transport is None or transport.is_closing() or not self.member:
            return False
        if transport.get_write_buffer_size() + len(data) > BUFFER_BYTES_MAX:
            return False
        self.sent_bytes += len(data)
        transport.write(data)
        return True

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Link:
    """The connection to one peer for one stream, dialled again whenever it breaks."""

    def __init__(
        self,
        host: Host,
        member: int,
        address: Address,
        stream: Stream,
        context: ssl.SSLContext,
        jitter: Callable[[], float],
    ) -> None:
        self.host = host
        self.member = member
        self.address = address
        self.stream = stream
        self.context = context
        self.jitter = jitter
        self.session: Session | None = None
        self.failures = 0
        self.sent_bytes = 0
        self.urgent = asyncio.Event()
        self.task = asyncio.ensure_future(self._run())

    @property
    def connected(self) -> bool:
        return self.session is not None and self.session.member != 0

    @property
    def total_sent_bytes(self) -> int:
        session = self.session
        return self.sent_bytes + (session.sent_bytes if session is not None else 0)

    def write(self, data: bytes) -> bool:
        return self.session is not None and self.session.write(data)

    def hurry(self) -> None:
        """Dial now, not after the pause: the peer has just been seen, or lost."""
        self.urgent.set()

    async def _run(self) -> None:
        delay = RETRY_MIN_S
        while True:
            self.urgent.clear()
            session = await self._dial()
            if session is not None:
                delay = RETRY_MIN_S
                self.session = session
                self.host.link_up(self.member)
                # Shielded: whoever ends this task still waits for the connection's end.
                await asyncio.shield(session.closed)
                self.session = None
                self.sent_bytes += session.sent_bytes
                self.host.link_down(self.member, session.polite)
                continue
            pause = delay * (0.5 + self.jitter())
            try:
                await asyncio.wait_for(self.urgent.wait(), pause)
            except TimeoutError:
                delay = min(delay * 2, RETRY_MAX_S)

    async def _dial(self) -> Session | None:
        try:
            return await _dial(
                self.host, self.member, self.address, self.stream, self.context
            )
        except ConnectionRefusedError:
            self.failures += 1
            self.host.link_refused(self.member)
        except (OSError, HelloError, TimeoutError) as error:
            self.failures += 1
            logger.debug("link to %016x: %s", self.member, error)
        return None

    async def close(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        if self.session is not None:
            self.session.close()
            await self.session.closed


async def _dial(
    host: Host, member: int, address: Address, stream: Stream, context: ssl.SSLContext
) -> Session:
    """A session that has been welcomed. Raises OSError, HelloError, TimeoutError."""
    loop = asyncio.get_running_loop()
    session: Session | None = None
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            _, session = await loop.create_connection(
                lambda: Session(host, member, stream),
                address.host,
                address.port,
                ssl=context,
                server_hostname="",
            )
            await session.ready
    except BaseException:
        if session is not None:
            session.abort()
        raise
    return session


class Transport:
    """All peer connections of one node, both ways."""

    def __init__(
        self,
        host: Host,
        server_context: ssl.SSLContext,
        client_context: ssl.SSLContext,
        jitter: Callable[[], float],
    ) -> None:
        self.host = host
        self.server_context = server_context
        self.client_context = client_context
        self.jitter = jitter
        self.links: dict[tuple[int, Stream], Link] = {}
        self.accepted: set[Session] = set()
        self.answers: dict[int, Session] = {}
        self.received: dict[int, int] = {}
        self.encoder = Encoder()
        self.server: asyncio.Server | None = None

    async def listen(self, address: Address) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(
            self._accept,
            address.host,
            address.port,
            ssl=self.server_context,
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            backlog=128,
        )

    def _accept(self) -> Session:
        # Who fails the handshake is never heard of again: not even that it is gone.
        return Session(self.host, opened=self._opened)

    def _opened(self, session: Session) -> None:
        self.accepted.add(session)
        session.closed.add_done_callback(lambda _: self._gone(session))

    def _gone(self, session: Session) -> None:
        self.accepted.discard(session)
        member = session.member
        if not member:
            return
        self.received[member] = self.received.get(member, 0) + session.received_bytes
        if self.answers.get(member) is session:
            del self.answers[member]
        if session.stream is Stream.RAFT:
            self.host.link_down(member, session.polite)
            for stream in (Stream.RAFT, Stream.FORWARD):
                link = self.links.get((member, stream))
                if link is not None:
                    link.hurry()

    def connect(self, member: int, address: Address) -> None:
        """Keep links to `member` up from now on."""
        for stream in (Stream.RAFT, Stream.FORWARD):
            self.links[member, stream] = Link(
                self.host, member, address, stream, self.client_context, self.jitter
            )

    async def dial_snapshot(self, member: int) -> Session | None:
        """A connection of its own for one snapshot; None when it can't be had."""
        link = self.links.get((member, Stream.RAFT))
        if link is None:
            return None
        try:
            return await _dial(
                self.host, member, link.address, Stream.SNAPSHOT, self.client_context
            )
        except (OSError, HelloError, TimeoutError) as error:
            logger.warning("no connection for a snapshot: %s", error)
            return None

    def received_bytes(self, member: int) -> int:
        """Bytes that came over connections which `member` dialled."""
        alive = [s.received_bytes for s in self.accepted if s.member == member]
        return self.received.get(member, 0) + sum(alive)

    def connected(self, member: int) -> bool:
        link = self.links.get((member, Stream.RAFT))
        return link is not None and link.connected

    def send(self, messages: list[PeerMessage]) -> list[int]:
        """One write per connection; the members that could not be reached."""
        outgoing: dict[tuple[int, Stream], list[bytes]] = {}
        encode = self.encoder.encode
        for message in messages:
            if isinstance(message, ForwardRequest):
                place = (message.to, Stream.FORWARD)
            elif isinstance(message, ForwardReply):
                session = self._answer_session(message.to)
                if session is not None:
                    session.write(encode(message))
                continue
            else:
                place = (message.to, Stream.RAFT)
            outgoing.setdefault(place, []).append(encode(message))
        unreached: list[int] = []
        for (member, stream), frames in outgoing.items():
            link = self.links.get((member, stream))
            data = b"".join(frames) if len(frames) > 1 else frames[0]
            if link is None or not link.write(data):
                unreached.append(member)
        return unreached

    def _answer_session(self, member: int) -> Session | None:
        """The connection by which `member` forwards its requests to us."""
        session = self.answers.get(member)
        if session is None or session.closed.done():
            for candidate in self.accepted:
                if (
                    candidate.member == member
                    and candidate.stream is Stream.FORWARD
                    and not candidate.closed.done()
                ):
                    self.answers[member] = candidate
                    return candidate
            return None
        return session

    def say_goodbye(self) -> None:
        data = self.encoder.encode(Goodbye())
        for link in self.links.values():
            link.write(data)

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()
        await asyncio.gather(*(link.close() for link in self.links.values()))
        for session in list(self.accepted):
            session.close()
        for session in list(self.accepted):
            await session.closed
        if self.server is not None:
            await self.server.wait_closed()


def _tune(transport: asyncio.Transport) -> None:
    """A peer whose machine vanished is noticed in seconds, not in hours."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000)
