"""Bodies of requests and replies, as values and as bytes.

Law: decoding is exact. Every length must be what the fields say, every reserved byte
zero, every code known; anything else is a ProtocolError, whose `code` is the answer to
give. A body is judged alone: what it asks for is judged elsewhere.
"""

import struct
from enum import IntEnum

import msgspec

from .errors import ERROR_TRAITS, ErrorCode, Outcome, ProtocolError
from .limits import Limits

_GET = struct.Struct("<BBHIQQ")
_RANGE = struct.Struct("<BBHHHIIQQ")
_WRITE_REPLY = struct.Struct("<QI")
_ERROR = struct.Struct("<HBBQ")

_GET_BYTES = _GET.size
_RANGE_BYTES = _RANGE.size
_WRITE_REPLY_BYTES = _WRITE_REPLY.size
_KEYS_ONLY = 1  # the only flag of a range


class Level(IntEnum):
    """How fresh a read has to be; lower is stronger."""

    LINEARIZABLE = 0
    BOUNDED = 1
    LOCAL = 2


_LEVELS = tuple(Level)


class GetRequest(msgspec.Struct, frozen=True, gc=False):
    """Read one key, at `revision`; 0 is the newest one."""

    level: Level
    max_staleness_ms: int
    min_revision: int
    key: bytes
    revision: int = 0


class RangeRequest(msgspec.Struct, frozen=True, gc=False):
    """Read `start <= key < end` in order; an empty `end` means no upper bound.

    At `revision`; 0 is the newest one.
    """

    level: Level
    max_staleness_ms: int
    min_revision: int
    start: bytes
    end: bytes
    limit: int = 0
    keys_only: bool = False
    revision: int = 0


class WriteReply(msgspec.Struct, frozen=True, gc=False):
    """The store's revision after the write, and how many keys it touched."""

    revision: int
    count: int


class ErrorReply(msgspec.Struct, frozen=True, gc=False):
    """Why not, and whether it may have happened all the same."""

    code: ErrorCode
    outcome: Outcome
    retryable: bool
    revision: int
    message: str


def encode_get(request: GetRequest) -> bytes:
    """The body of a get."""
    head = _GET.pack(
        request.level,
        0,
        len(request.key),
        request.max_staleness_ms,
        request.min_revision,
        request.revision,
    )
    return head + request.key


def decode_get(data: bytes, limits: Limits) -> GetRequest:
    """The get in `data`."""
    if len(data) < _GET_BYTES:
        raise ProtocolError(f"a get of {len(data)} bytes is cut off")
    level, zero, key_length, max_staleness_ms, min_revision, revision = (
        _GET.unpack_from(data)
    )
    if zero:
        raise ProtocolError("a reserved field of a get is not zero")
    key = data[_GET_BYTES:]
    if len(key) != key_length:
        raise ProtocolError("a get whose length is not what its key says")
    if not key_length:
        raise ProtocolError("the key is empty")
    if key_length > limits.key_bytes_max:
        raise _too_long("key", key_length, limits.key_bytes_max)
    return GetRequest(
        checked_level(level), max_staleness_ms, min_revision, key, revision
    )


def encode_range(request: RangeRequest) -> bytes:
    """The body of a range."""
    head = _RANGE.pack(
        request.level,
        _KEYS_ONLY if request.keys_only else 0,
        len(request.start),
        len(request.end),
        0,
        request.limit,
        request.max_staleness_ms,
        request.min_revision,
        request.revision,
    )
    return head + request.start + request.end


def decode_range(data: bytes, limits: Limits) -> RangeRequest:
    """The range in `data`. Bounds may be one byte longer than a key: key + b"\\0"."""
    if len(data) < _RANGE_BYTES:
        raise ProtocolError(f"a range of {len(data)} bytes is cut off")
    (
        level,
        flags,
        start_length,
        end_length,
        zero,
        limit,
        staleness,
        min_revision,
        revision,
    ) = _RANGE.unpack_from(data)
    if zero:
        raise ProtocolError("a reserved field of a range is not zero")
    if flags > _KEYS_ONLY:
        raise ProtocolError(f"unknown flags {flags:#x} in a range")
    split = _RANGE_BYTES + start_length
    if len(data) != split + end_length:
        raise ProtocolError("a range whose length is not what its bounds say")
    longest = limits.key_bytes_max + 1
    if start_length > longest:
        raise _too_long("start", start_length, longest)
    if end_length > longest:
        raise _too_long("end", end_length, longest)
    return RangeRequest(
        checked_level(level),
        staleness,
        min_revision,
        data[_RANGE_BYTES:split],
        data[split:],
        limit,
        bool(flags),
        revision,
    )


def encode_write_reply(revision: int, count: int) -> bytes:
    """The body of a write's reply."""
    return _WRITE_REPLY.pack(revision, count)


def decode_write_reply(data: bytes) -> WriteReply:
    """The write's reply in `data`."""
    if len(data) != _WRITE_REPLY_BYTES:
        raise ProtocolError(f"a write's reply has {len(data)} bytes")
    revision, count = _WRITE_REPLY.unpack(data)
    return WriteReply(revision, count)


def key_moved(revision: int) -> str:
    """What is said of a key that was expected at another revision; 0 is absent."""
    if not revision:
        return "there is no such key"
    return f"the key is at revision {revision}, not the expected one"


def error_reply(
    code: ErrorCode, outcome: Outcome, message: str, revision: int = 0
) -> ErrorReply:
    """An error that is as retryable as the table says."""
    return ErrorReply(code, outcome, ERROR_TRAITS[code].retryable, revision, message)


def encode_error(error: ErrorReply, limits: Limits) -> bytes:
    """The body of an error; a message that is too long loses its end."""
    message = error.message.encode("utf-8", "replace")
    if len(message) > limits.error_message_bytes_max:
        cut = message[: limits.error_message_bytes_max]
        message = cut.decode("utf-8", "ignore").encode()
    head = _ERROR.pack(error.code, error.outcome, error.retryable, error.revision)
    return head + message


def decode_error(data: bytes, limits: Limits) -> ErrorReply:
    """The error in `data`."""
    if len(data) < _ERROR.size:
        raise ProtocolError(f"an error of {len(data)} bytes is cut off")
    if len(data) > _ERROR.size + limits.error_message_bytes_max:
        raise ProtocolError(f"an error's message is over its limit: {len(data)} bytes")
    code, outcome, retryable, revision = _ERROR.unpack_from(data)
    if retryable > 1:
        raise ProtocolError("an error's retryable is neither 0 nor 1")
    try:
        message = data[_ERROR.size :].decode()
        return ErrorReply(
            ErrorCode(code), Outcome(outcome), bool(retryable), revision, message
        )
    except UnicodeDecodeError:
        raise ProtocolError("an error's message is not UTF-8") from None
    except ValueError:
        raise ProtocolError(f"unknown error {code} or outcome {outcome}") from None


def checked_level(level: int) -> Level:
    """The level with this number, or ProtocolError."""
    if level >= len(_LEVELS):
        raise ProtocolError(f"unknown level {level}")
    return _LEVELS[level]


def _too_long(what: str, length: int, limit: int) -> ProtocolError:
    return ProtocolError(
        f"the {what} has {length} bytes, over {limit}", ErrorCode.KEY_TOO_LONG
    )
