"""The watches of the synchronous client: ordinary iterators, closed by anybody."""

import threading
from collections.abc import Iterator

import pytest
from quorate.client import Event, InvalidRequest

from .fake_node import plain_sync
from .test_synchronous import NodeThread, client_threads
from .watching_node import WatchingNode


@pytest.fixture
def thread() -> Iterator[tuple[NodeThread, WatchingNode]]:
    node = WatchingNode()
    running_thread = NodeThread(node)
    running_thread.start()
    yield running_thread, node
    running_thread.stop()


def tell(thread: NodeThread, node: WatchingNode, revision: int) -> None:
    thread.wait_for(lambda: bool(node.watches))
    thread._loop.call_soon_threadsafe(node.watches[-1].put, revision)


def test_a_watch_is_an_ordinary_iterator(
    thread: tuple[NodeThread, WatchingNode],
) -> None:
    of_node, node = thread
    with plain_sync(node.endpoint) as kv:
        with kv.watch("k", revision=2) as watch:
            for revision in (2, 3):
                tell(of_node, node, revision)
                assert next(watch).revision == revision
            assert watch.revision == 3
        assert list(watch) == []
        with pytest.raises(InvalidRequest):
            kv.watch("k", key="k")
    assert client_threads() == []


def test_another_thread_may_close_the_watch_or_the_client(
    thread: tuple[NodeThread, WatchingNode],
) -> None:
    of_node, node = thread
    for what in ("watch", "client"):
        kv = plain_sync(node.endpoint)
        watch = kv.watch().begin()
        taken: list[Event] = []
        taker = threading.Thread(target=taken.extend, args=(watch,))
        taker.start()
        tell(of_node, node, 2)
        if what == "watch":
            watch.close()
        else:
            kv.close()
        taker.join(10)
        assert not taker.is_alive()
        assert list(watch) == []
        watch.close()
        kv.close()
    assert client_threads() == []
