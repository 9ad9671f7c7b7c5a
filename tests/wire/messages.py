"""One message of each format: its golden bytes, its value and its decoder.

The golden bytes were written by hand from docs/formats.md and never change.
"""

from collections.abc import Callable
from typing import NamedTuple

from quorate.wire import (
    DEFAULT_LIMITS,
    ClientHello,
    Delete,
    Envelope,
    ErrorCode,
    ErrorReply,
    GetReply,
    GetRequest,
    Level,
    Outcome,
    Put,
    RangeReply,
    RangeRequest,
    ReadHeader,
    Record,
    ServerHello,
    WriteReply,
    decode_command,
    decode_envelope,
    decode_error,
    decode_get,
    decode_get_reply,
    decode_range,
    decode_range_reply,
    decode_write_reply,
    encode_client_hello,
    encode_delete,
    encode_envelope_head,
    encode_error,
    encode_get,
    encode_get_reply,
    encode_put,
    encode_range,
    encode_range_reply,
    encode_server_hello,
    encode_write_reply,
    parse_client_hello,
    parse_server_hello,
)


class Message(NamedTuple):
    """One row of the table; `tail` is what no length field in the message covers."""

    name: str
    golden: bytes
    value: object
    encoded: bytes
    decode: Callable[[bytes], object]
    tail: bytes | None = None


def _hex(text: str) -> bytes:
    return bytes.fromhex(text)


_header = ReadHeader(258, 7, Level.BOUNDED)
_record = Record(b"k", b"vv", 2, 3, 4, 5)
_bare = Record(b"l", b"", 9, 9, 1, 0)
_GOLDEN_HEADER = _hex("0201000000000000 07000000 01 000000")
_GOLDEN_RECORD = _hex(
    "0100 0000 02000000 0200000000000000 0300000000000000"
    "0400000000000000 0500000000000000 6b 7676"
)
_GOLDEN_BARE = _hex(
    "0100 0000 00000000 0900000000000000 0900000000000000"
    "0100000000000000 0000000000000000 6c"
)
_get = GetRequest(Level.LOCAL, 1000, 258, b"key", 259)
_range = RangeRequest(Level.LINEARIZABLE, 0, 1, b"a", b"bc", 10, True, 259)
_error = ErrorReply(ErrorCode.PRECONDITION_FAILED, Outcome.NOT_APPLIED, False, 9, "né")
_hello = ServerHello(
    version=1,
    cluster_id=2**64 - 1,
    member_id=1,
    name="n1",
    server="q",
    request_bytes_max=256,
    endpoints=("h:1",),
)
_GOLDEN_HELLO_BODY = (
    _hex("86")
    + (b"\xaacluster_id" + _hex("cf ffffffffffffffff"))
    + (b"\xa9member_id" + _hex("01"))
    + (b"\xa4name" + b"\xa2n1")
    + (b"\xa6server" + b"\xa1q")
    + (b"\xb1request_bytes_max" + _hex("cd0100"))
    + (b"\xa9endpoints" + _hex("91") + b"\xa3h:1")
)


def _command(data: bytes) -> object:
    return decode_command(data, DEFAULT_LIMITS)


def _decode_get(data: bytes) -> object:
    return decode_get(data, DEFAULT_LIMITS)


def _decode_range(data: bytes) -> object:
    return decode_range(data, DEFAULT_LIMITS)


def _decode_error(data: bytes) -> object:
    return decode_error(data, DEFAULT_LIMITS)


MESSAGES = [
    Message(
        "put",
        _hex("01 00 0300 05000000") + b"keyvalue",
        Put(b"key", b"value"),
        encode_put(b"key", b"value"),
        _command,
    ),
    Message(
        "put expecting",
        _hex("01 01 0300 05000000 0201000000000000") + b"keyvalue",
        Put(b"key", b"value", 258),
        encode_put(b"key", b"value", 258),
        _command,
    ),
    Message(
        "delete",
        _hex("02 00 0300 00000000") + b"key",
        Delete(b"key"),
        encode_delete(b"key"),
        _command,
    ),
    Message(
        "delete expecting",
        _hex("02 01 0300 00000000 0000000000000000") + b"key",
        Delete(b"key", 0),
        encode_delete(b"key", 0),
        _command,
    ),
    Message(
        "envelope",
        _hex("01 01 0000 01000000 0201000000000000 0300000000000000") + b"payload",
        Envelope(1, 1, 258, 3, b"payload"),
        encode_envelope_head(1, 258, 3) + b"payload",
        decode_envelope,
        tail=b"payload",
    ),
    Message(
        "get",
        _hex("02 00 0300 e8030000 0201000000000000 0301000000000000") + b"key",
        _get,
        encode_get(_get),
        _decode_get,
    ),
    Message(
        "range",
        _hex("00 01 0100 0200 0000 0a000000 00000000 0100000000000000 0301000000000000")
        + b"abc",
        _range,
        encode_range(_range),
        _decode_range,
    ),
    Message(
        "write reply",
        _hex("0201000000000000 01000000"),
        WriteReply(258, 1),
        encode_write_reply(258, 1),
        decode_write_reply,
    ),
    Message(
        "get reply, absent",
        _GOLDEN_HEADER + _hex("00 000000"),
        GetReply(_header, None),
        encode_get_reply(_header, None),
        decode_get_reply,
    ),
    Message(
        "get reply, found",
        _GOLDEN_HEADER + _hex("01 000000") + _GOLDEN_RECORD,
        GetReply(_header, _record),
        encode_get_reply(_header, _record),
        decode_get_reply,
    ),
    Message(
        "range reply",
        _GOLDEN_HEADER + _hex("01 000000 02000000") + (_GOLDEN_RECORD + _GOLDEN_BARE),
        RangeReply(_header, [_record, _bare], True),
        encode_range_reply(_header, [_record, _bare], True),
        decode_range_reply,
    ),
    Message(
        "error",
        _hex("0500 01 00 0900000000000000 6ec3a9"),
        _error,
        encode_error(_error, DEFAULT_LIMITS),
        _decode_error,
        tail="né".encode(),
    ),
    Message(
        "client hello",
        _hex("ab515254 01 01 0000"),
        ClientHello(1, 1),
        encode_client_hello(),
        parse_client_hello,
        tail=b"",
    ),
    Message(
        "server hello",
        _hex("ab515254 01 00")
        + len(_GOLDEN_HELLO_BODY).to_bytes(2, "little")
        + _GOLDEN_HELLO_BODY,
        (_hello, 8 + len(_GOLDEN_HELLO_BODY)),
        encode_server_hello(_hello),
        parse_server_hello,
        tail=b"",
    ),
]
