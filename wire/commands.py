"""Client commands: what a write asks for, as values and as bytes.

Law: the client encodes a command once and those bytes are what is journaled and applied
everywhere, so decoding is exact: one encoding per command, no spare bits, no trailing
bytes. Admission is decoding: what decodes within the limits may be proposed.
"""

import struct
from typing import Final, TypeAlias

import msgspec

from .errors import CommandRefused, ErrorCode
from .leases import (
    GRANT,
    LEASE_OPS,
    REVOKE,
    Grant,
    KeepAlive,
    LeaseCommand,
    ListLeases,
    Revoke,
    TimeToLive,
    decode_lease_command,
)
from .limits import Limits, over_limit
from .members import MEMBER_OPS, MemberCommand, decode_member_command
from .sessions import (
    IN_SESSION,
    IN_SESSION_HEAD_BYTES,
    SESSION_OPS,
    CloseSession,
    OpenSession,
    Place,
    decode_place,
    decode_session_command,
)
from .transactions import TRANSACTION, Transaction, decode_transaction

PUT = 1
DELETE = 2
COMPACT = 4

# Flags: which numbers stand between the head and the key.
_EXPECTED = 1
_LEASED = 2
_HEAD = struct.Struct("<BBHI")
_HEAD_EXPECTED = struct.Struct("<BBHIQ")
_REVISION = struct.Struct("<Q")
_HEAD_BYTES = _HEAD.size
_pack = _HEAD.pack
_pack_expected = _HEAD_EXPECTED.pack
_unpack_from = _HEAD.unpack_from
_HEAD_EXPECTED_BYTES = _HEAD_EXPECTED.size


class Put(msgspec.Struct, frozen=True, gc=False):
    """Store `value`; with `expected`, only if the key's mod_revision equals it.

    It goes when `lease` ends, unless that is 0.
    """

    key: bytes
    value: bytes
    expected: int | None = None
    lease: int = 0


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Remove the key; with `expected`, only if its mod_revision equals it."""

    key: bytes
    expected: int | None = None


class Compact(msgspec.Struct, frozen=True, gc=False):
    """Let go of what only revisions before `revision` show."""

    revision: int


# What is written to the log and may be said in a session.
Effective: TypeAlias = (
    Put | Delete | Transaction | Compact | Grant | Revoke | MemberCommand
)


class InSession(msgspec.Struct, frozen=True, gc=False):
    """A command that is carried out once, however often it comes."""

    place: Place
    command: Effective


Command: TypeAlias = (
    Put
    | Delete
    | Transaction
    | Compact
    | LeaseCommand
    | MemberCommand
    | InSession
    | OpenSession
    | CloseSession
)


_SAID_IN_SESSIONS: Final = frozenset(
    (PUT, DELETE, TRANSACTION, COMPACT, GRANT, REVOKE, *MEMBER_OPS)
)
_NEVER_IN_SESSIONS: Final = (
    InSession,
    OpenSession,
    CloseSession,
    KeepAlive,
    TimeToLive,
    ListLeases,
)


def encode_put(
    key: bytes, value: bytes, expected: int | None = None, lease: int = 0
) -> bytes:
    """The bytes of a put; refuses only what the format has no room for."""
    try:
        if lease:
            return _encode_leased(key, value, expected, lease)
        if expected is None:
            return _pack(PUT, 0, len(key), len(value)) + key + value
        head = _pack_expected(PUT, _EXPECTED, len(key), len(value), expected)
    except struct.error:
        raise _not_encodable(key, expected) from None
    return head + key + value


def _encode_leased(key: bytes, value: bytes, expected: int | None, lease: int) -> bytes:
    if not 0 < lease < 1 << 64:
        raise CommandRefused(f"{lease} is not a lease")
    flags = _LEASED if expected is None else _LEASED | _EXPECTED
    head = _pack(PUT, flags, len(key), len(value))
    if expected is not None:
        head += _REVISION.pack(expected)
    return head + _REVISION.pack(lease) + key + value


def encode_delete(key: bytes, expected: int | None = None) -> bytes:
    """The bytes of a delete; refuses only what the format has no room for."""
    try:
        if expected is None:
            return _pack(DELETE, 0, len(key), 0) + key
        return _pack_expected(DELETE, _EXPECTED, len(key), 0, expected) + key
    except struct.error:
        raise _not_encodable(key, expected) from None


def encode_compact(revision: int) -> bytes:
    """The bytes of a compaction; refuses only what the format has no room for."""
    try:
        return _pack(COMPACT, 0, 0, 0) + _REVISION.pack(revision)
    except struct.error:
        raise CommandRefused(f"{revision} is not a revision") from None


def decode_command(data: bytes, limits: Limits) -> Command:
    """The command in `data`, or CommandRefused with the code to answer."""
    size = len(data)
    if size < _HEAD_BYTES:
        raise CommandRefused(f"a command of {size} bytes is cut off")
    op, flags, key_length, value_length = _unpack_from(data)
    if op != PUT and op != DELETE:
        return _decode_other(op, data, limits)
    if flags > _EXPECTED and (op == DELETE or flags > _EXPECTED | _LEASED):
        raise CommandRefused(f"unknown flags {flags:#x} in a command")
    start = _HEAD_EXPECTED_BYTES if flags else _HEAD_BYTES
    if flags == _EXPECTED | _LEASED:
        start += _REVISION.size
    if op == DELETE and value_length:
        raise CommandRefused("a delete with a value")
    if not 0 < key_length <= limits.key_bytes_max or (
        value_length > limits.value_bytes_max
    ):
        raise over_limit(key_length, value_length, limits)
    split = start + key_length
    if size != split + value_length:
        raise CommandRefused(
            f"a command of {size} bytes whose fields say {split + value_length}"
        )
    expected: int | None = None
    if flags & _EXPECTED:
        (expected,) = _REVISION.unpack_from(data, _HEAD_BYTES)
    if op == PUT:
        if flags & _LEASED:
            (lease,) = _REVISION.unpack_from(data, start - _REVISION.size)
            if not lease:
                raise CommandRefused("a put with a lease that is none")
            return Put(data[start:split], data[split:], expected, lease)
        return Put(data[start:split], data[split:], expected)
    return Delete(data[start:], expected)


def _decode_other(op: int, data: bytes, limits: Limits) -> Command:
    if op == TRANSACTION:
        return decode_transaction(data, limits)
    if op == COMPACT:
        return _decode_compact(data)
    if op in LEASE_OPS:
        return decode_lease_command(data)
    if op in MEMBER_OPS:
        return decode_member_command(data)
    if op == IN_SESSION:
        return _decode_in_session(data, limits)
    if op in SESSION_OPS:
        return decode_session_command(data)
    raise CommandRefused(f"unknown command {op}")


def _decode_in_session(data: bytes, limits: Limits) -> InSession:
    place = decode_place(data)
    inner = data[IN_SESSION_HEAD_BYTES:]
    # Looked at before it is decoded: sessions in sessions would have no end.
    if not inner or inner[0] not in _SAID_IN_SESSIONS:
        raise CommandRefused("what stands in a session is no write")
    command = decode_command(inner, limits)
    assert not isinstance(command, _NEVER_IN_SESSIONS), command
    return InSession(place, command)


def _decode_compact(data: bytes) -> Compact:
    if len(data) != _HEAD_BYTES + _REVISION.size:
        raise CommandRefused(f"a compaction has {len(data)} bytes")
    if any(data[1:_HEAD_BYTES]):
        raise CommandRefused("a reserved field of a compaction is not zero")
    (revision,) = _REVISION.unpack_from(data, _HEAD_BYTES)
    return Compact(revision)


def _not_encodable(key: bytes, expected: int | None) -> CommandRefused:
    if expected is not None and not 0 <= expected < 2**64:
        return CommandRefused(f"{expected} is not a revision")
    if len(key) >= 2**16:
        reason = f"the key has {len(key)} bytes, over what the format carries"
        return CommandRefused(reason, ErrorCode.KEY_TOO_LONG)
    return CommandRefused(
        "the value has more bytes than the format carries", ErrorCode.VALUE_TOO_LARGE
    )
