"""Entries and databases by the handful."""

import itertools

from quorate.node.database import Database, begin, layout
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
    Transaction,
    encode_delete,
    encode_envelope_head,
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


def put(index: int, key: bytes, value: bytes, expected: int | None = None) -> Entry:
    return command(index, encode_put(key, value, expected))


def delete(index: int, key: bytes, expected: int | None = None) -> Entry:
    return command(index, encode_delete(key, expected))


def transact(index: int, transaction: Transaction) -> Entry:
    return command(index, encode_transaction(transaction))


def new_engine() -> Engine:
    return Engine(MemoryEnv(), "/engine", lambda: next(_ids).to_bytes(16, "big"))


def new_database(cluster_id: int = CLUSTER) -> Database:
    """A cluster's state before its first entry, which is that of index 1 here."""
    return begin(new_engine(), cluster_id, BEGIN, 1, CONFIGURATION)


def sent_by(database: Database) -> bytes:
    """What a leader sends of its state."""
    database.store.flush()
    return b"".join(database.store.pin().pieces())


def copy_of(database: Database) -> Database:
    """The same state on another disk, by way of what is sent."""
    engine = new_engine()
    incoming = engine.receive("a test")
    incoming.feed(sent_by(database))
    for _ in incoming.check():
        pass
    engine.install(incoming)
    return Database(engine, database.cluster_id)


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
