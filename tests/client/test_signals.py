"""Signal handlers that use a client while their own thread is using it."""

import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import pytest
from quorate.client import Client, Closed, KeyValue
from quorate.wire import (
    DEFAULT_LIMITS,
    CloseSession,
    RequestFrame,
    RequestKind,
    decode_command,
)

from .fake_node import FakeNode, Session, mute, plain_sync
from .test_synchronous import NodeThread, client_threads

# Two who wait for each other would do so for ever.
pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def node() -> Iterator[NodeThread]:
    thread = NodeThread(FakeNode())
    thread.start()
    yield thread
    thread.stop()


@contextmanager
def handling(handler: Callable[[], None]) -> Generator[None]:
    before = signal.signal(signal.SIGUSR1, lambda number, frame: handler())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def interrupt_the_next(patch: pytest.MonkeyPatch, kv: Client) -> None:
    """Send a signal in the middle of handing the next thing over to the loop."""
    loop = kv._thread._loop
    wake = loop.call_soon_threadsafe
    sent: list[bool] = []

    def interrupted(callback: Callable[..., object], *args: object) -> object:
        if not sent:
            sent.append(True)
            signal.raise_signal(signal.SIGUSR1)
        return wake(callback, *args)

    patch.setattr(loop, "call_soon_threadsafe", interrupted)


def test_a_handler_asks_while_something_is_handed_over(
    node: NodeThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[KeyValue | None] = []
    with plain_sync(node.node.endpoint) as kv:
        kv.put("k", "v")
        interrupt_the_next(monkeypatch, kv)
        with handling(lambda: found.append(kv.get("k"))):
            outer = kv.get("k")
        assert found == [outer]
        assert outer is not None


def test_a_handler_closes_the_client_while_something_is_handed_over(
    node: NodeThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    kv = plain_sync(node.node.endpoint)
    kv.put("k", "v")
    node.node.answer = mute
    interrupt_the_next(monkeypatch, kv)
    with handling(kv.close), pytest.raises(Closed, match="closed"):
        kv.get("k")
    assert client_threads() == []


def test_a_handler_closes_the_client_while_its_closing_is_handed_over(
    node: NodeThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    kv = plain_sync(node.node.endpoint)
    kv.put("k", "v")
    interrupt_the_next(monkeypatch, kv)
    with handling(kv.close):
        kv.close()
    assert client_threads() == []


def test_a_handler_closes_the_client_while_it_is_being_closed(
    node: NodeThread,
) -> None:
    handled = threading.Event()
    main = threading.get_ident()

    def answer(session: Session, frame: RequestFrame) -> None:
        if frame.kind == RequestKind.WRITE:
            command = decode_command(frame.body, DEFAULT_LIMITS)
            if isinstance(command, CloseSession):
                signal.pthread_kill(main, signal.SIGUSR1)
                assert handled.wait(10)
        node.node.serve(session, frame)

    node.node.answer = answer
    kv = Client(node.node.endpoint, learn=False)
    kv.put("k", "v")

    def close() -> None:
        handled.set()
        kv.close()

    with handling(close):
        kv.close()
    assert handled.is_set()
    assert client_threads() == []
