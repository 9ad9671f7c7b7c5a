"""The cluster's version: which commands and formats may be used, as the log makes it.

Law: pure. A build understands versions from a lowest to a highest. What a version
brings is used from the entry on that raised it, and not before: by then every member
understands it, and until then a build that does not may come back. Nothing is stored
while all is as it was founded. Whoever meets what it does not understand stops, and
skips nothing (docs/decisions/0027).

    version 1  as founded: all commands and formats of docs/formats.md
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from ...wire import (
    Admit,
    Announce,
    CloseSession,
    Command,
    Compact,
    Decide,
    Delete,
    DropToken,
    Grant,
    InSession,
    KeepAlive,
    ListLeases,
    MakeToken,
    OpenSession,
    Present,
    Put,
    Raise,
    Reassign,
    Revoke,
    RevokeCertificate,
    Rotate,
    SetCaretaker,
    TimeToLive,
    Transaction,
    Understand,
)
from . import rules

FOUNDED: Final = 1


class Understood(msgspec.Struct, frozen=True, array_like=True):
    """The versions of clusters that a build, or a member, can be part of."""

    lowest: int
    highest: int

    def __contains__(self, version: object) -> bool:
        return isinstance(version, int) and rules.understands(
            version, self.lowest, self.highest
        )

    def __str__(self) -> str:
        if self.lowest == self.highest:
            return f"version {self.lowest}"
        return f"versions {self.lowest} to {self.highest}"


# Of this build. A build that raises `highest` says above what the new version brings.
UNDERSTOOD: Final = Understood(FOUNDED, 1)

_FOUNDING: Final = (
    *(Put, Delete, Transaction, Compact, InSession, OpenSession, CloseSession),
    *(Grant, Revoke, KeepAlive, TimeToLive, ListLeases),
    *(MakeToken, DropToken, Admit, Announce, Reassign, SetCaretaker, Decide),
    *(Rotate, Present, RevokeCertificate, Understand, Raise),
)
# Since which version of the cluster a command may be written to its log.
SINCE: Final[Mapping[type[Command], int]] = MappingProxyType(
    dict.fromkeys(_FOUNDING, FOUNDED)
)


class NotUnderstood(Exception):
    """The cluster uses what this build does not know: the node must stop."""


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What a member has said of itself."""

    member: int
    understood: Understood


class VersionRecord(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """The cluster's version, and what its members understand, by member id.

    Whoever is not named understands what the cluster was founded with, and no more.
    """

    version: int = FOUNDED
    said: tuple[Said, ...] = ()

    def understood_by(self, member: int) -> Understood:
        for each in self.said:
            if each.member == member:
                return each.understood
        return Understood(FOUNDED, FOUNDED)

    def waits_for(self, members: Iterable[int]) -> list[int]:
        """Of `members` those that do not understand the next version."""
        following = self.version + 1
        return [m for m in sorted(members) if following not in self.understood_by(m)]


def version_in(data: bytes | None) -> int:
    """The version that a stored record says, whatever else a later build put there."""
    if data is None:
        return FOUNDED
    try:
        version, *_ = msgspec.msgpack.decode(data, type=list[object])
    except (msgspec.MsgspecError, ValueError) as error:
        raise NotUnderstood(f"the record of the cluster's version: {error}") from error
    if not isinstance(version, int):
        raise NotUnderstood("the record of the cluster's version has none")
    return version


def understanding(known: VersionRecord, command: Understand) -> VersionRecord:
    """What it is after a member has said what it understands."""
    said = {each.member: each for each in known.said}
    understood = Understood(command.lowest, command.highest)
    if understood == Understood(FOUNDED, FOUNDED):
        said.pop(command.member, None)
    else:
        said[command.member] = Said(command.member, understood)
    ordered = tuple(said[member] for member in sorted(said))
    return msgspec.structs.replace(known, said=ordered)


def raised(
    known: VersionRecord, command: Raise, members: Iterable[int]
) -> VersionRecord | None:
    """The record with the next version; None: somebody does not understand that."""
    if command.version == known.version:
        # Said once more.
        return known
    if command.version != known.version + 1 or known.waits_for(members):
        return None
    return msgspec.structs.replace(known, version=command.version)


def without(known: VersionRecord, member: int) -> VersionRecord:
    """A member has left: nobody waits for it."""
    said = tuple(each for each in known.said if each.member != member)
    return msgspec.structs.replace(known, said=said)


def check(version: int, understood: Understood) -> None:
    """Raises NotUnderstood when a build can't be part of a cluster of this version."""
    if version not in understood:
        raise NotUnderstood(
            f"the cluster has version {version}, and this build understands"
            f" {understood}: run one that understands it"
        )


def not_understood(index: int, reason: str) -> NotUnderstood:
    """Why an entry of the log can't be applied by this build."""
    return NotUnderstood(f"entry {index} can't be applied: {reason}")


def may_be_written(command: Command, version: int) -> bool:
    """Whether such a cluster's log may have it; of a session's, what is in it."""
    return rules.has_come(SINCE[type(command)], version)
