"""Signal handlers that raise while a synchronous call waits: nothing is lost by them.

An interrupt may come when the client's thread has its result already: the event is
taken from the watch, the lock is had. Whoever was interrupted was not given it.
"""

import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import ParamSpec, TypeVar

import pytest
from quorate.client import Client, SyncElection, SyncLock, leases, places
from quorate.wire import (
    DEFAULT_LIMITS,
    RequestFrame,
    RequestKind,
    Revoke,
    decode_command,
)

from .fake_node import FakeNode, Session, plain_sync
from .locking_node import LockingNode
from .test_signals import handling, interrupt_the_next
from .test_synchronous import NodeThread

# Who waits for what was dropped would do so for ever.
pytestmark = pytest.mark.timeout(20)

P = ParamSpec("P")
T = TypeVar("T")


class Interrupted(Exception):
    """What the handlers here raise, as a Ctrl-C or somebody's own deadline would."""


@pytest.fixture
def thread() -> Iterator[NodeThread]:
    running = NodeThread(LockingNode())
    running.start()
    yield running
    running.stop()


@pytest.fixture
def node(thread: NodeThread) -> FakeNode:
    return thread.node


@pytest.fixture
def kv(node: FakeNode) -> Iterator[Client]:
    with plain_sync(node.endpoint, timeout=60) as client:
        yield client


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    def interrupt() -> None:
        raise Interrupted

    with handling(interrupt):
        yield


def interrupt_main() -> None:
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGUSR1)


def too_late(ask: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """The same, but who waits for it is interrupted when it has come, once."""
    sent: list[bool] = []

    async def asked(*args: P.args, **named: P.kwargs) -> T:
        found = await ask(*args, **named)
        if not sent:
            sent.append(True)
            interrupt_main()
        return found

    return asked


# -- what was taken --------------------------------------------------------------------


def test_an_event_that_was_taken_for_nobody_comes_again(
    kv: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch went on behind it, and said so in its revision."""
    with kv.watch("k") as watch:
        first, second = kv.put("k", "1"), kv.put("k", "2")
        taking = too_late(watch._watch.__anext__)
        monkeypatch.setattr(watch._watch, "__anext__", taking)
        with pytest.raises(Interrupted):
            next(watch)
        assert watch.revision == first - 1
        assert [next(watch).revision, next(watch).revision] == [first, second]
        assert watch.revision == second


def test_an_event_that_was_taken_for_nobody_is_dropped_by_a_watch_that_is_closed(
    kv: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = kv.watch("k").begin()
    first = kv.put("k", "1")
    source = watch._watch
    taking = source.__anext__

    async def closing() -> object:
        event = await taking()
        await source.close()
        interrupt_main()
        return event

    monkeypatch.setattr(source, "__anext__", closing)
    with pytest.raises(Interrupted):
        next(watch)
    monkeypatch.undo()
    assert list(watch) == []
    assert watch.revision == first - 1


def test_a_leader_that_was_told_to_nobody_is_told_again(
    kv: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    election = kv.election("e", ttl=60)
    election.campaign("me")
    with election.observe() as leaders:
        taking = too_late(leaders._source.__anext__)
        monkeypatch.setattr(leaders._source, "__anext__", taking)
        with pytest.raises(Interrupted):
            next(leaders)
        leader = next(leaders)
        assert leader is not None
        assert leader.text == "me"


def test_a_page_that_was_read_for_nobody_is_not_skipped(
    node: FakeNode, kv: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.page_records = 2
    keys = [f"k{number}".encode() for number in range(5)]
    for key in keys:
        kv.put(key, "v")
    pager = kv.range("k")
    found = [next(pager).key, next(pager).key]
    reading = too_late(pager._pager.next_page)
    monkeypatch.setattr(pager._pager, "next_page", reading)
    with pytest.raises(Interrupted):
        next(pager)
    assert found + [entry.key for entry in pager] == keys


# -- what was made ---------------------------------------------------------------------


def campaign(election: SyncElection) -> None:
    election.campaign("me")


def enter(lock: SyncLock) -> None:
    lock.__enter__()


@pytest.mark.parametrize("how", ["acquire", "enter", "campaign"])
def test_a_place_that_was_had_by_nobody_is_given_up(
    node: FakeNode, kv: Client, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It was kept alive for as long as the client was there."""
    taking = too_late(places.Place.take)
    monkeypatch.setattr(places.Place, "take", taking)
    lock, election = kv.lock("job", ttl=60), kv.election("job", ttl=60)
    for attempt in range(2):
        try:
            if how == "campaign":
                campaign(election)
            elif how == "enter":
                enter(lock)
            else:
                lock.acquire()
        except Interrupted:
            assert not attempt
            assert (node.leases, node.keys) == ({}, {})
            assert kv._client._leases == set()
        else:
            # The same object may try again.
            assert attempt
    assert len(node.keys) == 1


@pytest.mark.parametrize("number", [0, 7])
def test_a_lease_that_was_granted_to_nobody_is_given_back(
    node: FakeNode, kv: Client, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    lease = kv.lease(60, lease=number)
    granting = too_late(lease._lease.grant)
    monkeypatch.setattr(lease._lease, "grant", granting)
    with pytest.raises(Interrupted):
        lease.grant()
    assert node.leases == {}
    assert kv._client._leases == set()
    assert lease.left == 0.0
    assert not lease.lost
    lease.grant()
    assert list(node.leases) == [lease.id]


# -- the wait itself -------------------------------------------------------------------


def test_a_call_that_was_interrupted_goes_on_no_longer(
    node: FakeNode, kv: Client
) -> None:
    kv.put("k", "v")
    node.answer = lambda session, frame: interrupt_main()
    with pytest.raises(Interrupted):
        kv.get("k")
    assert kv._client._calls._in_flight._all == 0
    node.answer = node.serve
    assert kv.get("k") is not None


def test_a_second_interrupt_ends_the_wait_for_the_end(
    node: FakeNode, kv: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first one would have given back goes with its lease."""
    for module in (leases, places):
        monkeypatch.setattr(module, "CLEAN_UP_SECONDS_MAX", 60.0)
    taking = too_late(places.Place.take)
    monkeypatch.setattr(places.Place, "take", taking)
    served = node.answer

    def never_revoking(session: Session, frame: RequestFrame) -> None:
        if frame.kind == RequestKind.WRITE:
            command = decode_command(frame.body, DEFAULT_LIMITS)
            if isinstance(command, Revoke):
                interrupt_main()
                return
        served(session, frame)

    node.answer = never_revoking
    with pytest.raises(Interrupted) as second:
        kv.lock("job", ttl=60).acquire()
    assert isinstance(second.value.__context__, Interrupted)
    assert kv._client._leases == set()


def test_an_error_of_a_handler_is_heard_whatever_it_is(
    kv: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for that of a loop that is closed, and the call never ended."""

    def handler() -> None:
        raise RuntimeError("from the handler")

    kv.put("k", "v")
    interrupt_the_next(monkeypatch, kv)
    with handling(handler), pytest.raises(RuntimeError, match="from the handler"):
        kv.get("k")
    assert kv.get("k") is not None


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_that_leaves_a_wait_waits_for_nothing_more(
    node: FakeNode, kv: Client
) -> None:
    children: list[int] = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)
            raise Interrupted
        children.append(child)

    def forking(session: Session, frame: RequestFrame) -> None:
        interrupt_main()
        node.serve(session, frame)

    kv.put("k", "v")
    node.answer = forking
    parent = os.getpid()
    with handling(fork):
        try:
            kv.get("k")
        except Interrupted:
            os._exit(7)
        finally:
            if os.getpid() != parent:
                os._exit(1)
    (child,) = children
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
