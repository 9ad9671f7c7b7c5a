"""A harness that is killed leaves nothing: no process, no port, no file."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

import pytest
from processes import processes_below
from quorate.chaos.harness.cleaner import clean_up
from quorate.chaos.harness.janitor import Janitor
from quorate.node.launcher import NodeProcess, create_cluster, load_cluster

pytestmark = pytest.mark.slow

RUN = (sys.executable, "-m", "quorate", "chaos", "run")


def listeners_of(pids: set[int]) -> set[str]:
    """The ports at which these processes listen."""
    sockets: set[str] = set()
    for pid in pids:
        for path in Path(f"/proc/{pid}/fd").iterdir():
            sockets.add(os.readlink(path).removeprefix("socket:[").removesuffix("]"))
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    words = [line.split() for line in lines]
    return {w[1] for w in words if w[3] == "0A" and w[9] in sockets}


def children_of(pid: int) -> set[int]:
    """Its children and theirs."""
    # Of each thread: nodes are not started by the first one.
    paths = Path(f"/proc/{pid}/task").glob("*/children")
    own = {int(word) for path in paths for word in path.read_text().split()}
    return own.union(*(children_of(child) for child in own))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


@pytest.mark.parametrize("faults", ["isolate-one", "pause-all"])
async def test_a_harness_that_is_killed_leaves_only_its_report(
    tmp_path: Path, faults: str
) -> None:
    temporary, report = tmp_path / "temporary", tmp_path / "report"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    harness = await asyncio.create_subprocess_exec(
        *(*RUN, "--faults", faults, "--writers", "4", "--rounds", "1000"),
        *("--at-once", "2", "--report", str(report)),
        stdout=PIPE,
        stderr=DEVNULL,
        env=environment,
    )
    assert harness.stdout is not None
    async with asyncio.timeout(120):
        while b"round   1" not in (line := await harness.stdout.readline()):
            assert line, "it ended before its first round"
        family = children_of(harness.pid)
        ports = listeners_of(family)
        # Nodes, their workers, the janitor, and the relays if links are meant.
        assert len(family) >= 4
        assert len(ports) >= 6
        harness.send_signal(signal.SIGKILL)
        await harness.wait()
        # Processes of nobody's end by themselves, a worker too that was just being
        # started: there is nothing to wait on.
        while (  # noqa: ASYNC110
            any(map(alive, family))
            or any(temporary.iterdir())
            or processes_below(tmp_path)
        ):
            await asyncio.sleep(0.05)
    for port in ports:
        number = int(port.partition(":")[2], 16)
        with socket.socket() as one:
            assert one.connect_ex(("127.0.0.1", number)) != 0
    assert (report / "history.jsonl").exists()


WRITING = """
import os, signal, sys
from quorate.chaos.harness import run
from quorate.cli import main

def write_page(*_):
    os.kill(os.getpid(), signal.SIGKILL)

run.write_page = write_page
main()
"""


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--rounds", "1", "--writers", "4", "--load", "none"),
        ("attach", "127.0.0.1:1", "--timeout", "0.1s"),
    ],
)
def test_a_harness_that_is_killed_while_it_writes_its_report_leaves_nothing(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", WRITING, "chaos", *words],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    deadline_s = time.monotonic() + 30.0
    while any(tmp_path.iterdir()):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_nodes_that_are_frozen_are_ended(tmp_path: Path) -> None:
    directory = tmp_path / "run" / "nodes"
    (node,) = create_cluster(directory, ["n1"], client_port=0, peer_port=0).nodes
    with NodeProcess(node) as process:
        process.start()
        process.wait_ready()
        process.pause()
        clean_up(directory, tmp_path / "run")
        assert not process.alive
    assert list(tmp_path.iterdir()) == []


def test_a_janitor_leaves_what_a_clean_harness_keeps(tmp_path: Path) -> None:
    directory = tmp_path / "nodes"
    create_cluster(directory, ["n1"], client_port=0, peer_port=0)
    with Janitor(directory, tmp_path):
        pass
    assert load_cluster(directory).nodes


def test_a_janitor_that_was_dismissed_cleans_up_no_more(tmp_path: Path) -> None:
    with Janitor(tmp_path / "nodes", tmp_path) as janitor:
        janitor.dismiss()
    assert tmp_path.is_dir()


def test_there_may_be_nothing_to_clean(tmp_path: Path) -> None:
    clean_up(tmp_path / "never", None)
    (tmp_path / "half").mkdir()
    clean_up(tmp_path / "half", tmp_path / "half")
    assert list(tmp_path.iterdir()) == []
