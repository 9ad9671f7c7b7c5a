"""What the benchmark of growth makes of what its writer sees."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
from quorate.benchmarks.clusters import BenchmarkFailed
from quorate.benchmarks.growth import Phase, Writer
from quorate.benchmarks.priorities import giving_way, may_take_back
from quorate.client import AsyncClient, Unavailable


class Store:
    """A client whose puts take as long as a test says, and now and then fail."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.held = asyncio.Event()
        self.held.set()
        self.fails = False

    async def put(self, key: str, value: bytes) -> int:
        assert len(value) == 256
        await self.held.wait()
        if self.fails:
            raise Unavailable("nobody leads")
        self.keys.append(key)
        return len(self.keys)


async def until(phase: Phase, writes: int) -> None:
    async with asyncio.timeout(60):
        while len(phase.latencies_s) + phase.failed < writes:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_what_is_due_in_a_phase_is_counted_there_whenever_it_is_answered() -> (
    None
):
    store = Store()
    writer = Writer(cast("AsyncClient", store), rate=1000.0)
    async with asyncio.TaskGroup() as group:
        first = writer.begin("first")
        group.create_task(writer.run())
        await until(first, 5)
        store.held.clear()
        await asyncio.sleep(0.05)
        second = writer.begin("second")
        store.held.set()
        await until(second, 5)
        writer.end()
    assert max(first.latencies_s) >= 0.04
    assert max(second.latencies_s) < max(first.latencies_s)
    assert first.longest_gap_s < max(first.latencies_s)
    assert len(writer.acknowledged) == len(store.keys)
    assert len(first.latencies_s) + len(second.latencies_s) == len(store.keys)


async def test_what_fails_is_counted_and_never_held_for_acknowledged() -> None:
    store = Store()
    store.fails = True
    writer = Writer(cast("AsyncClient", store), rate=1000.0)
    async with asyncio.TaskGroup() as group:
        phase = writer.begin("all")
        group.create_task(writer.run())
        await until(phase, 5)
        writer.end()
    assert phase.failed >= 5
    assert not writer.acknowledged
    with pytest.raises(BenchmarkFailed, match="all: not one write"):
        _ = phase.p99_ms


def test_the_slowest_of_a_hundred_is_what_counts() -> None:
    latencies = [number / 1000 for number in range(1, 202)]
    assert Phase("p", latencies_s=latencies).p99_ms == pytest.approx(199.0)


@pytest.mark.skipif(
    not may_take_back() or not Path("/proc/self/autogroup").exists(),
    reason="not everybody may take it back, nor do sessions share everywhere",
)
def test_a_node_that_starts_gives_way_until_it_serves() -> None:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, start_new_session=True
    ) as child:
        group = Path(f"/proc/{child.pid}/autogroup")
        with giving_way(child.pid):
            assert group.read_text().endswith("nice 19\n")
        assert group.read_text().endswith("nice 0\n")
        child.communicate(b"\n")
    # Who has ended has nothing to take back.
    with giving_way(child.pid):
        assert not group.exists()
