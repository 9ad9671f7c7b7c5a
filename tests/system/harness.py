"""Real nodes for tests: processes on real disks, asked through their own ports.

Law: a test waits for a condition with a generous deadline and never for a while; what
it starts ends with it. Nothing here reaches into a node: files, signals, ports.
"""

import asyncio
import http.client
import os
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from quorate.client import Unavailable, Unknown
from quorate.node.launcher import (
    CLIENT_FOLDER,
    COMMAND,
    LocalCluster,
    LocalNode,
    NodeProcess,
    create_cluster,
)

DEADLINE_S = 60.0
POLL_S = 0.01
QUORATE = COMMAND

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S
) -> T:
    """Ask until the answer is true; what it was."""
    deadline = time.monotonic() + deadline_s
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(POLL_S)


class Peer(msgspec.Struct):
    """One line of a node's list of peers."""

    member_id: str
    name: str
    connected: bool


class Status(msgspec.Struct):
    """The part of `GET /v1/status` that these tests read."""

    name: str
    id: str
    role: str
    leader: str | None
    cluster_id: str
    term: int
    last_index: int
    applied_index: int
    revision: int
    compacted: int
    state_hash: str
    keys: int
    puts: int
    elections_started: int
    snapshots_installed: int
    healed: int
    scrub_passes: int
    checkpoint_index: int
    refused_peers: int
    connections: int
    loop_lag_seconds_max: float
    peers: list[Peer]


class Answer(msgspec.Struct, frozen=True):
    """What HTTP said."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def problem(self) -> tuple[str, str]:
        """`code` and `outcome` of a problem document."""
        document = msgspec.json.decode(self.body, type=dict[str, str | int | bool])
        return str(document["code"]), str(document.get("outcome", ""))


class Ask(Protocol):
    """An HTTP connection that takes requests."""

    def __call__(self, method: str, path: str, body: bytes | None = None) -> Answer: ...


def exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None
) -> Answer:
    """One request and its answer."""
    connection.request(method, path, body)
    response = connection.getresponse()
    return Answer(response.status, response.read(), dict(response.getheaders()))


class Running:
    """One node of a test's cluster: its files and its process."""

    def __init__(
        self,
        node: LocalNode,
        environment: Mapping[str, str],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.node = node
        self.process = NodeProcess(node, command=command, environment=environment)

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def data(self) -> Path:
        return self.node.directory / "data"

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def connection(self) -> http.client.HTTPConnection:
        """To its client port, showing the launcher's certificate if there is one."""
        address = self.node.client
        if self.node.ca is None:
            return http.client.HTTPConnection(
                address.host, address.port, timeout=DEADLINE_S
            )
        tls = ssl.create_default_context(cafile=self.node.ca)
        folder = self.node.directory.parent / CLIENT_FOLDER
        tls.load_cert_chain(folder / "client.crt", folder / "client.key")
        return http.client.HTTPSConnection(
            address.host, address.port, timeout=DEADLINE_S, context=tls
        )

    @contextmanager
    def keep_alive(self) -> Generator[Ask]:
        """Many HTTP requests on one connection; paths are sent as they are.

        On a busy machine there may be an election at any time: what was refused for
        that, or whose outcome is unknown, is asked again. Tests only ask what may be
        repeated.
        """
        connection = self.connection()

        def ask(method: str, path: str, body: bytes | None = None) -> Answer:
            def answered() -> Answer | None:
                answer = exchange(connection, method, path, body)
                return None if answer.status in (503, 504) else answer

            return wait_for(answered, f"an answer to {method} {path[:80]}")

        try:
            yield ask
        finally:
            connection.close()

    def request(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """One request on a connection of its own, repeated as in `keep_alive`."""
        with self.keep_alive() as ask:
            return ask(method, path, body)

    def request_once(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """One request whose first answer counts."""
        connection = self.connection()
        try:
            return exchange(connection, method, path, body)
        finally:
            connection.close()

    def status(self) -> Status:
        return msgspec.json.decode(
            self.request_once("GET", "/v1/status").body, type=Status
        )

    def try_status(self) -> Status | None:
        """The status, or None while nobody answers."""
        try:
            return self.status()
        except (OSError, http.client.HTTPException):
            return None

    def rss_anon_bytes(self) -> int:
        """What the process holds of memory that is nobody else's."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no RssAnon in /proc")

    def log(self) -> str:
        """Everything that it said so far, in all its runs."""
        return self.node.log.read_text(errors="replace")


class Cluster:
    """All nodes of one directory."""

    def __init__(
        self,
        local: LocalCluster,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.directory = local.directory
        self.nodes = [Running(node, environment or {}, command) for node in local.nodes]

    @property
    def endpoints(self) -> str:
        return ",".join(str(each.node.client) for each in self.nodes)

    def start(self, nodes: Sequence[Running] | None = None) -> None:
        """Start nodes, all by default, and wait until each of them serves."""
        chosen = self.nodes if nodes is None else nodes
        for each in chosen:
            each.process.start()
        for each in chosen:
            each.process.wait_ready(DEADLINE_S)

    def stop(self) -> None:
        """End all at once; those that do not end are killed."""
        for each in self.nodes:
            each.process.terminate()
        for each in self.nodes:
            each.process.stop()

    def kill(self) -> None:
        """End all at once, as a power failure does."""
        for each in self.nodes:
            each.process.kill()

    def leader(self) -> Running:
        """The node that leads, once all that live agree on it."""

        def agreed() -> Running | None:
            states = {
                each.name: status
                for each in self.nodes
                if each.process.alive and (status := each.try_status())
            }
            named = {status.leader for status in states.values()}
            for each in self.nodes:
                status = states.get(each.name)
                if status and status.role == "leader" and named == {status.id}:
                    return each
            return None

        return wait_for(agreed, "one leader that all know")

    def followers(self) -> list[Running]:
        """The nodes that live and do not lead."""
        leader = self.leader()
        return [e for e in self.nodes if e is not leader and e.process.alive]

    def wait_until_equal(self) -> None:
        """Wait until all nodes have applied the same and their states' hashes agree."""

        def equal() -> bool:
            states = [each.try_status() for each in self.nodes]
            seen = {(s.applied_index, s.last_index) if s else None for s in states}
            if None in seen or len(seen) != 1:
                return False
            # The same index and another hash would never heal: say it at once.
            hashes = {status.state_hash for status in states if status}
            assert len(hashes) == 1, f"the replicas differ: {states}"
            return True

        wait_for(equal, "all nodes at one index")


def command_line(
    cluster: Cluster, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`quorate` for this cluster, with these variables and no others of ours."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("QUORATE_")}
    return subprocess.run(
        [*QUORATE, "--endpoints", cluster.endpoints, *arguments],
        env=known | environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@contextmanager
def running_cluster(
    directory: Path,
    count: int = 3,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = COMMAND,
    *,
    tls: bool = False,
) -> Generator[Cluster]:
    """A cluster of its own for one test; `command` runs its nodes."""
    names = [f"n{i}" for i in range(1, count + 1)]
    local = create_cluster(directory, names, client_port=0, peer_port=0, tls=tls)
    cluster = Cluster(local, environment, command)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


async def surely(call: Callable[[], Awaitable[T]]) -> T:
    """The result of a client's call that may be repeated; elections are waited out."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await call()
            except (Unavailable, Unknown):
                await asyncio.sleep(POLL_S)


def node_processes_below(directory: Path) -> list[str]:
    """The command lines of all processes that are about something in `directory`."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if os.fsencode(directory) + b"/" in command:
            text = command.replace(b"\0", b" ").decode(errors="replace")
            found.append(f"{entry.name}: {text}")
    return found
