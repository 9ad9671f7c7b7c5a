"""The bytes of peer messages (docs/formats.md section 6).

Law: pure; every length is checked before it is believed; garbage raises
PeerProtocolError and nothing else. Kinds are permanent numbers.

    frame = length u32 | kind u8 | payload        length counts kind and payload
"""

import struct
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec

from ..raft import (
    AppendEntries,
    AppendEntriesReply,
    Commit,
    EntriesReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    PreVoteReply,
    ReadIndex,
    ReadIndexReply,
    RequestEntries,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
    decode_configuration,
    encode_configuration,
)
from ..storage.journal_format import decode_entries, encode_entries
from .replica import ForwardReply, ForwardRequest, PeerMessage, StateHash, StateRequest

FRAME_BYTES_MAX: Final = 64 << 20
_LENGTH = struct.Struct("<I")
_HEAD = struct.Struct("<IB")


class PeerProtocolError(Exception):
    """A peer sent what no version of this program sends; its connection ends."""


class Goodbye(msgspec.Struct, frozen=True):
    """The last frame of a peer that stops on purpose."""


class SentAway(msgspec.Struct, frozen=True):
    """The cluster has removed the member that this is told: it ends."""


Frame: TypeAlias = PeerMessage | Goodbye | SentAway


# Messages of numbers and truths alone, or of nothing: kind and layout of their fields,
# in order.
_FIXED: Final[dict[type[Any], tuple[int, struct.Struct]]] = {
    RequestPreVote: (1, struct.Struct("<QQQQQ")),
    PreVoteReply: (2, struct.Struct("<QQQQ?")),
    RequestVote: (3, struct.Struct("<QQQQQ?")),
    RequestVoteReply: (4, struct.Struct("<QQQ?")),
    AppendEntriesReply: (6, struct.Struct("<QQQ?QQQ")),
    Heartbeat: (7, struct.Struct("<QQQQQ")),
    HeartbeatReply: (8, struct.Struct("<QQQQ")),
    Commit: (15, struct.Struct("<QQQQ")),
    TimeoutNow: (10, struct.Struct("<QQQ")),
    ReadIndex: (11, struct.Struct("<QQQQ")),
    ReadIndexReply: (12, struct.Struct("<QQQQQ")),
    RequestEntries: (13, struct.Struct("<QQQQQQQ")),
    StateRequest: (22, struct.Struct("<QQQ")),
    StateHash: (23, struct.Struct("<QQQQQQ")),
    Goodbye: (30, struct.Struct("<")),
    SentAway: (31, struct.Struct("<")),
}
_FIXED_BY_KIND = {kind: (cls, layout) for cls, (kind, layout) in _FIXED.items()}
_APPEND = struct.Struct("<QQQQQQI")
_SNAPSHOT = struct.Struct("<QQQQQ")
_ENTRIES = struct.Struct("<QQQBQQQQI")
_FORWARD = struct.Struct("<QQQI")
_FORWARD_REPLY = struct.Struct("<QQQB")
_KIND_APPEND, _KIND_SNAPSHOT, _KIND_ENTRIES = 5, 9, 14
_KIND_FORWARD, _KIND_FORWARD_REPLY = 20, 21


class Encoder:
    """Encodes messages; equal runs of entries to several peers are encoded once."""

    def __init__(self) -> None:
        self._key = (0, 0, 0)
        self._blob = b""

    def encode(self, message: Frame) -> bytes:
        """One frame."""
        fixed = _FIXED.get(type(message))
        if fixed is not None:
            kind, layout = fixed
            payload = layout.pack(*msgspec.structs.astuple(message))
            return _HEAD.pack(1 + len(payload), kind) + payload
        kind, parts = self._variable(message)
        return _HEAD.pack(1 + sum(map(len, parts)), kind) + b"".join(parts)

    def _variable(self, message: Frame) -> tuple[int, tuple[bytes, ...]]:
        match message:
            case AppendEntries():
                head = _APPEND.pack(
                    message.sender,
                    message.to,
                    message.term,
                    message.previous_index,
                    message.previous_term,
                    message.commit_index,
                    len(message.entries),
                )
                return _KIND_APPEND, (head, self._entries(message.entries))
            case EntriesReply():
                *numbers, entries = msgspec.structs.astuple(message)
                head = _ENTRIES.pack(*numbers, len(entries))
                return _KIND_ENTRIES, (head, self._entries(message.entries))
            case InstallSnapshot():
                return _KIND_SNAPSHOT, (
                    _SNAPSHOT.pack(*msgspec.structs.astuple(message)[:5]),
                    encode_configuration(message.configuration),
                )
            case ForwardRequest():
                return _KIND_FORWARD, (
                    _FORWARD.pack(*msgspec.structs.astuple(message)[:4]),
                    message.body,
                )
            case ForwardReply():
                return _KIND_FORWARD_REPLY, (
                    _FORWARD_REPLY.pack(*msgspec.structs.astuple(message)[:4]),
                    message.body,
                )
            case _:
                raise AssertionError(f"no encoding for {message!r}")

    def _entries(self, entries: tuple[Entry, ...]) -> bytes:
        if not entries:
            return b""
        key = (entries[0].index, len(entries), entries[-1].term)
        if key != self._key:
            self._blob = encode_entries(entries)
            self._key = key
        return self._blob


def decode_message(kind: int, payload: bytes) -> Frame:
    """The message of one frame; raises PeerProtocolError."""
    fixed = _FIXED_BY_KIND.get(kind)
    try:
        if fixed is not None:
            cls, layout = fixed
            return cls(*layout.unpack(payload))
        return _decode_variable(kind, payload)
    except (struct.error, ValueError) as error:
        raise PeerProtocolError(f"message of kind {kind}: {error}") from error


def _decode_variable(kind: int, payload: bytes) -> Frame:
    if kind == _KIND_APPEND:
        sender, to, term, previous, previous_term, commit, count = _APPEND.unpack_from(
            payload
        )
        entries = _decode_entries(payload[_APPEND.size :], previous + 1, count)
        return AppendEntries(sender, to, term, previous, previous_term, commit, entries)
    if kind == _KIND_ENTRIES:
        sender, to, term, state, last, last_term, previous, previous_term, count = (
            _ENTRIES.unpack_from(payload)
        )
        entries = _decode_entries(payload[_ENTRIES.size :], previous + 1, count)
        return EntriesReply(
            sender, to, term, state, last, last_term, previous, previous_term, entries
        )
    if kind == _KIND_SNAPSHOT:
        sender, to, term, index, snapshot_term = _SNAPSHOT.unpack_from(payload)
        configuration = decode_configuration(payload[_SNAPSHOT.size :])
        return InstallSnapshot(sender, to, term, index, snapshot_term, configuration)
    if kind == _KIND_FORWARD:
        sender, to, number, timeout_ms = _FORWARD.unpack_from(payload)
        body = payload[_FORWARD.size :]
        return ForwardRequest(sender, to, number, timeout_ms, body)
    if kind == _KIND_FORWARD_REPLY:
        sender, to, number, status = _FORWARD_REPLY.unpack_from(payload)
        return ForwardReply(sender, to, number, status, payload[_FORWARD_REPLY.size :])
    raise ValueError("unknown kind")


def _decode_entries(body: bytes, first: int, count: int) -> tuple[Entry, ...]:
    if count > len(body):
        raise ValueError("more entries than bytes")
    return tuple(
        Entry(e.index, e.term, e.kind, e.data)
        for e in decode_entries(body, first, count)
    )


class FrameParser:
    """Bytes in, messages out. After an error it is dead."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.frame_bytes_max = frame_bytes_max
        self.parts: list[bytes] = []
        self.held = 0
        self.need = _LENGTH.size

    def feed(self, data: bytes) -> Iterable[Frame]:
        """All messages that are complete now. Raises PeerProtocolError."""
        self.held += len(data)
        self.parts.append(data)
        if self.held < self.need:
            return ()
        whole = b"".join(self.parts) if len(self.parts) > 1 else data
        messages: list[Frame] = []
        offset, size = 0, len(whole)
        self.need = _LENGTH.size
        while size - offset >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(whole, offset)
            if not 1 <= length <= self.frame_bytes_max:
                raise PeerProtocolError(f"a frame of {length} bytes")
            end = offset + _LENGTH.size + length
            if end > size:
                self.need = _LENGTH.size + length
                break
            kind = whole[offset + _LENGTH.size]
            payload = whole[offset + _LENGTH.size + 1 : end]
            messages.append(decode_message(kind, payload))
            offset = end
        self.parts = [whole[offset:]] if offset < size else []
        self.held = size - offset
        return messages
