"""The bytes of one key's newest version, as the store keeps them.

Law: pure. The record carries its digest, so that replacing or deleting it needs no
second look at the value (design: state hash).
"""

import struct
from hashlib import blake2b

import msgspec

# create_revision, mod_revision, version, lease, digest; then the value
_HEAD = struct.Struct("<QQQQ16s")
HEAD_BYTES = _HEAD.size
_DIGESTED = struct.Struct("<QQQQI")


class KeyRecord(msgspec.Struct, frozen=True, gc=False):
    create_revision: int
    mod_revision: int
    version: int
    lease: int
    digest: int
    value: bytes


def digest(
    key: bytes, create: int, mod: int, version: int, lease: int, value: bytes
) -> int:
    """A 128-bit number of everything that a live record is."""
    state = blake2b(
        _DIGESTED.pack(create, mod, version, lease, len(key)), digest_size=16
    )
    state.update(key)
    state.update(value)
    return int.from_bytes(state.digest(), "little")


def encode_record(
    key: bytes, create: int, mod: int, version: int, lease: int, value: bytes
) -> tuple[bytes, int]:
    """The record's bytes and its digest."""
    number = digest(key, create, mod, version, lease, value)
    head = _HEAD.pack(create, mod, version, lease, number.to_bytes(16, "little"))
    return head + value, number


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


def mod_revision_of(record: bytes) -> int:
    return int.from_bytes(record[8:16], "little")
