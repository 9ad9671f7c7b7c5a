"""A host with several addresses: one where nobody answers holds nobody up."""

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from quorate.client import Unavailable, dialling

from ..addresses import ELSEWHERE, HERE, silent_port
from .fake_node import FakeNode, plain, running

NAME = "several.example"


def found(*hosts: str, port: int) -> list[object]:
    """What a resolver says when the name has these addresses, in this order."""
    kind = socket.SOCK_STREAM
    return [(socket.AF_INET, kind, 6, "", (each, port)) for each in hosts]


def resolving(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Let the name have these addresses."""

    def look_up(host: str, port: int, *_: object, **__: object) -> list[object]:
        assert host == NAME
        return found(*hosts, port=port)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def black_hole() -> Iterator[int]:
    with silent_port() as port:
        yield port


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, uvloop.Loop])
def test_the_next_address_is_tried_while_the_first_says_nothing(
    kind: type[asyncio.AbstractEventLoop],
    black_hole: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first one had all of a call's time, on every call, and the second none."""
    monkeypatch.setattr(dialling, "STAGGER_SECONDS", 0.02)
    node = FakeNode()
    node.port = black_hole

    async def look_up(_: object, host: str, port: int, **__: object) -> list[object]:
        hosts = (ELSEWHERE, HERE) if host == NAME else (host,)
        return found(*hosts, port=port)

    async def main() -> None:
        async with running(node), plain(f"{NAME}:{node.port}", timeout=2) as kv:
            assert await kv.put("k", "v") == 2
            assert len(node.sessions) == 1

    # uvloop asks a resolver of its own.
    resolver = type("Resolver", (kind,), {"getaddrinfo": look_up})
    with asyncio.Runner(loop_factory=resolver) as runner:
        runner.run(main())


async def test_an_address_is_looked_up_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch)
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        assert await kv.put("k", "v") == 2


async def test_an_address_that_refuses_makes_nobody_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dialling, "STAGGER_SECONDS", 60.0)
    node = FakeNode()
    async with running(node):
        resolving(monkeypatch, ELSEWHERE, HERE)
        async with plain(f"{NAME}:{node.port}", timeout=5) as kv:
            assert await kv.put("k", "v") == 2


async def test_when_no_address_answers_all_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = FakeNode()
    async with running(node):
        port = node.port
    resolving(monkeypatch, ELSEWHERE, HERE)
    async with plain(f"{NAME}:{port}", timeout=0.2) as kv:
        with pytest.raises(Unavailable, match=ELSEWHERE) as told:
            await kv.put("k", "v")
    assert HERE in told.value.reason


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connect call failed"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (ssl.SSLEOFError(8, "EOF occurred"), "EOF occurred"),
        (OSError("a: this; b: that"), "a: this; b: that"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_why_there_is_no_connection_is_said_in_words(
    error: OSError, words: str
) -> None:
    assert dialling.in_words(error) == words


async def test_that_nobody_listens_is_said_in_words() -> None:
    """It was `[Errno 111] Connect call failed ('127.0.0.1', 7400)`."""
    node = FakeNode()
    async with running(node) as endpoints:
        pass
    async with plain(endpoints, timeout=0.1) as kv:
        with pytest.raises(Unavailable) as told:
            await kv.get("k")
    assert told.value.reason == f"{endpoints}: connection refused"


async def test_whoever_gives_up_leaves_no_socket_behind(
    black_hole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, ELSEWHERE, ELSEWHERE)
    made: list[socket.socket] = []
    new = socket.socket

    def noted(family: int, kind: int, protocol: int) -> socket.socket:
        made.append(new(family, kind, protocol))
        return made[-1]

    monkeypatch.setattr(dialling, "STAGGER_SECONDS", 0.01)
    monkeypatch.setattr(dialling.socket, "socket", noted)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await dialling.open_socket(NAME, black_hole)
    assert [each.fileno() for each in made] == [-1, -1]


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, uvloop.Loop])
def test_a_small_request_does_not_wait_for_the_one_before(
    kind: type[asyncio.AbstractEventLoop],
) -> None:
    """Nagle's algorithm is off: it would hold back what is sent alone."""
    node = FakeNode()

    async def main() -> None:
        async with running(node) as endpoints, plain(endpoints) as kv:
            await kv.put("k", "v")
            connection = kv._calls._routes.in_use.connection
            assert connection is not None
            assert connection._transport is not None
            own = connection._transport.get_extra_info("socket")
            assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    with asyncio.Runner(loop_factory=kind) as runner:
        runner.run(main())


def test_a_handshake_that_is_cut_off_ends_no_program() -> None:
    """Story: under uvloop the socket was closed under the connection that had failed,
    its number was the next one's, and libuv aborted the process.
    """
    program = (sys.executable, "-P", str(Path(__file__).with_name("resetting.py")))
    run = subprocess.run(
        program, capture_output=True, text=True, timeout=240, check=False
    )
    assert (run.returncode, run.stdout) == (0, "960\n"), run.stderr[-2000:]
