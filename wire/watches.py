"""Watches: what is asked for, and what comes; as values and as bytes.

Law: a watch is one request that is answered many times. Revisions come in order, each
once and whole: one that is too large for one reply comes in several, and all but the
last say that more follows. An error ends the watch and says why. Decoding is exact, as
in requests.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from .errors import ErrorCode, ProtocolError
from .limits import Limits
from .records import Record, decode_record_at, encode_record

_WATCH: Final = struct.Struct("<QBBHHH")
_CANCEL: Final = struct.Struct("<I")
_REPLY: Final = struct.Struct("<BBHIQ")
_EVENT: Final = struct.Struct("<BBH")
_PREVIOUS, _NO_PUTS, _NO_DELETES = 1, 2, 4
_FLAGS: Final = _PREVIOUS | _NO_PUTS | _NO_DELETES
_CREATED, _EVENTS, _PROGRESS = range(3)
# What a part of a revision aims at; an event is not cut.
PART_BYTES: Final = 1 << 20
# The largest values of a put and of what was there before do not fit into one frame.
EVENT_BYTES_MAX: Final = 6 << 20
_DELETE, _PUT = range(2)


class WatchRequest(msgspec.Struct, frozen=True, gc=False):
    """Tell me what changes in `start` ≤ key < `end`, an empty `end` being no bound.

    From `revision` on, 0 being the next one. `previous`: with what was there before.
    """

    start: bytes
    end: bytes
    revision: int = 0
    previous: bool = False
    puts: bool = True
    deletes: bool = True


class WatchEvent(msgspec.Struct, frozen=True, gc=False):
    """One key changed: a put's record, or of a delete the key and its revision.

    `previous` is what was there before, where it was asked for and is still kept.
    """

    put: bool
    record: Record
    previous: Record | None = None


class WatchCreated(msgspec.Struct, frozen=True, gc=False):
    """The watch is there; `revision` is the store's now."""

    revision: int


class WatchEvents(msgspec.Struct, frozen=True):
    """What the watch is told of one revision; `more` of it follows."""

    revision: int
    events: tuple[WatchEvent, ...]
    more: bool = False


class WatchProgress(msgspec.Struct, frozen=True, gc=False):
    """Nothing up to `revision` is still to come."""

    revision: int


WatchReply: TypeAlias = WatchCreated | WatchEvents | WatchProgress


def encode_watch(request: WatchRequest) -> bytes:
    """The body of a watch."""
    flags = (
        (_PREVIOUS if request.previous else 0)
        | (0 if request.puts else _NO_PUTS)
        | (0 if request.deletes else _NO_DELETES)
    )
    start, end = request.start, request.end
    head = _WATCH.pack(request.revision, flags, 0, 0, len(start), len(end))
    return head + start + end


def decode_watch(data: bytes, limits: Limits) -> WatchRequest:
    """The watch in `data`. Bounds may be one byte longer than a key."""
    if len(data) < _WATCH.size:
        raise ProtocolError(f"a watch of {len(data)} bytes is cut off")
    revision, flags, *zeros, start_length, end_length = _WATCH.unpack_from(data)
    if any(zeros) or flags & ~_FLAGS:
        raise ProtocolError("a flag or reserved field of a watch is wrong")
    split = _WATCH.size + start_length
    if len(data) != split + end_length:
        raise ProtocolError("a watch whose length is not what its bounds say")
    for length in (start_length, end_length):
        if length > limits.key_bytes_max + 1:
            reason = f"a bound has {length} bytes, over {limits.key_bytes_max + 1}"
            raise ProtocolError(reason, ErrorCode.KEY_TOO_LONG)
    return WatchRequest(
        data[_WATCH.size : split],
        data[split:],
        revision,
        bool(flags & _PREVIOUS),
        not flags & _NO_PUTS,
        not flags & _NO_DELETES,
    )


def encode_cancel(request_id: int) -> bytes:
    """The body of a cancel: which watch of this connection is to end."""
    return _CANCEL.pack(request_id)


def decode_cancel(data: bytes) -> int:
    if len(data) != _CANCEL.size:
        raise ProtocolError(f"a cancel has {len(data)} bytes")
    return int.from_bytes(data, "little")


def encode_created(revision: int) -> bytes:
    return _REPLY.pack(_CREATED, 0, 0, 0, revision)


def encode_progress(revision: int) -> bytes:
    return _REPLY.pack(_PROGRESS, 0, 0, 0, revision)


def parts_of(events: Iterable[bytes]) -> Iterator[tuple[list[bytes], bool]]:
    """The events of one revision by reply, and whether more follow.

    They are `encode_event`'s; no more of them are taken than one behind a reply's.
    """
    part: list[bytes] = []
    size = 0
    for event in events:
        if part and size + len(event) > PART_BYTES:
            yield part, True
            part, size = [], 0
        part.append(event)
        size += len(event)
    if part:
        yield part, False


def encode_part(revision: int, events: Sequence[bytes], *, more: bool) -> bytes:
    """One reply of a revision; does `more` of it follow?"""
    return _REPLY.pack(_EVENTS, more, 0, len(events), revision) + b"".join(events)


def encode_event(put: bool, record: Record, previous: Record | None = None) -> bytes:
    """One event; without what was there before, where both are too much together."""
    data = encode_record(record)
    before = b"" if previous is None else encode_record(previous)
    if len(data) + len(before) > EVENT_BYTES_MAX:
        before = b""
    return _EVENT.pack(_PUT if put else _DELETE, bool(before), 0) + data + before


def decode_watch_reply(data: bytes) -> WatchReply:
    """What came of a watch."""
    if len(data) < _REPLY.size:
        raise ProtocolError(f"a watch's reply of {len(data)} bytes is cut off")
    kind, more, zero, count, revision = _REPLY.unpack_from(data)
    told = kind == _EVENTS
    if zero or kind > _PROGRESS or (count > 0) != told or more > told:
        raise ProtocolError("a field of a watch's reply is wrong")
    events: list[WatchEvent] = []
    offset = _REPLY.size
    for _ in range(count):
        event, offset = _decode_event(data, offset)
        events.append(event)
    if offset != len(data):
        raise ProtocolError("a watch's reply is longer than its events")
    if kind == _EVENTS:
        return WatchEvents(revision, tuple(events), bool(more))
    return WatchCreated(revision) if kind == _CREATED else WatchProgress(revision)


def _decode_event(data: bytes, offset: int) -> tuple[WatchEvent, int]:
    if offset + _EVENT.size > len(data):
        raise ProtocolError("an event is cut off")
    put, has_previous, zero = _EVENT.unpack_from(data, offset)
    if put > _PUT or has_previous > 1 or zero:
        raise ProtocolError("a field of an event is wrong")
    record, offset = decode_record_at(data, offset + _EVENT.size)
    previous = None
    if has_previous:
        previous, offset = decode_record_at(data, offset)
    return WatchEvent(bool(put), record, previous), offset
