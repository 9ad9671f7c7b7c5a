"""For pytest: real nodes for other people's tests, and nodes that die under them.

Law: what a fixture starts ends with it, also when the test run is killed: nodes hold
the run's lifeline. Ports are the system's. Nothing of a cluster is loaded before a test
asks for one.

    def test_mine(quorate_endpoints): ...       one node, an empty store for each test
    def test_mine(quorate_client): ...          the same, with a client
    @pytest.mark.quorate(nodes=3)
    def test_mine(quorate_cluster): ...         a cluster of one's own, to be hurt
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from ..client import Client
    from ..node.launcher import NodeProcess

_NODES_DEFAULT: Final = 3
_READY_SECONDS: Final = 60.0
_TRIES: Final = 5


class Cluster:
    """Nodes of one cluster, each a process; numbers begin at 1.

    A node that was killed or stopped is `start`-ed again by whoever did it.
    """

    def __init__(self, directory: Path, nodes: int) -> None:
        self._directory = directory
        self._count = nodes
        self._processes: list[NodeProcess] = []

    @property
    def endpoints(self) -> str:
        """Where all nodes serve clients, for `Client` and `AsyncClient`."""
        return ",".join(str(each.node.client) for each in self._processes)

    @property
    def urls(self) -> list[str]:
        """The same, for HTTP, node by node."""
        return [each.node.url for each in self._processes]

    def begin(self) -> None:
        """Start it. Ports that others take in between cost another try."""
        from ..node.launcher import LauncherError

        for number in range(1, _TRIES + 1):
            try:
                self._begin(self._directory / f"cluster-{number}")
                return
            except LauncherError:
                self.end()
                if number == _TRIES:
                    raise

    def _begin(self, directory: Path) -> None:
        from ..node.launcher import NodeProcess, create_cluster

        names = [f"n{number}" for number in range(1, self._count + 1)]
        local = create_cluster(directory, names, client_port=0, peer_port=0)
        self._processes = [NodeProcess(node) for node in local.nodes]
        for each in self._processes:
            each.start()
        for each in self._processes:
            each.wait_ready(_READY_SECONDS)

    def end(self) -> None:
        """Stop all its nodes."""
        for each in self._processes:
            each.terminate()
        for each in self._processes:
            each.stop()

    def leader(self) -> int:
        """The number of the node that leads. Raises Unavailable when none is found."""
        from ..client import Client, QuorateError, Unavailable

        for number, each in enumerate(self._processes, 1):
            if not each.alive:
                continue
            at = str(each.node.client)
            with Client(at, timeout=1.0, learn=False, sessions=False) as client:
                try:
                    if client.status(at)["role"] == "leader":
                        return number
                except QuorateError:
                    continue
        raise Unavailable("no node leads")

    def kill(self, number: int) -> None:
        """End a node as a power switch does (kill -9)."""
        self._at(number).kill()

    def stop(self, number: int) -> None:
        """End a node cleanly."""
        self._at(number).stop()

    def start(self, number: int) -> None:
        """Start a node that has ended, and wait until it serves."""
        process = self._at(number)
        process.start()
        process.wait_ready(_READY_SECONDS)

    def pause(self, number: int) -> None:
        """Freeze a node (SIGSTOP)."""
        self._at(number).pause()

    def resume(self, number: int) -> None:
        """Let a node go on."""
        self._at(number).resume()

    def log(self, number: int) -> str:
        """What a node has said so far."""
        return self._at(number).node.log.read_text(errors="replace")

    def _at(self, number: int) -> "NodeProcess":
        return self._processes[number - 1]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "quorate(nodes=3): how many nodes quorate_cluster has"
    )


@pytest.fixture(scope="session")
def quorate_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node for the whole run. Tests had better use `quorate_endpoints`."""
    server = Cluster(tmp_path_factory.mktemp("quorate"), 1)
    try:
        server.begin()
        yield server
    finally:
        server.end()


@pytest.fixture
def quorate_endpoints(quorate_server: Cluster) -> str:
    """Where one node serves clients, with nothing in its store."""
    from ..client import Client

    with Client(quorate_server.endpoints, sessions=False) as client:
        _clear(client)
    return quorate_server.endpoints


@pytest.fixture
def quorate_client(quorate_endpoints: str) -> "Iterator[Client]":
    """A client of one node, with nothing in its store."""
    from ..client import Client

    with Client(quorate_endpoints) as client:
        yield client


@pytest.fixture
def quorate_cluster(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Cluster]:
    """A cluster for one test alone, which may hurt it; three nodes, or as marked."""
    marker = request.node.get_closest_marker("quorate")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    nodes = _NODES_DEFAULT
    if marker is not None:
        nodes = marker.kwargs.get("nodes", nodes)
    cluster = Cluster(tmp_path / "quorate", nodes)
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.end()


def _clear(client: "Client") -> None:
    """Take away everything that other tests have left."""
    from ..client import LeaseNotFound

    for lease in client.leases():
        with suppress(LeaseNotFound):
            client.revoke(lease)
    for entry in client.range("", keys_only=True):
        client.delete(entry.key)
