"""For pytest: real nodes for other people's tests, and nodes that die under them.

Law: what a fixture starts ends with it, also when the test run is killed: nodes hold
the run's lifeline, and a frozen one, which does not see it, has a janitor. Ports are
the system's. Nothing of a cluster is loaded before a test asks for one.

    def test_mine(quorate_endpoints): ...       one node, an empty store for each test
    def test_mine(quorate_client): ...          the same, with a client
    @pytest.mark.quorate(nodes=3)
    def test_mine(quorate_cluster): ...         a cluster of one's own, to be hurt
    @pytest.mark.quorate(faults=["kill", "partition"], seed=7)
    def test_mine(quorate_siege): ...           one that is hurt all the time
"""

import random
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from ..client import Client
    from ..node.launcher import NodeProcess
    from .harness.history import Struck
    from .siege import Siege

_NODES_DEFAULT: Final = 3
_READY_SECONDS: Final = 60.0
_TRIES: Final = 5
_FAULTS_DEFAULT: Final = ("kill", "pause", "partition")
_SEED_BITS: Final = 32
# What the marker may say.
_MARKED: Final = ("nodes", "faults", "seed")


class Cluster:
    """Nodes of one cluster, each a process; numbers begin at 1.

    A node that was killed or stopped is `start`-ed again by whoever did it.
    """

    def __init__(self, directory: Path, nodes: int) -> None:
        self._directory = directory
        self._count = nodes
        self._processes: list[NodeProcess] = []
        self._janitor = ExitStack()
        self._watched = False

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
        self._janitor.close()

    def leader(self) -> int:
        """The number of the node that leads. Raises Unavailable when none is found."""
        alive = [(n, each) for n, each in enumerate(self._processes, 1) if each.alive]
        return _leader((number, str(each.node.client)) for number, each in alive)

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
        if not self._watched:
            from .harness.janitor import Janitor

            nodes = self._at(number).node.directory.parent
            self._janitor.enter_context(Janitor(nodes, None))
            self._watched = True
        self._at(number).pause()

    def resume(self, number: int) -> None:
        """Let a node go on."""
        self._at(number).resume()

    def log(self, number: int) -> str:
        """What a node has said so far."""
        return self._at(number).node.log.read_text(errors="replace")

    def _at(self, number: int) -> "NodeProcess":
        if not 1 <= number <= len(self._processes):
            raise IndexError(f"there is no node {number}")
        return self._processes[number - 1]


class Besieged:
    """A cluster that faults strike all the time, until it is healed.

    The faults are the chaos harness's, drawn from a seed: which kind, at whom, for how
    long. `struck` has those that are over and met something: `kind`, `targets`, and
    from when until when, in seconds since the cluster served.
    """

    def __init__(self, siege: "Siege") -> None:
        self._siege = siege

    @property
    def endpoints(self) -> str:
        """Where all nodes serve clients, for `Client` and `AsyncClient`."""
        return ",".join(self._siege.addresses)

    @property
    def urls(self) -> list[str]:
        """The same, for HTTP, node by node."""
        return [f"http://{address}" for address in self._siege.addresses]

    @property
    def seed(self) -> int:
        """What the faults were drawn from."""
        return self._siege.seed

    @property
    def struck(self) -> "tuple[Struck, ...]":
        """The faults that are over."""
        return tuple(self._siege.struck)

    def heal(self) -> None:
        """End the faults: when it returns all nodes answer, and nothing is hurt.

        Raises Violated when a node ended by itself, or does not answer any more.
        """
        self._siege.heal()

    def leader(self) -> int:
        """The number of the node that leads. Raises Unavailable when none is found."""
        return _leader(enumerate(self._siege.direct, 1))

    def log(self, number: int) -> str:
        """What a node has said so far."""
        return self._siege.logs[number - 1].read_text(errors="replace")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "quorate(nodes=3, faults=..., seed=...): how many nodes quorate_cluster and"
        " quorate_siege have, and what strikes the latter",
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
    marked = _marked(request)
    cluster = Cluster(tmp_path / "quorate", marked.get("nodes", _NODES_DEFAULT))
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def quorate_siege(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Besieged]:
    """A cluster for one test alone that faults strike, drawn anew or by a seed."""
    from .siege import Siege, kinds_of

    marked = _marked(request)
    nodes = marked.get("nodes", _NODES_DEFAULT)
    seed = marked.get("seed")
    if seed is None:
        seed = random.SystemRandom().getrandbits(_SEED_BITS)
    try:
        kinds = kinds_of(marked.get("faults", _FAULTS_DEFAULT), nodes)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    siege = Siege(tmp_path / "quorate", nodes, kinds, seed)
    siege.begin()
    try:
        yield Besieged(siege)
    finally:
        # Shown beside a test that has failed.
        print(f"quorate_siege: seed {seed}")
        for each in siege.struck:
            who = ", ".join(each.targets)
            print(f"{each.start_s:8.2f} to {each.until_s:.2f} s: {each.kind} at {who}")
        siege.end()
        if not siege.struck:
            warnings.warn(
                pytest.PytestWarning(
                    "quorate_siege: it was over before any fault had struck, and shows"
                    " nothing about faults"
                ),
                stacklevel=1,
            )


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the marker says of a test, or of its class or module."""
    marker: pytest.Mark | None = request.node.get_closest_marker("quorate")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if marker is None:
        return {}
    strange = [repr(value) for value in marker.args]
    strange += [name for name in marker.kwargs if name not in _MARKED]
    if strange:
        known = ", ".join(_MARKED)
        raise pytest.UsageError(
            f"the marker quorate has no use for {', '.join(strange)}: it takes, by"
            f" name, {known}"
        )
    return dict(marker.kwargs)


def _leader(nodes: Iterable[tuple[int, str]]) -> int:
    from ..client import Client, QuorateError, Unavailable

    leading: list[tuple[int, int]] = []
    for number, at in nodes:
        with Client(at, timeout=1.0, learn=False, sessions=False) as client:
            try:
                status = client.status(at)
            except QuorateError:
                continue
            term = status["term"]
            if status["role"] == "leader" and isinstance(term, int):
                leading.append((term, number))
    if not leading:
        raise Unavailable("no node leads")
    # One that was away may not have heard yet that it leads no more.
    return max(leading)[1]


def _clear(client: "Client") -> None:
    """Take away everything that other tests have left."""
    from ..client import LeaseNotFound

    for lease in client.leases():
        with suppress(LeaseNotFound):
            client.revoke(lease)
    for entry in client.range("", keys_only=True):
        client.delete(entry.key)
