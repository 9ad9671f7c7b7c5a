"""What becomes of a user's command, and of what it has started."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from quorate.chaos.attach.commands import TAIL_BYTES, run_command


async def test_what_a_command_says_is_kept_with_its_exit_code(tmp_path: Path) -> None:
    output = tmp_path / "out"
    ran = await run_command("echo hello; echo no >&2; exit 3", 20.0, output)
    assert (ran.code, ran.said, ran.failed) == (3, "hello\nno", True)
    assert output.read_text() == "hello\nno\n"
    assert str(ran) == "exit code 3: hello\nno"


async def test_of_a_command_that_says_much_the_end_is_shown(tmp_path: Path) -> None:
    output = tmp_path / "out"
    ran = await run_command("yes | head -c 100000; echo end", 20.0, output)
    assert not ran.failed
    assert ran.said.endswith("y\nend")
    assert len(ran.said) <= TAIL_BYTES
    assert output.stat().st_size == 100_004


@pytest.mark.slow
def test_a_command_that_takes_too_long_is_killed_with_all_that_it_started(
    tmp_path: Path,
) -> None:
    pids = tmp_path / "pids"
    command = f"sleep 600 & echo $! > {pids}; wait"
    ran = asyncio.run(run_command(command, 1.0, tmp_path / "out"))
    assert ran.code is None
    assert ran.failed
    assert str(ran) == "it took too long"
    wait_until_dead(int(pids.read_text()))


async def test_what_a_command_leaves_running_goes_on_and_holds_nothing_up(
    tmp_path: Path,
) -> None:
    ran = await run_command("sleep 600 & echo $!", 20.0, tmp_path / "out")
    assert ran.code == 0
    pid = int(ran.said)
    # It is there to be killed.
    os.kill(pid, signal.SIGKILL)


def wait_until_dead(pid: int) -> None:
    """Gone, or dead and waiting for whoever reaps it; a killed one may run on a bit."""
    deadline = time.monotonic() + 60
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().split()[2]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state in "ZX":
            return
        assert time.monotonic() < deadline, state
        time.sleep(0.05)
