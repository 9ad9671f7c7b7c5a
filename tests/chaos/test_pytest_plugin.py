"""The fixtures that others use: real nodes, an empty store, and nodes to be hurt."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from quorate import Client
from quorate.chaos.harness.errors import SetupFailed, Violated
from quorate.chaos.pytest_plugin import Besieged, Cluster
from quorate.chaos.siege import Siege, kinds_of
from quorate.client import QuorateError
from theirs import run_theirs

pytestmark = pytest.mark.slow

THEIRS = """
import time
import pytest

def test_one(quorate_client):
    quorate_client.put("a", "1")
    quorate_client.lease(60).grant()

def test_two(quorate_client):
    assert quorate_client.get("a") is None
    assert quorate_client.leases() == []

@pytest.mark.quorate(nodes=1)
def test_three(quorate_cluster):
    assert len(quorate_cluster.urls) == 1
"""


def test_each_test_finds_an_empty_store(quorate_client: Client) -> None:
    assert quorate_client.get("left") is None
    quorate_client.put("left", "behind")
    assert quorate_client.get("left") is not None


def test_and_so_does_the_next_one(quorate_client: Client) -> None:
    assert quorate_client.get("left") is None
    quorate_client.put("left", "behind")


def test_a_cluster_survives_what_is_done_to_it(quorate_cluster: Cluster) -> None:
    with Client(quorate_cluster.endpoints, timeout=60) as client:
        client.put("k", "1")
        leader = quorate_cluster.leader()
        quorate_cluster.kill(leader)
        client.put("k", "2")
        quorate_cluster.start(leader)
        other = leader % 3 + 1
        quorate_cluster.pause(other)
        client.put("k", "3")
        quorate_cluster.resume(other)
        quorate_cluster.stop(other)
        entry = client.get("k")
        assert entry is not None
        assert (entry.text, entry.version) == ("3", 3)
        quorate_cluster.start(other)
    assert quorate_cluster.log(other).count(" is member ") == 2


@pytest.mark.quorate(nodes=1)
def test_a_mark_says_how_many_nodes_there_are(quorate_cluster: Cluster) -> None:
    assert len(quorate_cluster.urls) == 1
    quorate_cluster.kill(1)
    endpoints = quorate_cluster.endpoints
    with Client(endpoints, timeout=0.2) as client, pytest.raises(QuorateError):
        client.put("k", "v")


def test_it_works_in_a_project_of_somebody_else(tmp_path: Path) -> None:
    done = run_theirs(tmp_path, THEIRS, "--strict-markers")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


THEIRS_MISTAKEN = """
import pytest

@pytest.mark.quorate(5)
def test_one(quorate_cluster):
    pass

@pytest.mark.quorate(node=5, seed=1)
def test_two(quorate_siege):
    pass
"""


def test_a_mark_that_says_what_there_is_not_is_refused(tmp_path: Path) -> None:
    """It was no mark at all: there were three nodes."""
    done = run_theirs(tmp_path, THEIRS_MISTAKEN)
    assert "2 errors" in done.stdout
    for strange in ("5", "node"):
        assert f"has no use for {strange}: it takes, by name, nodes" in done.stdout


@pytest.mark.quorate(faults=["kill-leader", "isolate-one"], seed=5)
def test_a_besieged_cluster_is_struck_until_it_is_healed(
    quorate_siege: Besieged,
) -> None:
    with Client(quorate_siege.endpoints, timeout=60) as client:
        number = 0
        while len(quorate_siege.struck) < 3:
            number += 1
            client.put("k", str(number))
        quorate_siege.heal()
        struck = len(quorate_siege.struck)
        entry = client.get("k")
        assert entry is not None
        assert entry.text == str(number)
    assert {each.kind for each in quorate_siege.struck} == {
        "kill-leader",
        "isolate-one",
    }
    assert 1 <= quorate_siege.leader() <= 3
    ran = [quorate_siege.log(number).count(" is member ") for number in (1, 2, 3)]
    killed = [each for each in quorate_siege.struck if each.kind == "kill-leader"]
    assert sum(ran) == 3 + len(killed)
    assert len(quorate_siege.struck) == struck


@pytest.mark.quorate(nodes=2, faults=["client-slow"], seed=1)
def test_a_client_of_a_besieged_cluster_learns_of_relays_alone(
    quorate_siege: Besieged,
) -> None:
    """Nodes told it where they listen, where no fault of its links came after it."""
    relays = quorate_siege.endpoints.split(",")
    learnt: list[str] = []
    while len(learnt) < len(relays) or not quorate_siege.struck:
        with Client(relays[0], timeout=60) as client:
            client.put("k", "v")
            learnt = client.endpoints
        assert set(learnt) <= set(relays)


THEIRS_TOO_QUICK = """
def test_one(quorate_siege):
    assert quorate_siege.struck == ()
"""


def test_a_siege_that_is_over_before_any_fault_says_so(tmp_path: Path) -> None:
    """It passed without a word, as one does under faults."""
    done = run_theirs(tmp_path, THEIRS_TOO_QUICK)
    assert "1 passed, 1 warning" in done.stdout, done.stdout + done.stderr
    assert "before any fault had struck" in done.stdout


def test_a_siege_tells_of_a_node_that_ends_by_itself(tmp_path: Path) -> None:
    siege = Siege(tmp_path / "siege", 1, ("pause-one",), 1)
    siege.begin()
    pid = int((tmp_path / "siege" / "nodes" / "n1" / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Violated, match="node ended by itself"):
        siege.end()
    with pytest.raises(Violated):
        siege.heal()


def test_a_siege_that_can_not_begin_says_why(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "left").write_text("by somebody")
    with pytest.raises(SetupFailed, match="not empty"):
        Siege(tmp_path, 1, ("pause-one",), 1).begin()


@pytest.mark.parametrize(
    ("faults", "nodes", "said"),
    [
        (["kil"], 3, "no such fault: kil"),
        (["members"], 3, "members strikes nothing"),
        (["halves"], 3, "halves strikes nothing in a cluster of 3 nodes"),
    ],
)
def test_a_fault_that_strikes_nothing_is_refused(
    faults: list[str], nodes: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        kinds_of(faults, nodes)


def test_a_group_of_faults_has_what_a_cluster_of_that_size_can_suffer() -> None:
    assert "halves" not in kinds_of(["partition"], 3)
    assert {"halves", "ring"} <= set(kinds_of(["all"], 5))
    assert "join" not in kinds_of(["all"], 5)


THEIRS_BESIEGED = """
import time
import pytest

@pytest.mark.quorate(nodes=2, faults=["slow", "pause-one"], seed=1)
def test_for_ever(quorate_siege, pytestconfig):
    print("BEGUN", quorate_siege.endpoints, flush=True)
    time.sleep(3600)
"""


@contextmanager
def killed_at(folder: Path, theirs: str, word: bytes) -> Generator[tuple[int, bytes]]:
    """A test run of theirs that is killed once it has printed a line with `word`.

    That line, and the process of the first node; the kill comes at the end.
    """
    (folder / "test_theirs.py").write_text(theirs)
    base = folder / "base"
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:xdist"]
    run = subprocess.Popen(
        [*command, "--basetemp", str(base)], cwd=folder, stdout=subprocess.PIPE
    )
    assert run.stdout is not None
    try:
        line = next(line for line in run.stdout if word in line)
        (pid_file,) = base.glob("**/n1/pid")
        yield int(pid_file.read_text()), line
    finally:
        run.kill()
        run.wait()
        run.stdout.close()


def test_a_siege_ends_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    with killed_at(tmp_path, THEIRS_BESIEGED, b"BEGUN") as (node, line):
        port = int(line.split(b":")[-1])
        socket.create_connection(("127.0.0.1", port), 10).close()
    wait_until(lambda: not Path(f"/proc/{node}").exists())
    # The relay has ended as well.
    wait_until(lambda: refused(port))


THEIRS_FROZEN = """
import time
import pytest

@pytest.mark.quorate(nodes=1)
def test_one(quorate_cluster):
    quorate_cluster.pause(1)
    print("FROZEN", flush=True)
    time.sleep(600)
"""

THEIRS_BESIEGED_BY_PAUSES = """
import time
import pytest

@pytest.mark.quorate(nodes=1, faults=["pause-one"])
def test_one(quorate_siege, tmp_path):
    (pid,) = tmp_path.glob("**/n1/pid")
    state = "/proc/" + pid.read_text().strip() + "/status"
    while "T (stopped)" not in open(state).read():
        time.sleep(0.01)
    print("FROZEN", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("theirs", [THEIRS_FROZEN, THEIRS_BESIEGED_BY_PAUSES])
def test_a_frozen_node_ends_with_a_test_run_that_is_killed(
    tmp_path: Path, theirs: str
) -> None:
    with killed_at(tmp_path, theirs, b"FROZEN") as (node, _):
        pass
    try:
        wait_until(lambda: not Path(f"/proc/{node}").exists())
    finally:
        with suppress(ProcessLookupError):
            os.kill(node, signal.SIGKILL)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 10).close()
    except ConnectionRefusedError:
        return True
    return False
