"""Leases: keys that go when nobody keeps them alive any more.

Law: the time is counted on this machine from the moment at which a request that kept
the lease alive was begun, so it is over here no later than in the cluster: whoever does
something in the name of a lease stops in time when the cluster can't be reached. It is
counted on a clock that goes on while this machine is suspended, where there is one. A
lease that is lost stays lost.
"""

import asyncio
import secrets
import sys
import time
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final, Self, SupportsIndex

import msgspec

from ..wire import (
    LEASES_PAGE_MAX,
    TTL_MS_MAX,
    TTL_MS_MIN,
    CommandRefused,
    Grant,
    KeepAlive,
    LeaseAnswer,
    LeaseList,
    ListLeases,
    ProtocolError,
    RequestKind,
    Revoke,
    TimeToLive,
    decode_lease_answer,
    decode_lease_list,
    decode_write_reply,
    encode_lease_command,
)
from .calls import Calls
from .errors import InvalidRequest, LeaseExists, LeaseNotFound, QuorateError
from .in_flight import spared
from .sessions import Writes
from .values import to_lease, to_seconds, to_timeout

# A lease is kept alive so often within its time.
_TIMES: Final = 3
# After a failure it is asked again, so soon, or sooner when its time is short.
_AGAIN_SECONDS: Final = 0.2
_AGAIN_SHARE: Final = 1 / 20
_PATIENCE_SECONDS_MIN: Final = 0.02
# How long whoever was not given what he asked for may be kept until it is given back;
# what is left of it then ends by itself.
CLEAN_UP_SECONDS_MAX: Final = 1.0

if sys.platform == "linux":

    def now() -> float:
        """Seconds on the clock that leases live by here."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:
    now = time.monotonic


class LeaseInfo(msgspec.Struct, frozen=True):
    """A lease as the leader knows it: seconds granted and left, and its keys.

    `keys` is empty unless they were asked for.
    """

    id: int
    ttl: float
    left: float
    keys: tuple[bytes, ...]

    @classmethod
    def of(cls, answer: LeaseAnswer) -> Self:
        """The caller's view of what came over the wire."""
        return cls(
            answer.lease, answer.ttl_ms / 1000, answer.left_ms / 1000, answer.keys
        )


class LeaseCalls:
    """What can be asked about leases, through the calls of a client."""

    def __init__(self, writes: Writes, timeout: float) -> None:
        self._writes: Writes = writes
        self._calls: Calls = writes.calls
        self._timeout: float = timeout

    def seconds(self, timeout: float | None) -> float:
        """How long a call that was given `timeout` may take."""
        return self._timeout if timeout is None else to_timeout(timeout)

    async def grant(self, lease: int, ttl_ms: int, timeout: float) -> None:
        self._calls.check_open()
        command = _encode(Grant(lease, ttl_ms))
        await self._writes.write(command, timeout, decode_write_reply)

    async def revoke(self, lease: int, timeout: float) -> None:
        command = _encode(Revoke(lease))
        with spared():
            await self._writes.write(command, timeout, decode_write_reply)

    async def keep_alive(self, lease: int, timeout: float) -> LeaseInfo:
        with spared():
            return await self._ask(KeepAlive(lease), lease, timeout, reads=False)

    async def info(self, lease: int, keys: bool, timeout: float) -> LeaseInfo:
        return await self._ask(TimeToLive(lease, keys), lease, timeout, reads=True)

    async def all(self, timeout: float) -> list[int]:
        """Page by page, all before `timeout` seconds have passed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        found: list[int] = []
        while True:
            after = found[-1] if found else 0
            reply = await self._calls.call(
                RequestKind.WRITE,
                _encode(ListLeases(after, LEASES_PAGE_MAX)),
                deadline - loop.time(),
                partial(_decode_page, after),
                reads=True,
            )
            found += reply.leases
            if len(reply.leases) < LEASES_PAGE_MAX:
                return found

    async def _ask(
        self,
        question: KeepAlive | TimeToLive,
        lease: int,
        timeout: float,
        *,
        reads: bool,
    ) -> LeaseInfo:
        def decode(body: bytes) -> LeaseInfo:
            answer = decode_lease_answer(body)
            if answer.lease != lease:
                raise ProtocolError("an answer about another lease")
            return LeaseInfo.of(answer)

        command = _encode(question)
        return await self._calls.call(
            RequestKind.WRITE, command, timeout, decode, reads=reads
        )


class Lease:
    """One lease, which is kept alive while its context is open, and then revoked.

        async with kv.lease(10) as lease:
            await kv.put("service/a", "here", lease=lease)

    `lost` is set when its time is over: its keys are gone, or will be in a moment.
    """

    def __init__(
        self,
        calls: LeaseCalls,
        ttl: float,
        timeout: float,
        lease: int,
        kept: "set[Lease]",
    ) -> None:
        self._calls: LeaseCalls = calls
        self._timeout: float = timeout
        self._ttl_ms: int = _to_ttl_ms(ttl)
        # 0.0 before it was granted.
        self._until: float = 0.0
        self._keeper: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        # All of this client that are kept alive.
        self._kept: set[Lease] = kept
        # Has a grant failed, which may have made it all the same?
        self._failed: bool = False
        # A number that nobody else draws: what its grant did is told from it alone.
        self._drawn: bool = not lease
        self.id: int = lease or secrets.randbits(63) or 1
        # What is granted, which may be less than a millisecond beside what was said.
        self.ttl: float = self._ttl_ms / 1000
        self.lost: asyncio.Event = asyncio.Event()

    def __index__(self) -> int:
        """Its id: it stands wherever one is expected."""
        return self.id

    @property
    def left(self) -> float:
        """Seconds for which it is certainly there, 0.0 when it may be gone."""
        return 0.0 if self.lost.is_set() else max(0.0, self._until - now())

    @property
    def over(self) -> bool:
        """Was it granted, and may it be gone now? After a suspension before `lost`."""
        return self.lost.is_set() or 0.0 < self._until <= now()

    async def grant(self) -> Self:
        """Make the lease, and begin to keep it alive; to be tried again if it fails."""
        if self._until or self.lost.is_set():
            raise InvalidRequest("a lease is granted once")
        begun = now()
        if not await self._made() or begun + self.ttl <= now():
            # It is there since an earlier try, or that took longer than the lease has:
            # is it there at all? If nobody says so, another try may find it.
            self._failed = True
            begun = now()
            await self._calls.keep_alive(self.id, self._timeout)
        self._begin(begun, self.ttl)
        self._kept.add(self)
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def _made(self) -> bool:
        """Make it; False when a try whose fate was lost has made it."""
        try:
            await self._calls.grant(self.id, self._ttl_ms, self._timeout)
        except LeaseExists:
            if not (self._drawn and self._failed):
                raise
            return False
        except BaseException:
            self._failed = True
            raise
        return True

    async def _ungrant(self) -> None:
        """As if the grant had failed: nobody was told of it."""
        await self.abandon()
        if self._timer is not None:
            self._timer.cancel()
        self._until, self._failed = 0.0, True
        # If no node hears of it soon, it ends by itself.
        seconds = min(self._timeout, CLEAN_UP_SECONDS_MAX)
        with suppress(QuorateError):
            await self._calls.revoke(self.id, seconds)

    async def revoke(self) -> None:
        """End it now, with all its keys; one that is gone already is no error."""
        self._lose()
        await self.abandon()
        try:
            await self._calls.revoke(self.id, self._timeout)
        except LeaseNotFound:
            return

    async def abandon(self) -> None:
        """Keep it alive no longer; it ends by itself when its time is over."""
        self._kept.discard(self)
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait({keeper})

    async def info(self, *, keys: bool = False) -> LeaseInfo:
        """What the leader knows of it, with its keys when they are asked for."""
        return await self._calls.info(self.id, keys, self._timeout)

    async def __aenter__(self) -> Self:
        return await self.grant()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.revoke()
        except QuorateError:
            # Nobody to tell: it ends by itself, and what came before counts more.
            if error is None:
                raise

    # -- time --------------------------------------------------------------------------

    def _begin(self, begun: float, ttl: float) -> None:
        """It has its whole time from `begun` on."""
        self._until = begun + ttl
        self._wait()

    def _wait(self) -> None:
        """`lost` is set in time, whatever becomes of those who keep it alive."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, self._until - now()), self._end)

    def _end(self) -> None:
        if now() < self._until:
            # The loop has another clock.
            self._wait()
            return
        if self._keeper is not None:
            self._keeper.cancel()
        self._lose()

    def _lose(self) -> None:
        self.lost.set()
        self._kept.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    async def _keep(self) -> None:
        due = self._until - self.ttl * (1 - 1 / _TIMES)
        while True:
            await asyncio.sleep(max(0.0, due - now()))
            begun = now()
            left = self._until - begun
            if left <= 0:
                break
            # Half of the time is left for another node, should this one be mute.
            patience = min(self._timeout, max(left / 2, _PATIENCE_SECONDS_MIN))
            try:
                found = await self._calls.keep_alive(self.id, patience)
            except LeaseNotFound:
                break
            except QuorateError:
                # Somebody may do better in a moment, and Unknown has done no harm here.
                due = now() + min(_AGAIN_SECONDS, self.ttl * _AGAIN_SHARE)
            else:
                # Somebody else may have given the id again, and for less.
                self._begin(begun, min(self.ttl, found.ttl))
                due = begun + self.ttl / _TIMES
        self._lose()


class Leasing:
    """What AsyncClient has of it."""

    _lease_calls: LeaseCalls
    # Those that are kept alive.
    _leases: set[Lease]

    def lease(
        self, ttl: float, *, lease: int = 0, timeout: float | None = None
    ) -> Lease:
        """A lease of `ttl` seconds, which is kept alive while its context is open.

        At least 1 second. `lease` is its id, by default a random one; LeaseExists when
        there is such a lease.
        """
        seconds = self._lease_calls.seconds(timeout)
        return Lease(self._lease_calls, ttl, seconds, to_lease(lease), self._leases)

    async def lease_info(
        self, lease: SupportsIndex, *, keys: bool = False, timeout: float | None = None
    ) -> LeaseInfo:
        """How long a lease has left, and with `keys` which hang on it."""
        seconds = self._lease_calls.seconds(timeout)
        return await self._lease_calls.info(to_lease(lease), keys, seconds)

    async def keep_alive(
        self, lease: SupportsIndex, *, timeout: float | None = None
    ) -> LeaseInfo:
        """Begin the time of a lease anew, once; LeaseNotFound when it has ended."""
        seconds = self._lease_calls.seconds(timeout)
        return await self._lease_calls.keep_alive(to_lease(lease), seconds)

    async def revoke(
        self, lease: SupportsIndex, *, timeout: float | None = None
    ) -> None:
        """End a lease and all keys that hang on it, at one revision."""
        seconds = self._lease_calls.seconds(timeout)
        await self._lease_calls.revoke(to_lease(lease), seconds)

    async def leases(self, *, timeout: float | None = None) -> list[int]:
        """The ids of all leases."""
        return await self._lease_calls.all(self._lease_calls.seconds(timeout))


def _decode_page(after: int, body: bytes) -> LeaseList:
    page = decode_lease_list(body)
    if len(page.leases) > LEASES_PAGE_MAX:
        raise ProtocolError("a page with more leases than asked for")
    for lease in page.leases:
        if lease <= after:
            raise ProtocolError("a page whose leases are not in order")
        after = lease
    return page


def _to_ttl_ms(ttl: float) -> int:
    """The milliseconds of a ttl; NaN fails the comparison, too."""
    if not TTL_MS_MIN <= to_seconds("ttl", ttl) * 1000 <= TTL_MS_MAX:
        lowest, highest = TTL_MS_MIN // 1000, TTL_MS_MAX // 1000
        reason = f"ttl is {ttl} s, not from {lowest} s to {highest} s"
        raise InvalidRequest(reason)
    return round(ttl * 1000)


def _encode(command: Grant | Revoke | KeepAlive | TimeToLive | ListLeases) -> bytes:
    try:
        return encode_lease_command(command)
    except CommandRefused as error:
        raise InvalidRequest(error.reason) from None
