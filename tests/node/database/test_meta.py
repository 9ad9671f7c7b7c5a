"""The state beside the records: its bytes, and what is refused."""

import msgspec
import pytest
from quorate.node.database import Database, decode_meta, encode_meta
from quorate.storage.errors import CorruptionError

from .support import (
    CLUSTER,
    CONFIGURATION,
    copy_of,
    delete,
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
