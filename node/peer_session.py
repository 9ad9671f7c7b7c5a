"""One peer connection: TLS identity, hello, then frames. See transport for the whole.

Law: a shell. Before `_meet` has ended nothing that a stranger sent is parsed but its
certificate and, after that, its hello.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final, Protocol, cast

from .peer_hello import (
    ASKING,
    BODY_BYTES_MAX,
    HEAD_BYTES,
    Hello,
    HelloError,
    Introduction,
    RemovedError,
    Stream,
    Unable,
    check_introduction,
    encode_hello,
    encode_join_answer,
    encode_refusal,
    encode_welcome,
    parse_hello,
    parse_join,
    parse_welcome,
)
from .peer_wire import FrameParser, Goodbye, PeerProtocolError, SentAway
from .replica import PeerMessage
from .sockets import give_up_after, probe
from .tls import Kind, PeerCertificate, StrangerError, peer_certificate

HANDSHAKE_TIMEOUT_S: Final = 5.0
# Of a member who joins: reads, writes, and perhaps somebody else who signs.
JOIN_TIMEOUT_S: Final = 30.0
# A machine that is silent for so long is gone. Where there is nothing to send, which it
# would have to acknowledge, it is probed.
SILENCE_S: Final = 5.0
PROBE_IDLE_S: Final = 2
PROBE_INTERVAL_S: Final = 1
PROBES: Final = 3
# In a transfer each end waits so long for the other one's disk.
TRANSFER_TIMEOUT_S: Final = 60.0
# Who was turned away may take so long to end the connection.
PARTING_S: Final = 1.0
NOBODY: Final = 0
BUFFER_BYTES_MAX: Final = 32 << 20
_ASKING: Final = tuple(bytes([stream]) for stream in ASKING)

logger = logging.getLogger("quorate.peer")


class Host(Protocol):
    """What the transport needs of its node."""

    cluster_id: int
    member_id: int
    # It ends and has nothing more to say: no link that breaks is dialled again.
    parting: bool

    def introduction(self, to: int) -> Introduction: ...
    def objection(self, shown: PeerCertificate) -> str | None:
        """Why whoever shows this may not speak; None: it may."""
        ...

    def sent_away(self, shown: PeerCertificate) -> bool:
        """Has the cluster removed this member, or revoked what it shows?"""
        ...

    async def renews(self, shown: PeerCertificate, request: bytes) -> bytes:
        """A new certificate for a member that shows this; raises HelloError."""
        ...

    async def joins(self, body: bytes, *, relayed: bool) -> bytes:
        """The answer to a request to join; raises HelloError."""
        ...

    def was_removed(self, reason: str) -> None:
        """A member says that the cluster has sent this one, or what it shows, away."""
        ...

    async def meet(self, who: Introduction) -> None:
        """Check and durably record a boot pair; raises HelloError."""
        ...

    def received(self, member: int, message: PeerMessage) -> None: ...
    def link_up(self, member: int) -> None: ...
    def link_down(self, member: int, stream: Stream, polite: bool) -> None: ...
    def link_refused(self, member: int) -> None: ...
    def stranger(self, where: str, reason: str) -> None: ...
    def snapshot_stream(self, member: int, session: "Session") -> None: ...
    def gossip_stream(self, member: int, session: "Session") -> None: ...


class Session(asyncio.Protocol):
    """One TLS connection between two members, from either end."""

    def __init__(
        self,
        host: Host,
        dialled: int = 0,
        stream: Stream = Stream.RAFT,
        opened: "Callable[[Session], None] | None" = None,
        met: "Callable[[Session], None] | None" = None,
    ) -> None:
        self.host = host
        self.dialled = dialled
        self.stream = stream
        self.opened = opened
        self.met = met
        # What the other end showed; None: nothing, or it has not been looked at.
        self.shown: PeerCertificate | None = None
        # Whom its certificate names, once that is found to be good.
        self.certified = NOBODY
        self.member = 0
        # Which start of its process it is: the count, and what tells two copies apart.
        self.boot = (0, 0)
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.ready = asyncio.get_running_loop().create_future()
        self.closed = asyncio.get_running_loop().create_future()
        self.parser: FrameParser | None = None
        self.on_data: Callable[[bytes], None] | None = None
        self.polite = False
        # There was no room for an answer, which the other side waits for.
        self.unanswered = False
        self.received_bytes = 0
        self.sent_bytes = 0
        self.deadline: asyncio.TimerHandle | None = None
        self.resumed = asyncio.Event()
        self.resumed.set()
        self.meeting: asyncio.Task[None] | None = None
        # Of one that asks to join, or to renew: what looks for the answer.
        self.asking: asyncio.Task[None] | None = None

    # -- asyncio ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transport is one without saying so.
        transport = cast("asyncio.Transport", transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX // 4)
        give_up_after(transport, SILENCE_S)
        probe(transport, PROBE_IDLE_S, PROBE_INTERVAL_S, PROBES)
        reason = ""
        try:
            self.certified = self._certified(transport)
        except StrangerError as error:
            reason = str(error)
        if self.opened is not None:
            self.opened(self)
        if transport.is_closing():
            return
        if reason:
            self._turn_away(reason)
            return
        loop = asyncio.get_running_loop()
        self.deadline = loop.call_later(HANDSHAKE_TIMEOUT_S, self._too_slow)
        if self.dialled:
            hello = encode_hello(self.stream, self.host.introduction(self.dialled))
            transport.write(hello)

    def _certified(self, transport: asyncio.Transport) -> int:
        """The member that the certificate names; NOBODY may only ask to join."""
        ssl_object: ssl.SSLObject = transport.get_extra_info("ssl_object")
        if not self.dialled and not ssl_object.getpeercert():
            return NOBODY
        self.shown = peer_certificate(ssl_object)
        identity = self.shown.identity
        if identity.cluster_id != self.host.cluster_id:
            raise StrangerError(f"a certificate of cluster {identity.cluster_id:016x}")
        if identity.kind is not Kind.MEMBER:
            raise StrangerError("a certificate that is not a member's")
        if self.dialled and identity.member_id != self.dialled:
            raise StrangerError(f"the certificate of member {identity.member_id:016x}")
        objection = self.host.objection(self.shown)
        if objection is not None:
            raise StrangerError(objection)
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
        elif self.certified == NOBODY or len(self.buffer) > BUFFER_BYTES_MAX:
            self._turn_away("it does not wait for the answer")

    def connection_lost(self, exc: Exception | None) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        self.resumed.set()
        if self.asking is not None:
            # Nobody waits for the answer any more: its place is for somebody else.
            self.asking.cancel()
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
            asks = self.buffer[:1] in _ASKING and not self.dialled
            if asks or self.certified == NOBODY:
                self._greet_newcomer()
                return
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
        except RemovedError as error:
            self._turn_away(str(error))
            self.host.was_removed(str(error))
            return
        except HelloError as error:
            self._turn_away(str(error))
            return
        self.buffer = self.buffer[found[1] :]
        if isinstance(found[0], Hello):
            self.stream = found[0].stream
        self.meeting = asyncio.ensure_future(self._meet(who))

    def _greet_newcomer(self) -> None:
        """It asks to join, perhaps through a member; nothing else is heard of it.

        Or it is a member, and asks for a new certificate.
        """
        body = parse_join(self.buffer)
        if body is None:
            return
        renews = self.buffer[:1] == bytes([Stream.RENEW])
        if renews and self.certified == NOBODY:
            raise HelloError("only a member gets a new certificate")
        self.asking = asyncio.ensure_future(self._let_in(body, renews=renews))
        self.asking.add_done_callback(self._answered)
        self.meeting = self.asking

    def _answered(self, asking: asyncio.Task[None]) -> None:
        """No time is running any more: what went wrong must not keep the place."""
        if not asking.cancelled() and (error := asking.exception()) is not None:
            logger.error("a request to join has no answer", exc_info=error)
            self.abort()

    async def _let_in(self, body: bytes, *, renews: bool) -> None:
        assert self.transport is not None
        if self.deadline is not None:
            self.deadline.cancel()
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                if renews:
                    assert self.shown is not None
                    answer = await self.host.renews(self.shown, body)
                else:
                    relayed = self.certified != NOBODY
                    answer = await self.host.joins(body, relayed=relayed)
        except Unable as error:
            self._part(encode_refusal(str(error)))
            return
        except HelloError as error:
            self._turn_away(str(error))
            return
        except TimeoutError:
            self._turn_away("it took too long")
            return
        self._part(encode_join_answer(answer))

    def _part(self, last: bytes = b"") -> None:
        """End it, behind what is still to be said."""
        assert self.transport is not None
        if last:
            self.transport.write(last)
        self.transport.close()
        asyncio.get_running_loop().call_later(PARTING_S, self.transport.abort)

    async def _meet(self, who: Introduction) -> None:
        """Only once the boot pair is durable may the two speak (docs/formats.md)."""
        try:
            await self.host.meet(who)
        except HelloError as error:
            self._turn_away(str(error))
            return
        if self.transport is None or self.transport.is_closing():
            return
        # It may have been removed, or revoked, since its certificate was looked at.
        objection = None if self.shown is None else self.host.objection(self.shown)
        if objection is not None:
            self._turn_away(objection)
            return
        if self.deadline is not None:
            self.deadline.cancel()
        self.member, self.boot = who.member_id, (who.boot_count, who.boot_nonce)
        if not self.dialled:
            welcome = encode_welcome(self.host.introduction(0))
            self.transport.write(welcome)
        if self.met is not None:
            self.met(self)
        if self.stream is Stream.SNAPSHOT:
            # Who waits for its disk takes nothing meanwhile, and is not gone.
            give_up_after(self.transport, TRANSFER_TIMEOUT_S)
            if not self.dialled:
                self.host.snapshot_stream(self.member, self)
        elif self.stream is Stream.GOSSIP:
            self.on_data = self._nothing
            if not self.dialled:
                self.host.gossip_stream(self.member, self)
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
                elif isinstance(message, SentAway):
                    self.host.was_removed(
                        f"member {self.member:016x} says that this one was removed from"
                        " the cluster"
                    )
                elif message.sender != self.member:
                    raise PeerProtocolError("a message in another member's name")
                else:
                    self.host.received(self.member, message)
        except PeerProtocolError as error:
            self._turn_away(str(error))

    def _nothing(self, data: bytes) -> None:
        """Who is dialled for gossip answers by the stream that it has dialled."""
        del data
        self._turn_away("it speaks where it should listen")

    def refuse(self, reason: str) -> None:
        """What it said makes no sense, or is not for us."""
        self._turn_away(reason)

    def _too_slow(self) -> None:
        self._turn_away("no hello in time")

    def _turn_away(self, reason: str) -> None:
        assert self.transport is not None
        peer = self.transport.get_extra_info("peername")
        where = f"{peer[0]}:{peer[1]}" if peer else "a closed connection"
        self.host.stranger(where, reason)
        if not self.dialled and self.member == 0:
            removed = self.shown is not None and self.host.sent_away(self.shown)
            self.transport.write(encode_refusal(reason, removed=removed))
        if not self.ready.done():
            self.ready.set_exception(HelloError(reason))
            self.ready.exception()
        self._part()

    # -- sending ---------------------------------------------------------------------

    def write(self, data: bytes) -> bool:
        """False, and nothing sent, when too much waits already (I-78).

        Where nothing waits, as much goes as there is: what is larger than the limit
        would never go.
        """
        transport = self.transport
        if transport is None or transport.is_closing() or not self.member:
            return False
        waiting = transport.get_write_buffer_size()
        if waiting and waiting + len(data) > BUFFER_BYTES_MAX:
            return False
        self.sent_bytes += len(data)
        transport.write(data)
        return True

    @property
    def waiting_bytes(self) -> int:
        """What was written and has not left."""
        return self.transport.get_write_buffer_size() if self.transport else 0

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
