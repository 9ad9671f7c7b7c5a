"""Peer connections: mutual TLS, hello, then frames; one write per connection and turn.

Law: a shell. It carries messages and tells what happened to links; it decides nothing
about the cluster.

Each node dials each peer three times, for Raft's messages, for forwarded requests (so
that large requests do not hold heartbeats back) and for gossip; a snapshot gets a
connection of its own. Raft's messages and gossip flow from the dialler to the dialled;
forwarded requests are answered on the connection that they came by.

Where the log says that a member is, it is dialled; where gossip says so, once that has
failed. Whether that is true its certificate says.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from .address import Address
from .joining import exchange
from .peer_handshakes import Handshakes
from .peer_hello import HelloError, Stream
from .peer_session import HANDSHAKE_TIMEOUT_S, NOBODY, Host, Session
from .peer_wire import Encoder, Goodbye, SentAway
from .replica import ForwardReply, ForwardRequest, PeerMessage
from .sockets import at_each, listening

RETRY_MIN_S: Final = 0.02
RETRY_MAX_S: Final = 0.5
# Of those who have shown no certificate that is good: newcomers, and strangers.
UNKNOWN_MAX: Final = 32
ACCEPT_RETRY_S: Final = 0.1
# Of a connection whose place another one has taken: what is under way on it arrives.
GRACE_S: Final = 5.0
# Of whoever is at the other end, to get answers and to end: also who was removed.
PARTING_S: Final = 1.0
LINKED: Final = (Stream.RAFT, Stream.FORWARD, Stream.GOSSIP)

logger = logging.getLogger("quorate.peer")


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
        reached: Callable[[Session], None] = lambda session: None,
    ) -> None:
        self.host = host
        self.reached = reached
        self.member = member
        self.address = address
        # Dialled first: it led there the last time, or should.
        self.where = address
        # By hearsay, and dialled when nothing else leads there.
        self.heard: Address | None = None
        self.stream = stream
        self.context = context
        self.jitter = jitter
        self.session: Session | None = None
        # Those whose place it has taken, for a while.
        self.former: set[Session] = set()
        self.replaced: asyncio.Future[Session]
        self.renewal: asyncio.Task[None] | None = None
        self.failures = 0
        self.sent_bytes = 0
        self.urgent = asyncio.Event()
        self.task = asyncio.ensure_future(self._run())
        self.task.add_done_callback(self._died)

    @property
    def connected(self) -> bool:
        return self.session is not None and self.session.member != 0

    @property
    def total_sent_bytes(self) -> int:
        session = self.session
        return self.sent_bytes + (session.sent_bytes if session is not None else 0)

    def write(self, data: bytes) -> bool:
        return self.session is not None and self.session.write(data)

    def move(self, address: Address) -> None:
        """What is connected stays so; the next dial goes there."""
        self.address = self.where = address
        self.hurry()

    def hurry(self) -> None:
        """Dial now, not after the pause: the peer has just been seen, or lost."""
        self.urgent.set()

    async def _run(self) -> None:
        delay, tries = RETRY_MIN_S, 0
        while not self.host.parting:
            self.urgent.clear()
            place = self._place(tries)
            session = await self._dial(place)
            if session is None:
                tries += 1
            else:
                tries, self.where, self.session = 0, place, session
                began_s = time.monotonic()
                if self.stream is not Stream.GOSSIP:
                    self.host.link_up(self.member)
                session, self.session = await self._ended(session), None
                self.sent_bytes += session.sent_bytes
                self.host.link_down(self.member, self.stream, session.polite)
                # Who welcomes and then ends it at once is not dialled without a rest.
                if time.monotonic() - began_s >= RETRY_MAX_S:
                    delay = RETRY_MIN_S
                    continue
            pause = delay * (0.5 + self.jitter())
            try:
                # Not wait_for: until Python 3.12 it may swallow that it was cancelled.
                async with asyncio.timeout(pause):
                    await self.urgent.wait()
            except TimeoutError:
                delay = min(delay * 2, RETRY_MAX_S)

    async def _ended(self, session: Session) -> Session:
        """The connection that has ended: this one, or the last to take its place."""
        while True:
            replaced = self.replaced = asyncio.get_running_loop().create_future()
            # This cancels neither: whoever ends this task still waits for the end.
            await asyncio.wait(
                (session.closed, replaced), return_when=asyncio.FIRST_COMPLETED
            )
            if not replaced.done():
                return session
            session = replaced.result()

    def renew(self, *, must: bool = False) -> None:
        """Put a new connection in the place of the one that is there, without a gap.

        With `must` the old one ends also when there is no new one.
        """
        old = self.session
        if old is None or (self.renewal is not None and not self.renewal.done()):
            return
        self.renewal = asyncio.ensure_future(self._renew(old, must))

    async def _renew(self, old: Session, must: bool) -> None:
        new = await self._dial(self.where)
        if new and self.session is old and not old.closed.done():
            self.session = new
            self.replaced.set_result(new)
            self.sent_bytes += old.sent_bytes
            self.former.add(old)
            old.closed.add_done_callback(lambda _: self.former.discard(old))
            asyncio.get_running_loop().call_later(GRACE_S, old.close)
        elif new is not None:
            new.close()
        elif must:
            old.abort()

    def _place(self, tries: int) -> Address:
        """Where it may be: one place after the other, the likeliest first."""
        places = (self.where, self.address, self.heard)
        known = list(dict.fromkeys(filter(None, places)))
        return known[tries % len(known)]

    async def _dial(self, place: Address) -> Session | None:
        try:
            whom = (self.host, self.member, place, self.stream, self.context)
            self.reached(session := await _dial(*whom))
            return session
        except ConnectionRefusedError:
            self.failures += 1
            # Nobody at a place that gossip names says nothing about the member.
            if place == self.where and self.stream is not Stream.GOSSIP:
                self.host.link_refused(self.member)
        except (OSError, HelloError, TimeoutError) as error:
            self.failures += 1
            logger.debug("link to %016x: %s", self.member, error)
        return None

    def _died(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the link to %016x is no more", self.member, exc_info=error)

    async def close(self) -> None:
        for task in (self.task, self.renewal):
            if task is not None:
                task.cancel()
                # What it may have died of was told then, and ends nobody else.
                await asyncio.wait((task,))
        await part([*self.former, *filter(None, [self.session])])


async def part(sessions: Iterable[Session]) -> None:
    """End all of them at once, politely as far as the other sides take part.

    The end of a TLS connection waits for the other side, whose process may stand still.
    """
    ends = {session.closed: session for session in sessions}
    for session in ends.values():
        session.close()
    if ends:
        _, late = await asyncio.wait(ends, timeout=PARTING_S)
        for end in late:
            ends[end].abort()
        if late:
            await asyncio.wait(late, timeout=PARTING_S)


async def _dial(
    host: Host, member: int, address: Address, stream: Stream, context: ssl.SSLContext
) -> Session:
    """A session that has been welcomed. Raises OSError, HelloError, TimeoutError."""
    loop = asyncio.get_running_loop()
    session: Session | None = None
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            made = partial(Session, host, member, stream)
            connect = partial(loop.create_connection, made, ssl=context)
            _, session = await at_each(
                address,
                HANDSHAKE_TIMEOUT_S,
                lambda place, port: connect(place, port, server_hostname=""),
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
        # Dialled for one snapshot each.
        self.passing: set[Session] = set()
        self.answers: dict[int, Session] = {}
        self.received: dict[int, int] = {}
        self.encoder = Encoder()
        self.listener: socket.socket | None = None
        self.accepting: asyncio.Future[None] | None = None
        self.handshakes = Handshakes()

    async def listen(self, address: Address) -> None:
        """Accept peers at `address`. Raises OSError when it can't be had."""
        try:
            self.listener = listener = await listening(address)
        except OSError as error:
            reason = f"peer.listen, {address}: {(error.strerror or str(error)).lower()}"
            raise OSError(error.errno, reason) from error
        self.accepting = asyncio.ensure_future(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        """Take connections, each into a handshake of its own, so many at a time."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listener)
            except OSError as error:
                # Out of descriptors, say: what is open goes on, the rest waits.
                logger.error("can't accept a peer: %s", error)
                await asyncio.sleep(ACCEPT_RETRY_S)
                continue
            if not self.handshakes.has_room(peer[0]):
                sock.close()
                continue
            shaking = self._shake_hands(sock, f"{peer[0]}:{peer[1]}")
            self.handshakes.begin(asyncio.ensure_future(shaking), peer[0])

    async def _shake_hands(self, sock: socket.socket, where: str) -> None:
        """TLS, as the first thing a stranger fails at; nothing else is looked at."""
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        try:
            await loop.connect_accepted_socket(
                lambda: Session(self.host, opened=self._opened, met=self._met),
                sock,
                ssl=self.server_context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            )
        except OSError as error:
            sock.close()
            # Who is given up without an alert has no text, only a kind.
            reason = (
                getattr(error, "reason", None) or str(error) or type(error).__name__
            )
            self.host.stranger(where, f"the TLS handshake: {reason}")

    def _opened(self, session: Session) -> None:
        """What strangers hold is bounded: descriptors are for members and the disk."""
        unknown = sum(each.certified == NOBODY for each in self.accepted)
        self.accepted.add(session)
        session.closed.add_done_callback(lambda _: self._gone(session))
        if session.certified == NOBODY and unknown >= UNKNOWN_MAX:
            session.abort()

    def _met(self, session: Session) -> None:
        """By the newest connection a member's forwarded requests are answered."""
        self.handshakes.met(session)
        if session.stream is Stream.FORWARD:
            self.answers[session.member] = session

    def _gone(self, session: Session) -> None:
        self.accepted.discard(session)
        member = session.member
        if not member:
            return
        self.received[member] = self.received.get(member, 0) + session.received_bytes
        if self.answers.get(member) is session:
            del self.answers[member]
        if session.stream is Stream.RAFT and not self._still_speaks(member):
            self.host.link_down(member, Stream.RAFT, session.polite)
            for stream in LINKED:
                link = self.links.get((member, stream))
                if link is not None:
                    link.hurry()

    def _still_speaks(self, member: int) -> bool:
        """By another connection, that has taken the place of one that ended."""
        spoken = (member, Stream.RAFT)
        return any((each.member, each.stream) == spoken for each in self.accepted)

    def connect(self, member: int, address: Address) -> None:
        """Keep links to `member` up from now on, where it is reached now."""
        for stream in LINKED:
            link = self.links.get((member, stream))
            if link is None:
                self.links[member, stream] = Link(
                    *(self.host, member, address, stream, self.client_context),
                    *(self.jitter, self.handshakes.met),
                )
            elif link.address != address:
                link.move(address)

    def hint(self, member: int, address: Address) -> None:
        """Somebody says that `member` is there: worth a try when it is not found."""
        for stream in LINKED:
            link = self.links.get((member, stream))
            if link is not None:
                link.heard = address

    def known(self) -> list[int]:
        """The members that links are kept up to."""
        return [member for member, stream in self.links if stream is Stream.RAFT]

    async def send_away(self, member: int) -> None:
        """Tell `member` that it was removed, and part with it once it has gone.

        It may still get answers meanwhile. Cut off at once it would dial everybody
        again, only to hear it then; and its clients would wait.
        """
        link = self.links.get((member, Stream.RAFT))
        if link is not None and link.write(self.encoder.encode(SentAway())):
            assert link.session is not None, "it was written to"
            await asyncio.wait((link.session.closed,), timeout=PARTING_S)
        await self.disconnect(member)

    async def disconnect(self, member: int) -> None:
        """`member` has left: no link, and no connection of its own, stays."""
        links = [self.links.pop((member, stream), None) for stream in LINKED]
        # Also what has not said hello yet, or carries a snapshot.
        others = [*self.accepted, *self.passing]
        await asyncio.gather(
            *(link.close() for link in links if link is not None),
            part(session for session in others if session.certified == member),
        )

    def reached(self) -> list[int]:
        """The members that are connected now."""
        return [member for member in self.known() if self.connected(member)]

    async def ask_to_join(self, member: int, body: bytes) -> bytes:
        """Hand on a request to join; raises HelloError, OSError, TimeoutError."""
        return await self._ask(member, body, Stream.JOIN)

    async def ask_to_renew(self, member: int, body: bytes) -> bytes:
        """Hand our request for a new certificate to a member; raises the same."""
        return await self._ask(member, body, Stream.RENEW)

    async def _ask(self, member: int, body: bytes, stream: Stream) -> bytes:
        link = self.links.get((member, Stream.RAFT))
        if link is None:
            raise HelloError(f"member {member:016x} has left")
        address = link.where
        answer, who = await exchange(
            address, self.client_context, body, stream, self.host.objection
        )
        if who is None or who.member_id != member:
            raise HelloError(f"{address} is another member")
        return answer

    async def dial_snapshot(self, member: int) -> Session | None:
        """A connection of its own for one snapshot; None when it can't be had."""
        link = self.links.get((member, Stream.RAFT))
        if link is None:
            return None
        try:
            session = await _dial(
                self.host, member, link.where, Stream.SNAPSHOT, self.client_context
            )
        except (OSError, HelloError, TimeoutError) as error:
            logger.warning("no connection for a snapshot: %s", error)
            return None
        self.passing.add(session)
        session.closed.add_done_callback(lambda _: self.passing.discard(session))
        return session

    def received_bytes(self, member: int) -> int:
        """Bytes that came over connections which `member` dialled."""
        alive = [s.received_bytes for s in self.accepted if s.member == member]
        return self.received.get(member, 0) + sum(alive)

    def connected(self, member: int) -> bool:
        link = self.links.get((member, Stream.RAFT))
        return link is not None and link.connected

    def send(self, messages: list[PeerMessage]) -> list[tuple[int, Stream]]:
        """One write per connection; those to which nothing was written."""
        outgoing: dict[tuple[int, Stream], list[bytes]] = {}
        encode = self.encoder.encode
        for message in messages:
            if isinstance(message, ForwardRequest):
                place = (message.to, Stream.FORWARD)
            elif isinstance(message, ForwardReply):
                session = self._answer_session(message.to)
                if session is not None and not session.write(encode(message)):
                    # A goodbye would say that it was not done: none is said.
                    session.unanswered = True
                continue
            else:
                place = (message.to, Stream.RAFT)
            outgoing.setdefault(place, []).append(encode(message))
        unreached: list[tuple[int, Stream]] = []
        for place, frames in outgoing.items():
            link = self.links.get(place)
            data = b"".join(frames) if len(frames) > 1 else frames[0]
            if link is None or not link.write(data):
                unreached.append(place)
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
            if link.stream is not Stream.GOSSIP:
                link.write(data)
        # Those who forward to us learn that what is unanswered was not taken.
        for session in self.accepted:
            if session.stream is Stream.FORWARD and not session.unanswered:
                session.write(data)

    async def close(self) -> None:
        """End all connections; nothing is left when it returns."""
        waiting = [*self.handshakes.open, *filter(None, [self.accepting])]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        if self.listener is not None:
            self.listener.close()
        # Together: each alone may wait as long as it is let.
        await asyncio.gather(
            *(link.close() for link in self.links.values()),
            part([*self.accepted, *self.passing]),
        )
