"""The load of one client process: operations in a closed or an open loop.

Law: in a closed loop an operation's latency counts from when it was begun, in an open
one from when it was *due*, whatever kept it from being sent. An open loop never slows
down in silence: it says how many operations had to wait, and how many never went out.
Only keys under the prefix are touched.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Iterator
from itertools import chain
from typing import Final, TypedDict

import msgspec

from ...client import AsyncClient, QuorateError, ReadLevel, prefix_end
from .bulk import for_each
from .clock import Clock
from .mixes import Operation, Stream, Values, key_of
from .options import LoadOptions
from .report import Report, code_of
from .schedule import due_times

TICK_SECONDS: Final = 1.0
# How long a stop may go unnoticed while nothing is due.
STOP_SECONDS: Final = 0.1
# So many operations are begun at once before answers get their turn.
BURST: Final = 64


class Progress(msgspec.Struct, tag=True):
    """How far loading or cleaning is."""

    done: int
    total: int


class _Reading(TypedDict, total=False):
    level: ReadLevel
    max_staleness: float


class Generator:
    """One process's part of a run: `load`, `run` and `clean`, each once, in order."""

    def __init__(
        self, client: AsyncClient, options: LoadOptions, process: int, clock: Clock
    ) -> None:
        self._client: AsyncClient = client
        self._options: LoadOptions = options
        self._process: int = process
        self._clock: Clock = clock
        self._stream: Stream = Stream(
            options.mix,
            options.distribution,
            options.keys,
            options.dice(process, "stream"),
            process=process,
            processes=options.processes,
        )
        self._values: Values = Values(
            options.value_bytes, options.dice(process, "values")
        )
        self._scan_end: bytes = prefix_end(options.prefix)
        self._reading: _Reading = {"level": options.level}
        if options.max_staleness_s is not None:
            self._reading["max_staleness"] = options.max_staleness_s
        self._stopping: bool = False
        # What `clean` deletes: the numbers that this process wrote, below and from the
        # number of keys on.
        self._wrote: bytearray = bytearray(options.keys if options.cleanup else 0)
        self._made: list[int] = []
        self._done: int = 0
        # The run.
        self._report: Report = Report()
        self._measured_from_s: float = 0.0
        self._end_s: float | None = None
        self._closed_s: float | None = None
        self._success_s: float = 0.0
        self._cpu_s: float = 0.0
        self._taken_s: float = 0.0
        self._left: int | None = options.share(process)
        self._in_flight: int = 0
        self._free: asyncio.Event = asyncio.Event()
        self._blocked_until_s: float = -math.inf

    def stop(self) -> None:
        """Begin nothing more; what is in flight ends by itself."""
        self._stopping = True
        self._close()
        self._free.set()

    # -- before and after ------------------------------------------------------------

    async def load(self, tell: Callable[[Progress], None]) -> None:
        """Put this process's share of the keys."""
        options = self._options
        numbers = range(self._process, options.keys, options.processes)

        async def put(number: int) -> None:
            if options.cleanup:
                self._wrote[number] = 1
            await self._client.put(key_of(options.prefix, number), self._values.next())
            self._done += 1

        def until_stopped() -> Iterator[int]:
            for number in numbers:
                if self._stopping:
                    return
                yield number

        def progress() -> None:
            tell(Progress(self._done, len(numbers)))

        await self._ticking(for_each(until_stopped(), put, self._clock), progress)

    async def clean(self, tell: Callable[[Progress], None]) -> None:
        """Delete what this process wrote."""
        numbers = [number for number, wrote in enumerate(self._wrote) if wrote]
        numbers += self._made
        self._done = 0

        async def delete(number: int) -> None:
            await self._client.delete(key_of(self._options.prefix, number))
            self._done += 1

        def progress() -> None:
            tell(Progress(self._done, len(numbers)))

        await self._ticking(for_each(numbers, delete, self._clock), progress)

    async def _ticking(
        self, work: Coroutine[object, object, None], tell: Callable[[], None]
    ) -> None:
        """Do the work, and tell about it every second and at its end."""

        async def tick() -> None:
            while True:
                await self._clock.sleep_until(self._clock.now() + TICK_SECONDS)
                tell()

        ticker = asyncio.ensure_future(tick())
        try:
            await work
        finally:
            ticker.cancel()
            tell()

    # -- the run ---------------------------------------------------------------------

    async def run(self, begin_s: float, tell: Callable[[Report], None]) -> None:
        """Do operations from this moment on; reports go out every second."""
        options = self._options
        self._measured_from_s = begin_s + options.warmup_s
        if options.duration_s is not None:
            self._end_s = self._measured_from_s + options.duration_s
        await self._sleep_until(begin_s)
        self._cpu_s = self._clock.cpu()
        self._taken_s = begin_s
        loop = self._closed() if options.rate is None else self._open(begin_s)
        await self._ticking(loop, lambda: tell(self.take()))

    def take(self) -> Report:
        """What happened since this was called last."""
        now = self._clock.now()
        report, self._report = self._report, Report()
        report.in_flight = self._in_flight
        report.warm = self._taken_s < self._measured_from_s
        self._taken_s = now
        cpu_s, before_s = self._clock.cpu(), self._cpu_s
        self._cpu_s = cpu_s
        if now < self._measured_from_s:
            return report
        # Stragglers at the end are counted, but the time is not theirs.
        moments = (now, self._end_s, self._closed_s)
        closed_s = min(at for at in moments if at is not None)
        report.begin_s = self._measured_from_s
        report.end_s = max(closed_s, self._success_s, self._measured_from_s)
        # Up to a second of warming up is in the first of these.
        report.cpu_s = cpu_s - before_s
        return report

    async def _closed(self) -> None:
        """Some tasks, each of which begins an operation when its last has ended."""

        async def repeat() -> None:
            while self._may_begin(began_s := self._clock.now()):
                self._in_flight += 1
                await self._perform(self._stream.next(), began_s)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.in_flight):
                group.create_task(repeat())

    async def _open(self, begin_s: float) -> None:
        """One task for each operation, begun when it is due."""
        options = self._options
        assert options.rate is not None
        dues = due_times(
            options.arrivals,
            begin_s,
            options.rate,
            options.dice(self._process, "arrivals"),
            process=self._process,
            processes=options.processes,
        )
        burst = 0
        async with asyncio.TaskGroup() as group:
            for due_s in dues:
                burst = 0 if await self._sleep_until(due_s) else burst + 1
                if self._full:
                    await self._wait_for_room(due_s)
                if due_s < self._measured_from_s <= self._clock.now():
                    # What warming up has left over would hide what is measured.
                    continue
                if self._full or not self._may_begin(due_s):
                    self._count_unsent(chain([due_s], dues))
                    break
                if burst >= BURST:
                    burst = 0
                    await asyncio.sleep(0)
                if due_s >= self._measured_from_s:
                    # Also those behind the one that had no room.
                    self._report.delayed += due_s < self._blocked_until_s
                    late_s = max(self._clock.now() - due_s, 0.0)
                    self._report.late.record(int(late_s * 1e9))
                    self._report.due_s = due_s
                    self._report.sent_s = due_s + late_s
                self._in_flight += 1
                group.create_task(self._perform(self._stream.next(), due_s))

    async def _sleep_until(self, moment_s: float) -> bool:
        """Sleep until then, or until a stop; whether that took any time."""
        slept = False
        while (now := self._clock.now()) < moment_s and not self._stopping:
            await self._clock.sleep_until(min(moment_s, now + STOP_SECONDS))
            slept = True
        return slept

    @property
    def _full(self) -> bool:
        return self._in_flight >= self._options.in_flight

    async def _wait_for_room(self, due_s: float) -> None:
        """Wait until less is in flight, or until the end."""
        end_s = math.inf if self._end_s is None else self._end_s
        if due_s < self._measured_from_s:
            end_s = self._measured_from_s
        while self._full and not self._stopping and self._clock.now() < end_s:
            self._free.clear()
            await self._free.wait()
        self._blocked_until_s = self._clock.now()

    def _count_unsent(self, dues: Iterable[float]) -> None:
        """Those that were due before the end and were not begun."""
        moments = (self._end_s, self._closed_s)
        until_s = min((at for at in moments if at is not None), default=-math.inf)
        for due_s in dues:
            if due_s >= until_s or not self._counts(due_s):
                return
            self._report.unsent += due_s >= self._measured_from_s

    def _may_begin(self, at_s: float) -> bool:
        """Whether an operation of this moment is part of the run; it is counted."""
        if self._stopping or (self._end_s is not None and at_s >= self._end_s):
            return False
        if self._counts(at_s):
            return True
        self._close()
        return False

    def _counts(self, at_s: float) -> bool:
        """Count one more, unless there have been enough; warming up is not counted."""
        if self._left is None or at_s < self._measured_from_s:
            return True
        if self._left == 0:
            return False
        self._left -= 1
        return True

    def _close(self) -> None:
        if self._closed_s is None:
            self._closed_s = self._clock.now()

    # -- operations ------------------------------------------------------------------

    async def _perform(self, operation: Operation, since_s: float) -> None:
        """Do one operation and count it, by the time that has passed since then."""
        measured = since_s >= self._measured_from_s
        try:
            found = await self._do(operation)
        except QuorateError as error:
            if measured:
                errors = self._report.tally(operation.kind).errors
                code = code_of(error)
                errors[code] = errors.get(code, 0) + 1
            # What is refused before anything is sent would leave no time for replies.
            await asyncio.sleep(0)
        else:
            if measured:
                now = self._clock.now()
                self._success_s = now
                tally = self._report.tally(operation.kind)
                tally.latency.record(int((now - since_s) * 1e9))
                tally.absent += not found
        finally:
            self._in_flight -= 1
            self._free.set()

    async def _do(self, operation: Operation) -> bool:
        """Do one operation; False when a read found nothing."""
        client = self._client
        number = operation.number
        key = key_of(self._options.prefix, number)
        match operation.kind:
            case "get":
                return await client.get(key, **self._reading) is not None
            case "put":
                await self._put(key, number)
            case "insert":
                await self._put(key, number)
                self._stream.inserted(number)
            case "scan":
                found = False
                async for _ in client.range(
                    start=key,
                    end=self._scan_end,
                    limit=operation.length,
                    **self._reading,
                ):
                    found = True
                return found
            case "read-modify-write":
                entry = await client.get(key, **self._reading)
                await self._put(key, number)
                return entry is not None
        return True

    async def _put(self, key: bytes, number: int) -> None:
        # Noted before it is sent: one whose outcome is unknown may be there, too.
        options = self._options
        if options.cleanup:
            if number >= options.keys:
                self._made.append(number)
            elif not options.load:
                self._wrote[number] = 1
        await self._client.put(key, self._values.next())
