"""What the synchronous client hands out: it keeps the client, and ends with it."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeAlias

import pytest
from quorate.client import Client, Closed, SyncElection, SyncLease, SyncLock

from .fake_node import plain_sync
from .locking_node import LockingNode
from .test_synchronous import NodeThread, client_threads


@pytest.fixture
def thread() -> Iterator[NodeThread]:
    """A node that runs in a thread of its own."""
    running_thread = NodeThread(LockingNode())
    running_thread.start()
    yield running_thread
    running_thread.stop()


class Mine(Exception):
    """What went wrong in a `with` block."""


# -- they keep the client --------------------------------------------------------------


def observed(kv: Client) -> object:
    leaders = kv.election("e").observe()
    assert next(leaders) is None
    return leaders


def read(kv: Client) -> object:
    kv.put("k", "v")
    records = kv.range("k")
    assert next(records).text == "v"
    return records


MADE: list[Callable[[Client], object]] = [
    lambda kv: kv.watch("k").begin(),
    lambda kv: kv.lease(60).grant(),
    lambda kv: kv.lock("job", ttl=60).acquire(),
    lambda kv: kv.lock("job", ttl=60).acquire().lease,
    lambda kv: kv.election("e", ttl=60),
    observed,
    read,
]


@pytest.mark.parametrize("make", MADE)
def test_a_client_is_there_as_long_as_what_it_handed_out(
    thread: NodeThread, make: Callable[[Client], object]
) -> None:
    def made() -> tuple[weakref.ref[Client], object]:
        kv = plain_sync(thread.node.endpoint)
        return weakref.ref(kv), make(kv)

    client, handle = made()
    gc.collect()
    kv = client()
    assert kv is not None
    assert handle
    kv.close()


def test_a_watch_whose_client_nobody_else_has_is_told_what_changes(
    thread: NodeThread,
) -> None:
    watch = plain_sync(thread.node.endpoint).watch("k").begin()
    gc.collect()
    with plain_sync(thread.node.endpoint) as kv:
        kv.put("k", "v")
    event = next(watch)
    assert event.kv is not None
    assert event.kv.text == "v"
    watch.close()
    # Its way for calls is open, too: by that it has asked who leads.
    thread.wait_for(lambda: sum(one.open for one in thread.node.sessions) == 1)
    with pytest.warns(ResourceWarning, match="not closed"):
        del watch
    for one in client_threads():
        one.join(10)
    assert client_threads() == []
    thread.wait_for(lambda: not any(one.open for one in thread.node.sessions))


# -- they end with it ------------------------------------------------------------------

Held: TypeAlias = AbstractContextManager[SyncLock | SyncLease | SyncElection]


def led(kv: Client) -> Held:
    election = kv.election("e", ttl=60)
    election.campaign("me")
    return election


HELD: list[Callable[[Client], Held]] = [
    lambda kv: kv.lock("job", ttl=60),
    lambda kv: kv.lease(60),
    led,
]


@pytest.mark.parametrize("hold", HELD)
def test_an_error_inside_is_not_replaced_when_the_client_was_closed(
    thread: NodeThread, hold: Callable[[Client], Held]
) -> None:
    kv = plain_sync(thread.node.endpoint)

    def fail() -> None:
        kv.close()
        raise Mine

    with pytest.raises(Mine), hold(kv):
        fail()


@pytest.mark.parametrize("hold", HELD)
def test_a_context_that_can_not_end_says_so_when_nothing_else_is_wrong(
    thread: NodeThread, hold: Callable[[Client], Held]
) -> None:
    kv = plain_sync(thread.node.endpoint)
    with pytest.raises(Closed, match="closed"), hold(kv):
        kv.close()


def test_an_observation_ends_when_its_client_is_closed_between_two_leaders(
    thread: NodeThread,
) -> None:
    kv = plain_sync(thread.node.endpoint)
    leaders, unbegun = kv.election("e").observe(), kv.election("e").observe()
    assert next(leaders) is None
    kv.close()
    assert list(leaders) == []
    leaders.close()
    with pytest.raises(Closed, match="closed"):
        next(unbegun)


# -- what they show --------------------------------------------------------------------


def test_a_range_says_the_revision_that_a_watch_goes_on_behind(
    thread: NodeThread,
) -> None:
    thread.node.page_records = 2
    with plain_sync(thread.node.endpoint) as kv:
        nothing = kv.range("k")
        assert (list(nothing), nothing.revision) == ([], 1)
        revisions = [kv.put(f"k{number}", "v") for number in range(5)]
        records = kv.range("k")
        assert records.revision == 0
        assert next(records).key == b"k0"
        later = kv.put("k9", "w")
        assert [one.key for one in records] == [b"k1", b"k2", b"k3", b"k4"]
        assert records.revision == revisions[-1]
        assert kv.range("k", revision=revisions[0]).revision == revisions[0]
        with kv.watch("k", revision=records.revision + 1) as watch:
            assert next(watch).revision == later


def test_a_lock_and_an_election_show_the_lease_that_they_hang_on(
    thread: NodeThread,
) -> None:
    with (
        plain_sync(thread.node.endpoint) as kv,
        kv.lock("job", ttl=60) as lock,
        kv.election("e", ttl=30) as election,
    ):
        election.campaign("me")
        assert thread.node.leases == {lock.lease.id: 60_000, election.lease.id: 30_000}
        assert lock.lease.info(keys=True).keys == (lock.key,)
        assert 0 < election.lease.left <= 30
        election.lease.revoke()
        assert election.lost
