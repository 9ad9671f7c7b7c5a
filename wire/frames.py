"""Frames: how requests and replies stand in the stream, and the parsers that cut it.

Law: a length is checked before a byte behind it is kept, so that nobody makes us buffer
more than one legal frame. Every byte is copied a bounded number of times, however the
stream is cut. A parser that has refused something is dead: there is no way back into
step with a stream that lied.
"""

import struct
from enum import IntEnum

import msgspec

from .errors import ErrorCode, ProtocolError
from .limits import FRAME_SLACK_BYTES, TIMEOUT_MS_CEILING, Limits

OK = 0
REFUSED = 1

_REQUEST = struct.Struct("<IBBHII")
_REPLY = struct.Struct("<IBBHI")
_LENGTH = struct.Struct("<I")
_LENGTH_BYTES = _LENGTH.size
_pack_request = _REQUEST.pack
_pack_reply = _REPLY.pack
_unpack_request_from = _REQUEST.unpack_from
_unpack_reply_from = _REPLY.unpack_from
_REQUEST_BYTES = _REQUEST.size
_REPLY_BYTES = _REPLY.size
# What `length` counts when there is no body.
REQUEST_LENGTH_MIN = _REQUEST_BYTES - _LENGTH_BYTES
REPLY_LENGTH_MIN = _REPLY_BYTES - _LENGTH_BYTES


class RequestKind(IntEnum):
    """What is asked for. CONNECTION is only in replies: this connection ends here."""

    CONNECTION = 0
    PING = 1
    WRITE = 2
    GET = 3
    RANGE = 4
    STATUS = 5
    WATCH = 6
    CANCEL = 7
    MEMBERS = 8
    MOVE_LEADER = 9


_KIND_MAX = int(max(RequestKind))


class RequestFrame(msgspec.Struct, frozen=True, gc=False):
    """One request as it stood in the stream; its body is not looked at yet."""

    kind: int
    request_id: int
    timeout_ms: int
    body: bytes


class ReplyFrame(msgspec.Struct, frozen=True, gc=False):
    """One reply as it stood in the stream; `status` is OK or REFUSED."""

    kind: int
    status: int
    request_id: int
    body: bytes


def encode_request(kind: int, request_id: int, timeout_ms: int, body: bytes) -> bytes:
    """A request's bytes, ready for the stream."""
    length = REQUEST_LENGTH_MIN + len(body)
    return _pack_request(length, kind, 0, 0, request_id, timeout_ms) + body


def encode_reply(kind: int, request_id: int, status: int, body: bytes) -> bytes:
    """A reply's bytes, ready for the stream."""
    return _pack_reply(REPLY_LENGTH_MIN + len(body), kind, status, 0, request_id) + body


class _Parser:
    """Keeps what is left of a stream until `_need` bytes of it are there."""

    def __init__(self, length_min: int, length_max: int) -> None:
        self._length_min: int = length_min
        self._length_max: int = length_max
        self._need: int = 0
        self._kept: bytearray = bytearray()
        self._reason: ProtocolError | None = None

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished frame is held."""
        return len(self._kept)

    def _take(self, data: bytes) -> bytes | None:
        """What can be parsed now, None when `data` did not complete anything."""
        if self._reason is not None:
            raise ProtocolError(f"dead parser: {self._reason}", self._reason.code)
        if not self._kept:
            return data
        if len(self._kept) + len(data) < self._need:
            self._kept += data
            return None
        whole = b"".join((self._kept, data))
        self._kept = bytearray()
        return whole

    def _keep(self, data: bytes, offset: int, need: int) -> None:
        """Hold the rest of `data`, of which a frame needs `need` bytes to go on."""
        rest = len(data) - offset
        if rest < _LENGTH_BYTES:
            need = _LENGTH_BYTES
        else:
            (length,) = _LENGTH.unpack_from(data, offset)
            if not self._length_min <= length <= self._length_max:
                raise self._bad_length(length)
        self._need = need
        self._kept += memoryview(data)[offset:]

    def _bad_length(self, length: int) -> ProtocolError:
        if length < self._length_min:
            return self._refuse(f"a frame's length is {length}, too short for its head")
        return self._refuse(
            f"a frame's length is {length}, over {self._length_max}",
            ErrorCode.REQUEST_TOO_LARGE,
        )

    def _refuse(
        self, reason: str, code: ErrorCode = ErrorCode.INVALID_REQUEST
    ) -> ProtocolError:
        self._reason = ProtocolError(reason, code)
        return self._reason


class RequestParser(_Parser):
    """The server's side: bytes in, request frames out.

    When `feed` raises, `complete` holds the frames that stood whole before the fault.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__(
            REQUEST_LENGTH_MIN, limits.request_bytes_max + FRAME_SLACK_BYTES
        )
        self.complete: list[RequestFrame] = []

    def feed(self, data: bytes) -> list[RequestFrame]:
        """The frames that `data` completes, in order; raises ProtocolError."""
        frames: list[RequestFrame] = []
        self.complete = frames
        whole = self._take(data)
        if whole is None:
            return frames
        offset = 0
        size = len(whole)
        length_min = self._length_min
        length_max = self._length_max
        need = _REQUEST_BYTES
        while size - offset >= _REQUEST_BYTES:
            length, kind, flags, zero, request_id, timeout_ms = _unpack_request_from(
                whole, offset
            )
            if not length_min <= length <= length_max:
                raise self._bad_length(length)
            if flags or zero or not 1 <= kind <= _KIND_MAX or not request_id:
                raise self._bad_head(kind, flags, zero)
            if timeout_ms > TIMEOUT_MS_CEILING:
                raise self._refuse(
                    f"timeout_ms is {timeout_ms}, over {TIMEOUT_MS_CEILING}"
                )
            end = offset + _LENGTH_BYTES + length
            if end > size:
                need = end - offset
                break
            body = whole[offset + _REQUEST_BYTES : end]
            frames.append(RequestFrame(kind, request_id, timeout_ms, body))
            offset = end
        if offset < size:
            self._keep(whole, offset, need)
        return frames

    def _bad_head(self, kind: int, flags: int, zero: int) -> ProtocolError:
        if flags or zero:
            return self._refuse("a reserved field of a request is not zero")
        if not 1 <= kind <= _KIND_MAX:
            return self._refuse(f"unknown request type {kind}")
        return self._refuse("request_id 0 is not for requests")


class ReplyParser(_Parser):
    """The client's side: bytes in, reply frames out.

    When `feed` raises, `complete` holds the frames that stood whole before the fault.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__(REPLY_LENGTH_MIN, limits.request_bytes_max + FRAME_SLACK_BYTES)
        self.complete: list[ReplyFrame] = []

    def feed(self, data: bytes) -> list[ReplyFrame]:
        """The frames that `data` completes, in order; raises ProtocolError."""
        frames: list[ReplyFrame] = []
        self.complete = frames
        whole = self._take(data)
        if whole is None:
            return frames
        offset = 0
        size = len(whole)
        length_min = self._length_min
        length_max = self._length_max
        need = _REPLY_BYTES
        while size - offset >= _REPLY_BYTES:
            length, kind, status, zero, request_id = _unpack_reply_from(whole, offset)
            if not length_min <= length <= length_max:
                raise self._bad_length(length)
            if zero or kind > _KIND_MAX or status > REFUSED:
                raise self._refuse("a reply's type, status or reserved field is wrong")
            if (not kind or not request_id) and (request_id or status == OK):
                raise self._refuse("a reply to no request that is not an error")
            end = offset + _LENGTH_BYTES + length
            if end > size:
                need = end - offset
                break
            body = whole[offset + _REPLY_BYTES : end]
            frames.append(ReplyFrame(kind, status, request_id, body))
            offset = end
        if offset < size:
            self._keep(whole, offset, need)
        return frames
