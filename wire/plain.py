"""Puts and no more, alone or in a session: almost all commands there are.

Law: what `decode_envelope` and `decode_command` say, in one look. What is not of this
form, whatever is wrong or unusual about it, is left to those two, so that nothing is
decided here. Each replica takes each entry apart: it is worth a third of applying it.

    [envelope head] | [place in a session] | put head | key | value
"""

import struct
from typing import Final

from .commands import PUT
from .envelope import ENVELOPE_HEAD_BYTES, EnvelopeKind, encode_envelope_head
from .limits import FORMAT_LIMITS, Limits
from .sessions import IN_SESSION, SESSION_ID_BYTES, SESSION_WINDOW, Place

# Format, kind, flags and store of an envelope around a client's command, as one number.
_CLIENT: Final = int.from_bytes(
    encode_envelope_head(EnvelopeKind.CLIENT_COMMAND, 0, 0)[:8], "little"
)
_ENVELOPE: Final = struct.Struct("<QQ")
_ALONE: Final = struct.Struct("<BBHI")
_PLACED: Final = struct.Struct("<BBHI16sQQBBHI")
_ALONE_BYTES: Final = _ALONE.size
_PLACED_BYTES: Final = _PLACED.size
_unpack_envelope: Final = _ENVELOPE.unpack_from
_unpack_alone: Final = _ALONE.unpack_from
_unpack_placed: Final = _PLACED.unpack_from
_NOBODY: Final = bytes(SESSION_ID_BYTES)

# Cluster time in ms, place in a session if it has one, key, value.
PlainPut = tuple[int, Place | None, bytes, bytes]


def decode_plain_put(data: bytes) -> PlainPut | None:
    """What an entry of this form says; None: it has another one."""
    look = _look(data, ENVELOPE_HEAD_BYTES, FORMAT_LIMITS)
    if look is None:
        return None
    head, time_ms = _unpack_envelope(data)
    if head != _CLIENT:
        return None
    place, start, end = look
    return time_ms, place, data[start:end], data[end:]


def is_plain_put(body: bytes, limits: Limits) -> bool:
    """Is a client's command of this form, and within the limits?"""
    return _look(body, 0, limits) is not None


def _look(data: bytes, at: int, limits: Limits) -> tuple[Place | None, int, int] | None:
    """Its place, and where key and value begin."""
    size = len(data)
    if size < at + _ALONE_BYTES:
        return None
    op = data[at]
    place = None
    if op == PUT:
        _, flags, key_length, value_length = _unpack_alone(data, at)
        start = at + _ALONE_BYTES
        if flags:
            return None
    elif op == IN_SESSION and size >= at + _PLACED_BYTES:
        (
            _,
            zero,
            unfinished,
            zeros,
            session,
            since,
            sequence,
            inner,
            flags,
            key_length,
            value_length,
        ) = _unpack_placed(data, at)
        start = at + _PLACED_BYTES
        if inner != PUT or flags or zero or zeros or not since or session == _NOBODY:
            return None
        if unfinished >= SESSION_WINDOW or unfinished >= sequence:
            return None
        place = Place(session, since, sequence, sequence - unfinished)
    else:
        return None
    end = start + key_length
    if not 0 < key_length <= limits.key_bytes_max or end + value_length != size:
        return None
    return None if value_length > limits.value_bytes_max else (place, start, end)
