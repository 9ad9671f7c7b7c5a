"""Entries and databases by the handful."""

from collections.abc import Iterable

from quorate.node.database import CheckpointReader, Database, header_of
from quorate.node.database.checkpoint import write_checkpoint
from quorate.raft import (
    COMMAND,
    NOOP,
    Configuration,
    Entry,
    encode_configuration,
)
from quorate.wire import (
    EnvelopeKind,
    encode_delete,
    encode_envelope_head,
    encode_put,
)

CLUSTER = 0xC1
CONFIGURATION = encode_configuration(Configuration((1, 2, 3), (), (4,)))


def command(index: int, payload: bytes, *, term: int = 1, time_ms: int = 0) -> Entry:
    head = encode_envelope_head(EnvelopeKind.CLIENT_COMMAND, time_ms, 0)
    return Entry(index, term, COMMAND, head + payload)


def put(index: int, key: bytes, value: bytes, expected: int | None = None) -> Entry:
    return command(index, encode_put(key, value, expected))


def delete(index: int, key: bytes, expected: int | None = None) -> Entry:
    return command(index, encode_delete(key, expected))


def checkpoint_of(database: Database, cluster_id: int = CLUSTER) -> bytes:
    header = header_of(
        cluster_id, CONFIGURATION, database.meta(), database.store.count()
    )
    return b"".join(write_checkpoint(header, database.store.view()))


def read_checkpoint(pieces: Iterable[bytes], cluster_id: int = CLUSTER) -> Database:
    reader = CheckpointReader(cluster_id)
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def records_of(database: Database) -> list[tuple[bytes, bytes]]:
    return list(database.store.view().records())


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
                entries.append(Entry(index, 1, NOOP, b""))
            case _:
                entries.append(put(index, key, b"%d" % index * index))
    return entries
