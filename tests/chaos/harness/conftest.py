"""What tests of the harness share: runs of real clusters that leave nothing behind."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from quorate.chaos.harness import FaultResult, HarnessOptions, Moment, Started, Summary
from quorate.chaos.harness.run import run_harness

Event = Started | Moment | FaultResult
Run = Callable[[HarnessOptions], Awaitable[tuple[Summary, list[Event]]]]


def processes_below(directory: Path) -> list[str]:
    """The command lines of processes that work in or for `directory`."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        line = b" ".join(words).decode(errors="replace")
        if str(directory) in line and "pytest" not in line:
            found.append(line)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Do a run below `tmp_path`, and see that it left no process."""

    async def call(options: HarnessOptions) -> tuple[Summary, list[Event]]:
        events: list[Event] = []
        options = msgspec.structs.replace(
            options, directory=tmp_path / "nodes", report=tmp_path / "report"
        )
        summary = await run_harness(options, events.append, asyncio.Event())
        assert processes_below(tmp_path) == []
        return summary, events

    return call
