"""demo --chaos: real nodes, hurt by lines from a pipe, and what is left: nothing."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from processes import processes_below
from quorate.client import Client
from quorate.node.launcher import COMMAND, load_cluster

pytestmark = pytest.mark.slow

SECONDS_MAX = 120


class Demo:
    """A demo with a prompt, in a process of its own."""

    def __init__(self, temporary: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "demo", "--chaos", "--port", "0", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary), "NO_COLOR": "1"},
        )

    @property
    def stdin(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    def lines_until(self, wanted: str) -> list[str]:
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line.rstrip("\n"))
            if wanted in line:
                return lines
        assert self.process.stderr is not None
        raise AssertionError(f"no {wanted!r}: {lines} {self.process.stderr.read()}")

    def type(self, line: str) -> None:
        self.stdin.write(f"{line}\n")
        self.stdin.flush()


Start = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    begun: list[Demo] = []
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def start(*options: str) -> Demo:
        begun.append(Demo(temporary, *options))
        return begun[-1]

    yield start
    for demo in begun:
        demo.process.kill()
        demo.process.communicate()


def test_a_piped_script_hurts_a_cluster_and_the_load_is_found_valid(
    start: Start, tmp_path: Path
) -> None:
    demo = start("--dir", str(tmp_path / "d"))
    script = [
        *("kill 2", "leader", "status", "frobnicate", "start 2", "slow 1 20ms"),
        *("partition 3", "wait 500ms", "heal", "pause leader", "kill 2", "resume all"),
    ]
    out, errors = demo.process.communicate("\n".join(script), SECONDS_MAX)
    assert errors == ""
    assert demo.process.returncode == 0, out
    assert "ready\n" in out
    # Each line, and then its answer, in order.
    told = out.partition("quorate> ")[2].split("\nquorate> ")
    assert [answer.partition("\n")[0] for answer in told] == script
    answers = [answer.partition("\n")[2] for answer in told]
    assert answers[0] == "killed n2"
    assert re.fullmatch(r"n[13] leads in term \d+", answers[1])
    assert "n2    down (SIGKILL)" in answers[2]
    assert answers[3].startswith("no such command: 'frobnicate'")
    assert answers[4] == "n2 is back"
    assert answers[6] == "cut into 3|1,2"
    assert answers[8] == "all links are whole"
    assert re.fullmatch(r"paused n[123]", answers[9])
    assert answers[11].startswith("resumed n")
    assert out.splitlines()[-1] == "verdict: valid"
    looked_at = re.search(r"linearizability each looked at (\d+) operations", out)
    assert looked_at is not None
    assert int(looked_at[1]) > 100
    assert processes_below(tmp_path) == []


def test_the_nodes_can_be_used_meanwhile_and_the_load_leaves_no_key(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "d"
    for _ in range(2):
        # The second one finds the first one's data, and its own keys are its own.
        demo = start("--dir", str(folder), "--nodes", "1", "--replicas", "1")
        demo.lines_until("ready")
        with Client(str(load_cluster(folder).nodes[0].client)) as client:
            client.put("mine", b"hello")
            demo.type("quit")
            demo.lines_until("agreed: ")
        assert demo.process.wait(SECONDS_MAX) == 0
    plain = subprocess.Popen(
        [*COMMAND, "node", "--dir", str(folder / "n1")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with Client(str(load_cluster(folder).nodes[0].client), timeout=30) as client:
            assert [entry.key for entry in client.range("")] == [b"mine"]
    finally:
        plain.terminate()
        plain.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_commands_and_there_is_a_verdict(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    demo = start("--nodes", "1")
    demo.lines_until("ready")
    demo.type("wait 10m")
    demo.lines_until("wait 10m")
    demo.process.send_signal(number)
    demo.lines_until("verdict: valid")
    assert demo.process.wait(SECONDS_MAX) == 0
    assert processes_below(tmp_path) == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_node_that_somebody_kills_by_hand_is_told_and_is_no_violation(
    start: Start, tmp_path: Path
) -> None:
    demo = start("--dir", str(tmp_path / "d"))
    demo.lines_until("ready")
    pid = load_cluster(tmp_path / "d").nodes[2].running_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    demo.lines_until("n3 is down (SIGKILL), by no command")
    demo.type("quit")
    demo.lines_until("verdict: valid")
    assert demo.process.wait(SECONDS_MAX) == 0


def test_a_demo_that_runs_in_the_folder_is_left_alone(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "d"
    plain = subprocess.Popen(
        [*COMMAND, "demo", "--nodes", "1", "--port", "0", "--dir", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert plain.stdout is not None
        while "ready" not in plain.stdout.readline():
            assert plain.poll() is None
        (node,) = load_cluster(folder).nodes
        pid = node.running_pid()
        demo = start("--dir", str(folder))
        out, errors = demo.process.communicate("kill 1\n", SECONDS_MAX)
        assert demo.process.returncode == 1
        assert "n1 was started, and is still held, by another process" in errors
        assert "ready" not in out
        assert node.running_pid() == pid
        with Client(str(node.client)) as client:
            client.put("mine", b"hello")
    finally:
        plain.terminate()
        plain.communicate(timeout=SECONDS_MAX)
    assert processes_below(tmp_path) == []


def test_a_killed_demo_leaves_no_node_not_even_a_paused_one(
    start: Start, tmp_path: Path
) -> None:
    demo = start()
    demo.lines_until("ready")
    demo.type("pause 2")
    demo.lines_until("paused n2")
    temporary = tmp_path / "temporary"
    assert processes_below(temporary)
    demo.process.kill()
    demo.process.wait()
    left = subprocess.run(
        [sys.executable, "-c", WAIT, str(temporary)], timeout=SECONDS_MAX, check=False
    )
    assert left.returncode == 0


WAIT = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
while any(folder.iterdir()):
    time.sleep(0.05)
"""
