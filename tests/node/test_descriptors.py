"""How many files and sockets a node has, and that clients can't have them all."""

import asyncio
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
import uvloop
from quorate.node.descriptors import RESERVED, raise_limit, room_for_clients
from quorate.node.launcher import COMMAND, NodeProcess, create_cluster

from .api.support import head, http, open_port, wait_for

DEADLINE_S = 60.0
CLIENTS = 300
LIMIT = 256


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """This process's own, put back afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def limited(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int]) -> None:
    def getrlimit(_: int) -> tuple[int, int]:
        return limits

    monkeypatch.setattr(resource, "getrlimit", getrlimit)


@pytest.mark.parametrize(
    ("files", "wanted", "room"),
    [
        (resource.RLIM_INFINITY, 10_000, 10_000),
        (1_048_576, 10_000, 10_000),
        (10_000 + RESERVED, 10_000, 10_000),
        (10_000, 10_000, 10_000 - RESERVED),
        (1024, 10_000, 512),
        (1024, 100, 100),
        (256, 10_000, 128),
        (1, 10_000, 1),
    ],
)
def test_clients_get_what_a_reserve_leaves_and_half_of_what_is_little(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    files: int,
    wanted: int,
    room: int,
) -> None:
    limited(monkeypatch, (files, files))
    assert room_for_clients(wanted) == room
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == (room < wanted)
    assert all(f"only {room} clients" in line for line in warned)


def test_a_process_takes_as_many_as_it_may(limits: tuple[int, int]) -> None:
    _, hard = limits
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
    raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


def test_a_process_that_may_not_take_more_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: int, limit: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    limited(monkeypatch, (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_limit()
    assert "stays at 256 open files" in caplog.text


def test_a_port_without_a_descriptor_turns_away_and_goes_on(
    limits: tuple[int, int],
) -> None:
    """uvloop does it: it closes who waits, and does not try again and again."""

    async def scenario() -> None:
        async with open_port() as port:
            clients = [socket.socket() for _ in range(3)]
            taken = fill(limits)
            try:
                for client in clients:
                    client.setblocking(False)
                    client.connect_ex(("127.0.0.1", port.listener.port))
                await wait_for(lambda: all(map(ended, clients)))
            finally:
                for descriptor in taken:
                    os.close(descriptor)
                for client in clients:
                    client.close()
            assert (await http(port, "GET", "/livez")).status == 200

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


def fill(limits: tuple[int, int]) -> list[int]:
    """Open files until there is no descriptor left."""
    taken = [os.open(os.devnull, os.O_RDONLY)]
    # Few of them are enough.
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 10, limits[1]))
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return taken


def ended(client: socket.socket) -> bool:
    """Whether the other side has closed it."""
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def ask(
    connection: socket.socket, method: str, target: str, body: bytes = b""
) -> bytes:
    """One request over a connection that stays; the reply's body."""
    connection.sendall(head(method, target, Content_Length=str(len(body))) + body)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    top, _, rest = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 200 "), answer
    length = int(top.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
    while len(rest) < length:
        rest += connection.recv(65536)
    return rest


def refused(metrics: bytes) -> float:
    """How many connections were."""
    name = b"\nquorate_client_connections_refused_total "
    return float(metrics.partition(name)[2].split(b"\n")[0])


class Told(msgspec.Struct):
    """The part of a node's status that is read here."""

    connections: int


@pytest.mark.slow
def test_more_clients_than_files_cost_a_node_nothing(tmp_path: Path) -> None:
    cluster = create_cluster(tmp_path / "c", ["n1"], client_port=0, peer_port=0)
    (node,) = cluster.nodes
    lower = (
        "import os, resource, sys;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT // 2}, {LIMIT}));"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = (sys.executable, "-c", lower, *COMMAND)
    with NodeProcess(node, command=command) as process, ExitStack() as clients:
        process.start()
        process.wait_ready(DEADLINE_S)
        place = (node.client.host, node.client.port)
        first = clients.enter_context(socket.create_connection(place, DEADLINE_S))
        ask(first, "GET", "/livez")
        for _ in range(CLIENTS):
            idle = clients.enter_context(socket.create_connection(place, DEADLINE_S))
            idle.sendall(b"GET /livez HTT")
        # Those who are too many are told so by the end of their connections.
        deadline = time.monotonic() + DEADLINE_S
        while refused(ask(first, "GET", "/metrics")) < CLIENTS - LIMIT // 2:
            assert time.monotonic() < deadline
        told = msgspec.json.decode(ask(first, "GET", "/v1/status"), type=Told)
        assert told.connections <= LIMIT // 2
        # The node has what it needs, and what it may have is what it was allowed.
        files = list(Path(f"/proc/{process.pid}/fd").iterdir())
        assert len(files) < LIMIT - 16
        assert f"{LIMIT}                  {LIMIT}" in _limits_of(process)
        for number in range(3):
            ask(first, "PUT", f"/v1/kv/{number}", b"x" * 1_000_000)
        assert process.alive
    assert "only 128 clients can be connected" in node.log.read_text()


def _limits_of(process: NodeProcess) -> str:
    return Path(f"/proc/{process.pid}/limits").read_text()
