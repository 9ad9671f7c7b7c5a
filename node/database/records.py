"""The bytes of one key's newest version, as the store keeps them.

Law: pure. The record carries its digest, so that replacing or deleting it needs no
second look at the value (docs/formats.md section 5).
"""

import struct
from hashlib import blake2b

import msgspec

from ...storage.engine import VALUE
from ...wire import Record, encode_record_parts

# create_revision, mod_revision, version, lease, digest; then the value
_HEAD = struct.Struct("<QQQQ16s")
HEAD_BYTES = _HEAD.size
_DIGESTED = struct.Struct("<QQQQI")
# The same behind what the store writes before it.
_STORED = struct.Struct("<cQQQQ16s")
_STORED_BYTES = _STORED.size
# Its create and mod revision, version and lease.
_NUMBERS = slice(len(VALUE), len(VALUE) + 32)
_unpack_stored = _STORED.unpack_from
_pack_stored = _STORED.pack
_unpack_mod_and_lease = struct.Struct("<9xQ8xQ").unpack_from
_pack_digested = _DIGESTED.pack
_number = int.from_bytes


class KeyRecord(msgspec.Struct, frozen=True, gc=False):
    create_revision: int
    mod_revision: int
    version: int
    lease: int
    digest: int
    value: bytes


def encode_record(
    key: bytes, create: int, mod: int, version: int, lease: int, value: bytes
) -> tuple[bytes, int]:
    """The record as the store has it, behind a `VALUE`, and its digest.

    That is a 128-bit number of everything that a live record is.
    """
    # Most of what a node does: no call in here that can be spared.
    head = _pack_digested(create, mod, version, lease, len(key))
    told = blake2b(head + key + value, digest_size=16).digest()
    record = _pack_stored(VALUE, create, mod, version, lease, told) + value
    return record, _number(told, "little")


def put_over(
    before: bytes | None, key: bytes, value: bytes, revision: int, lease: int = 0
) -> tuple[bytes, int]:
    """The record of a put over `before`, and what the sum of digests gains by it.

    Both are as the store has them.
    """
    if before is None:
        return encode_record(key, revision, revision, 1, lease, value)
    # Not `decode_record`: its value is of no use here, and may be long.
    _, create, _, version, _, told = _unpack_stored(before)
    record, number = encode_record(key, create, revision, version + 1, lease, value)
    return record, number - _number(told, "little")


def as_record(key: bytes, record: bytes, keys_only: bool = False) -> Record:
    """The record as clients see it."""
    parsed = decode_record(record)
    return Record(
        key=key,
        value=b"" if keys_only else parsed.value,
        create_revision=parsed.create_revision,
        mod_revision=parsed.mod_revision,
        version=parsed.version,
        lease=parsed.lease,
    )


def as_told(key: bytes, stored: bytes) -> bytes:
    """What `encode_record` makes of `as_record`, of a record as the store has it."""
    return encode_record_parts(key, stored[_NUMBERS], stored[_STORED_BYTES:])


def decode_record(record: bytes) -> KeyRecord:
    create, mod, version, lease, number = _HEAD.unpack_from(record)
    return KeyRecord(
        create,
        mod,
        version,
        lease,
        int.from_bytes(number, "little"),
        record[HEAD_BYTES:],
    )


def mod_and_lease_of(record: bytes) -> tuple[int, int]:
    """Of a record as the store has it: the mod revision, and the lease or 0."""
    mod_revision, lease = _unpack_mod_and_lease(record)
    return mod_revision, lease


def lease_of(record: bytes) -> int:
    return int.from_bytes(record[24:32], "little")


def mod_revision_of(record: bytes) -> int:
    return int.from_bytes(record[8:16], "little")
