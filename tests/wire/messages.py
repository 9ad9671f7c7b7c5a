"""One message of each format: its golden bytes, its value and its decoder.

The golden bytes were written by hand from docs/formats.md and never change.
"""

from collections.abc import Callable
from typing import NamedTuple

from quorate.wire import (
    DEFAULT_LIMITS,
    ClientHello,
    CloseSession,
    Compact,
    Compare,
    Delete,
    Envelope,
    ErrorCode,
    ErrorReply,
    GetReply,
    GetRequest,
    Grant,
    InSession,
    KeepAlive,
    LeaseAnswer,
    LeaseList,
    Level,
    ListLeases,
    OpenSession,
    Outcome,
    Place,
    Put,
    RangeReply,
    RangeRequest,
    ReadHeader,
    Record,
    Relation,
    Revoke,
    ServerHello,
    SessionOpened,
    Target,
    TimeToLive,
    Transaction,
    TxnDelete,
    TxnDeleteRange,
    TxnGet,
    TxnGetRange,
    TxnPut,
    TxnReply,
    TxnResult,
    WriteReply,
    decode_command,
    decode_envelope,
    decode_error,
    decode_expiry,
    decode_get,
    decode_get_reply,
    decode_lease_answer,
    decode_lease_list,
    decode_range,
    decode_range_reply,
    decode_session_opened,
    decode_txn_reply,
    decode_write_reply,
    encode_client_hello,
    encode_compact,
    encode_delete,
    encode_envelope_head,
    encode_error,
    encode_expiry,
    encode_get,
    encode_get_reply,
    encode_in_session,
    encode_lease_answer,
    encode_lease_command,
    encode_lease_list,
    encode_put,
    encode_range,
    encode_range_reply,
    encode_server_hello,
    encode_session_command,
    encode_session_opened,
    encode_transaction,
    encode_txn_reply,
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


_compares = (
    Compare(b"k", Target.MOD_REVISION, Relation.GREATER, 258),
    Compare(b"a", Target.LEASE, Relation.NOT_EQUAL, 7, b"bc"),
    Compare(b"", Target.VALUE, Relation.EQUAL, b"v", b""),
)
_GOLDEN_COMPARES = _hex(
    "02 01 0100 08000000 6b 0201000000000000"
    "04 83 0100 0c000000 61 0200 6263 0700000000000000"
    "03 80 0000 03000000    0000 76"
)
_operations = (
    TxnPut(b"k", b"vv"),
    TxnPut(b"l", b"v", 258),
    TxnDelete(b"d"),
    TxnGet(b"k"),
    TxnDeleteRange(b"x", b""),
    TxnGetRange(b"a", b"bc", 10, True),
    TxnGetRange(b"", b""),
    Transaction((), (TxnGet(b"k"),), ()),
)
_GOLDEN_OPERATIONS = _hex(
    "01 00 0100 02000000 6b 7676"
    "04 00 0100 09000000 6c 0201000000000000 76"
    "02 00 0100 00000000 64"
    "03 00 0100 00000000 6b"
    "05 00 0100 00000000 78"
    "06 00 0100 0a000000 61 0a000000 01 000000 6263"
    "06 00 0000 08000000    00000000 00 000000"
    "07 00 0000 15000000"
    "  03 00 0000 09000000 0100 0000 03 00 0100 00000000 6b"
)
_place = Place(bytes(range(1, 17)), 258, 259, 257)
_GOLDEN_PLACE = _hex(
    "14 00 0200 00000000 0102030405060708090a0b0c0d0e0f10"
    "0201000000000000 0301000000000000"
)
_transaction = Transaction(_compares, _operations, (TxnDelete(b"k"),))
_GOLDEN_TRANSACTION = (
    _hex("03 00 0300 b2000000 0800 0100")
    + (_GOLDEN_COMPARES + _GOLDEN_OPERATIONS)
    + _hex("02 00 0100 00000000 6b")
)
_results = (
    TxnResult(False),
    TxnResult(True, _record),
    TxnResult(True, None, (_bare,), 3),
    TxnResult(True, None, (), 2),
    TxnResult(False, None, (), 0),
    TxnResult(False, reply=TxnReply(False, 258, (TxnResult(True),))),
)
_GOLDEN_RESULTS = (
    _hex("00 00 0000")
    + (_hex("01 01 0000") + _GOLDEN_RECORD)
    + (_hex("01 02 0000 03000000 01000000") + _GOLDEN_BARE)
    + _hex("01 02 0000 02000000 00000000")
    + _hex("00 02 0000 00000000 00000000")
    + _hex("00 03 0000 10000000  00 00 0100 0201000000000000  01 00 0000")
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
        "put with a lease",
        _hex("01 02 0300 05000000 0201000000000000") + b"keyvalue",
        Put(b"key", b"value", None, 258),
        encode_put(b"key", b"value", None, 258),
        _command,
    ),
    Message(
        "put expecting, with a lease",
        _hex("01 03 0300 05000000 0300000000000000 0201000000000000") + b"keyvalue",
        Put(b"key", b"value", 3, 258),
        encode_put(b"key", b"value", 3, 258),
        _command,
    ),
    Message(
        "transaction",
        _GOLDEN_TRANSACTION,
        _transaction,
        encode_transaction(_transaction),
        _command,
    ),
    Message(
        "compaction",
        _hex("04 00 0000 00000000 0201000000000000"),
        Compact(258),
        encode_compact(258),
        _command,
    ),
    Message(
        "grant",
        _hex("05 00 0000 00000000 ffffffffffffffff 60ea000000000000"),
        Grant(2**64 - 1, 60_000),
        encode_lease_command(Grant(2**64 - 1, 60_000)),
        _command,
    ),
    Message(
        "revoke",
        _hex("06 00 0000 00000000 0201000000000000"),
        Revoke(258),
        encode_lease_command(Revoke(258)),
        _command,
    ),
    Message(
        "keep alive",
        _hex("07 00 0000 00000000 0201000000000000"),
        KeepAlive(258),
        encode_lease_command(KeepAlive(258)),
        _command,
    ),
    Message(
        "time to live",
        _hex("08 00 0000 00000000 0201000000000000"),
        TimeToLive(258),
        encode_lease_command(TimeToLive(258)),
        _command,
    ),
    Message(
        "time to live, with keys",
        _hex("08 01 0000 00000000 0201000000000000"),
        TimeToLive(258, True),
        encode_lease_command(TimeToLive(258, True)),
        _command,
    ),
    Message(
        "list leases",
        _hex("09 00 0000 00000000"),
        ListLeases(),
        encode_lease_command(ListLeases()),
        _command,
    ),
    Message(
        "list leases, a page",
        _hex("09 01 0000 03000000 0201000000000000"),
        ListLeases(258, 3),
        encode_lease_command(ListLeases(258, 3)),
        _command,
    ),
    Message(
        "in a session",
        _GOLDEN_PLACE + _hex("02 00 0100 00000000 6b"),
        InSession(_place, Delete(b"k")),
        encode_in_session(_place, encode_delete(b"k")),
        _command,
    ),
    Message(
        "open a session",
        _hex("15 00 0000 00000000 0102030405060708090a0b0c0d0e0f10"),
        OpenSession(_place.session),
        encode_session_command(OpenSession(_place.session)),
        _command,
    ),
    Message(
        "close a session",
        _hex("16 00 0000 00000000 0102030405060708090a0b0c0d0e0f10")
        + _hex("0201000000000000"),
        CloseSession(_place.session, 258),
        encode_session_command(CloseSession(_place.session, 258)),
        _command,
    ),
    Message(
        "session's opening",
        _hex("0201000000000000 0301000000000000"),
        SessionOpened(258, 259),
        encode_session_opened(258, 259),
        decode_session_opened,
    ),
    Message(
        "expiry",
        _hex("ffffffffffffffff 0201000000000000"),
        [(2**64 - 1, 258)],
        encode_expiry([(2**64 - 1, 258)]),
        decode_expiry,
    ),
    Message(
        "expiry's envelope",
        _hex("01 02 0000 01000000 0201000000000000 0300000000000000") + b"payload",
        Envelope(2, 1, 258, 3, b"payload"),
        encode_envelope_head(2, 258, 3) + b"payload",
        decode_envelope,
        tail=b"payload",
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
        "transaction's reply",
        _hex("01 00 0600 0301000000000000") + _GOLDEN_RESULTS,
        TxnReply(True, 259, _results),
        encode_txn_reply(True, 259, _results),
        decode_txn_reply,
    ),
    Message(
        "lease's answer",
        _hex("0201000000000000 0700000000000000 60ea000000000000 0a00000000000000")
        + _hex("02000000 0100 6b 0200 6b6c"),
        LeaseAnswer(258, 7, 60_000, 10, (b"k", b"kl")),
        encode_lease_answer(LeaseAnswer(258, 7, 60_000, 10, (b"k", b"kl"))),
        decode_lease_answer,
    ),
    Message(
        "list of leases",
        _hex("0201000000000000 02000000 0700000000000000 ffffffffffffffff"),
        LeaseList(258, (7, 2**64 - 1)),
        encode_lease_list(258, (7, 2**64 - 1)),
        decode_lease_list,
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
