"""A request's place in line for a lock or an election (wire/locks.py).

Law: HTTP has no meaning of its own: a place is made of the transactions, ranges, leases
and watches that a native client would use, and nothing is asked over and over. A
request that ends without the place leaves no key behind, whether its wait was over, the
node lost its leader, or the client has gone; and no lease that was made for it. What
can't be given up now is given up later; until then nobody is told that it has not
happened. Requests on one lease share one place: whoever finds the key puts it again,
and whoever made it gives it up only if nobody has. Who can't know whether he made it
leaves it to its lease. So nobody loses what he holds to another request that ends.
"""

import asyncio
import math
from typing import Final

from ...wire.errors import CommandRefused, ErrorCode
from ...wire.fences import Fence
from ...wire.frames import OK, RequestKind
from ...wire.leases import (
    Grant,
    KeepAlive,
    LeaseCommand,
    Revoke,
    encode_lease_command,
)
from ...wire.locks import (
    Entered,
    Entry,
    Queue,
    enter,
    entered,
    join,
    leave_alone,
    queue_end,
    queue_prefix,
)
from ...wire.records import Record, decode_get_reply, decode_range_reply
from ...wire.requests import (
    GetRequest,
    Level,
    RangeRequest,
    decode_error,
    encode_get,
    encode_range,
)
from ...wire.transaction_replies import TxnReply, decode_txn_reply
from ...wire.transactions import KEYS_MAX, Transaction, encode_transaction
from ...wire.watches import (
    WatchEvents,
    WatchReply,
    WatchRequest,
    decode_watch_reply,
    encode_watch,
)
from .connections import ClientPort
from .errors import Problem, problem_of
from .http_leases import new_lease
from .http_requests import ask, submit
from .watch_stream import Said, WatchStream

# A lease that is made for a place is kept alive so often within its time.
_TIMES: Final = 3
# To stand in line twice is to stand there once: it may be asked again.
_TRIES: Final = 3
_FOREVER_S: Final = 3600.0
# Who leaves and can't tries again after so long, then after twice as long, up to ...
_PAUSE_S: Final = 0.1
_PAUSE_S_MAX: Final = 5.0
# How long each try lasts; whoever asked for the place waits for the first one.
_PATIENCE_MS: Final = 2000


class Place:
    """One place, which is taken once.

    `lease` is the client's own; with 0 one of `ttl_ms` is made, and kept alive until
    the place is taken. `value` is what whoever leads says; None: it is a lock. With
    `as_etcd` whoever finds that he has the place already puts nothing again, when it
    is known that nobody gives it up.
    """

    def __init__(
        self,
        port: ClientPort,
        name: bytes,
        lease: int,
        ttl_ms: int,
        value: bytes | None = None,
        *,
        as_etcd: bool = False,
    ) -> None:
        self._port: ClientPort = port
        self._name: bytes = name
        self._value: bytes | None = value
        self._ttl_ms: int = 0 if lease else ttl_ms
        self._as_etcd: bool = as_etcd
        # What there is to be given up: a lease of ours, or a key on somebody else's.
        self._granted: bool = False
        self._made: Fence | None = None
        # We wait at a key that somebody else has made, or may have, and that stays.
        self._joined: bool = False
        # Whether we have joined is not known.
        self._lost: Problem | None = None
        self._keeper: asyncio.TimerHandle | None = None
        self.lease: int = lease or new_lease()
        # The store's revision when we came, and when we had the place.
        self.entered: int = 0
        self.revision: int = 0

    async def take(self, wait_s: float | None) -> Fence:
        """Wait until all who came before have gone; raises Problem."""
        port = self._port
        if port.waiting >= port.options.waiting_max:
            detail = f"{port.waiting} requests wait for locks here"
            raise Problem(ErrorCode.TOO_BUSY, detail)
        port.waiting += 1
        try:
            fence = await self._take(wait_s)
            if self._made is not None:
                port.note_taken(fence)
            return fence
        except Problem as problem:
            if (not await self._leave() and self.entered) or self._lost is not None:
                # It still stands in line, and holds what is wanted when it is its turn.
                _leave_open(problem)
            raise
        except asyncio.CancelledError:
            self._leave()
            raise
        finally:
            port.waiting -= 1

    async def _take(self, wait_s: float | None) -> Fence:
        end = None if wait_s is None else self._port.loop.time() + wait_s
        if self._ttl_ms:
            await self._grant()
        fence, ahead = await self._stand(end)
        if ahead is None:
            return fence
        left = self._left(end)
        if left is not None and left <= 0:
            raise _held()
        if self._ttl_ms:
            self._keep()
        try:
            async with asyncio.timeout(left):
                await self._move_up(fence, ahead)
        except TimeoutError:
            raise _held() from None
        finally:
            if self._keeper is not None:
                self._keeper.cancel()
        if self._ttl_ms:
            # Whoever waited is given the whole time as well.
            await self._ask(KeepAlive(self.lease))
        return fence

    def _left(self, end: float | None) -> float | None:
        """The seconds until then, which may be over."""
        return None if end is None else end - self._port.loop.time()

    async def _stand(self, end: float | None) -> tuple[Fence, Entry | None]:
        """Stand in line and say what is to be said; whoever is just before us.

        The whole line is seen here: whoever waits holds no more of it than that.
        """
        for _ in range(_TRIES):
            found = await self._enter()
            self.entered = self.revision = found.revision
            ahead = found.queue.before(found.fence)
            if not self._has_to_join(found, ahead, end) or await self._join(found):
                # What was said may be large, and the wait long.
                self._value = None
                return found.fence, ahead
        detail = "others change this place again and again"
        raise self._lost or Problem(ErrorCode.TOO_BUSY, detail)

    def _has_to_join(
        self, found: Entered, ahead: Entry | None, end: float | None
    ) -> bool:
        """Is the key another request's, too, or does it say something else?"""
        if self._value is not None and found.value not in (None, self._value):
            return True
        if self._made is not None or self._granted:
            return False
        if ahead is None:
            return not self._as_etcd or self._may_go(found)
        left = self._left(end)
        # Who does not wait is told that somebody else holds it, and is gone.
        return left is None or left > 0

    def _may_go(self, found: Entered) -> bool:
        """Whoever made the key gives it up as long as nobody has put it again.

        But not once he has been told that he has it, which this node may know.
        """
        entry = found.queue.find(found.fence)
        assert entry is not None, "it is in the line that was read with it"
        alone = entry.mod_revision == entry.create_revision
        return alone and not self._port.was_taken(found.fence)

    async def _join(self, found: Entered) -> bool:
        """Put what was found again; False: it may not be as it was found."""
        entry = found.queue.find(found.fence)
        assert entry is not None, "it is in the line that was read with it"
        assert found.value is not None, "it was there before"
        value = found.value if self._value is None else self._value
        try:
            reply = await commit(self._port, join(entry, self.lease, value))
        except Problem as problem:
            if problem.code != "unknown_outcome":
                raise
            self._lost = problem
            return False
        self._joined = self._joined or reply.succeeded
        return reply.succeeded

    # -- in line -----------------------------------------------------------------------

    async def _enter(self) -> Entered:
        """Stand in line. If nobody waits for the answer any more, leave behind it."""
        entering = self._port.loop.create_task(self._ask_to_enter())
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            entering.add_done_callback(self._leave_late)
            raise

    async def _ask_to_enter(self) -> Entered:
        transaction = enter(self._name, self.lease, self._value or b"")
        for tries in range(1, _TRIES + 1):
            try:
                reply = await commit(self._port, transaction)
            except Problem as problem:
                if problem.code == "unknown_outcome" and tries < _TRIES:
                    continue
                if tries > 1:
                    # It may stand there since it asked before.
                    _leave_open(problem)
                raise
            found = entered(self._name, self.lease, reply)
            if found.made:
                self._made = found.fence
            elif tries > 1:
                # By a try whose fate was lost, or by another request, who may have it.
                self._joined = True
            return found
        raise AssertionError("the last try has returned or raised")

    async def _move_up(self, fence: Fence, ahead: Entry | None) -> None:
        while ahead is not None:
            await self._until_one_goes((fence.key, ahead.key), self.revision)
            ahead = await self._look_ahead(fence)

    async def _look_ahead(self, fence: Fence) -> Entry | None:
        """Whoever is just before us now."""
        self.revision, queue = await read_queue(self._port, self._name)
        there, ahead = queue.has(fence), queue.before(fence)
        # An error would hold it as long as it takes to leave.
        del queue
        if not there:
            self._joined = False
            raise _gone()
        return ahead

    async def _until_one_goes(self, keys: tuple[bytes, bytes], revision: int) -> None:
        """Wait until one of `keys`, which were there at `revision`, is deleted."""
        stream = WatchStream(self._port)
        try:
            for number, key in enumerate(keys, 1):
                request = WatchRequest(key, key + b"\0", revision + 1, puts=False)
                data = encode_watch(request)
                kind = RequestKind.WATCH
                self._port.service.submit(stream, number, kind, data, 0)
            while True:
                told = await told_next(self._port, stream, _FOREVER_S)
                if told is None or isinstance(told, WatchEvents):
                    return
        except Problem as problem:
            # When what it needs was compacted, it has to be looked at again.
            if problem.code != "compacted":
                raise
        finally:
            stream.close()
            self._port.service.gone(stream)

    # -- its lease ---------------------------------------------------------------------

    async def _ask(self, command: LeaseCommand) -> None:
        data = encode_lease_command(command)
        await ask(self._port, RequestKind.WRITE, data, 0)

    async def _grant(self) -> None:
        self._granted = True
        try:
            await self._ask(Grant(self.lease, self._ttl_ms))
        except Problem as problem:
            self._granted = problem.outcome != "not_applied"
            raise

    def _keep(self) -> None:
        """Keep the lease alive; when it is lost, its key goes, and is watched."""
        data = encode_lease_command(KeepAlive(self.lease))
        submit(self._port, RequestKind.WRITE, data)
        later = self._ttl_ms / _TIMES / 1000
        self._keeper = self._port.loop.call_later(later, self._keep)

    # -- the end -----------------------------------------------------------------------

    def _leave(self) -> "asyncio.Future[bool]":
        """Begin to leave; is nothing left, as far as the first try tells?"""
        if self._granted:
            data = encode_lease_command(Revoke(self.lease))
            lasts_s = self._ttl_ms / 1000
        elif self._made is not None:
            # How long its owner keeps the lease alive is not known here; that it has
            # ended is told, as the key is gone then.
            leaving = leave_alone(self._made)
            data, lasts_s = encode_transaction(leaving), math.inf
        else:
            nothing: asyncio.Future[bool] = self._port.loop.create_future()
            nothing.set_result(not self._joined)
            return nothing
        made = None if self._granted else self._made
        return Leaving(self._port, data, lasts_s, made).first

    def _leave_late(self, entering: "asyncio.Task[Entered]") -> None:
        if entering.cancelled() or entering.exception() is not None:
            return
        if not self._granted:
            self._leave()


class Leaving:
    """What is asked again and again until it is done, the lease is over, or the node.

    It counts as one who waits: so nobody can leave more of them behind than may wait.
    """

    def __init__(
        self, port: ClientPort, data: bytes, lasts_s: float, made: Fence | None
    ) -> None:
        self._port: ClientPort = port
        self._data: bytes = data
        # What `data` gives up unless somebody has joined; None: it ends a lease.
        self._made: Fence | None = made
        self._end: float = port.loop.time() + lasts_s
        # Whether the first try has left nothing.
        self.first: asyncio.Future[bool] = port.loop.create_future()
        port.waiting += 1
        task = port.loop.create_task(self._leave())
        # The loop itself does not hold it.
        _leaving.add(task)
        task.add_done_callback(self._left)

    async def _leave(self) -> None:
        pause_s = _PAUSE_S
        while True:
            error: Problem | None = None
            try:
                left = await self._try()
            except Problem as problem:
                error, left = problem, problem.code == "lease_not_found"
            if not self.first.done():
                self.first.set_result(left)
            if left or error is None or not _passes(error):
                return
            await asyncio.sleep(pause_s)
            if self._port.closing or self._port.loop.time() >= self._end:
                return
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)

    async def _try(self) -> bool:
        """Is nothing left? Not when somebody has joined: then it is his. Or Problem."""
        body = await ask(self._port, RequestKind.WRITE, self._data, _PATIENCE_MS)
        if self._made is None:
            return True
        reply = decode_txn_reply(body)
        if reply.succeeded:
            return True
        record = reply.results[0].record
        return record is None or record.create_revision != self._made.revision

    def _left(self, task: "asyncio.Task[None]") -> None:
        _leaving.discard(task)
        self._port.waiting -= 1


_leaving: Final[set["asyncio.Task[None]"]] = set()


def _leave_open(problem: Problem) -> None:
    """Say that it may have happened, or still may."""
    problem.outcome, problem.retryable = "unknown", False


def _passes(problem: Problem) -> bool:
    """May it go better later?"""
    return problem.retryable or problem.code == "unknown_outcome"


def _gone() -> Problem:
    detail = "the lease has ended, or its key was deleted, while it waited"
    return Problem(ErrorCode.LEASE_NOT_FOUND, detail)


def _held() -> Problem:
    return Problem("held", "somebody else holds it, and the wait is over")


# -- what is asked of the service ------------------------------------------------------


async def commit(port: ClientPort, transaction: Transaction) -> TxnReply:
    """What came of a transaction; raises Problem."""
    try:
        data = encode_transaction(transaction)
    except CommandRefused as error:
        raise Problem(error.code, error.reason) from None
    return decode_txn_reply(await ask(port, RequestKind.WRITE, data, 0))


async def read_queue(port: ClientPort, name: bytes) -> tuple[int, Queue]:
    """All who stand in line now, and the revision that shows them; raises Problem."""
    start, end, at = queue_prefix(name), queue_end(name), 0
    queue, count = Queue(()), 0
    while True:
        level = Level.LINEARIZABLE
        asked = RangeRequest(level, 0, 0, start, end, keys_only=True, revision=at)
        body = await ask(port, RequestKind.RANGE, encode_range(asked), 0)
        reply = decode_range_reply(body)
        # All pages are of the revision that the first one was.
        at = at or reply.header.revision
        count += len(reply.records)
        if count > KEYS_MAX:
            detail = f"over {KEYS_MAX} keys stand in this line"
            raise Problem(ErrorCode.TOO_MANY_KEYS, detail)
        for record in reply.records:
            queue.put(record)
        if not reply.more:
            return at, queue
        start = reply.records[-1].key + b"\0"


async def read_at(port: ClientPort, key: bytes, revision: int) -> Record | None:
    """What was under `key` at that revision; raises Problem."""
    request = GetRequest(Level.LINEARIZABLE, 0, 0, key, revision)
    body = await ask(port, RequestKind.GET, encode_get(request), 0)
    return decode_get_reply(body).record


async def told_next(
    port: ClientPort, stream: WatchStream, timeout_s: float
) -> WatchReply | None:
    """What the watches of a stream were told next; None after so long.

    Raises the Problem that ended one of them.
    """
    said: Said | None = await stream.next(timeout_s)
    if said is None:
        return None
    if said.status is None:
        return decode_watch_reply(said.body)
    if said.status == OK:
        raise Problem(ErrorCode.STOPPING, "the watch was ended")
    raise problem_of(decode_error(said.body, port.options.limits))
