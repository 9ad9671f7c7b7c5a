"""The bytes of gossip (docs/formats.md section 6).

Law: pure; every length is checked before it is believed; garbage raises GossipError and
nothing else, and what is decoded encodes to the same bytes. Kinds and states are
permanent numbers.

    frame   = length u32 | message          length counts the message
    message = kind u8 | cluster_id u64 | sender u64 | number u64 | target u64
            | count u16 | claim*
    claim   = member u64 | incarnation u64 | state u8 | accuser u64 | beat u64
            | strain u8 | lag_ms u32 | applied_index u64
            | peer text | client text | version text
    text    = length u16 | UTF-8
"""

import struct
from collections.abc import Iterator
from typing import Final

from .errors import GossipError
from .limits import INCARNATION_MAX, MEMBERS_MAX, STRAIN_MAX
from .messages import (
    Ack,
    Claim,
    Message,
    Nack,
    News,
    Ping,
    PingRequest,
    State,
    Sync,
    Vitals,
)

TEXT_BYTES_MAX: Final = 512
# Everybody in the table, the sender, and what it thinks of whom it speaks to.
CLAIMS_MAX: Final = MEMBERS_MAX + 2
_LENGTH: Final = struct.Struct("<I")
_HEAD: Final = struct.Struct("<BQQQQH")
_CLAIM: Final = struct.Struct("<QQBQQBIQ")
_TEXT: Final = struct.Struct("<H")
MESSAGE_BYTES_MAX: Final = _HEAD.size + CLAIMS_MAX * (
    _CLAIM.size + 3 * (_TEXT.size + TEXT_BYTES_MAX)
)
KINDS: Final[dict[type[Message], int]] = {
    Ping: 1,
    PingRequest: 2,
    Ack: 3,
    Nack: 4,
    News: 5,
    Sync: 6,
}
_ANSWERS: Final = 1


def encode_message(message: Message) -> bytes:
    number = target = 0
    match message:
        case Ping() | Nack():
            number = message.number
        case PingRequest() | Ack():
            number, target = message.number, message.target
        case Sync():
            number = _ANSWERS if message.answers else 0
        case News():
            pass
    claims = message.claims
    kind = KINDS[type(message)]
    head = _HEAD.pack(
        kind, message.cluster_id, message.sender, number, target, len(claims)
    )
    return head + b"".join(map(_encode_claim, claims))


def _encode_claim(claim: Claim) -> bytes:
    vitals = claim.vitals
    parts = [
        _CLAIM.pack(
            claim.member,
            claim.incarnation,
            claim.state,
            claim.accuser,
            vitals.beat,
            vitals.strain,
            vitals.lag_ms,
            vitals.applied_index,
        )
    ]
    for text in (claim.peer, claim.client, claim.version):
        data = text.encode()
        assert len(data) <= TEXT_BYTES_MAX, text
        parts += (_TEXT.pack(len(data)), data)
    return b"".join(parts)


def decode_message(data: bytes) -> Message:
    """Raises GossipError."""
    try:
        kind, cluster_id, sender, number, target, count = _HEAD.unpack_from(data)
        reader = _Claims(data, _HEAD.size)
        if count > CLAIMS_MAX:
            raise GossipError(f"{count} claims")
        claims = tuple(reader.claim() for _ in range(count))
    except (struct.error, UnicodeDecodeError) as error:
        raise GossipError(f"malformed gossip: {error}") from None
    if reader.offset != len(data):
        raise GossipError("gossip with more bytes than it says")
    if not cluster_id or not sender:
        raise GossipError("gossip of nobody")
    match kind:
        case 1:
            message: Message = Ping(cluster_id, sender, number, claims)
        case 2:
            message = PingRequest(cluster_id, sender, number, target, claims)
        case 3:
            message = Ack(cluster_id, sender, number, target, claims)
        case 4:
            message = Nack(cluster_id, sender, number, claims)
        case 5:
            message = News(cluster_id, sender, claims)
        case 6:
            message = Sync(cluster_id, sender, number == _ANSWERS, claims)
        case _:
            raise GossipError(f"unknown gossip {kind}")
    _check_numbers(message, number, target)
    return message


def _check_numbers(message: Message, number: int, target: int) -> None:
    """What a kind has no use for is 0."""
    match message:
        case PingRequest() | Ack():
            fine = target > 0
        case Ping() | Nack():
            fine = target == 0
        case Sync():
            fine = target == 0 and number <= _ANSWERS
        case News():
            fine = target == 0 and number == 0
    if not fine:
        raise GossipError("gossip with numbers that have no meaning")


class _Claims:
    """Reads claims one after the other."""

    def __init__(self, data: bytes, offset: int) -> None:
        self.data = data
        self.offset = offset

    def claim(self) -> Claim:
        numbers = _CLAIM.unpack_from(self.data, self.offset)
        member, incarnation, state, accuser, beat, strain, lag_ms, applied = numbers
        self.offset += _CLAIM.size
        accused = state in (State.SUSPECT, State.DEAD)
        if not member or not 0 < incarnation <= INCARNATION_MAX:
            raise GossipError("a claim about nobody")
        if state > State.LEFT or accused != (accuser > 0) or strain > STRAIN_MAX:
            raise GossipError("a claim that can't be")
        vitals = Vitals(beat, strain, lag_ms, applied)
        peer, client, version = self._text(), self._text(), self._text()
        return Claim(
            member,
            incarnation,
            State(state),
            accuser,
            peer,
            client,
            version,
            vitals,
        )

    def _text(self) -> str:
        (length,) = _TEXT.unpack_from(self.data, self.offset)
        start = self.offset + _TEXT.size
        end = start + length
        if length > TEXT_BYTES_MAX or end > len(self.data):
            raise GossipError(f"a text of {length} bytes")
        self.offset = end
        return self.data[start:end].decode()


def frame(message: Message) -> bytes:
    data = encode_message(message)
    return _LENGTH.pack(len(data)) + data


class Frames:
    """Bytes in, messages out. After an error it is dead."""

    def __init__(self) -> None:
        self.held = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """All messages that are complete now. Raises GossipError."""
        self.held += data
        while len(self.held) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self.held)
            if not _HEAD.size <= length <= MESSAGE_BYTES_MAX:
                raise GossipError(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self.held) < end:
                return
            message = decode_message(self.held[_LENGTH.size : end])
            self.held = self.held[end:]
            yield message
