"""Records, and the replies of reads that carry them.

Law: a reply says what was served: the revision it reflects, its staleness and its
level. Decoding is exact, as in requests.
"""

import struct
from collections.abc import Iterable

import msgspec

from .errors import ProtocolError
from .requests import Level, checked_level

_GET_REPLY = struct.Struct("<QIBBHBBH")
_RANGE_REPLY = struct.Struct("<QIBBHBBHI")
_RECORD = struct.Struct("<HHIQQQQ")
# Of a record what its key and value decide; its four numbers follow.
_LENGTHS = struct.Struct("<HHI")
_pack_lengths = _LENGTHS.pack
RECORD_HEAD_BYTES = _RECORD.size
_RECORD_BYTES = _RECORD.size
_GET_REPLY_BYTES = _GET_REPLY.size


class ReadHeader(msgspec.Struct, frozen=True, gc=False):
    """What a read was served from."""

    revision: int
    staleness_ms: int
    level: Level


class Record(msgspec.Struct, frozen=True, gc=False):
    """One key at one revision."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


class GetReply(msgspec.Struct, frozen=True, gc=False):
    """The record, or None when the key is absent."""

    header: ReadHeader
    record: Record | None


class RangeReply(msgspec.Struct, frozen=True):
    """One page; `more` when keys remain behind its last one."""

    header: ReadHeader
    records: list[Record]
    more: bool


def encode_record(record: Record) -> bytes:
    """A record's bytes; they are RECORD_HEAD_BYTES + key + value long."""
    head = _RECORD.pack(
        len(record.key),
        0,
        len(record.value),
        record.create_revision,
        record.mod_revision,
        record.version,
        record.lease,
    )
    return head + record.key + record.value


def encode_record_parts(key: bytes, numbers: bytes, value: bytes) -> bytes:
    """The same from parts; `numbers` are a record's four in its order, as 8 bytes each,
    little-endian.
    """
    return _pack_lengths(len(key), 0, len(value)) + numbers + key + value


def encode_get_reply(header: ReadHeader, record: Record | None) -> bytes:
    """The body of a get's reply."""
    if record is None:
        return encode_get_head(header, found=False)
    return encode_get_head(header, found=True) + encode_record(record)


def encode_get_head(header: ReadHeader, *, found: bool) -> bytes:
    """What stands in a get's reply before the record, if one was found."""
    return _GET_REPLY.pack(
        header.revision, header.staleness_ms, header.level, 0, 0, found, 0, 0
    )


def decode_get_reply(data: bytes) -> GetReply:
    """The get's reply in `data`."""
    if len(data) < _GET_REPLY_BYTES:
        raise ProtocolError(f"a get's reply of {len(data)} bytes is cut off")
    revision, staleness, level, zero0, zero1, found, zero2, zero3 = (
        _GET_REPLY.unpack_from(data)
    )
    if zero0 or zero1 or zero2 or zero3 or found > 1:
        raise ProtocolError("a flag or reserved field of a get's reply is wrong")
    header = ReadHeader(revision, staleness, checked_level(level))
    end = _GET_REPLY_BYTES
    record = None
    if found:
        record, end = decode_record_at(data, end)
    if end != len(data):
        raise ProtocolError("a get's reply is longer than what it carries")
    return GetReply(header, record)


def encode_range_reply(
    header: ReadHeader, records: Iterable[Record], more: bool
) -> bytes:
    """The body of a range's reply."""
    bodies = [encode_record(record) for record in records]
    head = _RANGE_REPLY.pack(
        header.revision,
        header.staleness_ms,
        header.level,
        0,
        0,
        more,
        0,
        0,
        len(bodies),
    )
    return head + b"".join(bodies)


def decode_range_reply(data: bytes) -> RangeReply:
    """The range's reply in `data`."""
    if len(data) < _RANGE_REPLY.size:
        raise ProtocolError(f"a range's reply of {len(data)} bytes is cut off")
    revision, staleness, level, zero0, zero1, more, zero2, zero3, count = (
        _RANGE_REPLY.unpack_from(data)
    )
    if zero0 or zero1 or zero2 or zero3 or more > 1:
        raise ProtocolError("a flag or reserved field of a range's reply is wrong")
    header = ReadHeader(revision, staleness, checked_level(level))
    records: list[Record] = []
    offset = _RANGE_REPLY.size
    # `count` is not believed: the bytes end the loop long before a lie costs anything.
    for _ in range(count):
        record, offset = decode_record_at(data, offset)
        records.append(record)
    if offset != len(data):
        raise ProtocolError("a range's reply is longer than its records")
    if more and not records:
        raise ProtocolError("a range's reply without records can't be continued")
    return RangeReply(header, records, bool(more))


def decode_record_at(data: bytes, offset: int) -> tuple[Record, int]:
    """The record at `offset`, and where it ends."""
    start = offset + _RECORD_BYTES
    if start > len(data):
        raise ProtocolError("a record is cut off")
    key_length, zero, value_length, created, modified, version, lease = (
        _RECORD.unpack_from(data, offset)
    )
    if zero:
        raise ProtocolError("a reserved field of a record is not zero")
    if not key_length:
        raise ProtocolError("a record without a key")
    split = start + key_length
    end = split + value_length
    if end > len(data):
        raise ProtocolError("a record is cut off")
    key = data[start:split]
    return Record(key, data[split:end], created, modified, version, lease), end
