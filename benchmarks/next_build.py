"""`quorate node` of a build that there is not yet: it understands version 2.

    python -m quorate.benchmarks.next_build node --dir DIRECTORY

What version 2 brings: values are kept compressed, in records that no build of version 1
can read. Everything else is as it is.
"""

import sys
import zlib
from pathlib import Path

import msgspec
from quorate.node import process
from quorate.node.config import CONFIG_FILE, load_config
from quorate.node.database import (
    Database,
    Understood,
    core,
    reading,
    records,
    versions,
)
from quorate.node.database.applied import Applied
from quorate.node.database.leases import Effects
from quorate.node.database.records import KeyRecord
from quorate.storage.engine import VALUE
from quorate.wire import encode_record

VERSION = 2
# In a record's version, whose upper bits nobody needs.
COMPRESSED = 1 << 63

_plain_decode = records.decode_record
_plain_store = Database._store  # pyright: ignore[reportPrivateUsage]


def main() -> int:
    _, directory = sys.argv[2:]
    versions.UNDERSTOOD = Understood(1, VERSION)  # pyright: ignore[reportConstantRedefinition]
    records.decode_record = decode
    reading.as_told = told
    Database._store = store  # pyright: ignore[reportPrivateUsage]
    return process.run_node(load_config(Path(directory) / CONFIG_FILE, {}))


def store(
    self: Database,
    key: bytes,
    value: bytes,
    old: bytes | None,
    lease: int,
    effects: Effects,
) -> Applied:
    """As ever, and from version 2 on in the new format."""
    core.put_over = compressed if self.version >= VERSION else plain
    return _plain_store(self, key, value, old, lease, effects)


def plain(
    before: bytes | None, key: bytes, value: bytes, revision: int, lease: int = 0
) -> tuple[bytes, int]:
    create, version, lost = revision, 0, 0
    if before is not None:
        old = decode(before[len(VALUE) :])
        create, version, lost = old.create_revision, old.version, old.digest
    record, number = records.encode_record(
        key, create, revision, version + 1, lease, value
    )
    return record, number - lost


def compressed(
    before: bytes | None, key: bytes, value: bytes, revision: int, lease: int = 0
) -> tuple[bytes, int]:
    record, gained = plain(before, key, value, revision, lease)
    end = len(VALUE) + records.HEAD_BYTES
    head, small = bytearray(record[:end]), zlib.compress(value)
    head[len(VALUE) + 23] |= COMPRESSED >> 56
    return bytes(head) + small, gained


def told(key: bytes, stored: bytes) -> bytes:
    return encode_record(records.as_record(key, stored[len(VALUE) :]))


def decode(record: bytes) -> KeyRecord:
    found = _plain_decode(record)
    if not found.version & COMPRESSED:
        return found
    return msgspec.structs.replace(
        found,
        version=found.version & ~COMPRESSED,
        value=zlib.decompress(found.value),
    )


if __name__ == "__main__":
    sys.exit(main())
