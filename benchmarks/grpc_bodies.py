"""Requests of etcd's gRPC interface, built once: bytes that a load generator sends.

Law: pure. Just what is sent is here: three messages of bytes fields, each with gRPC's
frame of five bytes before it.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

_BYTES_FIELD = 2
_HEAD_BYTES = 5
PUT = "/etcdserverpb.KV/Put"
TXN = "/etcdserverpb.KV/Txn"


class Body(NamedTuple):
    """A method's path, and its message as it stands in the stream."""

    path: str
    framed: bytes


def put(key: bytes, value: bytes) -> Body:
    """A PutRequest of key and value."""
    return _body(PUT, _put_message(key, value))


def _put_message(key: bytes, value: bytes) -> bytes:
    return _field(1, key) + _field(2, value)


def puts(keys: Iterable[bytes], value: bytes) -> Iterator[bytes]:
    """The messages of PutRequests; all keys are as long as the first one."""
    every = iter(keys)
    first = next(every)
    framed = put(first, value).framed
    # Behind the frame's head, the field's number and the length, of one byte each.
    begin = _HEAD_BYTES + 2
    before, after = framed[:begin], framed[begin + len(first) :]
    assert framed == before + first + after, "a key of 127 bytes at most"
    yield framed
    for key in every:
        yield before + key + after


def put_many(keys: Iterable[bytes], value: bytes) -> Body:
    """A TxnRequest without compares that puts all of them."""
    operations = (_field(2, _put_message(key, value)) for key in keys)
    message = b"".join(_field(2, operation) for operation in operations)
    return _body(TXN, message)


def get(key: bytes) -> Body:
    """A RangeRequest of one key, linearizable as is its default."""
    return _body("/etcdserverpb.KV/Range", _field(1, key))


def _body(path: str, message: bytes) -> Body:
    return Body(path, b"\0" + len(message).to_bytes(4, "big") + message)


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES_FIELD) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)
