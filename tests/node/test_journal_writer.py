"""Who waits for the disk: the loop while it is quick and batches are small."""

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from quorate.node.journal_writer import (
    BYTES_MAX,
    ENTRIES_MAX,
    QUICK_BATCHES,
    QUICK_S,
    SLOW_S,
    JournalWriter,
)
from quorate.node.stable import Stable
from quorate.raft import Entry
from quorate.storage.journal import Batch

LOOP, THREAD = "loop", "thread"


class Disk:
    """Says what it was given, and by whom; each batch takes `takes_s` of its clock."""

    def __init__(self) -> None:
        self.loops = threading.get_ident()
        self.now_s = 0.0
        self.takes_s = QUICK_S / 2
        self.fails: BaseException | None = None
        self.writers: list[str] = []
        self.batches: list[Batch] = []
        self.told: list[str] = []

    def persist(self, batch: Batch) -> None:
        own = threading.get_ident() == self.loops
        self.writers.append(LOOP if own else THREAD)
        self.batches.append(batch)
        self.told.append("written")
        self.now_s += self.takes_s
        if self.fails is not None:
            raise self.fails


def batch(entries: int = 1, value_bytes: int = 300) -> Batch:
    entry = Entry(index=1, term=1, kind=0, data=b"v" * value_bytes)
    return Batch(
        term=1, vote=1, commit_index=0, first_index=1, entries=[entry] * entries
    )


class Fixture:
    def __init__(self) -> None:
        self.disk = Disk()
        self.writer = JournalWriter(
            cast(Stable, cast(Any, self.disk)),
            asyncio.get_running_loop(),
            clock=lambda: self.disk.now_s,
        )

    async def persisted(
        self, given: Batch | None = None
    ) -> tuple[BaseException | None, float]:
        done: asyncio.Future[tuple[BaseException | None, float]]
        done = asyncio.get_running_loop().create_future()
        self.writer.submit(
            given or batch(), lambda error, took: done.set_result((error, took))
        )
        assert not done.done(), "never within the turn that gives it"
        return await done

    async def many(self, count: int = QUICK_BATCHES) -> None:
        for _ in range(count):
            await self.persisted()

    async def by(self, given: Batch | None = None) -> str:
        await self.persisted(given)
        return self.disk.writers[-1]


async def test_the_loop_waits_once_many_were_quick() -> None:
    it = Fixture()
    await it.many()
    assert set(it.disk.writers) == {THREAD}
    assert await it.by() == LOOP
    assert await it.by() == LOOP
    it.writer.close()


async def test_a_slow_batch_is_the_last_one_for_a_while() -> None:
    it = Fixture()
    await it.many()
    it.disk.takes_s = SLOW_S * 1.01
    assert await it.by() == LOOP, "nobody knows before"
    it.disk.takes_s = QUICK_S / 2
    for _ in range(QUICK_BATCHES):
        assert await it.by() == THREAD
    assert await it.by() == LOOP
    it.writer.close()


async def test_a_disk_that_stalls_now_and_then_is_left_to_the_thread() -> None:
    it = Fixture()
    for number in range(3 * QUICK_BATCHES):
        it.disk.takes_s = 0.3 if number % (QUICK_BATCHES - 1) == 50 else QUICK_S / 2
        assert await it.by() == THREAD
    it.writer.close()


@pytest.mark.parametrize(
    ("takes_s", "who"), [(QUICK_S * 0.99, LOOP), (QUICK_S * 1.2, THREAD)]
)
async def test_a_disk_is_as_quick_as_it_is_on_the_average(
    takes_s: float, who: str
) -> None:
    it = Fixture()
    it.disk.takes_s = takes_s
    await it.many(2 * QUICK_BATCHES)
    assert await it.by() == who
    it.writer.close()


async def test_a_disk_that_becomes_slower_is_left_to_the_thread() -> None:
    """No batch of it is a slow one."""
    it = Fixture()
    await it.many()
    it.disk.takes_s = SLOW_S * 0.9
    assert await it.by() == LOOP
    await it.many(20)
    assert await it.by() == THREAD
    it.disk.takes_s = QUICK_S / 10
    await it.many(2 * QUICK_BATCHES)
    assert await it.by() == LOOP
    it.writer.close()


@pytest.mark.parametrize(
    ("given", "who"),
    [
        (batch(ENTRIES_MAX, 1), LOOP),
        (batch(ENTRIES_MAX + 1, 1), THREAD),
        (batch(1, BYTES_MAX), LOOP),
        (batch(1, BYTES_MAX + 1), THREAD),
        (batch(2, BYTES_MAX // 2 + 1), THREAD),
        (batch(0), LOOP),
    ],
)
async def test_large_batches_are_the_threads(given: Batch, who: str) -> None:
    it = Fixture()
    await it.many()
    assert await it.by(given) == who
    assert it.disk.batches[-1] is given
    it.writer.close()


@pytest.mark.parametrize("quick", [False, True])
async def test_what_was_raised_and_how_long_it_took_is_told(quick: bool) -> None:
    it = Fixture()
    if quick:
        await it.many()
    it.disk.fails, it.disk.takes_s = OSError(5, "no"), 0.25
    error, took = await it.persisted()
    assert error is it.disk.fails
    assert took == pytest.approx(0.25)
    it.disk.fails, it.disk.takes_s = None, 0.0
    assert await it.by() == THREAD
    it.writer.close()


async def test_what_the_turn_says_leaves_before_the_loop_waits() -> None:
    """A connection writes at the end of the turn, or of the one after it."""
    it = Fixture()
    await it.many()
    it.disk.told.clear()
    loop = asyncio.get_running_loop()
    written = asyncio.Event()

    def done(error: BaseException | None, seconds: float) -> None:
        assert (error, seconds) == (None, pytest.approx(it.disk.takes_s))
        written.set()

    loop.call_soon(it.disk.told.append, "said")
    it.writer.submit(batch(), done)
    loop.call_soon(it.disk.told.append, "said as well")
    await written.wait()
    assert it.disk.told == ["said", "said as well", "written"]
    it.writer.close()


async def test_an_end_waits_for_what_the_thread_was_given() -> None:
    it = Fixture()
    answers: list[float] = []
    it.writer.submit(batch(), lambda error, seconds: answers.append(seconds))
    it.writer.close()
    assert len(it.disk.batches) == 1
    await asyncio.sleep(0)
    assert answers == [pytest.approx(it.disk.takes_s)]


def test_a_loop_that_is_closed_is_nobody_to_tell() -> None:
    """The node ended while its thread was at it; nothing is raised in the thread."""
    loop = asyncio.new_event_loop()
    disk = Disk()
    writer = JournalWriter(cast(Stable, cast(Any, disk)), loop)
    loop.close()
    writer.submit(batch(), lambda error, seconds: None)
    writer.close()
    assert len(disk.batches) == 1


def test_a_disk_that_hangs_is_waited_for_no_longer_than_asked() -> None:
    loop = asyncio.new_event_loop()
    goes_on = threading.Event()

    def hang(one: Batch) -> None:
        goes_on.wait()

    disk = SimpleNamespace(persist=hang)
    writer = JournalWriter(cast(Stable, cast(Any, disk)), loop)
    writer.submit(batch(), lambda error, seconds: None)
    begin = time.monotonic()
    writer.close(0.05)
    assert 0.04 < time.monotonic() - begin < 5
    assert writer._thread.is_alive()
    loop.close()
    goes_on.set()
    writer._thread.join(5)
    assert not writer._thread.is_alive()
