"""Shared clusters, and the check that nothing is left behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Cluster, node_processes_below, running_cluster


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """When all is over, no process of any test's directory is left.

    What was there before these tests began is somebody else's, and may end later.
    """
    before = node_processes_below(tmp_path_factory.getbasetemp())
    yield
    found = node_processes_below(tmp_path_factory.getbasetemp())
    left = [process for process in found if process not in before]
    assert not left, f"processes were left behind: {left}"


@pytest.fixture(scope="session")
def shared(
    tmp_path_factory: pytest.TempPathFactory, nothing_is_left_behind: None
) -> Iterator[Cluster]:
    """Three nodes for tests that leave them as they found them."""
    with running_cluster(tmp_path_factory.mktemp("shared") / "c") as cluster:
        yield cluster


@pytest.fixture
def healthy(shared: Cluster) -> Iterator[Cluster]:
    """The shared cluster; after the test it must still serve, from the same processes.

    Whoever threw garbage at it must not have cost it a node or its quorum.
    """
    pids = [each.pid for each in shared.nodes]
    yield shared
    assert [each.pid for each in shared.nodes if each.process.alive] == pids
    for each in shared.nodes:
        put = each.request("PUT", "/v1/kv/healthy", each.name.encode())
        assert put.status == 200, put.body
    for each in shared.nodes:
        assert each.request("GET", "/v1/kv/healthy").body == b"n3"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes for one test alone, which may kill them."""
    with running_cluster(tmp_path / "c") as cluster:
        yield cluster
