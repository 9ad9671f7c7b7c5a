"""The relays between real sockets: one node's port, and somebody who dials it."""

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from quorate.chaos.harness.network import CLIENTS, Network, Rule, Way, touched
from quorate.chaos.harness.network.network import COMMAND
from quorate.chaos.harness.network.worker import Follow, Told

pytestmark = pytest.mark.slow

THERE: Way = ("n1", "n2")
BACK: Way = ("n2", "n1")


class Echo:
    """A port that sends everything back, and keeps who dialled it."""

    def __init__(self) -> None:
        self.accepted: list[asyncio.StreamWriter] = []
        self.ends: list[str] = []

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.accepted.append(writer)
        try:
            while data := await reader.read(65536):
                writer.write(data)
            self.ends.append("closed")
        except ConnectionResetError:
            self.ends.append("reset")
        writer.close()


class Dialled:
    """One connection through a relay."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(len(data))


class World:
    def __init__(self, network: Network, echo: Echo) -> None:
        self.network = network
        self.echo = echo
        self.dialled: list[Dialled] = []

    async def dial(self, way: Way = THERE) -> Dialled:
        host, _, port = self.network.address(way).partition(":")
        dialled = Dialled(*await asyncio.open_connection(host, int(port)))
        self.dialled.append(dialled)
        return dialled


@asynccontextmanager
async def world() -> AsyncGenerator[World]:
    network, echo = Network(["n1", "n2"], 1), Echo()
    one = World(network, echo)
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    await network.start()
    try:
        await network.aim(dict.fromkeys(network.ways, port))
        async with asyncio.timeout(30):
            yield one
    finally:
        await network.close()
        for dialled in one.dialled:
            dialled.writer.close()
        server.close()


async def ended(dialled: Dialled) -> str:
    """How a connection ends for who dialled it."""
    try:
        return "closed" if await dialled.reader.read() == b"" else "data"
    except ConnectionResetError:
        return "reset"


async def test_without_rules_everything_passes_also_large_pieces() -> None:
    async with world() as one:
        for way in one.network.ways:
            dialled = await one.dial(way)
            data = os.urandom(3_000_000)
            sending = asyncio.ensure_future(dialled.answer(data))
            assert await sending == data
        told = await one.network.told()
        assert {count for _, count in told.touched} == {0}


async def test_what_is_held_comes_when_it_is_healed() -> None:
    async with world() as one:
        dialled = await one.dial()
        assert await dialled.answer(b"before") == b"before"
        before = await one.network.put("cut", {THERE: Rule("hold")})
        reading = asyncio.ensure_future(dialled.answer(b"later"))
        other = await one.dial((CLIENTS, "n2"))
        assert await other.answer(b"other") == b"other"
        assert not reading.done()
        told = before
        while touched(before, told, [THERE]) == 0:
            told = await one.network.told()
        assert touched(before, told, [BACK]) == 0
        assert not reading.done()
        await one.network.heal("cut")
        assert await reading == b"later"


async def test_one_direction_is_cut_and_the_other_is_not() -> None:
    async with world() as one:
        dialled = await one.dial()
        await dialled.answer(b"before")
        await one.network.put("cut", {THERE: Rule("hold")})
        one.echo.accepted[0].write(b"news")
        assert await dialled.reader.readexactly(4) == b"news"
        await one.network.put("cut", {BACK: Rule("hold")})
        reading = asyncio.ensure_future(dialled.answer(b"asked"))
        other = await one.dial((CLIENTS, "n2"))
        assert await other.answer(b"other") == b"other"
        assert not reading.done()
        await one.network.heal("cut")
        assert await reading == b"asked"


async def test_a_dial_while_it_is_held_arrives_when_it_is_healed() -> None:
    async with world() as one:
        await one.network.put("cut", {BACK: Rule("hold")})
        dialled = await one.dial()
        dialled.writer.write(b"hello")
        other = await one.dial((CLIENTS, "n2"))
        await other.answer(b"other")
        assert len(one.echo.accepted) == 1
        await one.network.heal("cut")
        assert await dialled.reader.readexactly(5) == b"hello"


async def test_a_reset_ends_connections_and_refuses_new_ones() -> None:
    async with world() as one:
        dialled = await one.dial()
        await dialled.answer(b"before")
        await one.network.put("cut", {THERE: Rule("reset")})
        assert await ended(dialled) == "reset"
        with pytest.raises(ConnectionRefusedError):
            await one.dial()
        await one.network.heal("cut")
        again = await one.dial()
        assert await again.answer(b"again") == b"again"
        assert one.echo.ends == ["reset"]


async def test_a_node_that_is_away_refuses_dials_from_everywhere() -> None:
    async with world() as one:
        await one.network.away(["n2"])
        for way in (THERE, (CLIENTS, "n2")):
            with pytest.raises(ConnectionRefusedError):
                await one.dial(way)
        await one.network.back("n2")
        again = await one.dial()
        assert await again.answer(b"again") == b"again"


async def test_half_open_takes_the_far_end_away_and_tells_the_near_one_nothing() -> (
    None
):
    async with world() as one:
        dialled = await one.dial()
        await dialled.answer(b"before")
        await one.network.put("gone", {THERE: Rule("half-open")})
        other = await one.dial((CLIENTS, "n2"))
        await other.answer(b"other")
        assert one.echo.ends == ["reset"]
        dialled.writer.write(b"anybody?")
        await dialled.writer.drain()
        assert not dialled.reader.at_eof()
        await one.network.heal("gone")
        assert await ended(dialled) == "reset"
        again = await one.dial()
        assert await again.answer(b"again") == b"again"


async def test_two_faults_hold_until_the_last_is_healed() -> None:
    async with world() as one:
        dialled = await one.dial()
        await one.network.put("first", {THERE: Rule("hold")})
        await one.network.put("second", {THERE: Rule("hold")})
        reading = asyncio.ensure_future(dialled.answer(b"later"))
        await one.network.heal("first")
        other = await one.dial((CLIENTS, "n2"))
        await other.answer(b"other")
        assert not reading.done()
        await one.network.heal("second")
        assert await reading == b"later"


async def test_flipped_bits_are_counted_until_their_connections_end() -> None:
    async with world() as one:
        dialled = await one.dial()
        await one.network.put("flip", {THERE: Rule(flip=True)})
        told = await one.network.told()
        wrong = 0
        while not told.flipped:
            wrong += await dialled.answer(b"0123456789") != b"0123456789"
            told = await one.network.told()
        assert wrong == 1
        assert (told.flipped, told.flipped_alive) == (1, 1)
        dialled.writer.close()
        while told.flipped_alive:
            told = await one.network.told()
        assert told.flipped == 1


async def test_the_end_of_one_side_is_the_end_of_the_other() -> None:
    async with world() as one:
        dialled = await one.dial()
        await dialled.answer(b"x")
        one.echo.accepted[0].close()
        assert await ended(dialled) == "closed"


async def test_a_dead_child_is_an_error_and_no_endless_wait() -> None:
    from quorate.chaos.harness.errors import NetworkFailed

    async with world() as one:
        process = one.network._process
        assert process is not None
        process.kill()
        await process.wait()
        with pytest.raises(NetworkFailed):
            await one.network.told()


def test_relays_whose_harness_was_killed_end_without_a_word() -> None:
    """They printed a BrokenPipeError over whatever came next at the terminal."""
    ours, theirs = os.pipe()
    os.close(ours)
    child = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    _, said = child.communicate(msgspec.json.encode(Follow((), ())) + b"\n", timeout=60)
    assert said == b""
    assert child.returncode == 1


async def test_whoever_is_cancelled_leaves_no_answer_to_the_next() -> None:
    """`demo --chaos` ends a command that is under way, and heals: that was over when
    the command's own rules had been put."""
    network = Network(["n1", "n2"], 1)
    stdout = asyncio.StreamReader()
    written: list[bytes] = []

    async def drain() -> None:
        pass

    stdin: Any = SimpleNamespace(write=written.append, drain=drain)
    process: Any = SimpleNamespace(stdin=stdin, stdout=stdout)
    network._process = process
    putting = asyncio.create_task(network.put("partition", {THERE: Rule("hold")}))
    for _ in range(5):
        await asyncio.sleep(0)
    assert written
    putting.cancel()
    await asyncio.wait({putting})
    answers = (Told([], 1, 0), Told([], 2, 0))
    stdout.feed_data(b"".join(msgspec.json.encode(told) + b"\n" for told in answers))
    assert (await network.heal("partition")).flipped == 2
    stdout.feed_data(msgspec.json.encode(Told([], 3, 0)) + b"\n")
    assert (await network.told()).flipped == 3
