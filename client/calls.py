"""Calls: one request each, carried to some node that answers before the deadline.

Law: a call is asked again only if that can't do it twice. A read may always be, and a
question that travels as a write but changes nothing; a write only while it is certain
that no node has taken it: there was no connection, its bytes never left, or the node
said that it was not applied. A write whose bytes may have left and that was not
answered is Unknown, and sent again only if the cluster carries it out once, however
often it comes (client/sessions). From then on only the log's own answer settles it.
"""

import asyncio
import ssl
from collections.abc import Callable, Container, Coroutine, Sequence
from typing import Final, TypeVar

from ..wire import (
    DEFAULT_LIMITS,
    OK,
    ErrorCode,
    ErrorReply,
    Members,
    Outcome,
    ProtocolError,
    RequestKind,
    ServerHello,
    decode_error,
    decode_members,
)
from .budget import RetryBudget
from .connection import Connection, Expired, NotSent, RequestFailed
from .endpoints import Endpoint, parse_endpoint, speaks_tls
from .errors import (
    Closed,
    DeadlineExceeded,
    InvalidRequest,
    ServerFault,
    TlsFailed,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unknown,
)
from .in_flight import InFlight
from .links import ConnectFailed, Link
from .margins import margin_of, node_timeout_ms
from .refusals import AT_REVISION, FINAL, LOGGED, reason_of
from .routes import Routes
from .siblings import REFRESH_SECONDS, Siblings
from .tries import Call, TryNext

T = TypeVar("T")

BACKOFF_SECONDS_MIN: Final = 0.02
BACKOFF_SECONDS_MAX: Final = 0.5
# What may be asked again waits for one node half of its time, and no longer than this.
TRY_SECONDS_MAX: Final = 5.0
# With less than this a write waits for one node alone: two would both be too short for
# an answer, and what has not happened would be unknown.
TRY_SECONDS_MIN: Final = 0.2

# What is not cured within a deadline, though later it may be: better told at once.
_TOLD_AT_ONCE: Final = (ErrorCode.NO_SPACE, ErrorCode.QUORUM_AT_RISK)
# Whoever says so does not lead, or not for long.
_NOT_LEADING: Final = (ErrorCode.NO_LEADER, ErrorCode.STOPPING)
# The leadership, moved twice, is somewhere else again.
_WRITES: Final = (RequestKind.WRITE, RequestKind.MOVE_LEADER)


class Calls:
    """All calls of one client, over one link per endpoint. Used from one event loop."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        tls: ssl.SSLContext | None,
        *,
        balance: bool,
        learn: bool,
        in_flight_max: int,
        jitter: Callable[[], float],
        token: bytes = b"",
    ) -> None:
        self._token: bytes = token
        self._tls: ssl.SSLContext | None = tls
        self._learn: bool = learn
        self._jitter: Callable[[], float] = jitter
        # Each of one call alone, which is asked of one node.
        self._private: set[Link] = set()
        self._cluster_id: int | None = None
        self._in_flight: InFlight = InFlight(in_flight_max)
        self._budget: RetryBudget = RetryBudget()
        self._routes: Routes = Routes(
            endpoints,
            self._link,
            self.endpoint,
            self._seek,
            balance=balance,
            jitter=jitter,
        )
        self._siblings: Siblings = Siblings(
            self._members, self._routes.learn, self._routes.told
        )
        self._ending: bool = False
        self._closed: bool = False
        self._closing: asyncio.Event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints in use: those given first, then those learnt from nodes."""
        return self._routes.endpoints

    def endpoint(self, text: str) -> Endpoint:
        """One more endpoint, which TLS is spoken to, or not, as to all others."""
        tls = self._tls is not None
        if speaks_tls(text, certificates=tls) != tls:
            raise InvalidRequest(f"endpoint {text!r} means TLS, and the others do not")
        return parse_endpoint(text)

    def allows(self, endpoint: Endpoint) -> bool:
        """May what nodes tell of be dialled? Without `learn` what was given alone."""
        return self._learn or endpoint in self.endpoints

    @property
    def connected(self) -> bool:
        """Is there a connection to any node?"""
        return any(link.connection is not None for link in self._routes.links)

    def call(
        self,
        kind: RequestKind,
        body: bytes,
        timeout: float,
        decode: Callable[[bytes], T],
        *,
        reads: bool = False,
        once: bool = False,
        near: bool = False,
    ) -> Coroutine[object, object, T]:
        """The decoded reply of some node, before `timeout` seconds have passed.

        `reads`: it changes nothing, whatever its kind is. `once`: the cluster carries
        it out once, however often it comes. `near`: any node may answer it from what
        it has, so it begins at the endpoint in use, whoever leads.
        """
        # Not a coroutine itself: every frame between caller and reply costs each call.
        write = kind in _WRITES and not reads
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self.belong_to(loop)
        until = loop.time() + timeout
        call = Call(kind, body, until, decode, write, None, once, near)
        return self._counted(call, timeout)

    async def call_at(
        self,
        endpoint: Endpoint,
        kind: RequestKind,
        body: bytes,
        timeout: float,
        decode: Callable[[bytes], T],
    ) -> T:
        """The decoded reply of the node at `endpoint`, which is asked once."""
        self.belong_to(asyncio.get_running_loop())
        deadline = _now() + timeout
        write = kind in _WRITES
        for link in self._routes.links:
            if link.endpoint == endpoint:
                call = Call(kind, body, deadline, decode, write, link)
                return await self._counted(call, timeout)
        # Whoever is asked once does not say which cluster this client is for.
        link = Link(endpoint, self._tls, self._objection, self._token)
        self._private.add(link)
        try:
            call = Call(kind, body, deadline, decode, write, link)
            return await self._counted(call, timeout)
        finally:
            await link.close("the call has ended")
            self._private.discard(link)

    def next_link(self, tried: Container[Endpoint]) -> Link:
        """A way of one's own, for a watch, to a node that was not tried yet."""
        self.check_open()
        return self._link(self._routes.for_watch(tried).endpoint)

    def belong_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """To the first loop, for good: connections and who waits for them are its."""
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise InvalidRequest(
                "the client belongs to another event loop: make one in each"
            )

    def check_open(self) -> None:
        """Nothing that outlives a call begins once the client is being closed."""
        if self._ending:
            raise Closed("the client is closed")
        self.belong_to(asyncio.get_running_loop())

    def end(self) -> None:
        """Let nothing begin that outlives a call; calls go on until `close`."""
        self._ending = True

    async def close(self) -> None:
        """End all calls and connections; writes in flight end as Unknown."""
        self._ending = self._closed = True
        self._closing.set()
        self._siblings.stop()
        self._budget.close()
        await self._routes.close()
        links = (*self._routes.links, *self._private)
        # A call whose caller gives it up meanwhile must not end this with it.
        await asyncio.gather(
            *[link.close("the client was closed") for link in links],
            return_exceptions=True,
        )
        await self._in_flight.ended()
        await self._siblings.ended()

    def drop(self) -> None:
        """Break all connections at once: nobody waits for anything, or for this."""
        self._ending = self._closed = True
        for link in (*self._routes.links, *self._private):
            link.drop()

    async def _counted(self, call: Call[T], patience: float) -> T:
        """`patience` is what is left until the call's deadline now."""
        size = len(call.body)
        counts = self._in_flight.begin(size)
        try:
            if self._closed:
                raise Closed("the client is closed")
            link = call.only or self._routes.first(call.write, call.near)
            try:
                connection = link.connection
                if connection is None:
                    return await self._attempt(link, call)
                return await self._ask(link, connection, call, patience)
            except TryNext as failed:
                first = failed
            return await self._carry_on(link, call, first, margin_of(patience))
        finally:
            self._in_flight.end(size, counts)

    async def _carry_on(
        self, link: Link, call: Call[T], failed: TryNext, margin: float
    ) -> T:
        """Try one node after the other; what is raised is the call's end.

        What has certainly not happened is known for so long as no write is sent whose
        answer would come too late: none is in the last `margin` seconds.
        """
        reasons: dict[str, str] = {}
        hopeless: set[Link] = set()
        tries = 0
        last = failed
        while True:
            self._check(call)
            at = str(link.endpoint)
            if not failed.vague or at not in reasons:
                reasons[at] = failed.reason
            if not failed.vague:
                last = failed
            self._routes.move_on(link)
            tries += 1
            if failed.hopeless:
                hopeless.add(link)
            delay = self._delay(tries, failed)
            known = call.write and not call.maybe
            end = call.deadline - margin * known
            if (
                call.only is not None
                or hopeless.issuperset(self._routes.links)
                or _now() + delay >= end
                or (delay and not await self._budget.take(end - _now()))
            ):
                self._check(call)
                told = "; ".join(f"{at}: {why}" for at, why in reasons.items())
                raise (Unknown if call.maybe else last.verdict)(told)
            if delay:
                await self._pause(delay)
            self._check(call)
            link = self._routes.in_use
            try:
                return await self._attempt(link, call)
            except TryNext as again:
                failed = again

    def _check(self, call: Call[T]) -> None:
        """No call goes on when its client is closed; that is why it failed, then."""
        if self._closed:
            raise (Unknown if call.maybe else Closed)("the client is closed")

    async def _attempt(self, link: Link, call: Call[T]) -> T:
        """One request to one node; TryNext when that has certainly done nothing."""
        connection = link.connection or await self._connect(link, call)
        return await self._ask(link, connection, call, call.deadline - _now())

    async def _ask(
        self, link: Link, connection: Connection, call: Call[T], patience: float
    ) -> T:
        """The same, on this connection, with so much time left."""
        if len(call.body) > connection.body_bytes_max:
            raise (Unknown if call.maybe else TooLarge)(
                f"a request of {len(call.body)} bytes,"
                f" over the node's {connection.body_bytes_max}"
            )
        write = call.write
        if patience <= 0:
            raise TryNext(Unavailable, "no time was left to ask", vague=True)
        deadline = call.deadline
        shared = not write or patience >= TRY_SECONDS_MIN
        again = call.once or not write
        if again and shared and call.only is None and len(self._routes.links) > 1:
            # It leaves time for another node, should this one be mute.
            left = max(patience / 2, patience - TRY_SECONDS_MAX)
            patience -= left
            deadline -= left
        try:
            frame = await connection.request(
                call.kind, call.body, node_timeout_ms(patience), deadline
            )
        except RequestFailed as failed:
            raise self._unanswered(link, failed, call) from None
        except asyncio.CancelledError:
            connection.given_up()
            raise
        try:
            if frame.status == OK:
                link.failures = 0
                if self._budget.waiters:
                    self._budget.give()
                return call.decode(frame.body)
            refused = decode_error(frame.body, DEFAULT_LIMITS)
        except ProtocolError as error:
            connection.close(f"a malformed reply: {error.reason}")
            if write:
                raise _perhaps(link, error.reason, call) from error
            raise TryNext(Unavailable, error.reason) from error
        if refused.code == ErrorCode.STOPPING:
            link.retire()
        if refused.code in _NOT_LEADING:
            self._siblings.soon()
        raise _refusal(link, refused, call)

    async def _connect(self, link: Link, call: Call[T]) -> Connection:
        """The link's connection; other endpoints are left their share of the time."""
        patience = max(call.deadline - _now(), 0.0)
        shares = 1 if call.only is not None else len(self._routes.links)
        try:
            return await link.connect(patience / shares)
        except ConnectFailed as failed:
            self._routes.failed(link)
            unavailable = TlsFailed if failed.tls else Unavailable
            raise TryNext(
                Unauthenticated if failed.refused else unavailable,
                failed.reason,
                hopeless=failed.hopeless,
                vague=failed.too_slow,
            ) from None

    def _unanswered(
        self, link: Link, failed: RequestFailed, call: Call[T]
    ) -> Exception:
        if isinstance(failed, NotSent):
            return TryNext(Unavailable, failed.reason)
        self._routes.failed(link)
        if call.write:
            self._routes.move_on(link)
            return _perhaps(link, failed.reason, call)
        if isinstance(failed, Expired):
            return TryNext(DeadlineExceeded, failed.reason, vague=True)
        return TryNext(Unavailable, failed.reason)

    def _delay(self, tries: int, failed: TryNext) -> float:
        """No pause before an endpoint that was not tried yet; longer ones every round.

        A busy cluster is given a pause at once: its nodes share the same leader.
        """
        rounds, rest = divmod(tries, len(self._routes.links))
        if rest and not failed.busy:
            return 0.0
        longest = min(BACKOFF_SECONDS_MIN * 2.0 ** min(rounds, 10), BACKOFF_SECONDS_MAX)
        return longest * (0.5 + 0.5 * self._jitter())

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than the client is open."""
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return

    def _link(self, endpoint: Endpoint) -> Link:
        return Link(endpoint, self._tls, self._accept, self._token)

    def _accept(self, hello: ServerHello) -> str | None:
        """Take a node of the one cluster that was first met, and learn its siblings."""
        if self._cluster_id is None:
            self._cluster_id = hello.cluster_id
        objection = self._objection(hello)
        if objection is None and self._learn:
            self._siblings.heard(hello.endpoints)
        return objection

    def _objection(self, hello: ServerHello) -> str | None:
        """Why this node is none of ours; None: it may be."""
        known = self._cluster_id
        if known is None or hello.cluster_id == known:
            return None
        return f"belongs to cluster {hello.cluster_id:016x}, not to {known:016x}"

    async def _members(self) -> Members:
        kind = RequestKind.MEMBERS
        return await self.call(kind, b"", REFRESH_SECONDS, decode_members, near=True)

    def _seek(self) -> None:
        self._siblings.soon()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _perhaps(link: Link, reason: str, call: Call[T]) -> Exception:
    """A write may have been done: it is asked again if that can't do it twice."""
    if call.once:
        call.maybe = True
        return TryNext(Unknown, reason)
    return Unknown(f"{link.endpoint}: {reason}")


def _refusal(link: Link, refused: ErrorReply, call: Call[T]) -> Exception:
    """What a node's error means for the call."""
    code, reason, write = refused.code, reason_of(refused), call.write
    if write and refused.outcome != Outcome.NOT_APPLIED:
        return _perhaps(link, reason, call)
    if call.maybe and code not in LOGGED:
        # This try did nothing. What the one before did is not known yet.
        if refused.retryable:
            return TryNext(Unknown, reason, busy=code == ErrorCode.TOO_BUSY)
        return Unknown(f"{link.endpoint}: {reason}")
    if code in AT_REVISION:
        return AT_REVISION[code](reason, refused.revision)
    if refused.outcome == Outcome.UNKNOWN:
        # Of a question: that its answer was lost has done nothing.
        return TryNext(DeadlineExceeded, reason)
    verdict = FINAL.get(code, ServerFault)
    if write and verdict is DeadlineExceeded:
        verdict = Unavailable
    if refused.retryable and code not in _TOLD_AT_ONCE:
        return TryNext(verdict, reason, busy=code == ErrorCode.TOO_BUSY)
    return verdict(f"{link.endpoint}: {reason}")
