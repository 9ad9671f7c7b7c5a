"""The cluster's version: what a build can do, and what all of them have agreed to use.

Law: as for all commands about members, one encoding each (wire/members). A member says
which versions it understands; the leader raises the cluster's version, one at a time,
when every member understands the next one (docs/decisions/0027). What each version
brings, node/database/versions says.
"""

from typing import Final, TypeAlias

import msgspec

from .errors import CommandRefused

VERSION_MAX: Final = 65_535


class Understand(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """A member says that it can be part of clusters of these versions."""

    member: int
    lowest: int
    highest: int


class Raise(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """From this entry on the cluster has this version; it had the one before."""

    version: int


VersionCommand: TypeAlias = Understand | Raise


def check_version_command(command: VersionCommand) -> None:
    """Raises CommandRefused."""
    match command:
        case Understand(member, lowest, highest):
            if not 0 < member < 1 << 64:
                raise CommandRefused(f"{member} is not an id")
            if not 0 < lowest <= highest <= VERSION_MAX:
                raise CommandRefused(f"no versions: from {lowest} to {highest}")
        case Raise(version):
            if not 1 < version <= VERSION_MAX:
                raise CommandRefused(f"{version} is not a version to raise to")
