"""Watches of the client: each change once, in order, whatever breaks (I-58)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from quorate.client import (
    AsyncClient,
    Closed,
    Compacted,
    Event,
    InvalidRequest,
    KeyValue,
    Unavailable,
    Watch,
    watching,
)
from quorate.wire import ErrorCode, WatchRequest

from .fake_node import plain, running
from .watching_node import WatchingNode, put_bodies

MIB = 1 << 20


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least pause between two nodes; tests do not wait for people."""
    monkeypatch.setattr(watching, "_PAUSE_SECONDS_MIN", 0.001)


@pytest.fixture
async def node() -> AsyncIterator[WatchingNode]:
    node = WatchingNode()
    async with running(node):
        yield node


@pytest.fixture
async def kv(node: WatchingNode) -> AsyncIterator[AsyncClient]:
    async with plain(node.endpoint, learn=False, timeout=10) as client:
        yield client
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"
    await node.wait_for(lambda: not any(one.open for one in node.sessions))


async def take(watch: Watch, count: int) -> list[Event]:
    async with asyncio.timeout(10):
        return [await anext(watch) for _ in range(count)]


def revisions(events: list[Event]) -> list[int]:
    return [event.revision for event in events]


# -- what is asked, what comes -----------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, WatchRequest(b"", b"")),
        ({"prefix": "a"}, WatchRequest(b"a", b"b")),
        ({"key": "a"}, WatchRequest(b"a", b"a\0")),
        ({"start": b"a", "end": b"c"}, WatchRequest(b"a", b"c")),
        (
            {"key": "a", "revision": 9, "previous": True, "puts": False},
            WatchRequest(b"a", b"a\0", 9, True, False),
        ),
        ({"key": "a", "deletes": False}, WatchRequest(b"a", b"a\0", deletes=False)),
    ],
)
async def test_a_watch_asks_for_what_was_said(
    node: WatchingNode,
    kv: AsyncClient,
    asked: dict[str, str | bytes | int | bool],
    wanted: WatchRequest,
) -> None:
    async with kv.watch(**asked):  # pyright: ignore[reportArgumentType]
        assert (await node.watch()).wanted == wanted


@pytest.mark.parametrize(
    "asked",
    [
        {"key": "a", "prefix": "a"},
        {"key": "a", "start": "a"},
        {"key": ""},
        {"prefix": "a", "end": "b"},
        {"start": "b", "end": "a"},
        {"start": "a", "end": "a"},
        {"puts": False, "deletes": False},
        {"revision": -1},
        {"patience": -1},
    ],
)
async def test_what_makes_no_sense_is_refused_at_once(
    kv: AsyncClient, asked: dict[str, str | int]
) -> None:
    with pytest.raises(InvalidRequest):
        kv.watch(**asked)  # pyright: ignore[reportArgumentType]


async def test_events_say_what_there_is_and_what_there_was(
    node: WatchingNode, kv: AsyncClient
) -> None:
    node.revision = 7
    async with kv.watch("k", previous=True) as watch:
        assert watch.revision == 7
        told = await node.watch()
        told.put(8, b"k1", b"k2")
        told.delete(9, b"k1", b"old")
        first, second, gone = await take(watch, 3)
        assert first == Event(8, b"k1", KeyValue(b"k1", b"v", 8, 8, 1, 0))
        assert second.key == b"k2"
        assert first.created
        assert not first.deleted
        assert gone.deleted
        assert not gone.created
        assert (gone.kv, gone.key, gone.revision) == (None, b"k1", 9)
        assert gone.previous is not None
        assert gone.previous.value == b"old"
        assert watch.revision == 9


async def test_the_first_event_that_is_taken_begins_the_watch(
    node: WatchingNode, kv: AsyncClient
) -> None:
    watch = kv.watch()
    first = asyncio.create_task(anext(watch))
    (await node.watch()).put(2)
    assert (await first).revision == 2
    await watch.close()


async def test_watches_and_calls_go_on_side_by_side(
    node: WatchingNode, kv: AsyncClient
) -> None:
    async with kv.watch("a") as one, kv.watch("b") as other:
        assert await kv.put("k", "v") == 2
        (await node.watch(0)).put(2, b"a")
        (await node.watch(1)).put(3, b"b")
        assert revisions(await take(one, 1)) == [2]
        assert revisions(await take(other, 1)) == [3]


# -- what breaks -------------------------------------------------------------------


async def test_a_broken_connection_loses_and_repeats_nothing(
    node: WatchingNode, kv: AsyncClient
) -> None:
    async with kv.watch() as watch:
        revision = 1
        for number in range(5):
            told = await node.watch(number)
            assert told.wanted.revision == (revision + 1 if number else 0)
            for _ in range(3):
                revision += 1
                told.put(revision, b"a", b"b")
            await take(watch, 6)
            told.cut()
        assert watch.revision == revision


async def test_what_was_received_before_it_broke_is_not_asked_for_again(
    node: WatchingNode, kv: AsyncClient
) -> None:
    async with kv.watch(revision=5) as watch:
        told = await node.watch()
        told.put(5)
        told.put(9)
        told.session.transport.close()
        assert (await node.watch(1)).wanted.revision == 10
        assert revisions(await take(watch, 2)) == [5, 9]


@pytest.mark.parametrize("code", sorted(watching._GO_ON))
async def test_it_goes_on_at_another_node(code: ErrorCode) -> None:
    nodes = [WatchingNode(), WatchingNode()]
    async with (
        running(*nodes) as endpoints,
        plain(endpoints) as kv,
        kv.watch(revision=2) as watch,
    ):
        first, second = nodes if nodes[0].watches else reversed(nodes)
        told = await first.watch()
        told.put(2)
        told.end(code)
        other = await second.watch()
        assert other.wanted.revision == 3
        other.put(4)
        assert revisions(await take(watch, 2)) == [2, 4]


async def test_a_node_that_refuses_it_is_left_for_another() -> None:
    nodes = [WatchingNode(), WatchingNode()]
    nodes[0].refusal = nodes[1].refusal = ErrorCode.NO_LEADER
    async with running(*nodes) as endpoints, plain(endpoints) as kv:
        watch = kv.watch()
        begins = asyncio.create_task(watch.begin())
        for node in nodes:
            await node.watch(1)
        nodes[1].refusal = None
        await begins
        await watch.close()


async def test_a_revision_that_is_cut_is_delivered_once_and_whole(
    node: WatchingNode, kv: AsyncClient
) -> None:
    value = b"v" * (400 << 10)
    keys = [b"%d" % number for number in range(5)]
    bodies = put_bodies(2, keys, value)
    assert len(bodies) == 3
    async with kv.watch() as watch:
        told = await node.watch()
        told.send(bodies[0])
        told.send(bodies[1])
        told.session.transport.close()
        told = await node.watch(1)
        assert told.wanted.revision == 2
        for body in bodies:
            told.send(body)
        told.put(3)
        events = await take(watch, 6)
        assert [event.key for event in events] == [*keys, b"k"]


@pytest.mark.parametrize("between", ["another revision", "progress"])
async def test_a_revision_without_its_end_is_not_delivered(
    node: WatchingNode, kv: AsyncClient, between: str
) -> None:
    part = put_bodies(2, [b"1", b"2", b"3"], b"v" * (400 << 10))[0]
    async with kv.watch(revision=2) as watch:
        told = await node.watch()
        told.send(part)
        if between == "progress":
            told.progress(2)
        else:
            told.put(3)
        told = await node.watch(1)
        assert told.wanted.revision == 2
        told.put(2)
        assert [event.key for event in await take(watch, 1)] == [b"k"]


async def test_a_node_that_tells_something_again_is_left(
    node: WatchingNode, kv: AsyncClient
) -> None:
    async with kv.watch() as watch:
        told = await node.watch()
        for revision in (2, 3, 3, 4):
            told.put(revision)
        told = await node.watch(1)
        assert told.wanted.revision == 4
        told.put(4)
        assert revisions(await take(watch, 3)) == [2, 3, 4]


@pytest.mark.parametrize("body", [b"", b"?", b"\7" * 16, b"\1" * 40])
async def test_a_malformed_reply_makes_it_go_on_elsewhere(
    node: WatchingNode, kv: AsyncClient, body: bytes
) -> None:
    async with kv.watch() as watch:
        told = await node.watch()
        told.put(2)
        told.send(body)
        told.put(3)
        told = await node.watch(1)
        assert told.wanted.revision == 3
        told.put(3)
        assert revisions(await take(watch, 2)) == [2, 3]


async def test_progress_is_where_it_goes_on_from(
    node: WatchingNode, kv: AsyncClient
) -> None:
    """Else a quiet watch would need revisions that were compacted long ago."""
    async with kv.watch(revision=2) as watch:
        told = await node.watch()
        told.put(3)
        told.progress(900)
        told.progress(899)
        told.session.transport.close()
        told = await node.watch(1)
        assert told.wanted.revision == 901
        assert watch.revision == 2, "what is not taken yet is not done"
        assert revisions(await take(watch, 1)) == [3]
        assert watch.revision == 900


async def test_a_silent_node_is_left_after_the_ping(
    node: WatchingNode, kv: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PING_SECONDS", 0.01)
    monkeypatch.setattr(watching, "PING_PATIENCE_SECONDS", 0.05)
    async with kv.watch() as watch:
        await node.wait_for(lambda: node.pings >= 3)
        assert len(node.watches) == 1, "who answers is not left"
        node.deaf = True
        node.wait_for(lambda: not node.sessions[-1].open).close()
        await node.wait_for(lambda: not node.sessions[0].open)
        node.deaf = False
        told = await node.watch(1)
        assert told.wanted.revision == 2
        told.put(2)
        assert revisions(await take(watch, 1)) == [2]


# -- ends --------------------------------------------------------------------------


async def test_compacted_ends_it_behind_what_had_come(
    node: WatchingNode, kv: AsyncClient
) -> None:
    async with kv.watch() as watch:
        told = await node.watch()
        told.put(2)
        told.end(ErrorCode.COMPACTED, 50)
        assert revisions(await take(watch, 1)) == [2]
        for _ in range(2):
            with pytest.raises(Compacted) as ended:
                await anext(watch)
            assert ended.value.revision == 50
    assert len(node.watches) == 1


async def test_what_can_not_begin_raises_at_the_beginning(
    node: WatchingNode, kv: AsyncClient
) -> None:
    node.refusal = ErrorCode.COMPACTED
    with pytest.raises(Compacted):
        await kv.watch(revision=1).begin()
    with pytest.raises(Compacted):
        async with kv.watch(revision=1):
            pass
    with pytest.raises(Compacted):
        await anext(kv.watch(revision=1))


async def test_no_node_at_all_is_unavailable() -> None:
    async with AsyncClient("127.0.0.1:1", timeout=0.05) as kv:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            await kv.watch().begin()


async def test_it_ends_when_no_node_was_there_for_its_patience(
    node: WatchingNode, kv: AsyncClient
) -> None:
    async with kv.watch(patience=0.2) as watch:
        (await node.watch()).put(2)
        await take(watch, 1)
        await node.stop()
        with pytest.raises(Unavailable):
            await anext(watch)


async def test_it_ends_when_all_nodes_refuse_it_for_its_patience(
    node: WatchingNode, kv: AsyncClient
) -> None:
    """They were reached, and so it asked them again for ever, as fast as it could."""
    async with kv.watch(patience=0.2) as watch:
        node.refusal = ErrorCode.NO_LEADER
        (await node.watch()).cut()
        with pytest.raises(Unavailable, match="no_leader"):
            await anext(watch)


async def test_a_closed_watch_is_over(node: WatchingNode, kv: AsyncClient) -> None:
    watch = await kv.watch().begin()
    (await node.watch()).put(2)
    await take(watch, 1)
    waiting = asyncio.create_task(anext(watch))
    await asyncio.sleep(0)
    await watch.close()
    with pytest.raises(StopAsyncIteration):
        await waiting
    with pytest.raises(StopAsyncIteration):
        await anext(watch)
    await node.wait_for(lambda: not node.sessions[0].open)
    await watch.close()
    with pytest.raises(Closed, match="closed"):
        await watch.begin()


async def test_a_watch_that_was_closed_before_it_began_never_begins(
    node: WatchingNode, kv: AsyncClient
) -> None:
    watch = kv.watch()
    await watch.close()
    assert [event async for event in watch] == []
    assert not node.sessions


async def test_closing_the_client_closes_its_watches(
    node: WatchingNode,
) -> None:
    before = asyncio.all_tasks()
    kv = plain(node.endpoint, learn=False)
    watches = [await kv.watch().begin() for _ in range(3)]
    waiting = asyncio.create_task(anext(watches[0]))
    await asyncio.sleep(0)
    await kv.close()
    with pytest.raises(StopAsyncIteration):
        await waiting
    assert asyncio.all_tasks() <= before
    await node.wait_for(lambda: not any(one.open for one in node.sessions))
    with pytest.raises(Closed, match="closed"):
        await kv.watch().begin()
    assert len(node.sessions) == 3


async def test_it_can_be_closed_at_any_moment(node: WatchingNode) -> None:
    """Also while it connects, while it hangs up, and between two nodes."""
    before = asyncio.all_tasks()
    kv = plain(node.endpoint, learn=False)
    for rounds in range(40):
        watch = kv.watch()
        begins = asyncio.create_task(watch.begin())
        for turn in range(rounds):
            await asyncio.sleep(0)
            if turn == 12 and node.watches:
                node.watches[-1].cut()
        await watch.close()
        await asyncio.wait({begins})
        assert begins.done()
        assert begins.exception() is None or isinstance(begins.exception(), Unavailable)
    await kv.close()
    assert asyncio.all_tasks() <= before
    await node.wait_for(lambda: not any(one.open for one in node.sessions))


async def test_one_that_is_cancelled_while_it_waits_loses_nothing(
    node: WatchingNode, kv: AsyncClient
) -> None:
    async with kv.watch() as watch:
        told = await node.watch()
        for revision in range(2, 30):
            waiting = asyncio.create_task(anext(watch))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting})
            told.put(revision)
            assert revisions(await take(watch, 1)) == [revision]


# -- slow consumers ----------------------------------------------------------------


async def test_a_slow_consumer_is_not_sent_more_than_it_holds(
    node: WatchingNode, kv: AsyncClient
) -> None:
    async with kv.watch() as watch:
        told = await node.watch()
        total = 60
        for revision in range(2, total + 2):
            told.put(revision, value=b"v" * MIB)
        await node.wait_for(lambda: told.session.transport.get_write_buffer_size() > 0)
        async with asyncio.timeout(10):
            while watch._buffered < watching.BUFFERED_BYTES_MAX:  # noqa: ASYNC110
                await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)
        assert watch._buffered < watching.BUFFERED_BYTES_MAX + 2 * MIB
        assert told.session.transport.get_write_buffer_size() > 0
        assert revisions(await take(watch, total)) == list(range(2, total + 2))
        assert watch._buffered == 0


async def test_a_slow_consumer_holds_no_more_after_each_broken_connection(
    node: WatchingNode, kv: AsyncClient
) -> None:
    """Each node that took the watch made it hold a little more."""
    async with kv.watch() as watch:
        revision = 2
        for number in range(6):
            told = await node.watch(number)
            revision = told.wanted.revision or 2
            for further in range(5):
                told.put(revision + further, value=b"v" * MIB)
            for _ in range(100):
                await asyncio.sleep(0)
            assert watch._connection is not None
            watch._connection.close("a test")
        await node.watch(6)
        assert watch._buffered < watching.BUFFERED_BYTES_MAX + 2 * MIB
        held = watch._next - 2
        assert revisions(await take(watch, held)) == list(range(2, held + 2))
