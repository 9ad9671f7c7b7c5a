"""Who leads, as it changes: a watch on all who stand in line for an election.

Law: each leader is told once for each thing that it says, in order. What was compacted
before it could be told is left out, and who leads now is told instead.
"""

import msgspec

from ...wire.frames import RequestKind
from ...wire.locks import Queue, queue_end, queue_prefix
from ...wire.records import Record
from ...wire.watches import WatchEvents, WatchRequest, encode_watch
from .connections import ClientPort
from .errors import Problem
from .places import read_at, read_queue, told_next
from .watch_stream import WatchStream


class Leading(msgspec.Struct, frozen=True):
    """Who leads at a revision; None: nobody."""

    revision: int
    record: Record | None


async def read_leader(port: ClientPort, name: bytes) -> Leading:
    """Who leads now; raises Problem."""
    while True:
        revision, queue = await read_queue(port, name)
        try:
            return await _leading(port, queue, revision)
        except Problem as problem:
            if problem.code != "compacted":
                raise


async def _leading(port: ClientPort, queue: Queue, revision: int) -> Leading:
    holder = queue.holder()
    if holder is None:
        return Leading(revision, None)
    return Leading(revision, await read_at(port, holder.key, revision))


class Observation:
    """One who observes; to be closed."""

    def __init__(self, port: ClientPort, name: bytes) -> None:
        self._port: ClientPort = port
        self._name: bytes = name
        self._queue: Queue = Queue(())
        self._stream: WatchStream | None = None
        # What leaders have said in the revision that is not told whole yet.
        self._said: dict[bytes, Record] = {}
        # The mod_revision that was told last, 0 of nobody.
        self._told: int | None = None

    async def next(self, timeout_s: float) -> Leading | None:
        """The next leader, or thing that it says; None after so long without any."""
        end = self._port.loop.time() + timeout_s
        while True:
            try:
                found = await self._next(end)
            except Problem as problem:
                if problem.code != "compacted":
                    raise
                self.close()
                continue
            if found is None:
                return None
            record = found.record
            at = 0 if record is None else record.mod_revision
            if at != self._told:
                self._told = at
                return found
            # It may be large, and the next one long in coming.
            del found, record

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
            self._port.service.gone(stream)

    async def _next(self, end: float) -> Leading | None:
        """Who leads, after one more revision that changed something in this line."""
        if self._stream is None:
            revision, self._queue = await read_queue(self._port, self._name)
            self._said.clear()
            self._stream = self._watch(revision + 1)
            return await _leading(self._port, self._queue, revision)
        while True:
            left = max(0.0, end - self._port.loop.time())
            told = await told_next(self._port, self._stream, left)
            if told is None:
                return None
            if isinstance(told, WatchEvents):
                self._take(told)
                if not told.more:
                    return await self._after(told.revision)
            del told

    def _watch(self, revision: int) -> WatchStream:
        stream = WatchStream(self._port)
        start, end = queue_prefix(self._name), queue_end(self._name)
        data = encode_watch(WatchRequest(start, end, revision))
        self._port.service.submit(stream, 1, RequestKind.WATCH, data, 0)
        return stream

    def _take(self, told: WatchEvents) -> None:
        for event in told.events:
            if event.put:
                self._queue.put(event.record)
                self._said[event.record.key] = event.record
            else:
                self._queue.delete(event.record.key)

    async def _after(self, revision: int) -> Leading:
        holder = self._queue.holder()
        said, self._said = self._said, {}
        if holder is not None and holder.key in said:
            return Leading(revision, said[holder.key])
        return await _leading(self._port, self._queue, revision)
