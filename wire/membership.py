"""What a node tells about the members, as one JSON document, and who shall lead.

Law: pure; the same document for the native protocol and for HTTP (docs/formats.md
section 1). It is the view of one node: only the leader knows how far the others are,
and what its steward waits for. Ids are 16 hex digits in it, as everywhere.
"""

import struct
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from . import ids
from .caretaker import CaretakerStatus
from .certificates import CertificatesStatus
from .errors import ProtocolError

_MEMBER: Final = struct.Struct("<Q")

Id: TypeAlias = Annotated[str, msgspec.Meta(pattern=f"^{ids.PATTERN}$")]
Wanted: TypeAlias = Literal["voter", "replica", "leaving", "spare"]
Health: TypeAlias = Literal["alive", "suspect", "dead", "left", "unknown"]
JoinRole: TypeAlias = Literal["voter", "replica", "spare"]


class Member(msgspec.Struct, frozen=True):
    """One member. `wanted` is what it shall be, `votes` what it is now.

    `match_index` is how far its log is known to be, 0 where nobody can say; `peer` and
    `client` are empty where it has not been heard of. `silent_ms` is how long the
    leader has not heard it, counted since it leads; None where another node tells. The
    rest is hearsay, by gossip: its health, and what it said last of its version, its
    applied index and by how much its event loop was late. `understands` are the lowest
    and the highest version of a cluster that it can be part of, as it said in the log.
    """

    id: Id
    name: str
    wanted: Wanted
    votes: bool
    leads: bool
    connected: bool
    match_index: int
    peer: str
    client: str
    silent_ms: int | None = None
    health: Health = "unknown"
    version: str = ""
    applied_index: int = 0
    lag_ms: int = 0
    understands: tuple[int, int] = (1, 1)


class Token(msgspec.Struct, frozen=True):
    """By whose secret `uses` more members may join, and what they shall be."""

    id: Id
    role: JoinRole
    uses: int
    ends_in_ms: int


class Members(msgspec.Struct, frozen=True):
    """The members as the node `told_by` sees them.

    `authority` is the SHA-256 of the CA's certificate (DER) by which new certificates
    are made, `waits_for` says why the
    leader does not go on towards what is wanted, empty when it does.
    `cluster_version` says which commands and formats are used; `version_waits_for` are
    the members that do not understand the next one, which the one that tells does.
    """

    cluster_id: Id
    authority: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    told_by: Id
    leader: Id | None
    commit_index: int
    waits_for: str
    members: tuple[Member, ...]
    tokens: tuple[Token, ...]
    caretaker: CaretakerStatus = CaretakerStatus()
    certificates: CertificatesStatus = CertificatesStatus()
    cluster_version: int = 1
    version_waits_for: tuple[Id, ...] = ()


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Members)


def encode_members(members: Members) -> bytes:
    """The reply to a request of kind MEMBERS."""
    return _encoder.encode(members)


def decode_members(body: bytes) -> Members:
    """Unknown fields are ignored: a newer node may tell more."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"a malformed list of members: {error}") from None


def encode_move_leader(member: int) -> bytes:
    """The body of a request of kind MOVE_LEADER; 0 is whoever is furthest."""
    assert 0 <= member < 1 << 64, member
    return _MEMBER.pack(member)


def decode_move_leader(body: bytes) -> int:
    if len(body) != _MEMBER.size:
        raise ProtocolError(f"a member's id has {len(body)} bytes, not {_MEMBER.size}")
    (member,) = _MEMBER.unpack(body)
    return member


def parse_member_id(text: str) -> int | None:
    """The id that a text says; None: it says none."""
    return ids.named_id(text) or None
