"""Watches on real nodes: nothing is lost or told twice, whoever is killed (I-58)."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from quorate import AsyncClient
from quorate.client import Compacted, Event, Unavailable, Unknown

from .harness import DEADLINE_S, QUORATE, Cluster, Running, surely, wait_for

pytestmark = pytest.mark.slow

PREFIX = "watched/"
ROUNDS = 3
WRITES_A_ROUND = 40


class Watcher:
    """Keeps all events of one watch, at first at one node."""

    def __init__(self, first: Running, others: list[Running]) -> None:
        places = [first, *others]
        self.kv = AsyncClient(
            [str(each.node.client) for each in places], timeout=DEADLINE_S
        )
        self.watch = self.kv.watch(PREFIX, revision=1, previous=True)
        self.events: list[Event] = []

    async def run(self) -> None:
        async for event in self.watch:
            self.events.append(event)

    def reached(self) -> int:
        return self.events[-1].revision if self.events else 0


@asynccontextmanager
async def watching(cluster: Cluster) -> AsyncGenerator[list[Watcher]]:
    """One watcher that begins at each of the nodes."""
    nodes = cluster.nodes
    watchers = [Watcher(e, [o for o in nodes if o is not e]) for e in nodes]
    tasks = [asyncio.create_task(watcher.run()) for watcher in watchers]
    try:
        yield watchers
        failed = [task.exception() for task in tasks if task.done()]
        assert not failed, failed
    finally:
        for watcher in watchers:
            await watcher.kv.close()
        await asyncio.wait(tasks)


async def until(watchers: list[Watcher], revision: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while min(w.reached() for w in watchers) < revision:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Writer:
    """Puts and deletes; remembers what was acknowledged and what nobody knows."""

    def __init__(self, kv: AsyncClient) -> None:
        self.kv = kv
        # Of each value: the revision that put it.
        self.done: dict[bytes, int] = {}
        self.perhaps: set[bytes] = set()
        self.number = 0

    async def write(self) -> None:
        self.number += 1
        key, value = f"{PREFIX}{self.number % 7}", b"%d" % self.number
        try:
            self.done[value] = await self.kv.put(key, value)
            if self.number % 5 == 0:
                await self.kv.delete(key)
        except Unknown:
            self.perhaps.add(value)
        except Unavailable:
            await asyncio.sleep(0.01)

    async def run(self, count: int) -> None:
        """So many more that are acknowledged."""
        goal = len(self.done) + count
        async with asyncio.timeout(2 * DEADLINE_S):
            while len(self.done) < goal:
                await self.write()


def check(events: list[Event], writer: Writer) -> None:
    """Each acknowledged write once and in order; and each event follows the last."""
    revisions = [event.revision for event in events]
    assert revisions == sorted(set(revisions)), "once, and in order"
    puts = {e.kv.value: e.revision for e in events if e.kv is not None}
    assert len(puts) == sum(e.kv is not None for e in events)
    for value, revision in writer.done.items():
        assert puts.get(value) == revision, value
    assert puts.keys() <= writer.done.keys() | writer.perhaps
    state: dict[bytes, bytes] = {}
    for event in events:
        before = None if event.previous is None else event.previous.value
        assert before == state.get(event.key), event
        if event.kv is None:
            del state[event.key]
        else:
            state[event.key] = event.kv.value


async def test_each_write_is_told_once_while_nodes_are_killed(own: Cluster) -> None:
    kv = AsyncClient(own.endpoints, timeout=DEADLINE_S)
    async with watching(own) as watchers, kv:
        writer = Writer(kv)
        for _ in range(ROUNDS):
            for role in ("leader", "follower"):
                writing = asyncio.create_task(writer.run(WRITES_A_ROUND))
                leader = await asyncio.to_thread(own.leader)
                victim = leader
                if role == "follower":
                    victim = (await asyncio.to_thread(own.followers))[0]
                await asyncio.to_thread(victim.process.kill)
                await writing
                await asyncio.to_thread(own.start, [victim])
        last = await surely(lambda: kv.put(f"{PREFIX}last", "."))
        writer.done[b"."] = last
        await until(watchers, last)
        for watcher in watchers:
            check(watcher.events, writer)
        assert len({tuple(watcher.events) for watcher in watchers}) == 1


async def test_all_nodes_are_killed_and_the_watch_goes_on(own: Cluster) -> None:
    kv = AsyncClient(own.endpoints, timeout=DEADLINE_S)
    async with watching(own) as watchers, kv:
        writer = Writer(kv)
        await writer.run(20)
        await until(watchers, max(writer.done.values()))
        for each in own.nodes:
            each.process.kill()
        await asyncio.to_thread(own.start)
        await writer.run(20)
        await until(watchers, max(writer.done.values()))
        for watcher in watchers:
            check(watcher.events, writer)


async def test_the_past_can_be_watched_after_a_restart(own: Cluster) -> None:
    async with AsyncClient(own.endpoints, timeout=DEADLINE_S) as kv:
        put = [await surely(lambda n=n: kv.put("k", str(n))) for n in range(50)]
        for each in own.nodes:
            each.process.stop()
        await asyncio.to_thread(own.start)
        async with kv.watch(key="k", revision=put[10]) as watch:
            events = [await anext(watch) for _ in range(40)]
        assert [event.revision for event in events] == put[10:]
        await surely(lambda: kv.compact(put[20]))
        with pytest.raises(Compacted) as ended:
            await watched_until_it_is_gone(kv, put[19])
        assert ended.value.revision == put[20]
        async with kv.watch(key="k", revision=put[20]) as watch:
            assert (await anext(watch)).revision == put[20]


async def watched_until_it_is_gone(kv: AsyncClient, revision: int) -> None:
    """A follower hears of a compaction a moment later, and may tell it until then."""
    while True:
        async with kv.watch(key="k", revision=revision) as watch:
            assert (await anext(watch)).revision == revision


async def test_an_orderly_restart_of_every_node_is_not_noticed(own: Cluster) -> None:
    kv = AsyncClient(own.endpoints, timeout=DEADLINE_S)
    async with watching(own) as watchers, kv:
        writer = Writer(kv)
        for each in own.nodes:
            writing = asyncio.create_task(writer.run(20))
            await asyncio.to_thread(each.process.stop)
            await asyncio.to_thread(own.start, [each])
            await writing
        await until(watchers, max(writer.done.values()))
        for watcher in watchers:
            check(watcher.events, writer)


def open_stream(node: Running, path: str) -> socket.socket:
    address = node.node.client
    # A small window, so that what is not read is soon the node's own.
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.settimeout(DEADLINE_S)
    stream.connect((address.host, address.port))
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.host}\r\n\r\n".encode())
    return stream


async def test_who_does_not_read_holds_nobody(healthy: Cluster) -> None:
    """I-62: it is told the rest when it reads on."""
    node = healthy.followers()[0]
    value = b"v" * 100_000
    async with AsyncClient(healthy.endpoints, timeout=DEADLINE_S) as kv:
        first = await surely(lambda: kv.put("slow/0", value))
        path = f"/v1/watch?prefix=slow/&revision={first}&format=ndjson"
        with contextlib.closing(open_stream(node, path)) as slow:
            place = str(node.node.client)
            async with (
                AsyncClient(place, learn=False, timeout=DEADLINE_S) as other,
                other.watch("slow/", revision=first) as watch,
            ):
                revisions = [first]
                assert (await anext(watch)).revision == first
                for number in range(1, 120):
                    key = f"slow/{number % 3}"
                    revisions.append(await surely(lambda key=key: kv.put(key, value)))
                    assert (await anext(watch)).revision == revisions[-1]
            told = await asyncio.to_thread(read_revisions, slow, revisions[-1])
    assert told == revisions


def read_revisions(stream: socket.socket, last: int) -> list[int]:
    """The revisions with events in a chunked stream of lines, up to `last`."""
    told: list[int] = []
    with stream.makefile("rb") as file:
        while file.readline().strip():
            continue
        while not told or told[-1] < last:
            size = int(file.readline(), 16)
            document = json.loads(file.read(size))
            assert file.read(2) == b"\r\n"
            if document["events"]:
                told.append(document["revision"])
    return told


def test_the_command_line_prints_until_ctrl_c(healthy: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    where = f"--endpoints={healthy.endpoints}"
    command = [*QUORATE, "watch", "line/", "--prefix", "--rev=1", where]
    with out.open("wb") as file, subprocess.Popen(command, stdout=file) as watching:
        try:
            for value in (b"1", b"2"):
                healthy.nodes[0].request("PUT", "/v1/kv/line/a", value)
                told = b"PUT\nline/a\n%b\n" % value
                wait_for(
                    lambda told=told: out.read_bytes().endswith(told), "it is told"
                )
            watching.send_signal(signal.SIGINT)
            assert watching.wait(DEADLINE_S) == 0
        finally:
            watching.kill()


def test_a_watch_over_http_is_freed_when_its_client_leaves(healthy: Cluster) -> None:
    node = healthy.nodes[0]
    before = node.status().connections
    streams = [open_stream(node, "/v1/watch?wait=600s") for _ in range(20)]
    wait_for(lambda: node.status().connections >= before + 20, "they are there")
    for stream in streams:
        stream.close()
    wait_for(lambda: node.status().connections <= before, "they are gone")
