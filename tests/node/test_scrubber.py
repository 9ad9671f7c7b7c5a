"""The scrubber finds what rots unread, tells of it while it matters, takes its time."""

import asyncio
import errno
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from weakref import ref

import pytest
from quorate.node.scrubber import Scrubber
from quorate.storage.engine import Engine, EngineOptions
from quorate.storage.errors import CorruptionError
from quorate.storage.memory_env import MemoryEnv

FAST = 1 << 30
ENTRIES = 500
RUNS = 3


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def filled() -> tuple[MemoryEnv, Engine]:
    """Several tables, and files of values."""
    env = MemoryEnv()
    options = EngineOptions(blob_bytes=400)
    engine = Engine(env, "/engine", lambda: Random().randbytes(16), options)
    for run in range(RUNS):
        sizes = {b"%05d" % n: 500 if n % 50 == 0 else 50 for n in range(ENTRIES)}
        engine.write({k: b"v" * n for k, n in sizes.items()}, run + 1, b"")
        engine.flush()
    return env, engine


def spoil(env: MemoryEnv, path: str, at: int) -> None:
    file = env.open(path)
    (byte,) = file.read_at(at, 1)
    file.write_at(at, bytes([byte ^ 1]))
    file.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing here tells when
        await asyncio.sleep(0)


async def passes(scrubber: Scrubber, count: int) -> None:
    """Run until so many passes are done."""
    task = asyncio.ensure_future(scrubber.run())
    await until(lambda: scrubber.passes >= count or task.done())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_pass_reads_every_byte_of_every_file(
    executor: ThreadPoolExecutor,
) -> None:
    _, engine = filled()
    found: list[CorruptionError] = []
    scrubber = Scrubber(engine, executor, found.append, FAST, 0.0)
    await passes(scrubber, 2)
    sizes = [file.meta.size_bytes for file in engine.files()]
    assert len(sizes) > 3
    assert scrubber.read_bytes >= 2 * sum(sizes)
    assert not found


async def test_every_file_is_found_out_at_any_place(
    executor: ThreadPoolExecutor,
) -> None:
    dice = Random(5)
    for number in range(len(filled()[1].files())):
        env, engine = filled()
        file = engine.files()[number]
        found: list[CorruptionError] = []
        scrubber = Scrubber(engine, executor, found.append, FAST, 0.0)
        spoil(env, file.path, dice.randrange(file.meta.size_bytes))
        await passes(scrubber, 1)
        assert [damage.path for damage in found] == [file.path]


async def test_a_sector_that_cannot_be_read_is_damage(
    executor: ThreadPoolExecutor,
) -> None:
    env, engine = filled()
    found: list[CorruptionError] = []
    path = engine.files()[1].path
    env.fail("read", path, error=errno.EIO)
    await passes(Scrubber(engine, executor, found.append, FAST, 0.0), 1)
    (damage,) = found
    assert damage.path == path
    assert "can't be read" in damage.reason


async def test_damage_in_a_file_that_is_no_longer_in_use_is_not_told(
    executor: ThreadPoolExecutor,
) -> None:
    env, engine = filled()
    found: list[CorruptionError] = []
    first, *_, last = engine.files()
    scrubber = Scrubber(engine, executor, found.append, FAST, 0.0)
    spoil(env, last.path, last.meta.size_bytes // 2)
    task = asyncio.ensure_future(scrubber.run())
    await until(lambda: scrubber.read_bytes >= first.meta.size_bytes)
    engine.condemn(CorruptionError("/elsewhere", 0, "found by somebody else"))
    await until(lambda: scrubber.passes == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not found


async def test_a_pass_holds_no_file_but_the_one_that_it_reads(
    executor: ThreadPoolExecutor,
) -> None:
    """Story: for the hours of a pass it kept all that compactions had done away with.

    Descriptors, the bytes on the disk, filters and indexes.
    """
    _, engine = filled()
    old = [ref(file) for file in engine.files()]
    scrubber = Scrubber(engine, executor, print, 1, 60.0)
    task = asyncio.ensure_future(scrubber.run())
    # It reads the first file, and rests after the first piece of it.
    await until(lambda: scrubber.read_bytes > 0)
    engine.compact()
    there = {id(file) for file in engine.files()}
    gc.collect()
    kept = [file for file in (held() for held in old) if file is not None]
    assert sum(id(file) not in there for file in kept) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_keeps_to_its_pace(executor: ThreadPoolExecutor) -> None:
    """By the pauses that it asks for, not by a clock."""
    _, engine = filled()
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    scrubber = Scrubber(engine, executor, print, 1000, 60.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quorate.node.scrubber.asyncio.sleep", noted)
        task = asyncio.ensure_future(scrubber.run())
        while scrubber.passes < 1:
            await sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    size = sum(file.meta.size_bytes for file in engine.files())
    assert sum(pauses) > 0.9 * size / 1000
