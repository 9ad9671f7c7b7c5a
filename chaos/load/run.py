"""A whole run: load, operations, clean up, on one or several client processes.

Law: decides when which phase begins and adds up what workers tell; whatever ends a run,
what was told until then is its result. It starts and ends no worker.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Final, Literal, TypeAlias

import msgspec

from .clock import Clock
from .errors import LoadError
from .generator import TICK_SECONDS, Progress
from .options import LoadOptions
from .report import Report
from .worker import Worker

# Until all processes have heard when the run begins.
LEAD_SECONDS: Final = 0.05


class BulkMoment(msgspec.Struct, frozen=True):
    """How far loading or cleaning is, in keys."""

    phase: Literal["load", "clean"]
    done: int
    total: int


class RunMoment(msgspec.Struct, frozen=True):
    """What the last second or so of a run was like; `at_s` is since its beginning."""

    at_s: float
    window_s: float
    window: Report


Moment: TypeAlias = BulkMoment | RunMoment


class Result(msgspec.Struct):
    """What was measured, why that was all if it is, and the phases' failures."""

    report: Report
    interrupted: bool
    failures: list[LoadError]


async def run_load(
    options: LoadOptions,
    workers: Sequence[Worker],
    clock: Clock,
    tell: Callable[[Moment], None],
    *,
    stop: asyncio.Event,
    abort: asyncio.Event,
) -> Result:
    """Run all phases. `stop` ends the run in order, cleaning included; `abort` now."""
    run = _Run(options, workers, clock, tell, stop)
    work = asyncio.ensure_future(run.work())
    ticker = asyncio.ensure_future(run.tick())
    stopper = asyncio.ensure_future(run.stop_when_told())
    aborted = asyncio.ensure_future(abort.wait())
    try:
        await asyncio.wait({work, aborted}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (work, ticker, stopper, aborted):
            task.cancel()
        await asyncio.wait({work, ticker, stopper, aborted})
    if not work.cancelled():
        work.result()
    return Result(run.total, stop.is_set() or abort.is_set(), run.failures)


class _Run:
    def __init__(
        self,
        options: LoadOptions,
        workers: Sequence[Worker],
        clock: Clock,
        tell: Callable[[Moment], None],
        stop: asyncio.Event,
    ) -> None:
        self._options: LoadOptions = options
        self._workers: Sequence[Worker] = workers
        self._clock: Clock = clock
        self._tell: Callable[[Moment], None] = tell
        self._stop: asyncio.Event = stop
        self._phase: Literal["load", "run", "clean"] | None = None
        self._begin_s: float = 0.0
        self._progress: dict[int, Progress] = {}
        self._window: Report = Report()
        self._window_from_s: float = 0.0
        self._in_flight: dict[int, int] = {}
        self.total: Report = Report()
        self.failures: list[LoadError] = []

    async def work(self) -> None:
        """All phases, one after the other."""
        numbered = list(enumerate(self._workers))
        if self._options.load:
            self._phase = "load"
            await self._all(w.load(partial(self._told, n)) for n, w in numbered)
            self._show()
        if not self._stop.is_set() and not self.failures:
            self._phase = "run"
            self._begin_s = self._window_from_s = self._clock.now() + LEAD_SECONDS
            await self._all(
                w.run(self._begin_s, partial(self._reported, n)) for n, w in numbered
            )
        if self._options.cleanup:
            self._phase = "clean"
            self._progress.clear()
            await self._all(w.clean(partial(self._told, n)) for n, w in numbered)
            self._show()

    async def tick(self) -> None:
        """Show every second how it goes."""
        while True:
            await self._clock.sleep_until(self._clock.now() + TICK_SECONDS)
            # Of a run this is the business of its reports, if they come.
            late_s = self._clock.now() - self._window_from_s
            if self._phase != "run" or late_s > 2 * TICK_SECONDS:
                self._show()

    async def stop_when_told(self) -> None:
        """Hand a stop on to the workers."""
        await self._stop.wait()
        self._stop_all()

    def _stop_all(self) -> None:
        for worker in self._workers:
            worker.stop()

    async def _all(self, phases: Iterable[Coroutine[object, object, None]]) -> None:
        """One phase on all workers; when one fails, the others end it early."""

        async def guarded(phase: Coroutine[object, object, None]) -> None:
            try:
                await phase
            except LoadError as error:
                self.failures.append(error)
                self._stop_all()

        async with asyncio.TaskGroup() as group:
            for phase in phases:
                group.create_task(guarded(phase))

    def _told(self, number: int, progress: Progress) -> None:
        self._progress[number] = progress

    def _reported(self, number: int, report: Report) -> None:
        # A second one from the same worker begins a new window.
        if number in self._in_flight:
            self._show()
        self.total.add(report)
        self._window.add(report)
        self._in_flight[number] = report.in_flight
        if len(self._in_flight) == len(self._workers):
            self._show()

    def _show(self) -> None:
        match self._phase:
            case None:
                return
            case "run":
                # What is left at the end is too short to say anything.
                if self._clock.now() - self._window_from_s < TICK_SECONDS / 2:
                    return
                window, self._window = self._window, Report()
                window.in_flight = sum(self._in_flight.values())
                self._in_flight.clear()
                begin_s, self._window_from_s = self._window_from_s, self._clock.now()
                at_s = max(self._window_from_s - self._begin_s, 0.0)
                window_s = max(self._window_from_s - begin_s, 0.0)
                self._tell(RunMoment(at_s, window_s, window))
            case phase:
                done = sum(each.done for each in self._progress.values())
                total = sum(each.total for each in self._progress.values())
                if total:
                    self._tell(BulkMoment(phase, done, total))
