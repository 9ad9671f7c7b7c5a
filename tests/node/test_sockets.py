"""Names and addresses of peers: what says nothing holds nobody else up."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import cast

import pytest
import uvloop
from quorate.node import sockets
from quorate.node.address import Address
from quorate.node.peer_session import Host
from quorate.node.sockets import addresses_of, at_each
from quorate.node.transport import Transport

from ..addresses import ELSEWHERE, HERE, silent_port

HANGS, SEVERAL = "hangs.example", "several.example"
DEADLINE_S = 30.0
LOOPS = pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, uvloop.Loop])


class Resolver:
    """Knows some names; those that end with HANGS it answers when it is let go."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {HANGS: [HERE]}
        self.asked: list[str] = []
        self.let_go = threading.Event()

    def getaddrinfo(
        self, host: str, port: int, *, flags: int = 0, **_: object
    ) -> list[object]:
        numeric = host[:1].isdigit()
        # As the codec of host names does.
        if ".." in host:
            raise UnicodeError("label empty")
        if flags & socket.AI_NUMERICHOST and not numeric:
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        if not numeric:
            self.asked.append(host)
            if host.endswith(HANGS):
                self.let_go.wait(DEADLINE_S)
        hosts = [host] if numeric else self.known.get(host, [])
        if not hosts:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 6, "", (each, port)) for each in hosts]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.let_go.set()
    deadline = time.monotonic() + DEADLINE_S
    while sockets._lookups:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def black_hole() -> Iterator[int]:
    with silent_port() as port:
        yield port


async def dial(host: str, port: int, seconds: float) -> asyncio.BaseTransport:
    loop = asyncio.get_running_loop()
    transport, _ = await at_each(
        Address(host, port),
        seconds,
        lambda place, port: loop.create_connection(asyncio.Protocol, place, port),
    )
    return transport


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_name_is_looked_up_once_for_all_who_wait(resolver: Resolver) -> None:
    place = Address(HANGS, 1)
    asking = [asyncio.ensure_future(addresses_of(place)) for _ in range(3)]
    await until(lambda: bool(resolver.asked))
    # Who gives up ends nobody else's waiting.
    asking[0].cancel()
    await asyncio.wait(asking[:1])
    resolver.let_go.set()
    for each in asking[1:]:
        assert (await each)[0][4] == (HERE, 1)
    assert resolver.asked == [HANGS]
    # What is known was true when it was asked for.
    await until(lambda: not sockets._lookups)
    await addresses_of(place)
    assert resolver.asked == [HANGS, HANGS]


async def test_peers_whose_names_hang_hold_up_no_other(resolver: Resolver) -> None:
    """Story: of the loop's few threads each was in a lookup that nobody waited for any
    more, and healthy members were not found either.
    """
    arrived = asyncio.Event()

    class Peer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            arrived.set()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Peer, HERE, 0)
    port = server.sockets[0].getsockname()[1]
    resolver.known["healthy.example"] = [HERE]

    class Node:
        parting = False

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    transport = Transport(cast(Host, Node()), context, context, lambda: 0.0)
    for member in range(2, 32):
        transport.connect(member, Address(f"n{member}.{HANGS}", 1))
    try:
        await until(lambda: len(resolver.asked) >= 6)
        transport.connect(99, Address("healthy.example", port))
        async with asyncio.timeout(4.0):
            await arrived.wait()
    finally:
        resolver.let_go.set()
        await transport.close()
        server.close()


async def test_no_more_names_are_looked_up_than_there_may_be(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "LOOKUPS_MAX", 1)
    first = asyncio.ensure_future(addresses_of(Address(HANGS, 1)))
    await until(lambda: bool(resolver.asked))
    with pytest.raises(OSError, match="too many names"):
        await addresses_of(Address("other.example", 1))
    # An address is no name.
    assert (await addresses_of(Address(HERE, 7)))[0][4] == (HERE, 7)
    resolver.let_go.set()
    await first


@LOOPS
def test_the_end_of_a_loop_waits_for_no_resolver(
    kind: type[asyncio.AbstractEventLoop], resolver: Resolver
) -> None:
    async def main() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await dial(HANGS, 1, 0.05)

    begun = time.monotonic()
    with asyncio.Runner(loop_factory=kind) as runner:
        runner.run(main())
    assert resolver.asked == [HANGS]
    assert time.monotonic() - begun < DEADLINE_S / 2


@LOOPS
def test_the_next_address_is_tried_when_the_first_one_says_nothing(
    kind: type[asyncio.AbstractEventLoop], resolver: Resolver, black_hole: int
) -> None:
    """Story: a host whose first address leads nowhere was never reached by its second:
    on each dial the first one had all of the time.
    """
    resolver.known[SEVERAL] = [ELSEWHERE, HERE]

    async def main() -> None:
        with socket.create_server((HERE, black_hole)):
            async with asyncio.timeout(3.0):
                connected = await dial(SEVERAL, black_hole, 3.0)
            assert connected.get_extra_info("peername") == (HERE, black_hole)
            connected.close()

    with asyncio.Runner(loop_factory=kind) as runner:
        runner.run(main())


@LOOPS
def test_why_there_is_no_connection(
    kind: type[asyncio.AbstractEventLoop], resolver: Resolver, black_hole: int
) -> None:
    resolver.known |= {"none.example": [HERE, "127.0.0.3"], SEVERAL: [ELSEWHERE, HERE]}

    async def main() -> None:
        # Nobody at any address: that its process is gone, and nothing else, says so.
        with pytest.raises(ConnectionRefusedError):
            await dial("none.example", black_hole, 1.0)
        with pytest.raises(OSError, match=f"no answer at {ELSEWHERE}; ") as caught:
            async with asyncio.timeout(1.0):
                await dial(SEVERAL, black_hole, 1.0)
        assert not isinstance(caught.value, ConnectionRefusedError)
        with pytest.raises(socket.gaierror, match="unknown"):
            await dial("unknown.example", black_hole, 1.0)
        with pytest.raises(socket.gaierror, match="is no host"):
            await dial("n2..lan", black_hole, 1.0)

    with asyncio.Runner(loop_factory=kind) as runner:
        runner.run(main())
