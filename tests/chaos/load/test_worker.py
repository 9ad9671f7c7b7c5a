"""Client processes: what is said over their pipes, and that none outlives its parent.

What is started here is a few lines of Python in the place of a client process, and once
a real one whose cluster is not there.
"""

import os
import sys
from pathlib import Path

import msgspec
import pytest
from quorate.chaos.load import (
    ChildWorker,
    LoadOptions,
    PhaseFailed,
    Progress,
    Report,
    Target,
    WorkerLost,
    worker,
)
from quorate.chaos.load.worker import COMMAND, Done, Failed, Ready

pytestmark = pytest.mark.slow

OPTIONS = LoadOptions(
    workload="put", distribution="uniform", seed=1, operations=3, keys=5
)
NOWHERE = Target(endpoints=("127.0.0.1:1",), timeout_s=0.1)


def line(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message) + b"\n"


async def start(program: str, options: LoadOptions = OPTIONS) -> ChildWorker:
    command = (sys.executable, "-c", "import sys, time\n" + program)
    return await ChildWorker.start(NOWHERE, options, 1, command)


def alive(child: ChildWorker) -> bool:
    try:
        os.kill(child._child.pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_phase_tells_until_it_is_done() -> None:
    report = Report(delayed=7)
    said = line(Progress(1, 2)) + line(Done()) + line(report) + line(Done())
    child = await start(f"sys.stdout.buffer.write({said!r})\nsys.stdin.read()")
    progress: list[Progress] = []
    reports: list[Report] = []
    await child.load(progress.append)
    await child.run(0.0, reports.append)
    await child.close()
    assert (progress, reports) == ([Progress(1, 2)], [report])
    assert not alive(child)


async def test_a_child_is_ready_when_it_says_so(tmp_path: Path) -> None:
    """Not when its process is there: what a run loses of its time is measured, too."""
    mark = tmp_path / "started"
    child = await start(
        "sys.stdin.readline()\n"
        f"open({str(mark)!r}, 'w').close()\n"
        f"sys.stdout.buffer.write({line(Ready())!r})\n"
        "sys.stdout.flush()\nsys.stdin.read()"
    )
    await child.ready()
    assert mark.exists()
    await child.close()


async def test_a_real_child_says_that_it_is_ready() -> None:
    child = await ChildWorker.start(NOWHERE, OPTIONS, 0)
    await child.ready()
    assert alive(child)
    await child.close()


async def test_a_child_that_ends_is_never_ready_and_not_waited_for() -> None:
    child = await start("sys.exit(3)")
    await child.ready()
    with pytest.raises(WorkerLost, match="code 3"):
        await child.load(lambda _: None)
    await child.close()


async def test_the_child_is_told_what_to_do() -> None:
    child = await start(
        "lines = [sys.stdin.readline() for _ in range(4)]\n"
        f"sys.stdout.buffer.write({line(Done())!r})\n"
        "sys.stdout.flush()\n"
        "sys.exit(0 if 'Stop' in lines[1] and 'Run' in lines[2]"
        " and 'Clean' in lines[3] and '127.0.0.1:1' in lines[0] else 9)"
    )
    child.stop()
    child._send(worker.Run(1.5))
    await child.clean(lambda _: None)
    await child.close()
    assert child._child.returncode == 0


async def test_a_phase_that_failed_is_raised_with_its_code() -> None:
    said = line(Failed("no_space", "the disk is full"))
    child = await start(f"sys.stdout.buffer.write({said!r})\nsys.stdin.read()")
    with pytest.raises(PhaseFailed, match="full") as raised:
        await child.load(lambda _: None)
    assert raised.value.code == "no_space"
    await child.close()


async def test_a_child_that_ends_is_lost_and_can_still_be_told_and_closed() -> None:
    child = await start("sys.exit(3)")
    with pytest.raises(WorkerLost, match="1 ended with code 3"):
        await child.load(lambda _: None)
    child.stop()
    with pytest.raises(WorkerLost):
        await child.clean(lambda _: None)
    await child.close()


async def test_a_child_that_does_not_end_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "CLOSING_SECONDS_MAX", 0.05)
    child = await start("while True: time.sleep(60)")
    await child.close()
    assert not alive(child)


async def test_a_real_child_says_that_nobody_is_there_and_ends_with_its_pipe() -> None:
    child = await ChildWorker.start(NOWHERE, OPTIONS, 0, COMMAND)
    reports: list[Report] = []
    await child.run(0.0, reports.append)
    assert sum(r.total().errors.get("unavailable", 0) for r in reports) == 3
    await child.close()
    assert child._child.returncode == 0
    assert not alive(child)


async def test_a_real_child_ends_in_the_middle_of_its_work() -> None:
    endless = msgspec.structs.replace(OPTIONS, operations=None, duration_s=600.0)
    child = await ChildWorker.start(NOWHERE, endless, 0, COMMAND)
    child._send(worker.Run(0.0))
    await child.close()
    assert child._child.returncode == 0
