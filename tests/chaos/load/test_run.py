"""A whole run with workers that do as they are told, under a clock of ours."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest
from quorate.chaos.load import (
    BulkMoment,
    LoadError,
    LoadOptions,
    Moment,
    PhaseFailed,
    Progress,
    Report,
    Result,
    RunMoment,
    WorkerLost,
    run_load,
)

from .conftest import FakeClock

OPTIONS = LoadOptions(
    workload="put", distribution="uniform", seed=1, duration_s=3.0, processes=2
)
WHOLE = msgspec.structs.replace(OPTIONS, load=True, cleanup=True)


class FakeWorker:
    """A second for loading and for cleaning, three for the run; two reports a second.

    With a failure, the phase of that name ends in it at once.
    """

    def __init__(
        self, clock: FakeClock, failures: dict[str, LoadError] | None = None
    ) -> None:
        self.clock = clock
        self.failures = failures or {}
        self.phases: list[str] = []
        self.begin_s = 0.0
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    async def load(self, tell: Callable[[Progress], None]) -> None:
        await self._bulk("load", tell)

    async def clean(self, tell: Callable[[Progress], None]) -> None:
        await self._bulk("clean", tell)

    async def run(self, begin_s: float, tell: Callable[[Report], None]) -> None:
        self._begin("run")
        self.begin_s = begin_s
        await self.clock.sleep_until(begin_s)
        for second in range(1, 4):
            if self.stopped:
                return
            await self.clock.sleep_until(begin_s + second)
            report = Report(in_flight=5, begin_s=begin_s, end_s=begin_s + second)
            report.tally("put").latency.record(1000)
            tell(report)

    async def _bulk(self, name: str, tell: Callable[[Progress], None]) -> None:
        self._begin(name)
        tell(Progress(5, 10))
        await self.clock.sleep_until(self.clock.now() + 2.5)
        tell(Progress(10, 10))

    def _begin(self, name: str) -> None:
        self.phases.append(name)
        if name in self.failures:
            raise self.failures[name]


class Bench:
    """A run and what it tells."""

    def __init__(self, clock: FakeClock, workers: Sequence[FakeWorker]) -> None:
        self.clock = clock
        self.workers = workers
        self.told: list[Moment] = []
        self.stop = asyncio.Event()
        self.abort = asyncio.Event()
        self.then: Callable[[Moment], None] = lambda _: None

    def tell(self, moment: Moment) -> None:
        self.told.append(moment)
        self.then(moment)

    async def run(self, options: LoadOptions = WHOLE) -> Result:
        return await self.clock.drive(
            run_load(
                options,
                self.workers,
                self.clock,
                self.tell,
                stop=self.stop,
                abort=self.abort,
            )
        )


@pytest.fixture
def bench(clock: FakeClock) -> Bench:
    return Bench(clock, [FakeWorker(clock), FakeWorker(clock)])


async def test_phases_follow_each_other_on_all_workers(bench: Bench) -> None:
    result = await bench.run()
    for worker in bench.workers:
        assert worker.phases == ["load", "run", "clean"]
        assert worker.begin_s == bench.workers[0].begin_s > 2.5
    assert result.report.total().latency.count == 6
    assert result.report.seconds == pytest.approx(3.0)
    assert (result.interrupted, result.failures) == (False, [])


async def test_what_was_not_asked_for_is_not_done(bench: Bench) -> None:
    await bench.run(OPTIONS)
    assert [worker.phases for worker in bench.workers] == [["run"], ["run"]]


async def test_every_second_is_told_once_with_what_all_workers_did(
    bench: Bench,
) -> None:
    await bench.run()
    runs = [moment for moment in bench.told if isinstance(moment, RunMoment)]
    assert [round(moment.at_s) for moment in runs] == [1, 2, 3]
    for moment in runs:
        assert moment.window_s == pytest.approx(1.0)
        assert moment.window.total().latency.count == 2
        assert moment.window.in_flight == 10
    bulks = [moment for moment in bench.told if isinstance(moment, BulkMoment)]
    assert bulks[0] == BulkMoment("load", 10, 20)
    assert BulkMoment("load", 20, 20) in bulks
    assert bulks[-1] == BulkMoment("clean", 20, 20)


async def test_a_stop_while_loading_skips_the_run_and_still_cleans(
    bench: Bench,
) -> None:
    bench.then = lambda _: bench.stop.set()
    result = await bench.run()
    for worker in bench.workers:
        assert worker.stopped
        assert worker.phases == ["load", "clean"]
    assert result.interrupted


async def test_a_stop_while_running_keeps_the_results_so_far(bench: Bench) -> None:
    def then(moment: Moment) -> None:
        if isinstance(moment, RunMoment):
            bench.stop.set()

    bench.then = then
    result = await bench.run()
    assert 2 <= result.report.total().latency.count < 6
    assert result.interrupted
    assert [worker.phases[-1] for worker in bench.workers] == ["clean", "clean"]


async def test_an_abort_ends_everything_at_once_with_the_results_so_far(
    bench: Bench,
) -> None:
    def then(moment: Moment) -> None:
        if isinstance(moment, RunMoment):
            bench.abort.set()

    bench.then = then
    result = await bench.run()
    assert result.report.total().latency.count == 2
    assert result.interrupted
    assert [worker.phases[-1] for worker in bench.workers] == ["run", "run"]


async def test_a_phase_that_fails_stops_the_others_and_is_the_result(
    clock: FakeClock,
) -> None:
    failed = PhaseFailed("forbidden", "not yours")
    good, bad = FakeWorker(clock), FakeWorker(clock, {"load": failed})
    result = await Bench(clock, [good, bad]).run()
    assert good.stopped
    assert good.phases == bad.phases == ["load", "clean"]
    assert result.failures == [failed]


async def test_a_worker_that_is_lost_leaves_the_results_of_the_others(
    clock: FakeClock,
) -> None:
    lost = WorkerLost("gone")
    good, bad = FakeWorker(clock), FakeWorker(clock, {"run": lost})
    result = await Bench(clock, [good, bad]).run(OPTIONS)
    assert result.failures == [lost]
    assert good.stopped


async def test_a_bug_is_no_result(clock: FakeClock) -> None:
    class Broken(FakeWorker):
        async def run(self, begin_s: float, tell: Callable[[Report], None]) -> None:
            raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as raised:
        await Bench(clock, [Broken(clock)]).run(OPTIONS)
    assert raised.group_contains(ZeroDivisionError)
