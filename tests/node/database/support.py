"""Entries and databases by the handful."""

import itertools
from collections.abc import Sequence

from quorate.node.database import Applied, Database, begin, layout, leases
from quorate.node.database.records import decode_record
from quorate.raft import (
    COMMAND,
    NOOP,
    Configuration,
    Entry,
    encode_configuration,
)
from quorate.storage.engine import Engine
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import (
    EnvelopeKind,
    Grant,
    Record,
    Revoke,
    Transaction,
    encode_delete,
    encode_envelope_head,
    encode_expiry,
    encode_lease_command,
    encode_put,
    encode_transaction,
)

CLUSTER = 0xC1
BEGIN = 1
# Of all engines: files travel between them.
_ids = itertools.count(1)
CONFIGURATION = encode_configuration(Configuration((1, 2, 3), (), (4,)))


def entry(index: int, term: int, kind: int, data: bytes) -> Entry:
    """Entries of tests count from 1 behind what the cluster began with."""
    return Entry(BEGIN + index, term, kind, data)


def command(index: int, payload: bytes, *, term: int = 1, time_ms: int = 0) -> Entry:
    head = encode_envelope_head(EnvelopeKind.CLIENT_COMMAND, time_ms, 0)
    return entry(index, term, COMMAND, head + payload)


def put(
    index: int, key: bytes, value: bytes, expected: int | None = None, lease: int = 0
) -> Entry:
    return command(index, encode_put(key, value, expected, lease))


def delete(index: int, key: bytes, expected: int | None = None) -> Entry:
    return command(index, encode_delete(key, expected))


def transact(index: int, transaction: Transaction) -> Entry:
    return command(index, encode_transaction(transaction))


def grant(index: int, lease: int, ttl_ms: int = 1000) -> Entry:
    return command(index, encode_lease_command(Grant(lease, ttl_ms)))


def revoke(index: int, lease: int) -> Entry:
    return command(index, encode_lease_command(Revoke(lease)))


def expiry(index: int, *leases: tuple[int, int]) -> Entry:
    """The end of leases: each with the index, as tests count, that granted it."""
    head = encode_envelope_head(EnvelopeKind.EXPIRY, 0, 0)
    ended = [(lease, BEGIN + since) for lease, since in leases]
    return entry(index, 1, COMMAND, head + encode_expiry(ended))


def new_engine(env: MemoryEnv | None = None) -> Engine:
    disk = env or MemoryEnv()
    return Engine(disk, "/engine", lambda: next(_ids).to_bytes(16, "big"))


def new_database(cluster_id: int = CLUSTER, env: MemoryEnv | None = None) -> Database:
    """A cluster's state before its first entry, which is that of index 1 here."""
    return begin(new_engine(env), cluster_id, BEGIN, 1, CONFIGURATION)


def sent_by(database: Database) -> bytes:
    """What a leader sends of its state."""
    database.store.flush()
    return b"".join(database.store.pin().pieces())


def copy_of(database: Database, env: MemoryEnv | None = None) -> Database:
    """The same state on another disk, by way of what is sent."""
    engine = new_engine(env)
    incoming = engine.receive("a test")
    incoming.feed(sent_by(database))
    for _ in incoming.check():
        pass
    engine.install(incoming)
    return Database(engine, database.cluster_id)


def reopened(database: Database, env: MemoryEnv) -> Database:
    """What another process finds on the same disk, where not all may be flushed."""
    database.store.close()
    return Database(new_engine(env), database.cluster_id)


def digests_of(database: Database) -> int:
    """What the sum of digests has to be: that of live records, and that of leases."""
    number = sum([decode_record(record).digest for _, record in records_of(database)])
    for lease, kept in database.lease_table.leases.items():
        number += leases.digest(lease, kept.ttl_ms, kept.since)
    return number % (1 << 128)


def apply_all(database: Database, entries: Sequence[Entry]) -> list[Applied]:
    """In as many steps as that takes."""
    results: list[Applied] = []
    while len(results) < len(entries):
        results += database.apply(entries[len(results) :])
    return results


def range_of(
    database: Database,
    start: bytes,
    end: bytes | None,
    *,
    records_max: int,
    bytes_max: int,
    keys_only: bool = False,
    revision: int = 0,
) -> tuple[list[Record], bool]:
    """A page of a range, read step by step; do more follow?"""
    page = database.page(
        start,
        end,
        records_max=records_max,
        bytes_max=bytes_max,
        keys_only=keys_only,
        revision=revision,
    )
    while not page.read(1):
        pass
    return page.records, page.more


def records_of(database: Database) -> list[tuple[bytes, bytes]]:
    """The newest versions, as the engine keeps them."""
    start, end = layout.newest_bounds(b"", None)
    return [(at[1:], record) for at, record in database.store.scan(start, end)]


def history() -> list[Entry]:
    """Puts, deletes, conditions that hold and that do not, on few keys."""
    entries: list[Entry] = []
    for index in range(1, 120):
        key = b"key %d" % (index * 7 % 11)
        match index % 5:
            case 0:
                entries.append(delete(index, key))
            case 1:
                entries.append(put(index, key, b"%d" % index, index % 3))
            case 2:
                entries.append(entry(index, 1, NOOP, b""))
            case _:
                entries.append(put(index, key, b"%d" % index * index))
    return entries
