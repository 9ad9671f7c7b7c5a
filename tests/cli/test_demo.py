"""demo: a cluster of fake nodes, watched from outside as a user would."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from click.testing import Result
from quorate.cli.demo import _how_it_ended
from quorate.node.launcher import LocalCluster, free_ports, load_cluster
from quorate.node.pid_file import write_pid

Run = Callable[..., Result]

FAKE_NODE = Path(__file__).parents[1] / "node" / "fake_node.py"
FAKE = (sys.executable, "-S", "-E", str(FAKE_NODE))

# `quorate demo`, with the fake node as the program that it starts.
PROGRAM = f"""
import functools
from quorate.cli import demo, group

demo.NodeProcess = functools.partial(demo.NodeProcess, command={FAKE!r})
demo.ORPHAN_SECONDS_MAX = PATIENCE
group()
"""

Lines = list[str]


class Started:
    """A demo that runs in a process of its own."""

    def __init__(self, directory: Path | None, *options: str, **more: str) -> None:
        environment = {**os.environ, **more}
        program = PROGRAM.replace("PATIENCE", more.get("FAKE_PATIENCE", "15"))
        where = [] if directory is None else ["--dir", str(directory)]
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "demo", *where, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    @property
    def stdout(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def lines_until(self, wanted: str) -> Lines:
        """What it prints up to a line that holds `wanted`."""
        lines: Lines = []
        for line in self.stdout:
            lines.append(line.rstrip("\n"))
            if wanted in line:
                return lines
        raise AssertionError(f"{wanted!r} never came: {lines}, {self.errors()}")

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

    @property
    def cluster(self) -> LocalCluster:
        assert self.directory is not None
        return load_cluster(self.directory)


Start = Callable[..., Started]


@pytest.fixture
def start() -> Iterator[Start]:
    begun: list[Started] = []

    def start(directory: Path | None, *options: str, **more: str) -> Started:
        begun.append(Started(directory, *options, **more))
        return begun[-1]

    yield start
    for demo in begun:
        demo.process.kill()
        demo.process.communicate()
        if demo.directory is not None and (demo.directory / "endpoints").exists():
            for node in demo.cluster.nodes:
                node.stop_process(0.0)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)


def pids(cluster: LocalCluster) -> list[int | None]:
    return [node.running_pid() for node in cluster.nodes]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_says_where_it_serves_and_a_signal_ends_all_of_it(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    demo = start(tmp_path / "d", "--nodes", "2", "--port", "0")
    lines = demo.lines_until("ready")
    nodes = demo.cluster.nodes
    assert lines[-1] == "ready"
    assert re.match(r"\| NODE +\| CLIENTS +\| PEERS", lines[1])
    for node, line in zip(nodes, lines[3:], strict=False):
        assert node.name in line
        assert node.url in line
        assert str(node.running_pid()) in line
    hints = demo.lines_until(f"curl {nodes[1].url}/v1/kv/greeting")
    assert hints == [
        f"export QUORATE_ENDPOINTS={nodes[0].client},{nodes[1].client}",
        f"curl -X PUT --data-binary hello {nodes[0].url}/v1/kv/greeting",
        f"curl {nodes[1].url}/v1/kv/greeting",
    ]
    endpoints = (tmp_path / "d" / "endpoints").read_text().split()
    assert endpoints == [node.url for node in nodes]
    assert demo.end(number) == 0
    assert pids(demo.cluster) == [None, None]
    assert demo.errors() == ""


@pytest.mark.slow
def test_nodes_have_the_ports_that_were_asked_for(start: Start, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    demo = start(tmp_path / "d", "--nodes", "1", "--port", str(port))
    demo.lines_until("ready")
    (node,) = demo.cluster.nodes
    assert (node.name, node.client.port, node.peer.port) == ("n1", port, port + 100)


@pytest.mark.slow
def test_without_a_folder_nothing_is_left_behind(start: Start, tmp_path: Path) -> None:
    demo = start(None, "--nodes", "1", "--port", "0", TMPDIR=str(tmp_path))
    demo.lines_until("ready")
    (directory,) = tmp_path.glob("quorate-demo-*")
    assert load_cluster(directory).nodes
    assert demo.end(signal.SIGTERM) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_demo_takes_its_nodes_along_and_can_be_started_again_at_once(
    start: Start, tmp_path: Path
) -> None:
    options = ("--nodes", "2", "--port", "0")
    demo = start(tmp_path / "d", *options)
    demo.lines_until("ready")
    first = pids(demo.cluster)
    (tmp_path / "d" / "n1" / "data").mkdir()
    demo.process.kill()
    again = start(tmp_path / "d", *options)
    again.lines_until("ready")
    second = pids(again.cluster)
    assert None not in second
    assert not set(first) & set(second)
    assert (tmp_path / "d" / "n1" / "data").exists()
    assert again.end(signal.SIGTERM) == 0


@pytest.mark.slow
def test_a_dead_node_is_told_and_left_dead_and_the_demo_goes_on_without_any(
    start: Start, tmp_path: Path
) -> None:
    demo = start(tmp_path / "d", "--nodes", "2", "--port", "0")
    demo.lines_until("ready")
    first, second = demo.cluster.nodes
    for node in (first, second):
        pid = node.running_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        told = demo.lines_until(f"quorate node --dir {node.directory}")
        assert f"{node.name} has ended (SIGKILL) and is not restarted" in told[-2]
    demo.lines_until("no node is left")
    assert pids(demo.cluster) == [None, None]
    assert demo.process.poll() is None
    # Started by hand, it is noticed, and stopped with the demo.
    started = first.directory / "environment"
    started.unlink()
    by_hand = subprocess.Popen([*FAKE, "node", "--dir", str(first.directory)])
    while not started.exists():  # from then on it ends by itself on SIGTERM
        time.sleep(0.01)
    write_pid(first.directory, by_hand.pid)
    demo.lines_until("n1 is back")
    assert demo.end(signal.SIGTERM) == 0
    assert by_hand.wait(10) == 0


@pytest.mark.slow
def test_nodes_that_die_at_once_end_the_demo_with_their_last_words(
    start: Start, tmp_path: Path
) -> None:
    demo = start(tmp_path / "d", "--nodes", "3", "--port", "0", FAKE_NODE="die")
    assert demo.process.wait(30) == 1
    errors = demo.errors()
    assert "no majority of nodes is left" in errors
    assert "n1: the fake node dies at once" in errors


@pytest.mark.slow
def test_a_folder_whose_nodes_another_demo_holds_is_left_alone(
    start: Start, tmp_path: Path
) -> None:
    options = ("--nodes", "1", "--port", "0")
    demo = start(tmp_path / "d", *options)
    demo.lines_until("ready")
    second = start(tmp_path / "d", *options, FAKE_PATIENCE="0.01")
    assert second.process.wait(30) == 1
    assert "is still held, by another process" in second.errors()
    assert None not in pids(demo.cluster)
    assert demo.process.poll() is None


@pytest.mark.slow
def test_a_folder_keeps_its_number_of_nodes_and_its_ports(
    start: Start, run: Run, tmp_path: Path
) -> None:
    demo = start(tmp_path / "d", "--nodes", "2", "--port", "0")
    demo.lines_until("ready")
    demo.end(signal.SIGTERM)
    where = ["demo", "--dir", str(tmp_path / "d")]
    result = run(*where, "--nodes", "3")
    assert result.exit_code == 1
    assert "holds a cluster of 2 nodes, not 3" in result.stderr
    result = run(*where, "--port", "1")
    assert result.exit_code == 1
    assert "whose first port is" in result.stderr


def test_a_taken_port_is_told_before_anything_is_written(
    run: Run, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for first in (port, port - 100):
            result = run(
                "demo", "--nodes", "1", "--port", str(first), "--dir", f"{tmp_path}/d"
            )
            assert result.exit_code == 1
            assert f"127.0.0.1:{port}: somebody listens" in result.stderr
    assert not (tmp_path / "d").exists()


def test_a_folder_with_other_things_in_it_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    result = run("demo", "--port", "0", "--dir", str(tmp_path))
    assert result.exit_code == 1
    assert "not empty" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    "options",
    [
        ["--nodes", "30", "--replicas", "3"],
        ["--nodes", "0"],
        ["--nodes", "33"],
        ["--port", "-1"],
        ["--port", "65500"],
    ],
)
def test_what_a_demo_can_not_do_is_wrong_usage(run: Run, options: list[str]) -> None:
    result = run("demo", *options)
    assert result.exit_code == 2


def test_whoever_ended_by_itself_has_said_why() -> None:
    """Story: a member that had been removed; a start of it was proposed again."""
    assert _how_it_ended(-signal.SIGKILL, "d/n2") == "SIGKILL"
    assert _how_it_ended(1, "d/n2") == "exit code 1; d/n2/log says why"
