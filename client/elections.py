"""Elections: a lock that says something, and whose holder everybody can see.

Law: as for locks, who leads may not know yet that it leads no more; its token decides.
Who observes is told of every leader and of everything it says, in order, but for what
was compacted before it could be told.
"""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

from ..wire import (
    Entry,
    GetRequest,
    Level,
    ProtocolError,
    Queue,
    RequestKind,
    decode_get_reply,
    encode_get,
    fence_lost,
    proclaim,
    queue_end,
    queue_prefix,
)
from ..wire.locks import lease_of_key
from .errors import Compacted
from .places import Holding, Places, checked_wait
from .refusals import error_of
from .values import KeyValue, to_bytes
from .watching import Event, Watch

_UNTOLD: Final = -1


class Election(Holding):
    """An election; leaving its context resigns."""

    _twice = "a campaign goes on already, or was won"
    _nothing = "no campaign was won"

    async def campaign(self, value: str | bytes, *, wait: float | None = None) -> None:
        """Wait until we lead, and say `value`; Held when `wait` seconds are over.

        By default there is no end to it.
        """
        await self._take(to_bytes(value), checked_wait(wait))

    async def proclaim(self, value: str | bytes) -> int:
        """Say something else; the revision at which. Fenced when we lead no more."""
        place = self._held()
        transaction = proclaim(place.fence, place.lease.id, to_bytes(value))
        reply = await self._places.commit(transaction, self._timeout)
        if not reply.succeeded:
            raise error_of(fence_lost())
        return reply.revision

    async def resign(self) -> None:
        """Let somebody else lead; who leads no more already is no error.

        To be tried again if it fails; else it goes with its lease.
        """
        await self._give_up()

    async def leader(self) -> KeyValue | None:
        """Who leads, as the key that holds what it said; None: nobody."""
        while True:
            revision, queue = await self._places.queue(self.name, self._timeout)
            first = leading(self.name, queue)
            if first is None:
                return None
            try:
                return await read_at(self._places, first, revision, self._timeout)
            except Compacted:
                continue

    def observe(self) -> "Observation":
        """Who leads now, then whenever somebody else does, or says something else."""
        return Observation(self._places, self.name, self._timeout)

    async def __aenter__(self) -> Self:
        return self


class Observation(AsyncIterator[KeyValue | None]):
    """An asynchronous iterator over leaders; close it, or use it as a context.

    None says that nobody leads.
    """

    def __init__(self, places: Places, name: bytes, timeout: float) -> None:
        self._places: Places = places
        self._name: bytes = name
        self._timeout: float = timeout
        self._queue: Queue = Queue(())
        self._watch: Watch | None = None
        # Whoever leads as of this revision is still to be looked at; 0: nobody is.
        self._due: int = 0
        # What was said at that revision.
        self._said: dict[bytes, KeyValue] = {}
        # The revision at which the leader that was told last said it; 0: nobody leads.
        self._told: int = _UNTOLD
        # What was told to nobody, and comes again.
        self._untold: list[KeyValue | None] = []
        self._closed: bool = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> KeyValue | None:
        while not self._closed:
            if self._untold:
                return self._untold.pop()
            try:
                leader = await self._next()
            except Compacted:
                # What was said meanwhile is not kept: it goes on with who leads now.
                await self._hang_up()
                continue
            at = 0 if leader is None else leader.mod_revision
            if at != self._told:
                self._told = at
                return leader
        raise StopAsyncIteration

    def _put_back(self, item: KeyValue | None) -> None:
        """It was taken for nobody."""
        self._untold.append(item)

    async def close(self) -> None:
        """End it."""
        self._closed = True
        await self._hang_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _next(self) -> KeyValue | None:
        """Who leads, after one more revision that changed something in this line."""
        if not self._due:
            await self._change()
        # Whoever is cancelled here, or not answered, asks for the same again.
        leader = await self._leader()
        self._due = 0
        return leader

    async def _change(self) -> None:
        """Wait for that revision; what was taken from the watch is kept at once."""
        if self._watch is None:
            revision, self._queue = await self._places.queue(self._name, self._timeout)
            start, end = queue_prefix(self._name), queue_end(self._name)
            self._watch = self._places.watch(
                start, end, revision + 1, self._timeout, puts=True
            )
            self._due = revision
            self._said.clear()
            return
        watch = self._watch
        event = await anext(watch)
        self._said.clear()
        self._take(event)
        while watch.revision < event.revision:
            # The rest of the revision has come with it: nothing is waited for.
            self._take(await anext(watch))
        self._due = event.revision

    def _take(self, event: Event) -> None:
        if event.kv is None:
            self._queue.delete(event.key)
            self._said.pop(event.key, None)
        else:
            self._queue.put(event.kv)
            self._said[event.key] = event.kv

    async def _leader(self) -> KeyValue | None:
        first = leading(self._name, self._queue)
        if first is None:
            return None
        said = self._said.get(first.key)
        if said is not None:
            return said
        return await read_at(self._places, first, self._due, self._timeout)

    async def _hang_up(self) -> None:
        self._due = 0
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.close()


def leading(name: bytes, queue: Queue) -> Entry | None:
    """Who leads; None: nobody does.

    Where what came first is no place, all who campaign wait for it, and nobody leads.
    """
    first = queue.holder()
    if first is None or not first.lease or lease_of_key(name, first.key) is None:
        return None
    return first


async def read_at(
    places: Places, entry: Entry, revision: int, timeout: float
) -> KeyValue:
    """What the key of `entry`, which was there at `revision`, said then."""
    request = GetRequest(Level.LINEARIZABLE, 0, 0, entry.key, revision)

    def decode(body: bytes) -> KeyValue:
        record = decode_get_reply(body).record
        if record is None or record.mod_revision != entry.mod_revision:
            raise ProtocolError("a key is not as it was at that revision")
        return KeyValue.of(record)

    kind = RequestKind.GET
    return await places.calls.call(kind, encode_get(request), timeout, decode)
