"""The server envelope: what the leader writes around a client's command.

Law: the payload is never touched. An entry is head + payload in one concatenation, and
what can't be understood is refused: apply stops there, it never skips.
"""

import struct
from enum import IntEnum

import msgspec

from .errors import ProtocolError

FORMAT = 1
STORE = 1

_HEAD = struct.Struct("<BBHIQQ")
ENVELOPE_HEAD_BYTES = _HEAD.size
_HEAD_BYTES = _HEAD.size
_pack = _HEAD.pack
_unpack_from = _HEAD.unpack_from
# Plain numbers: an enum's member costs more than the rest.
_CLIENT_COMMAND = 1
_EXPIRY = 2
_CHECK = 3


class EnvelopeKind(IntEnum):
    """What the payload is. Kinds other than a client's never come from clients."""

    CLIENT_COMMAND = _CLIENT_COMMAND
    EXPIRY = _EXPIRY
    CHECK = _CHECK


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One entry's payload with the leader's two clocks.

    `cluster_time_ms` decides (leases, sessions); `wall_time_ms` is for people.
    """

    kind: int
    store: int
    cluster_time_ms: int
    wall_time_ms: int
    payload: bytes


def encode_envelope_head(kind: int, cluster_time_ms: int, wall_time_ms: int) -> bytes:
    """The 24 bytes that go before the payload."""
    assert _CLIENT_COMMAND <= kind <= _CHECK, kind
    return _pack(FORMAT, kind, 0, STORE, cluster_time_ms, wall_time_ms)


def decode_envelope(data: bytes) -> Envelope:
    """The envelope in `data`; refuses every format, kind, flag and store but ours."""
    if len(data) < _HEAD_BYTES:
        raise ProtocolError(f"an envelope of {len(data)} bytes is cut off")
    form, kind, flags, store, cluster_time_ms, wall_time_ms = _unpack_from(data)
    if form != FORMAT:
        raise ProtocolError(f"unknown envelope format {form}")
    if not _CLIENT_COMMAND <= kind <= _CHECK:
        raise ProtocolError(f"unknown envelope kind {kind}")
    if flags:
        raise ProtocolError(f"unknown flags {flags:#x} in an envelope")
    if store != STORE:
        raise ProtocolError(f"unknown store {store}")
    return Envelope(kind, store, cluster_time_ms, wall_time_ms, data[_HEAD_BYTES:])
