"""Real nodes go from one build to the next, and back, while clients write and read."""

import threading
from pathlib import Path

import pytest
from quorate.benchmarks.growth import BUILDS
from quorate.client import Client, Members, QuorateError

from .harness import DEADLINE_S, QUORATE, Cluster, Running, running_cluster, wait_for

pytestmark = pytest.mark.slow

NEXT = BUILDS[2]
VALUE = b"value " * 50


class Load:
    """One who writes, each time another key, and reads it again."""

    def __init__(self, cluster: Cluster) -> None:
        self.written: list[str] = []
        self.failures: list[str] = []
        self._endpoints = cluster.endpoints
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        with Client(self._endpoints, timeout=DEADLINE_S) as client:
            while not self._ending.is_set():
                key = f"load/{len(self.written):06}"
                try:
                    client.put(key, key.encode() + VALUE)
                    entry = client.get(key)
                except QuorateError as error:
                    self.failures.append(str(error))
                    return
                if entry is None or entry.value != key.encode() + VALUE:
                    self.failures.append(f"{key} is not what was written")
                    return
                self.written.append(key)

    def goes_on(self) -> None:
        before = len(self.written)
        wait_for(lambda: len(self.written) > before + 20 or self.failures, "the load")
        assert not self.failures


def runs(node: Running, command: tuple[str, ...]) -> None:
    """It is stopped, and started as another build."""
    node.process.stop()
    directory = str(node.node.directory)
    node.process.command = (*command, "node", "--dir", directory)
    node.process.start()


def members(cluster: Cluster) -> Members:
    with Client(cluster.endpoints, timeout=DEADLINE_S) as client:
        return client.members()


def understood(cluster: Cluster) -> dict[str, int]:
    return {each.name: each.understands[1] for each in members(cluster).members}


def goes_to(cluster: Cluster, load: Load, node: Running, build: int) -> None:
    runs(node, NEXT if build == 2 else QUORATE)
    node.process.wait_ready(DEADLINE_S)
    wait_for(lambda: understood(cluster)[node.name] == build, "it has said so")
    load.goes_on()


def test_nodes_go_to_the_next_build_and_back_until_the_version_is_raised(
    tmp_path: Path,
) -> None:
    with running_cluster(tmp_path / "c", 3) as cluster:
        first, second, third = cluster.nodes
        with Load(cluster) as load:
            goes_to(cluster, load, first, 2)
            goes_to(cluster, load, second, 2)
            told = members(cluster)
            assert told.cluster_version == 1
            # All the way back, and forth again.
            goes_to(cluster, load, first, 1)
            goes_to(cluster, load, second, 1)
            assert set(understood(cluster).values()) == {1}
            for node in (third, first):
                goes_to(cluster, load, node, 2)
            assert members(cluster).cluster_version == 1
            runs(second, NEXT)
            wait_for(
                lambda: members(cluster).cluster_version == 2, "the version is raised"
            )
            load.goes_on()
            for node in cluster.nodes:
                runs(node, NEXT)
                node.process.wait_ready(DEADLINE_S)
            load.goes_on()
        cluster.wait_until_equal()
        for node in cluster.nodes:
            assert "the cluster has version 2" in node.log()
            with Client(str(node.node.client), timeout=DEADLINE_S) as client:
                for entry in client.range("load/"):
                    assert entry.value == entry.key + VALUE
                found = [entry.text for entry in client.range("load/", keys_only=True)]
                assert len(found) >= len(load.written)

        # Now nobody can go back: it ends, says why, and has changed nothing.
        runs(third, QUORATE)
        wait_for(lambda: not third.process.alive, "the old build ends")
        assert third.process.exit_code == 1
        assert "and this build understands version 1" in third.log()
        runs(third, NEXT)
        third.process.wait_ready(DEADLINE_S)
        cluster.wait_until_equal()


def test_a_cluster_of_one_goes_to_the_next_version_by_itself(
    tmp_path: Path,
) -> None:
    with running_cluster(tmp_path / "c", 1, command=NEXT) as cluster:
        (node,) = cluster.nodes
        wait_for(lambda: members(cluster).cluster_version == 2, "the version is raised")
        with Client(cluster.endpoints, timeout=DEADLINE_S) as client:
            client.put("k", VALUE)
            entry = client.get("k")
            assert entry is not None
            assert entry.value == VALUE
        runs(node, QUORATE)
        wait_for(lambda: not node.process.alive, "the old build ends")
        assert "and this build understands version 1" in node.log()
