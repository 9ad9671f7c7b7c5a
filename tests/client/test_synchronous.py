"""The synchronous twin: same methods, many threads, nothing left behind."""

import asyncio
import inspect
import itertools
import threading
import typing
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from quorate import client
from quorate.client import (
    AsyncClient,
    Client,
    Closed,
    InvalidRequest,
    PreconditionFailed,
    Unknown,
)

from .fake_node import FakeNode, mute, plain_sync, running


class NodeThread:
    """A fake node on an event loop of its own, since these tests block theirs."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        async with running(self.node):
            self._ready.set()
            await self._end.wait()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        waiting = self.node.wait_for(condition)
        asyncio.run_coroutine_threadsafe(waiting, self._loop).result(10)


@pytest.fixture
def node() -> Iterator[NodeThread]:
    thread = NodeThread(FakeNode())
    thread.start()
    yield thread
    thread.stop()


def client_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "quorate-client"]


def test_the_twins_have_the_same_methods_with_the_same_arguments() -> None:
    def public(client: type[AsyncClient] | type[Client]) -> set[str]:
        return {name for name in dir(client) if not name.startswith("_")}

    assert public(AsyncClient) == public(Client)
    for name in [*public(Client), "__init__"]:
        ours, theirs = getattr(Client, name), getattr(AsyncClient, name)
        if isinstance(ours, property):
            assert isinstance(theirs, property)
            continue
        assert (
            inspect.signature(ours).parameters == inspect.signature(theirs).parameters
        ), name


def named(hint: object) -> Iterator[type]:
    """The classes that a type is made of."""
    if isinstance(hint, type):
        yield hint
    for part in typing.get_args(hint):
        yield from named(part)


@pytest.mark.parametrize("kind", [AsyncClient, Client])
def test_whatever_a_client_takes_and_gives_can_be_named(
    kind: type[AsyncClient] | type[Client],
) -> None:
    told: set[str] = set()
    for name, method in inspect.getmembers(kind, inspect.isroutine):
        if not name.startswith("_"):
            for hint in typing.get_type_hints(method).values():
                told.update(
                    one.__name__
                    for one in named(hint)
                    if one.__module__.startswith("quorate.client.")
                )
    assert told
    assert told <= set(client.__all__)


def test_a_client_does_what_its_twin_does(node: NodeThread) -> None:
    with plain_sync(node.node.endpoint) as kv:
        assert kv.get("k") is None
        first = kv.put("k", "v", if_absent=True)
        entry = kv.get("k", level="bounded", max_staleness=1, min_revision=first)
        assert entry is not None
        assert (entry.text, entry.mod_revision) == ("v", first)
        with pytest.raises(PreconditionFailed) as failed:
            kv.delete("k", if_revision=first + 1)
        assert failed.value.revision == first
        assert kv.delete("k", if_revision=first)
        assert kv.status() == {"name": "fake"}
        assert kv.status(node.node.endpoint) == {"name": "fake"}
        assert kv.endpoints == [node.node.endpoint]


def test_a_range_is_an_ordinary_iterator(node: NodeThread) -> None:
    node.node.page_records = 3
    with plain_sync(node.node.endpoint) as kv:
        for number in range(8):
            kv.put(f"k{number}", str(number))
        iterator = kv.range("k")
        assert next(iterator).key == b"k0"
        assert [one.text for one in iterator] == [str(number) for number in range(1, 8)]
        assert [one.key for one in kv.range("k", limit=2)] == [b"k0", b"k1"]
        with pytest.raises(InvalidRequest):
            kv.range("k", start="k")


def test_many_threads_share_one_client_and_one_connection(node: NodeThread) -> None:
    with plain_sync(node.node.endpoint) as kv, ThreadPoolExecutor(8) as pool:

        def work(worker: int) -> list[int]:
            return [kv.put(f"{worker}/{number}", "v") for number in range(25)]

        batches = list(pool.map(work, range(8)))
        for batch in batches:
            assert batch == sorted(batch)
        assert sorted(itertools.chain.from_iterable(batches)) == list(range(2, 202))
        assert len(node.node.sessions) == 1
        assert len(list(kv.range())) == 200


def test_closing_ends_the_thread_and_every_call(node: NodeThread) -> None:
    node.node.answer = mute
    kv = plain_sync(node.node.endpoint, timeout=600)
    assert len(client_threads()) == 1
    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(kv.put, "k", "v")
        reading = pool.submit(kv.get, "k")
        node.wait_for(lambda: len(node.node.requests) == 2)
        kv.close()
        with pytest.raises(Unknown, match="closed"):
            writing.result(10)
        with pytest.raises(Closed, match="closed"):
            reading.result(10)
    assert client_threads() == []
    node.wait_for(lambda: not node.node.sessions[0].open)
    with pytest.raises(Closed, match="closed"):
        kv.put("k", "v")
    with pytest.raises(Closed, match="closed"):
        next(kv.range("k"))
    kv.close()


def test_closing_from_many_threads_at_once_is_closing_once(node: NodeThread) -> None:
    kv = plain_sync(node.node.endpoint)
    kv.put("k", "v")
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(kv.close) for _ in range(4)]:
            done.result(10)
    assert client_threads() == []


def in_its_own_thread(kv: Client, ask: Callable[[], object]) -> object:
    """What becomes of `ask` where the collector may run somebody's __del__."""
    done = Future[object]()

    def asked() -> None:
        try:
            done.set_result(ask())
        except Exception as error:  # noqa: BLE001
            done.set_result(error)

    kv._thread._loop.call_soon_threadsafe(asked)
    return done.result(10)


def test_what_is_asked_from_a_clients_own_thread_is_refused(node: NodeThread) -> None:
    """It waited for itself, and with it everybody else, for ever."""
    with plain_sync(node.node.endpoint) as kv:
        kv.put("k", "v")
        watch = kv.watch("k")
        for ask in (lambda: kv.get("k"), kv.lock("job").acquire, watch.close):
            refused = in_its_own_thread(kv, ask)
            assert isinstance(refused, InvalidRequest)
            assert "own thread" in str(refused)
        assert kv.get("k") is not None


def test_a_client_is_closed_from_its_own_thread_without_waiting(
    node: NodeThread,
) -> None:
    kv = plain_sync(node.node.endpoint)
    kv.put("k", "v")
    (thread,) = client_threads()
    assert in_its_own_thread(kv, kv.close) is None
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(Closed):
        kv.get("k")
    kv.close()
    node.wait_for(lambda: not node.node.sessions[0].open)


def test_a_client_that_was_refused_leaves_no_thread() -> None:
    with pytest.raises(InvalidRequest):
        Client("nonsense")
    assert client_threads() == []


def test_a_client_that_nobody_closed_is_reported_and_its_thread_ends() -> None:
    def forget() -> threading.Thread:
        kv = Client("127.0.0.1:1")
        assert kv.endpoints
        (thread,) = client_threads()
        return thread

    with pytest.warns(ResourceWarning, match="not closed"):
        thread = forget()
    thread.join(10)
    assert not thread.is_alive()
