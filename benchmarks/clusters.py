"""quorate and etcd as three nodes each on this machine, in the same terms.

Law: both are started the same way: peers under mutual TLS, clients in plain text, every
write synced, ports that the system gives out, data below one folder. Each is its
default but for what makes it alike. All that was started is ended by its id, also when
this process is killed.
"""

import base64
import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from quorate.node.certificates import Authority, create_authority
from quorate.node.launcher import NodeProcess, create_cluster

from . import machine
from .etcd_certificates import issue
from .priorities import give_way

NODES = 3
START_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1


class BenchmarkFailed(Exception):
    """A system does not do what it has to, and nothing can be measured."""


class Place(NamedTuple):
    """Where a node serves clients, and its process."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class System(Protocol):
    """A cluster that is measured."""

    name: str

    def places(self) -> list[Place]:
        """Where its nodes are."""
        ...

    def leader(self) -> int:
        """Which of them leads, waiting until one does."""
        ...

    def syncs(self) -> int:
        """How often its nodes have synced a log or a database."""
        ...

    def written_bytes(self) -> int:
        """What its nodes have written to disks."""
        ...

    def kill(self, number: int) -> None:
        """As a crash would."""
        ...

    def restart(self, number: int) -> None:
        """Start it again with its data, and wait until it serves."""
        ...

    def stop(self) -> None:
        """End all that was started."""
        ...


def ask(port: int, path: str, body: object = None, timeout_s: float = 5.0) -> Any:
    """The JSON that a node answers; a GET when there is no body. OSError otherwise."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body))
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise OSError(f"{path}: {response.status} {text[:200]!r}")
        return json.loads(text)
    except http.client.HTTPException as error:
        raise OSError(f"{path}: {error!r}") from error
    finally:
        connection.close()


def metrics_of(port: int) -> str:
    """What a node tells Prometheus."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def put_all(port: int, keys: Iterable[bytes]) -> None:
    """Put each key with a value of 256 bytes, by the JSON interface that both have."""
    value = base64.b64encode(b"v" * 256).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        for key in keys:
            body = {"key": base64.b64encode(key).decode(), "value": value}
            connection.request("POST", "/v3/kv/put", json.dumps(body))
            response = connection.getresponse()
            if response.status != 200:
                raise BenchmarkFailed(f"put: {response.read()[:200]!r}")
            response.read()
    finally:
        connection.close()


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """Wait until it holds; answers that do not come count as no."""
    deadline_s = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if time.monotonic() > deadline_s:
            raise BenchmarkFailed(f"{what}: not within {START_SECONDS_MAX:.0f} s")
        time.sleep(_POLL_SECONDS)


class Quorate:
    """Its defaults, but for what the environment of its nodes says."""

    def __init__(
        self,
        directory: Path,
        nodes: int = NODES,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name: str = "quorate"
        names = [f"n{number + 1}" for number in range(nodes)]
        cluster = create_cluster(directory, names, client_port=0, peer_port=0)
        self._nodes: list[NodeProcess] = [
            NodeProcess(node, environment=environment) for node in cluster.nodes
        ]
        try:
            for node in self._nodes:
                node.start()
            for node in self._nodes:
                node.wait_ready(START_SECONDS_MAX)
        except BaseException:
            self.stop()
            raise

    def places(self) -> list[Place]:
        return [Place(each.node.client.port, each.pid or 0) for each in self._nodes]

    def leader(self) -> int:
        found: list[int] = []

        def leads() -> bool:
            for number, each in enumerate(self._nodes):
                if each.alive and self._status(number)["role"] == "leader":
                    found.append(number)
            return bool(found)

        wait_for("quorate has a leader", leads)
        return found[-1]

    def terms(self) -> list[int]:
        """Each node's: they grow with each election."""
        return [int(self._status(number)["term"]) for number in range(len(self._nodes))]

    def syncs(self) -> int:
        each = (self._status(number) for number in range(len(self._nodes)))
        return sum(int(status["journal_syncs"]) for status in each)

    def written_bytes(self) -> int:
        """To journals, as the nodes tell: their files lie in large pages, of which the
        kernel counts the whole one. To tables, as it tells of the workers.
        """
        pids = [place.pid for place in self.places()]
        workers = set(machine.family(pids)) - set(pids)
        each = (self._status(number) for number in range(len(self._nodes)))
        journals = sum(int(status["journal_bytes"]) for status in each)
        return journals + machine.written_bytes(workers)

    def kill(self, number: int) -> None:
        self._nodes[number].kill()

    def restart(self, number: int) -> None:
        self._nodes[number].start()
        self._nodes[number].wait_ready(START_SECONDS_MAX)

    def come_back(self, number: int) -> None:
        """The same; it takes what processors the others leave, as another machine's."""
        node = self._nodes[number]
        node.start()
        assert node.pid is not None, "it was started"
        give_way(node.pid)
        node.wait_ready(START_SECONDS_MAX)

    def stop(self) -> None:
        for node in self._nodes:
            node.terminate()
        for node in self._nodes:
            node.stop()

    def _status(self, number: int) -> Any:
        return ask(self._nodes[number].node.client.port, "/v1/status")


class Etcd:
    """Its defaults, but for snapshots: none is taken within a run."""

    def __init__(self, directory: Path, program: str, nodes: int = NODES) -> None:
        self.name: str = "etcd"
        self._ports: list[int] = _free_ports(2 * nodes)
        authority: Authority = create_authority(directory / "ca")
        self._commands: list[list[str]] = []
        for number in range(nodes):
            folder = directory / f"e{number}"
            issue(authority, folder / "certs", f"e{number}")
            self._commands.append(self._command(program, folder, number, nodes))
        self._logs: list[Path] = [directory / f"e{n}" / "log" for n in range(nodes)]
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for number in range(nodes):
                self._processes.append(self._start(number))
            for number in range(nodes):
                self._wait_healthy(number)
        except BaseException:
            self.stop()
            raise

    def _command(
        self, program: str, folder: Path, number: int, nodes: int
    ) -> list[str]:
        clients, peers = self._ports[:nodes], self._ports[nodes:]
        client = f"http://127.0.0.1:{clients[number]}"
        peer = f"https://127.0.0.1:{peers[number]}"
        everybody = (f"e{n}=https://127.0.0.1:{port}" for n, port in enumerate(peers))
        certs = folder / "certs"
        return [
            *(program, "--name", f"e{number}", "--data-dir", str(folder / "data")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", ",".join(everybody)),
            *("--initial-cluster-token", "benchmark", "--log-level", "warn"),
            *("--quota-backend-bytes", str(8 << 30)),
            *("--peer-client-cert-auth", "--peer-trusted-ca-file"),
            *(str(certs / "ca.crt"), "--peer-cert-file", str(certs / "node.crt")),
            *("--peer-key-file", str(certs / "node.key")),
        ]

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        with self._logs[number].open("ab") as log:
            return subprocess.Popen(
                self._commands[number],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C at the terminal is for us.
                start_new_session=True,
                preexec_fn=partial(_end_with, os.getpid()),
            )

    def _wait_healthy(self, number: int) -> None:
        def healthy() -> bool:
            if self._processes[number].poll() is not None:
                words = self._logs[number].read_text()[-500:]
                raise BenchmarkFailed(f"etcd ended: {words}")
            return bool(ask(self._ports[number], "/health")["health"] == "true")

        wait_for("etcd is healthy", healthy)

    def places(self) -> list[Place]:
        pids = [process.pid for process in self._processes]
        return list(map(Place, self._ports[: len(pids)], pids))

    def leader(self) -> int:
        found: list[int] = []

        def leads() -> bool:
            for number, process in enumerate(self._processes):
                if process.poll() is None:
                    status = self._status(number)
                    if status["leader"] == status["header"]["member_id"]:
                        found.append(number)
            return bool(found)

        wait_for("etcd has a leader", leads)
        return found[-1]

    def _status(self, number: int) -> Any:
        status = ask(self._ports[number], "/v3/maintenance/status", {})
        return {"leader": "0", **status}

    def syncs(self) -> int:
        return sum(map(self._syncs, range(len(self._processes))))

    def written_bytes(self) -> int:
        return machine.written_bytes(place.pid for place in self.places())

    def _syncs(self, number: int) -> int:
        return syncs_of(metrics_of(self._ports[number]))

    def kill(self, number: int) -> None:
        self._processes[number].kill()
        self._processes[number].wait()

    def restart(self, number: int) -> None:
        self._processes[number] = self._start(number)
        self._wait_healthy(number)

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def syncs_of(metrics: str) -> int:
    """How often etcd synced its log, and committed (which syncs) its database."""
    names = (
        "etcd_disk_wal_fsync_duration_seconds_count",
        "etcd_disk_backend_commit_duration_seconds_count",
    )
    lines = (line.split() for line in metrics.splitlines())
    return int(sum(float(words[1]) for words in lines if words and words[0] in names))


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    sockets: Sequence[socket.socket] = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _end_with(parent: int) -> None:
    """In the child, before its program: the kernel ends it when we are gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
