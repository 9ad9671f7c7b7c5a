"""Who belongs to the cluster: what is asked to change that, as values and as bytes.

Law: as for all commands, one encoding each, written to the log. What is asked for is a
wish: which members there shall be, and in which role. The leader goes there step by
step, by Raft's configurations (docs/membership.md); so a change survives whoever asked
for it. Names and addresses are kept here, too, for people and for whoever has to dial.
"""

from enum import IntEnum
from typing import Final, TypeAlias

import msgspec

from .caretaker import Decide, SetCaretaker, check_decision, check_settings
from .certificates import (
    Present,
    RevokeCertificate,
    Rotate,
    check_certificate_command,
)
from .errors import CommandRefused
from .versions import Raise, Understand, check_version_command

MEMBER_OPS: Final = (*range(10, 20), 23, 24)
NAME_CHARACTERS_MAX: Final = 64
ADDRESS_CHARACTERS_MAX: Final = 300
DIGEST_BYTES: Final = 32
TOKEN_TTL_MS_MAX: Final = 30 * 86_400_000
TOKEN_USES_MAX: Final = 1000
_HEAD_BYTES: Final = 8


class MemberRole(IntEnum):
    """What a member shall be. LEAVING: nothing any more, as soon as that is safe.

    SPARE: a replica, until the caretaker makes it a voter.
    """

    VOTER = 1
    REPLICA = 2
    LEAVING = 3
    SPARE = 4


class MakeToken(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """Let whoever knows the secret of `digest` (SHA-256) in: `uses` new members.

    For `ttl_ms` of cluster time; they shall be voters, replicas or spares.
    """

    token: int
    digest: bytes
    ttl_ms: int
    uses: int
    role: MemberRole


class DropToken(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """Let nobody in by this token any more."""

    token: int


class Admit(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A new member, who has proved to know a token's secret.

    `key` is the SHA-256 of its public key. Asked for once more it is the same member.
    """

    token: int
    member: int
    key: bytes
    name: str
    peer: str
    client: str


class Announce(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """A member says how it is called and where it is reached now."""

    member: int
    name: str
    peer: str
    client: str


class Reassign(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """A member shall have another role; only when `successor` votes, unless it is 0."""

    member: int
    role: MemberRole
    successor: int


MemberCommand: TypeAlias = (
    MakeToken
    | DropToken
    | Admit
    | Announce
    | Reassign
    | SetCaretaker
    | Decide
    | Rotate
    | Present
    | RevokeCertificate
    | Understand
    | Raise
)

_TYPES: Final[dict[int, type[MemberCommand]]] = dict(
    zip(
        MEMBER_OPS,
        (
            *(MakeToken, DropToken, Admit, Announce, Reassign, SetCaretaker, Decide),
            *(Rotate, Present, RevokeCertificate, Understand, Raise),
        ),
        strict=True,
    )
)
_OPS: Final = {kind: op for op, kind in _TYPES.items()}


def encode_member_command(command: MemberCommand) -> bytes:
    """The bytes of a command; refuses what can't be meant."""
    _check(command)
    return _encode(command)


def _encode(command: MemberCommand) -> bytes:
    head = bytes([_OPS[type(command)]]).ljust(_HEAD_BYTES, b"\0")
    return head + msgspec.msgpack.encode(command)


def decode_member_command(data: bytes) -> MemberCommand:
    """The command in `data`, whose first byte is one of MEMBER_OPS."""
    try:
        command = msgspec.msgpack.decode(data[_HEAD_BYTES:], type=_TYPES[data[0]])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CommandRefused(f"a command about members: {error}") from None
    _check(command)
    if _encode(command) != data:
        raise CommandRefused("a command about members that is spelt in another way")
    return command


def _check(command: MemberCommand) -> None:
    if isinstance(command, SetCaretaker):
        check_settings(command)
        return
    if isinstance(command, Rotate | Present | RevokeCertificate):
        check_certificate_command(command)
        return
    if isinstance(command, Understand | Raise):
        check_version_command(command)
        return
    number = _id_of(command)
    if not 0 < number < 1 << 64:
        raise CommandRefused(f"{number} is not an id")
    match command:
        case MakeToken(_, digest, ttl_ms, uses, role):
            if len(digest) != DIGEST_BYTES or role is MemberRole.LEAVING:
                raise CommandRefused("not a token: its digest or its role")
            _within("a token's time in ms", ttl_ms, TOKEN_TTL_MS_MAX)
            _within("a token's uses", uses, TOKEN_USES_MAX)
        case Admit(token, _, key, name, peer, client):
            if not 0 < token < 1 << 64 or len(key) != DIGEST_BYTES:
                raise CommandRefused("not an admission: its token or its key")
            _check_place(name, peer, client)
        case Announce(_, name, peer, client):
            _check_place(name, peer, client)
        case Reassign(member, _, successor):
            if not 0 <= successor < 1 << 64 or successor == member:
                raise CommandRefused(f"{successor} is not a successor")
        case Decide():
            check_decision(command)
        case DropToken():
            pass


def _id_of(
    command: MakeToken | DropToken | Admit | Announce | Reassign | Decide,
) -> int:
    if isinstance(command, MakeToken | DropToken):
        return command.token
    return command.member


def _within(what: str, value: int, most: int) -> None:
    if not 0 < value <= most:
        raise CommandRefused(f"{what}: {value} is not from 1 to {most}")


def _check_place(name: str, peer: str, client: str) -> None:
    if not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise CommandRefused(f"a name of {len(name)} characters")
    for address in (peer, client):
        if not 0 < len(address) <= ADDRESS_CHARACTERS_MAX:
            raise CommandRefused(f"an address of {len(address)} characters")
