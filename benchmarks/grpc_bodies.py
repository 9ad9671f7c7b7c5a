"""Requests of etcd's gRPC interface, built once: bytes that a load generator sends.

Law: pure. Just what is sent is here: two messages of bytes fields, each with gRPC's
frame of five bytes before it.
"""

from typing import NamedTuple

_BYTES_FIELD = 2


class Body(NamedTuple):
    """A method's path, and its message as it stands in the stream."""

    path: str
    framed: bytes


def put(key: bytes, value: bytes) -> Body:
    """A PutRequest of key and value."""
    return _body("/etcdserverpb.KV/Put", _field(1, key) + _field(2, value))


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
