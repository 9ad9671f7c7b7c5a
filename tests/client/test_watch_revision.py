"""How far a watch is: what its reader has taken, and not what has come for him."""

from collections.abc import AsyncIterator

import pytest
from quorate.client import AsyncClient, InvalidRequest, TooLarge, Watch

from .fake_node import plain, running
from .watching_node import Watching, WatchingNode


@pytest.fixture
async def node() -> AsyncIterator[WatchingNode]:
    node = WatchingNode()
    async with running(node):
        yield node


@pytest.fixture
async def kv(node: WatchingNode) -> AsyncIterator[AsyncClient]:
    async with plain(node.endpoint, learn=False, timeout=10) as client:
        yield client


async def keys_of(watch: Watch, count: int) -> list[bytes]:
    return [(await anext(watch)).key for _ in range(count)]


async def begun(node: WatchingNode, watch: Watch) -> Watching:
    await watch.begin()
    return await node.watch(len(node.watches) - 1)


async def test_what_has_come_and_waits_is_not_counted(
    node: WatchingNode, kv: AsyncClient
) -> None:
    """Who began again behind it after a restart never heard of what was waiting."""
    watch = kv.watch(revision=2)
    told = await begun(node, watch)
    assert watch.revision == 1
    for revision in (2, 3, 7):
        told.put(revision, b"%d" % revision)
    assert await keys_of(watch, 1) == [b"2"]
    while len(watch._events) < 2:
        await kv.get("k")
    assert watch.revision == 2
    assert await keys_of(watch, 1) == [b"3"]
    # Nothing that concerns it lies between what was taken and what waits.
    assert watch.revision == 6
    assert await keys_of(watch, 1) == [b"7"]
    assert watch.revision == 7
    await watch.close()


async def test_a_revision_counts_when_the_last_of_its_keys_is_taken(
    node: WatchingNode, kv: AsyncClient
) -> None:
    """After a restart in the middle of it all of it is told again."""
    watch = kv.watch(revision=2)
    told = await begun(node, watch)
    told.put(2, b"a", b"b", b"c")
    assert await keys_of(watch, 2) == [b"a", b"b"]
    assert watch.revision == 1
    await watch.close()
    again = kv.watch(revision=watch.revision + 1)
    told = await begun(node, again)
    assert told.wanted.revision == 2
    told.put(2, b"a", b"b", b"c")
    assert await keys_of(again, 3) == [b"a", b"b", b"c"]
    assert again.revision == 2
    await again.close()


async def test_what_is_dropped_at_the_end_stays_uncounted(
    node: WatchingNode, kv: AsyncClient
) -> None:
    async with kv.watch(revision=2) as watch:
        told = await node.watch()
        told.put(2)
        told.put(3)
        told.progress(90)
        await keys_of(watch, 1)
        while watch._next < 91:
            await kv.get("k")
    assert watch.revision == 2
    await watch.close()
    assert watch.revision == 2


@pytest.mark.parametrize("key", ["k" * 65_535, b"k" * 65_535])
async def test_a_key_that_no_watch_can_carry_is_refused_at_once(
    node: WatchingNode, kv: AsyncClient, key: str | bytes
) -> None:
    """It was said to have begun, and whoever read it waited for ever."""
    with pytest.raises(TooLarge, match="65536 bytes"):
        kv.watch(key=key)
    assert node.sessions == []


@pytest.mark.parametrize("revision", [1.5, "1"])
async def test_a_revision_that_is_none_is_refused_at_once(
    node: WatchingNode, kv: AsyncClient, revision: int
) -> None:
    with pytest.raises((InvalidRequest, TypeError)):
        kv.watch("k", revision=revision)
    assert node.sessions == []
