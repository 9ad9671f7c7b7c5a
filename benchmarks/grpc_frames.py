"""A client of etcd's gRPC interface that costs as little as one in Python can.

Law: the counterpart of `frames`, for systems that are asked over HTTP/2 (RFC 9113) and
whose every request may be another one, which h2load can't do. Of the protocol it knows
what calls of one message each way need: a call is a HEADERS and a DATA frame, and is
answered when its stream ends with data in it; a stream that ends without any, or is
reset, was a refusal and ends the run. Headers of answers are not decoded.
"""

import asyncio
import struct
from collections.abc import Iterator
from typing import Final, cast

from .frames import Connection, Done, Driven, drive_slots

# The length's first byte and the others, type, flags, stream.
_HEAD: Final = struct.Struct(">BHBBI")
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
_INITIAL_WINDOW: Final = 4
_WINDOW_MAX: Final = (1 << 31) - 1
_WINDOW_DEFAULT: Final = (1 << 16) - 1
_FRAME_BYTES_MAX: Final = 1 << 14
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame; `payload` has 16 KiB at most, what any receiver takes."""
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def hello() -> bytes:
    """What a client begins with; answers are taken as fast as they come."""
    settings = struct.pack(">HI", _INITIAL_WINDOW, _WINDOW_MAX)
    more = struct.pack(">I", _WINDOW_MAX - _WINDOW_DEFAULT)
    return _PREFACE + frame(_SETTINGS, 0, 0, settings) + frame(_WINDOW, 0, 0, more)


def header_block(path: str) -> bytes:
    """A call's headers, without any state of HPACK (RFC 7541): the same each time."""

    def text(value: str) -> bytes:
        assert len(value) < 0x7F, "a length of one byte"
        return bytes([len(value)]) + value.encode()

    return b"".join(
        (
            b"\x83\x86",  # :method POST, :scheme http, both of the static table
            b"\x04" + text(path),
            b"\x01" + text("benchmark"),  # :authority
            b"\x0f\x10" + text("application/grpc"),  # content-type, number 31
            b"\x00" + text("te") + text("trailers"),
        )
    )


class _Streams(Connection):
    """One connection's calls: as many at a time as `slots`."""

    def __init__(self, path: str, messages: Iterator[bytes], slots: int) -> None:
        super().__init__()
        self._block: bytes = header_block(path)
        self._messages: Iterator[bytes] = messages
        self._slots: int = slots
        self._stream: int = 1
        # Streams with data that have not ended yet.
        self._begun: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(hello())

    def begin(self) -> None:
        assert self._transport is not None
        self._outstanding = self._slots
        self._transport.write(self._calls(self._slots))

    def _calls(self, count: int) -> bytes:
        block, size, pack = self._block, len(self._block), _HEAD.pack
        parts: list[bytes] = []
        stream = self._stream
        for _ in range(count):
            message = next(self._messages)
            parts += (pack(0, size, _HEADERS, _END_HEADERS, stream), block)
            left = memoryview(message)
            while len(left) > _FRAME_BYTES_MAX:
                parts.append(frame(_DATA, 0, stream, bytes(left[:_FRAME_BYTES_MAX])))
                left = left[_FRAME_BYTES_MAX:]
            parts += (pack(0, len(left), _DATA, _END_STREAM, stream), bytes(left))
            stream += 2
        self._stream = stream
        return b"".join(parts)

    def data_received(self, data: bytes) -> None:
        if self._kept:
            data = self._kept + data
        offset, ended, size = 0, 0, len(data)
        unpack, begun = _HEAD.unpack_from, self._begun
        high: int
        low: int
        kind: int
        flags: int
        stream: int
        while size - offset >= _HEAD.size:
            high, low, kind, flags, stream = unpack(data, offset)
            begin = offset + _HEAD.size
            end = begin + (high << 16 | low)
            if end > size:
                break
            offset = end
            if kind == _DATA:
                begun.add(stream)
            elif kind == _HEADERS:
                if flags & _END_STREAM:
                    if stream not in begun:
                        self._fail(f"refused: {data[begin:end][-100:]!r}")
                        return
                    begun.remove(stream)
                    ended += 1
            else:
                self._other(kind, flags, data[begin:end])
        self._kept = data[offset:]
        if ended and self._count(ended) and self._transport is not None:
            self._transport.write(self._calls(ended))

    def _other(self, kind: int, flags: int, payload: bytes) -> None:
        if kind in (_RESET, _GOAWAY):
            self._fail(f"refused: frame of kind {kind}, {payload[-100:]!r}")
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            assert self._transport is not None
            told = payload if kind == _PING else b""
            self._transport.write(frame(kind, _ACK, 0, told))
            if not self.ready.done():
                self.ready.set_result(None)


def drive_calls(
    port: int,
    path: str,
    messages: Iterator[bytes],
    in_flight: int,
    connections: int,
    done: Done,
) -> Driven:
    """Calls of one method, each with the next message; raises RunFailed."""

    def connection(number: int) -> Connection:
        slots = len(range(number, in_flight, connections))
        return _Streams(path, messages, slots)

    return drive_slots(port, connection, connections, done)
