"""Whom the cluster trusts: the CA's roots, and what was revoked, as the log makes it.

Law: pure, and no certificate is read here: a root is bytes, and known by their digest.
Nothing is stored until somebody rotates or revokes; without a record members trust what
is in their files. A step of a rotation is refused here when anybody is not ready for
it, whoever leads and whatever a client believed (docs/decisions/0025).

    phase 0  settled: `roots` are none, or the one that is left
    phase 1  both are trusted, the old one signs
    phase 2  both are trusted, the new one signs
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec

from ...wire import ErrorCode, Present, RevokeCertificate, Rotate, Step
from . import rules

SETTLED: Final = 0
TRUSTING: Final = 1
ISSUING: Final = 2
REVOKED_MAX: Final = 4096


class Presented(msgspec.Struct, frozen=True, array_like=True):
    """What a member has said of itself since the rotation began."""

    member: int
    serial: bytes
    issuer: bytes
    roots: tuple[bytes, ...]


class TrustRecord(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """`roots` are DER, the old one first; `presented` is by member id.

    `members` and `serials` are revoked, in the order in which they were.
    """

    phase: int = SETTLED
    roots: tuple[bytes, ...] = ()
    presented: tuple[Presented, ...] = ()
    members: tuple[int, ...] = ()
    serials: tuple[bytes, ...] = ()

    @property
    def signing(self) -> bytes | None:
        """The root by which certificates are to be issued; None: nobody said."""
        if not self.roots:
            return None
        return self.roots[-1] if self.phase == ISSUING else self.roots[0]

    def waits_for(self, members: Iterable[int]) -> list[int]:
        """Of `members` those that are not ready for the next step."""
        if self.phase == SETTLED:
            return []
        new = sha256(self.roots[-1]).digest()
        issuing = self.phase == ISSUING
        ready = {
            each.member
            for each in self.presented
            if rules.is_ready_for_root(each.issuer, each.roots, new, issuing=issuing)
        }
        return sorted({*members} - ready - {*self.members})

    def refuses(self, member: int, serial: bytes) -> bool:
        return rules.is_refused(member in self.members or serial in self.serials)


def rotated(
    known: TrustRecord, command: Rotate, members: Iterable[int]
) -> TrustRecord | None:
    """The record after the step; None: it is not its turn, or somebody is not ready."""
    pair = (command.old, command.new)
    settled = msgspec.structs.replace(known, phase=SETTLED, presented=())
    match command.step:
        case Step.TRUST:
            if known.roots == pair and known.phase != SETTLED:
                # Somebody says so once more.
                return known
            if known.phase != SETTLED or known.roots not in ((), (command.old,)):
                return None
            return msgspec.structs.replace(settled, phase=TRUSTING, roots=pair)
        case Step.ISSUE:
            if known.roots != pair or known.phase == SETTLED:
                return None
            if known.phase == TRUSTING and known.waits_for(members):
                return None
            return msgspec.structs.replace(known, phase=ISSUING)
        case Step.DROP:
            if known.phase == SETTLED and known.roots == (command.new,):
                return known
            ready = known.phase == ISSUING and known.roots == pair
            if not ready or known.waits_for(members):
                return None
            return msgspec.structs.replace(settled, roots=(command.new,))
        case Step.CANCEL:
            if known.phase != TRUSTING or known.roots != pair:
                return None
            return msgspec.structs.replace(settled, roots=(command.old,))


def presented(known: TrustRecord, command: Present) -> TrustRecord:
    """What it is after a member has said what it shows; outside a rotation nothing."""
    if known.phase == SETTLED:
        return known
    said = {each.member: each for each in known.presented}
    said[command.member] = Presented(*msgspec.structs.astuple(command))
    ordered = tuple(said[member] for member in sorted(said))
    return msgspec.structs.replace(known, presented=ordered)


def revoked(known: TrustRecord, command: RevokeCertificate) -> TrustRecord | ErrorCode:
    """A member's certificates, or one, are refused from now on."""
    member, serial = command.member, command.serial
    if member in known.members or serial in known.serials:
        return known
    if len(known.members) + len(known.serials) >= REVOKED_MAX:
        return ErrorCode.PRECONDITION_FAILED
    if member:
        return msgspec.structs.replace(known, members=(*known.members, member))
    return msgspec.structs.replace(known, serials=(*known.serials, serial))


def without(known: TrustRecord, member: int) -> TrustRecord:
    """A member has left: it is refused for that, and nobody waits for it."""
    said = tuple(each for each in known.presented if each.member != member)
    members = tuple(each for each in known.members if each != member)
    return msgspec.structs.replace(known, presented=said, members=members)
