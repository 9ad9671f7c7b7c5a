"""The state beside the records: its bytes, and what is refused."""

import msgspec
import pytest
from quorate.node.database import Database, core, decode_meta, encode_meta
from quorate.storage.errors import CorruptionError
from quorate.wire import OpenSession, encode_session_command

from .support import (
    CLUSTER,
    CONFIGURATION,
    command,
    copy_of,
    delete,
    grant,
    new_database,
    put,
    records_of,
    sent_by,
)

GOLDEN = (
    "9b02ccc10101c40a9501930102039091049006000002ce9872227a"
    "c410a03afdeed3e1b88f929bd6b6ecf45716"
)


def small() -> Database:
    database = new_database()
    database.apply(
        [
            put(1, b"a", b"one"),
            put(2, b"b", b""),
            put(3, b"a", b"two"),
            put(4, b"c", b"gone"),
            delete(5, b"c"),
        ]
    )
    return database


def test_meta_has_these_bytes_for_ever() -> None:
    meta = small().meta()
    data = encode_meta(meta)
    assert data.hex() == GOLDEN
    assert msgspec.msgpack.decode(data)[:5] == [2, CLUSTER, 1, 1, CONFIGURATION]
    assert decode_meta(data, CLUSTER, "x") == meta


def test_a_database_goes_on_from_a_copy_as_if_nothing_had_been() -> None:
    database = small()
    read = copy_of(database)
    assert read.meta() == database.meta()
    assert records_of(read) == records_of(database)
    more = [put(6, b"a", b"three"), put(7, b"d", b"x", 0), delete(8, b"b")]
    assert read.apply(more) == database.apply(more)
    assert read.state_hash() == database.state_hash()
    assert read.keys == 2


def test_a_replica_becomes_what_its_leader_sent() -> None:
    follower, leader = new_database(), small()
    incoming = follower.store.receive("the leader")
    incoming.feed(sent_by(leader))
    for _ in incoming.check():
        pass
    follower.install(incoming)
    assert follower.meta() == leader.meta()
    assert follower.applied_index == leader.applied_index
    assert records_of(follower) == records_of(leader)


def test_what_is_in_memory_of_a_state_is_read_before_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Story: a hundred thousand leases were read in one step, for 200 ms."""
    follower, leader = new_database(), small()
    granted = [grant(5 + lease, lease) for lease in range(1, 1_200)]
    opened = command(1_205, encode_session_command(OpenSession(b"s" * 16)))
    leader.apply([*granted, opened])
    incoming = follower.store.receive("the leader")
    incoming.feed(sent_by(leader))
    for _ in incoming.check():
        pass
    steps = list(follower.arrivals.read(incoming))
    assert sum(steps) == 1_200
    assert max(steps) <= 500
    follower.store.write({b"k": b"v"}, follower.applied_index + 1)
    monkeypatch.setattr(core, "known_of", None)
    follower.install(incoming)
    assert follower.lease_table.leases == leader.lease_table.leases
    assert follower.session_table.sessions == leader.session_table.sessions
    assert follower.state_hash() == leader.state_hash()
    # Nor are the memtables that it gives up let go in one step.
    assert follower.store.owed
    while follower.store.work():
        pass
    assert not follower.store.owed


def test_a_state_that_was_read_in_part_is_read_again() -> None:
    follower, leader = new_database(), small()
    leader.apply([grant(6, 7)])
    incoming = follower.store.receive("the leader")
    incoming.feed(sent_by(leader))
    for _ in incoming.check():
        pass
    follower.arrivals.read(incoming)
    follower.install(incoming)
    assert follower.lease_table.leases == leader.lease_table.leases != {}


def test_a_state_of_another_cluster_is_refused() -> None:
    database = new_database(CLUSTER + 1)
    with pytest.raises(CorruptionError, match="another cluster"):
        Database(database.store, CLUSTER)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"store": 2}, "another cluster or store"),
        ({"format": 1}, "format 2"),
        ({"digest_sum": b"short"}, "format 2"),
    ],
)
def test_a_state_that_is_not_understood_is_refused(
    changes: dict[str, int | bytes], reason: str
) -> None:
    meta = msgspec.structs.replace(small().meta(), **changes)
    with pytest.raises(CorruptionError, match=reason):
        decode_meta(encode_meta(meta), CLUSTER, "x")


def test_garbage_is_no_state() -> None:
    for data in (b"", b"x", encode_meta(small().meta())[:-1]):
        with pytest.raises(CorruptionError, match="meta"):
            decode_meta(data, CLUSTER, "x")
