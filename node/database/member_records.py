"""What is kept of members, tokens and the cluster as a whole, and its digests.

Law: values. What the log makes of them is in members.
"""

from hashlib import blake2b
from typing import Final, TypeAlias

import msgspec

from ...wire import MemberRole
from .caretaking import CaretakerRecord
from .trust import TrustRecord
from .versions import VersionRecord


class MemberRecord(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """One member. `key` is the SHA-256 of its public key, empty for first voters.

    `peer` and `client` are empty where it has never said where it is.

    `successor`: it keeps its role in Raft until that one votes; 0 is nobody. `since` is
    the index of the entry that made it a member, or let it go.
    """

    role: MemberRole | None
    name: str
    peer: str
    client: str
    key: bytes
    successor: int
    since: int


class Token(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Whoever knows the secret of `digest` may join, until this cluster time."""

    digest: bytes
    until_ms: int
    uses: int
    role: MemberRole


Kept: TypeAlias = MemberRecord | Token | CaretakerRecord | TrustRecord | VersionRecord
NOTHING_SAID: Final = CaretakerRecord()
AS_FOUNDED: Final = TrustRecord()
FIRST_VERSION: Final = VersionRecord()


def digest_of(at: bytes, record: Kept) -> int:
    """A 128-bit number of everything that a record is."""
    data = at + msgspec.msgpack.encode(record)
    return int.from_bytes(blake2b(data, digest_size=16).digest(), "little")
