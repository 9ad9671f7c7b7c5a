"""What tests of the harness share: runs of real clusters that leave nothing behind."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from processes import processes_below
from quorate.chaos.harness import FaultResult, HarnessOptions, Moment, Started, Summary
from quorate.chaos.harness.run import run_harness

Event = Started | Moment | FaultResult
Run = Callable[[HarnessOptions], Awaitable[tuple[Summary, list[Event]]]]


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
