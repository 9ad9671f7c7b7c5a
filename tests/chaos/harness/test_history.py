"""A history that can't be written: that is said, and no verdict is lost by it."""

import asyncio
from pathlib import Path

import pytest
from quorate.chaos.harness.errors import NotRecorded
from quorate.chaos.harness.history import Done, History, Input, Start, read_history
from quorate.chaos.harness.options import HarnessOptions
from quorate.chaos.harness.run import run_harness

FULL = Path("/dev/full")
DONE = Done(1, "n1", "get", "k", 0.0, 1.0, "ok", Input(), None)


def test_a_full_disk_is_no_bug_of_ours() -> None:
    history = History(FULL)
    history.record(DONE)
    with pytest.raises(NotRecorded, match="/dev/full: No space left on device"):
        history.close()


def test_what_ended_a_run_is_told_and_not_that_its_history_is_cut_off() -> None:
    def interrupted() -> None:
        with History(FULL) as history:
            history.record(DONE)
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        interrupted()


def test_a_line_that_was_cut_off_is_none(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    with History(path) as history:
        history.record(Start(1.0, "n1", 2.0))
        history.record(DONE)
    path.write_bytes(path.read_bytes()[:-9])
    assert list(read_history(path)) == [Start(1.0, "n1", 2.0)]


async def test_a_report_that_can_not_be_written_leaves_a_run_void(
    tmp_path: Path,
) -> None:
    report = tmp_path / "report"
    report.mkdir()
    (report / "summary.json").symlink_to(FULL)
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "left").touch()
    options = HarnessOptions(
        seed=1, rounds=1, directory=tmp_path / "nodes", report=report
    )
    summary = await run_harness(options, lambda _: None, asyncio.Event())
    assert summary.verdict == "void"
    assert len(summary.reasons) == 2
    assert "not empty" in summary.reasons[0]
    assert "the report can't be written" in summary.reasons[1]
    assert "No space left" in summary.reasons[1]
