"""What came of a transaction: one result for each operation that was done.

Law: decoding is exact, as in requests. A reply is read without knowing what was asked;
whether it answers that is for the client to see.
"""

import struct
from collections.abc import Sequence
from typing import Final, Self

import msgspec

from .errors import ProtocolError
from .records import Record, decode_record_at, encode_record
from .transactions import DEPTH_MAX

_REPLY: Final = struct.Struct("<BBHQ")
_RESULT: Final = struct.Struct("<BBH")
_RANGE: Final = struct.Struct("<II")
_LENGTH: Final = struct.Struct("<I")
_NOTHING, _RECORD, _RECORDS, _REPLY_INSIDE = range(4)


class TxnResult(msgspec.Struct, frozen=True, gc=False):
    """What one operation found: was there something to delete or to read?

    `record` of a get; `records` and `count`, all that there are, of a range that was
    read or, without records, deleted; `reply` of a transaction in the transaction.
    """

    found: bool
    record: Record | None = None
    records: tuple[Record, ...] | None = None
    count: int = 0
    reply: "TxnReply | None" = None

    @classmethod
    def of_range(cls, records: Sequence[Record], count: int) -> Self:
        return cls(count > 0, None, tuple(records), count)


class TxnReply(msgspec.Struct, frozen=True):
    """`results` are those of the branch that was done; `revision` the store's then."""

    succeeded: bool
    revision: int
    results: tuple[TxnResult, ...]


def encode_txn_reply(
    succeeded: bool, revision: int, results: Sequence[TxnResult]
) -> bytes:
    """The body of a transaction's reply."""
    parts = [_REPLY.pack(succeeded, 0, len(results), revision)]
    for result in results:
        if result.record is not None:
            parts.append(_RESULT.pack(result.found, _RECORD, 0))
            parts.append(encode_record(result.record))
        elif result.records is not None:
            parts.append(_RESULT.pack(result.found, _RECORDS, 0))
            parts.append(_RANGE.pack(result.count, len(result.records)))
            parts += [encode_record(record) for record in result.records]
        elif result.reply is not None:
            inside = result.reply
            body = encode_txn_reply(inside.succeeded, inside.revision, inside.results)
            parts.append(_RESULT.pack(result.found, _REPLY_INSIDE, 0))
            parts += (_LENGTH.pack(len(body)), body)
        else:
            parts.append(_RESULT.pack(result.found, _NOTHING, 0))
    return b"".join(parts)


def decode_txn_reply(data: bytes) -> TxnReply:
    """The transaction's reply in `data`."""
    return _decode(data, DEPTH_MAX)


def _decode(data: bytes, depth: int) -> TxnReply:
    if len(data) < _REPLY.size:
        raise ProtocolError(f"a transaction's reply of {len(data)} bytes is cut off")
    succeeded, zero, count, revision = _REPLY.unpack_from(data)
    if zero or succeeded > 1:
        raise ProtocolError(
            "a flag or reserved field of a transaction's reply is wrong"
        )
    results: list[TxnResult] = []
    offset = _REPLY.size
    for _ in range(count):
        result, offset = _decode_result(data, offset, depth)
        results.append(result)
    if offset != len(data):
        raise ProtocolError("a transaction's reply is longer than its results")
    return TxnReply(bool(succeeded), revision, tuple(results))


def _decode_result(data: bytes, offset: int, depth: int) -> tuple[TxnResult, int]:
    found, kind, zero = _unpack(_RESULT, data, offset)
    offset += _RESULT.size
    if zero or found > 1 or kind > _REPLY_INSIDE:
        raise ProtocolError("a flag or reserved field of a result is wrong")
    if kind == _RECORD:
        if not found:
            raise ProtocolError("a record that was not found")
        record, offset = decode_record_at(data, offset)
        return TxnResult(True, record), offset
    if kind == _RECORDS:
        count, shown = _unpack(_RANGE, data, offset)
        offset += _RANGE.size
        if shown > count or found != (count > 0):
            raise ProtocolError("a range of a transaction's reply is wrong")
        records: list[Record] = []
        for _ in range(shown):
            record, offset = decode_record_at(data, offset)
            records.append(record)
        return TxnResult.of_range(records, count), offset
    if kind == _REPLY_INSIDE:
        (length,) = _unpack(_LENGTH, data, offset)
        begin = offset + _LENGTH.size
        if depth == 1 or begin + length > len(data):
            raise ProtocolError("a transaction's reply is cut off, or too deep")
        inside = _decode(data[begin : begin + length], depth - 1)
        return TxnResult(bool(found), reply=inside), begin + length
    return TxnResult(bool(found)), offset


def _unpack(form: struct.Struct, data: bytes, offset: int) -> tuple[int, ...]:
    if offset + form.size > len(data):
        raise ProtocolError("a transaction's reply is cut off")
    return form.unpack_from(data, offset)
