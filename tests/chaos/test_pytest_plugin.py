"""The fixtures that others use: real nodes, an empty store, and nodes to be hurt."""

import subprocess
import sys
from pathlib import Path

import pytest
from quorate import Client
from quorate.chaos.pytest_plugin import Cluster
from quorate.client import QuorateError

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
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:xdist"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
