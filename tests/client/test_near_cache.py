"""A copy of some keys: told from memory, never in part, and asked anew in doubt."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from quorate.client import (
    AsyncClient,
    Closed,
    Forbidden,
    InvalidRequest,
    KeyValue,
    NearCache,
    TooLarge,
    Txn,
    near_cache,
)
from quorate.wire import ErrorCode, RequestKind

from .fake_node import plain, plain_sync
from .locking_node import LockingNode
from .test_synchronous import NodeThread
from .watching_node import break_watch


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_cache, "PAUSE_SECONDS_MIN", 0.01)


@pytest.fixture
async def kv(node: LockingNode) -> AsyncIterator[AsyncClient]:
    async with plain(node.endpoint, learn=False) as client:
        yield client


async def until(kv: AsyncClient, condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await kv.get("k")
    raise AssertionError("it does not come to that")


def texts(entries: list[KeyValue]) -> dict[bytes, str]:
    return {entry.key: entry.text for entry in entries}


async def text(cache: NearCache, key: str, min_revision: int = 0) -> str | None:
    entry = await cache.get(key, min_revision=min_revision)
    return None if entry is None else entry.text


def gets(node: LockingNode) -> int:
    return sum(frame.kind == RequestKind.GET for frame in node.requests)


async def test_what_is_in_it_asks_nobody(node: LockingNode, kv: AsyncClient) -> None:
    await kv.put("cached/b", "2")
    await kv.put("cached/a", "1")
    async with kv.near_cache("cached/") as cache:
        asked = len(node.requests)
        assert await text(cache, "cached/a") == "1"
        assert await text(cache, "cached/c") is None
        entry = await cache.get(b"cached/b")
        assert entry is not None
        assert (entry.version, entry.mod_revision) == (1, 2)
        assert [entry.key for entry in cache.entries()] == [b"cached/a", b"cached/b"]
        assert len(cache) == 2
        assert cache.revision == 3
        await node.watch()
        assert len(node.requests) == asked + 1, "the watch alone"


async def test_what_changes_arrives_and_what_is_deleted_goes(kv: AsyncClient) -> None:
    await kv.put("cached/a", "1")
    async with kv.near_cache("cached/") as cache:
        await kv.put("cached/b", "2")
        await kv.delete("cached/a")
        revision = await kv.put("cached/c", "3")
        await until(kv, lambda: cache.revision >= revision)
        assert texts(cache.entries()) == {b"cached/b": "2", b"cached/c": "3"}
        assert cache._bytes == sum(map(near_cache._size, cache.entries()))


async def test_a_transaction_is_never_seen_in_part(kv: AsyncClient) -> None:
    async with kv.near_cache("cached/") as cache:
        seen: set[tuple[str | None, ...]] = set()

        async def look() -> None:
            while True:
                found = texts(cache.entries())
                seen.add(tuple(found.get(b"cached/%d" % n) for n in range(3)))
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        revision = 0
        for value in "xyz":
            txn = Txn()
            for number in range(3):
                txn.put(f"cached/{number}", value)
            revision = (await kv.commit(txn)).revision
        await until(kv, lambda: cache.revision >= revision)
        await asyncio.sleep(0)
        looking.cancel()
        assert {tuple("zzz")} <= seen
        assert all(len(set(each)) == 1 for each in seen), seen


class Looked(dict[bytes, KeyValue]):
    """The copy, in which another thread looks whenever it is being changed."""

    def __init__(self, cache: NearCache) -> None:
        super().__init__(cache._entries)
        self.cache = cache
        self.found: list[list[tuple[str | None] | None]] = []

    def look(self) -> None:
        known = [self.cache.known(f"cached/{number}") for number in range(2)]
        self.found.append([each and (each[0] and each[0].text,) for each in known])

    def __setitem__(self, key: bytes, value: KeyValue) -> None:
        super().__setitem__(key, value)
        self.look()


async def test_another_thread_is_told_nothing_while_a_revision_is_being_taken(
    kv: AsyncClient,
) -> None:
    """It was told that a key was absent which always was there, and halves."""
    await kv.commit(Txn().put("cached/0", "x").put("cached/1", "x"))
    async with kv.near_cache("cached/") as cache:
        cache._entries = copy = Looked(cache)
        revision = (
            await kv.commit(Txn().put("cached/0", "y").put("cached/1", "y"))
        ).revision
        await until(kv, lambda: cache.revision >= revision)
        assert copy.found == [[None, None]] * 2, "the cluster is to be asked"
        copy.look()
        assert copy.found[-1] == [("y",), ("y",)]


async def test_what_was_changed_while_another_thread_looked_is_of_no_revision(
    kv: AsyncClient,
) -> None:
    class Changing(bytes):
        """A key: another revision is there once it was looked for."""

        def __hash__(self) -> int:
            cache._revision += 1
            return super().__hash__()

    async with kv.near_cache("cached/") as cache:
        assert cache.known(b"cached/a") == (None,)
        assert cache.known(Changing(b"cached/a")) is None


async def test_a_revision_that_is_not_there_yet_is_read_from_the_cluster(
    node: LockingNode, kv: AsyncClient
) -> None:
    """Also one that changed something else, of which the watch is never told."""
    await kv.put("cached/a", "1")
    async with kv.near_cache("cached/") as cache, asyncio.timeout(10):
        revision = await kv.put("elsewhere", "2")
        before = gets(node)
        assert await text(cache, "cached/a", revision) == "1"
        assert await text(cache, "cached/b", revision) is None
        assert gets(node) == before + 2
        with pytest.raises(InvalidRequest):
            await cache.get("cached/a", min_revision=-1)


@pytest.mark.parametrize("how", ["compacted", "no node"])
async def test_a_cache_whose_watch_has_ended_is_right_again(
    node: LockingNode, kv: AsyncClient, how: str
) -> None:
    await kv.put("cached/a", "1")
    async with kv.near_cache("cached/", patience=0.05) as cache:
        await break_watch(node, how)
        watches = len(node.watches)
        await until(kv, lambda: not cache.revision or len(node.watches) > watches)
        await kv.put("cached/a", "2")
        node.refusal = None
        await until(kv, lambda: texts(cache.entries()) == {b"cached/a": "2"})
        assert await text(cache, "cached/a") == "2"


async def test_a_cache_that_is_not_kept_right_asks_the_cluster(
    node: LockingNode, kv: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_cache, "PAUSE_SECONDS_MIN", 60.0)
    await kv.put("cached/a", "1")
    async with kv.near_cache("cached/") as cache:
        await break_watch(node, "compacted")
        await until(kv, lambda: not cache.revision)
        await kv.put("cached/a", "2")
        assert await text(cache, "cached/a") == "2"


async def test_a_cache_that_no_node_tells_anything_is_soon_not_asked(
    node: LockingNode, kv: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_cache, "PAUSE_SECONDS_MIN", 60.0)
    await kv.put("cached/a", "1")
    async with kv.near_cache("cached/", patience=0.05) as cache:
        await until(kv, lambda: any(watch._taken for watch in kv._watches))
        node.refusal = ErrorCode.NO_LEADER
        node.watches[-1].cut()
        await until(kv, lambda: not cache.revision)


async def test_keys_that_are_none_of_its_own_are_refused(kv: AsyncClient) -> None:
    """It would tell them as absent, whatever the cluster has."""
    await kv.put("elsewhere", "1")
    async with kv.near_cache("cached/") as cache:
        with pytest.raises(InvalidRequest, match="'cached/'"):
            await cache.get("elsewhere")
    async with kv.near_cache("") as everything:
        assert await text(everything, "elsewhere") == "1"


async def test_a_cache_that_can_not_go_on_says_why(
    node: LockingNode, kv: AsyncClient
) -> None:
    async with kv.near_cache("cached/") as cache:
        (await node.watch()).end(ErrorCode.FORBIDDEN)
        await until(kv, lambda: cache._error is not None)
        for _ in range(2):
            with pytest.raises(Forbidden):
                await cache.get("cached/a")
        with pytest.raises(Forbidden):
            cache.entries()


async def test_what_is_too_large_is_refused_and_what_becomes_so_is_asked_for(
    node: LockingNode, kv: AsyncClient
) -> None:
    await kv.put("cached/a", "x" * 1000)
    small = kv.near_cache("cached/", bytes_max=1000)
    with pytest.raises(TooLarge):
        await small.__aenter__()
    async with kv.near_cache("cached/", bytes_max=2000) as cache:
        assert cache.revision
        await kv.put("cached/b", "y" * 1000)
        await until(kv, lambda: not cache.revision)
        assert await text(cache, "cached/b") == "y" * 1000
        # There is less of it again.
        await kv.delete("cached/a")
        await until(kv, lambda: bool(cache.revision))
        assert await text(cache, "cached/b") == "y" * 1000
    with pytest.raises(InvalidRequest):
        kv.near_cache("cached/", bytes_max=0)


async def test_a_closed_cache_tells_nothing_old(kv: AsyncClient) -> None:
    await kv.put("cached/a", "1")
    async with kv.near_cache("cached/") as cache:
        pass
    assert (cache.revision, len(cache)) == (0, 0)
    with pytest.raises(Closed):
        await cache.get("cached/a")
    with pytest.raises(InvalidRequest):
        await cache.__aenter__()
    assert not kv._watches


async def test_a_cache_of_a_closed_client_tells_nothing_old(node: LockingNode) -> None:
    kv = plain(node.endpoint, learn=False)
    cache = await kv.near_cache("cached/").__aenter__()
    await node.watch()
    await kv.close()
    await asyncio.sleep(0.05)
    assert cache.revision == 0
    with pytest.raises(Closed):
        await cache.get("cached/a")
    await cache.close()


@pytest.fixture
def thread() -> NodeThread:
    return NodeThread(LockingNode())


def test_the_synchronous_twin_tells_the_same_in_any_thread(thread: NodeThread) -> None:
    thread.start()
    try:
        with plain_sync(thread.node.endpoint, learn=False) as kv:
            kv.put("cached/a", "1")
            with kv.near_cache("cached/") as cache:
                thread.wait_for(lambda: bool(getattr(thread.node, "watches", ())))
                asked = len(thread.node.requests)
                entry = cache.get("cached/a")
                assert entry is not None
                assert entry.text == "1"
                assert cache.get("cached/b") is None
                assert len(thread.node.requests) == asked
                revision = kv.put("cached/b", "2")
                entry = cache.get("cached/b", min_revision=revision)
                assert entry is not None
                assert entry.text == "2"
                while cache.revision < revision:
                    kv.get("k")
                assert texts(cache.entries()) == {b"cached/a": "1", b"cached/b": "2"}
                assert len(cache) == 2
            with pytest.raises(Closed):
                cache.get("cached/a")
            last = kv.near_cache("cached/").__enter__()
        with pytest.raises(Closed):
            last.get("cached/a")
        last.close()
    finally:
        thread.stop()
