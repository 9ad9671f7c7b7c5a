"""A backup's bytes: whole, or refused with the reason."""

import io
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.backup import BackupError, BackupReader, head_of, pieces_of
from quorate.node.database import Database
from quorate.node.database.member_records import AS_FOUNDED, NOTHING_SAID
from quorate.node.rebirth import REVISIONS_SKIPPED, reborn_from, whole_log_of
from quorate.node.stable import Stable, StableOptions
from quorate.raft import Configuration, Entry
from quorate.storage.errors import CorruptionError
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import (
    Announce,
    MakeToken,
    MemberRole,
    Record,
    RevokeCertificate,
    SetCaretaker,
    encode_member_command,
)

from .database.support import (
    CLUSTER,
    command,
    digests_of,
    grant,
    new_database,
    put,
    sent_by,
)

NEW, MEMBER = 0xD2, 77
_names = iter(range(1, 1 << 30))


def new_id() -> bytes:
    return (next(_names) << 64).to_bytes(16, "big")


def old_state() -> Database:
    """Keys with a past, a lease, a member and a token."""
    database = new_database()
    said = Announce(1, "n1", "host:1", "http://host:2")
    token = MakeToken(9, b"d" * 32, 1000, 1, MemberRole.VOTER)
    database.apply(
        [
            put(1, b"a", b"1"),
            put(2, b"a", b"2"),
            grant(3, 5),
            put(4, b"b", b"x" * 100_000, lease=5),
            command(5, encode_member_command(said)),
            command(6, encode_member_command(token)),
            command(7, encode_member_command(SetCaretaker(voters=5))),
            command(8, encode_member_command(RevokeCertificate(0, b"7"))),
        ]
    )
    database.store.flush()
    return database


def backup_of(database: Database) -> bytes:
    pinned = database.store.pin()
    head = head_of(database.durable_meta(), pinned, 1, 1_000)
    return b"".join(pieces_of(head, pinned))


WHOLE = backup_of(old_state())


def read(data: bytes) -> bytes:
    reader = BackupReader(io.BytesIO(data), "a file")
    return b"".join(reader.pieces())


def test_a_backup_says_what_it_holds() -> None:
    database = old_state()
    head = BackupReader(io.BytesIO(backup_of(database)), "a file").verify()
    assert (head.cluster_id, head.member_id, head.wall_ms) == (CLUSTER, 1, 1_000)
    assert (head.index, head.revision, head.keys) == (9, 4, 2)
    assert head.state_hash == database.state_hash()
    assert head.size == len(sent_by(database))


@given(st.integers(0, len(WHOLE) * 8 - 1))
def test_a_flipped_bit_is_noticed(bit: int) -> None:
    bad = bytearray(WHOLE)
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BackupError, match="a file"):
        read(bytes(bad))


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_that_ends_early_is_noticed(length: int) -> None:
    with pytest.raises(BackupError, match="cut off"):
        read(WHOLE[:length])


def test_bytes_behind_the_end_are_noticed() -> None:
    with pytest.raises(BackupError, match="more follows"):
        read(WHOLE + b"\0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": -1},
        {"size": -5},
        {"keys": -1},
        {"cluster_id": 0},
        {"member_id": -1},
        {"state_hash": "\x1b[31m"},
    ],
)
def test_a_head_that_no_node_writes_is_refused_although_the_hash_is_right(
    wrong: dict[str, int | str],
) -> None:
    """A size of -1 would be all of the file at once, and text goes to a terminal."""
    head = {"format": 1, "cluster_id": 2, "member_id": 3, "index": 4, "term": 5}
    head |= {"revision": 6, "keys": 7, "wall_ms": 8, "size": 0}
    body = msgspec.msgpack.encode({"state_hash": "0" * 40} | head | wrong)
    data = b"QRBACKUP" + len(body).to_bytes(4, "little") + body
    with pytest.raises(BackupError, match="damaged head"):
        read(data + sha256(data).digest())


def restored(env: MemoryEnv, data: bytes) -> int:
    env.make_directory("/node")
    env.sync_directory("/")
    env.make_directory("/node/data")
    env.sync_directory("/node")
    return reborn_from(
        env,
        "/node/data",
        BackupReader(io.BytesIO(data), "a file").pieces(),
        source="a file",
        before=CLUSTER,
        cluster_id=NEW,
        member_id=MEMBER,
        salt=5,
        ids=new_id,
    )


def opened(env: MemoryEnv) -> tuple[Stable, Database]:
    stable = Stable(env, "/node/data", NEW, StableOptions())
    found = stable.open(None, 6, new_id)
    assert found.entries == []
    assert found.snapshot.configuration == Configuration((MEMBER,))
    assert found.hard_state.commit_index == found.snapshot.index == 10
    return stable, found.database


def test_what_is_restored_is_another_cluster_with_the_same_keys() -> None:
    env = MemoryEnv()
    revision = restored(env, WHOLE)
    stable, database = opened(env)
    assert revision == database.revision == database.compacted == 4 + REVISIONS_SKIPPED
    assert database.get(b"a") == Record(b"a", b"2", 2, 3, 2, 0)
    assert database.lease_table.leases[5].ttl_ms == 1000
    assert database.lease_table.keys_of(5) == [b"b"]
    table = database.member_table
    assert (table.members, table.gone, table.tokens) == ({}, {}, {})
    assert table.caretaker is NOTHING_SAID
    assert table.trust is AS_FOUNDED
    # It goes on as any other.
    assert database.digest_sum == digests_of(database)
    entry = put(10, b"c", b"3")
    database.apply([entry])
    assert database.revision == revision + 1
    stable.close()


def test_everything_is_durable_once_it_is_restored() -> None:
    env = MemoryEnv()
    restored(env, WHOLE)
    for state in env.crash_states():
        stable, database = opened(state)
        assert database.keys == 2
        stable.close()


def test_a_backup_of_another_store_is_refused() -> None:
    env = MemoryEnv()
    env.make_directory("/data")
    with pytest.raises(CorruptionError):
        reborn_from(
            env,
            "/data",
            iter([b"\x05\0\0\0", b"hello"]),
            source="a file",
            before=CLUSTER,
            cluster_id=NEW,
            member_id=MEMBER,
            salt=5,
            ids=new_id,
        )


def test_what_is_left_is_copied_with_all_of_its_log() -> None:
    env = MemoryEnv()
    restored(env, WHOLE)
    stable, database = opened(env)
    before = database.store.applied_index
    log = [Entry(10, 3, 0, b""), msgspec.structs.replace(put(10, b"c", b"3"), term=3)]
    copy = whole_log_of(stable, log, "/copy", new_id)
    assert copy.applied_index == copy.store.applied_index == 11
    assert copy.get(b"c") is not None
    assert (copy.get(b"a"), copy.keys) == (database.get(b"a"), 3)
    assert stable.engine is not None
    assert stable.engine.applied_index == before
    copy.store.close()
    stable.close()
