"""A place in line: what locks and elections are made of (wire/locks.py).

Law: a place hangs on a lease of its own, which is kept alive, so that whoever dies
makes room. A wait that ends without the place leaves nothing behind, or, when no node
answers soon, only what goes with the lease. What may be done twice is asked again when
its fate was lost: a change of leaders costs nobody the place.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import ClassVar, Final, TypeVar

from ..wire import (
    CommandRefused,
    Entry,
    Fence,
    Level,
    Queue,
    RangeRequest,
    Transaction,
    TxnReply,
    WatchRequest,
    decode_txn_reply,
    encode_transaction,
    enter,
    entered,
    queue_end,
    queue_prefix,
)
from .calls import Calls
from .errors import (
    Closed,
    Compacted,
    Held,
    InvalidRequest,
    LeaseNotFound,
    QuorateError,
    TooLarge,
    Unknown,
)
from .leases import CLEAN_UP_SECONDS_MAX, Lease, LeaseCalls
from .paging import Pager
from .sessions import Writes
from .values import to_seconds
from .watching import Watch

_PAUSE_SECONDS: Final = 0.05
# No node at all for so long ends a wait; before that, the end of the lease may.
_PATIENCE_SECONDS: Final = 60.0

T = TypeVar("T")


class Places:
    """What is asked for places, through the calls of a client."""

    def __init__(
        self,
        writes: Writes,
        leases: LeaseCalls,
        kept: set[Lease],
        watches: set[Watch],
    ) -> None:
        self._writes: Writes = writes
        self.calls: Calls = writes.calls
        self._leases: LeaseCalls = leases
        self._kept: set[Lease] = kept
        self._watches: set[Watch] = watches

    def lease(self, ttl: float, timeout: float) -> Lease:
        """One that is not granted yet."""
        return Lease(self._leases, ttl, timeout, 0, self._kept)

    async def commit(self, transaction: Transaction, timeout: float) -> TxnReply:
        try:
            command = encode_transaction(transaction)
        except CommandRefused as error:
            raise TooLarge(error.reason) from None
        return await self._writes.write(command, timeout, decode_txn_reply)

    async def repeat(self, transaction: Transaction, timeout: float) -> TxnReply:
        """As commit, of what may be done twice."""
        return await _again(lambda left: self.commit(transaction, left), timeout)

    async def revoke(self, lease: int, timeout: float) -> None:
        """End a lease; one that is gone already is no error."""
        with suppress(LeaseNotFound):
            await _again(lambda left: self._leases.revoke(lease, left), timeout)

    async def queue(self, name: bytes, timeout: float) -> tuple[int, Queue]:
        """All who stand in line now, and the revision that shows them."""
        start, end = queue_prefix(name), queue_end(name)
        level = Level.LINEARIZABLE
        request = RangeRequest(level, 0, 0, start, end, keys_only=True)
        pager = Pager(self.calls, request, None, timeout)
        queue = Queue([record async for record in pager])
        return pager.revision, queue

    def watch(
        self, start: bytes, end: bytes, revision: int, timeout: float, *, puts: bool
    ) -> Watch:
        """What changes from `revision` on."""
        request = WatchRequest(start, end, revision, puts=puts)
        return Watch(self.calls, request, timeout, _PATIENCE_SECONDS, self._watches)


class Place:
    """One place in line for one name; it is taken once."""

    def __init__(
        self, places: Places, name: bytes, ttl: float, timeout: float, value: bytes
    ) -> None:
        self._places: Places = places
        self._name: bytes = name
        self._timeout: float = timeout
        self._value: bytes = value
        self._fence: Fence | None = None
        self.lease: Lease = places.lease(ttl, timeout)

    @property
    def fence(self) -> Fence:
        assert self._fence is not None, "nobody has a fence before he has the place"
        return self._fence

    async def take(self, wait: float | None) -> None:
        """Wait until all who came before have gone: `wait` seconds, or for ever."""
        await self.lease.grant()
        taken = False
        try:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            transaction = enter(self._name, self.lease.id, self._value)
            reply = await self._places.repeat(transaction, self._timeout)
            found = entered(self._name, self.lease.id, reply)
            self._fence = found.fence
            ahead = found.queue.before(found.fence)
            if ahead is not None:
                left = None if wait is None else wait - (loop.time() - begun)
                await self._wait(ahead, found.revision, left)
            taken = True
        finally:
            if not taken:
                await self.clean_up()

    async def leave(self) -> None:
        """Give it up, with its lease; one that is lost is no error."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        try:
            await self.lease.revoke()
        except Unknown:
            left = deadline - loop.time()
            if left < _PAUSE_SECONDS:
                raise
            # A second time does no harm: then there is nothing.
            await self._places.revoke(self.lease.id, left)

    async def clean_up(self) -> None:
        """Leave nothing behind, if that can be done soon."""
        await self.lease.abandon()
        # What happened counts more; and what is left goes with the lease.
        with suppress(QuorateError):
            seconds = min(self._timeout, CLEAN_UP_SECONDS_MAX)
            await self._places.revoke(self.lease.id, seconds)

    async def _wait(self, ahead: Entry, revision: int, left: float | None) -> None:
        if left is not None and left <= 0:
            raise Held("somebody else holds it")
        moving = asyncio.create_task(self._move_up(ahead, revision))
        lost = asyncio.create_task(self.lease.lost.wait())
        tasks = (moving, lost)
        try:
            await asyncio.wait(tasks, timeout=left, return_when="FIRST_COMPLETED")
            if moving.done():
                await moving
            elif lost.done():
                raise LeaseNotFound("the lease has ended while it was waited for")
            else:
                raise Held("somebody else holds it, and the wait is over")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _move_up(self, ahead: Entry | None, revision: int) -> None:
        while ahead is not None:
            await self._patiently(partial(self._until_gone, ahead.key, revision))
            look = partial(self._places.queue, self._name, self._timeout)
            revision, queue = await self._patiently(look)
            if not queue.has(self.fence):
                raise LeaseNotFound("the place was taken away while it was waited for")
            ahead = queue.before(self.fence)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What came of it, after as many tries as the patience of a watch has room for.

        Whoever waits goes on through an election that takes longer than one of them.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE_SECONDS
        while True:
            try:
                return await ask()
            except QuorateError as error:
                if not error.retryable or loop.time() >= until:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _until_gone(self, key: bytes, revision: int) -> None:
        """Wait until `key`, which was there at `revision`, is deleted."""
        watch = self._places.watch(
            key, key + b"\0", revision + 1, self._timeout, puts=False
        )
        try:
            async with watch:
                async for _ in watch:
                    return
        except Compacted:
            # It has to be looked at again.
            return
        raise Closed("the client is closed")


class Holding:
    """What a lock and an election are: a place in line, taken, held and given up."""

    # What is said when it is taken twice, and when it is not held.
    _twice: ClassVar[str]
    _nothing: ClassVar[str]

    def __init__(self, places: Places, name: bytes, ttl: float, timeout: float) -> None:
        self._places: Places = places
        self._ttl: float = ttl
        self._timeout: float = timeout
        self._taking: bool = False
        self._place: Place | None = None
        # Given up, but nobody has said yet that it is gone.
        self._left: Place | None = None
        self.name: bytes = name

    @property
    def token(self) -> str:
        """What writes of its holder carry as `fence`."""
        return self._held().fence.token

    @property
    def lease(self) -> Lease:
        """What it hangs on, kept alive while it is held."""
        return self._held().lease

    @property
    def lost(self) -> asyncio.Event:
        """Is set when the lease is over: somebody else may have it."""
        return self._held().lease.lost

    def _held(self) -> Place:
        if self._place is None:
            raise InvalidRequest(self._nothing)
        return self._place

    async def _take(self, value: bytes, wait: float | None) -> None:
        if self._taking or self._place is not None:
            raise InvalidRequest(self._twice)
        place = Place(self._places, self.name, self._ttl, self._timeout, value)
        self._taking = True
        try:
            await place.take(wait)
        finally:
            self._taking = False
        self._place = place

    async def _forgo(self) -> None:
        """As if the wait for it had been cancelled: nobody was told that it is had."""
        place, self._place = self._place, None
        if place is not None:
            await place.clean_up()

    async def _give_up(self) -> None:
        if self._place is not None:
            self._place, self._left = None, self._place
        place = self._left or self._held()
        # Whoever is told that it failed, or is cancelled, may do it again.
        await place.leave()
        if self._left is place:
            self._left = None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._place is None:
            # It was given up inside.
            return
        try:
            await self._give_up()
        except QuorateError:
            # Nobody to tell: it ends by itself, and what came before counts more.
            if error is None:
                raise


def checked_wait(wait: float | None) -> float | None:
    """How long to wait; NaN fails this comparison, too."""
    if wait is None:
        return None
    if not to_seconds("wait", wait) >= 0:
        raise InvalidRequest(f"wait is {wait} s, not at least 0")
    return float(wait)


async def _again(ask: Callable[[float], Awaitable[T]], timeout: float) -> T:
    """What came of it, of what may be done twice, within `timeout` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        try:
            return await ask(deadline - loop.time())
        except Unknown:
            if loop.time() + _PAUSE_SECONDS >= deadline:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)
