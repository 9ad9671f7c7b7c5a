"""The life of members' certificates: what is asked for, told, and shown.

Law: as for all commands about members, one encoding each (wire/members). No key is in
any of them: roots are certificates, which are public. A rotation goes through its steps
in one order, and each step says which roots it is about, so that said twice, or by two
people, it is the same step or none (docs/decisions/0025).
"""

from enum import IntEnum
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from . import ids
from .errors import CommandRefused

# A root's certificate of ours has about 450 bytes; DER.
ROOT_BYTES_MAX: Final = 4096
SERIAL_BYTES_MAX: Final = 20
DIGEST_BYTES: Final = 32
ROOTS_MAX: Final = 2

Phase: TypeAlias = Literal["settled", "trusting", "issuing"]


class Step(IntEnum):
    """Of a rotation: trust both roots, issue by the new one, drop the old one.

    CANCEL goes back from the first.
    """

    TRUST = 1
    ISSUE = 2
    DROP = 3
    CANCEL = 4


class Rotate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Take the next step from the root `old` to the root `new`, both DER."""

    step: Step
    old: bytes
    new: bytes


class Present(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member says, during a rotation, what it shows and whom it trusts by now.

    `issuer` and `roots` are SHA-256 of the roots' certificates.
    """

    member: int
    serial: bytes
    issuer: bytes
    roots: tuple[bytes, ...]


class RevokeCertificate(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """Refuse a certificate by its serial number, or all of a member; never both."""

    member: int
    serial: bytes


CertificateCommand: TypeAlias = Rotate | Present | RevokeCertificate


def check_certificate_command(command: CertificateCommand) -> None:
    """Raises CommandRefused."""
    match command:
        case Rotate(_, old, new):
            sizes = all(0 < len(root) <= ROOT_BYTES_MAX for root in (old, new))
            if not sizes or old == new:
                raise CommandRefused("not a rotation: two roots are needed")
        case Present(member, serial, issuer, roots):
            digests = (issuer, *roots)
            if not all(len(digest) == DIGEST_BYTES for digest in digests):
                raise CommandRefused("a digest that does not have 32 bytes")
            if not 0 < len(roots) <= ROOTS_MAX:
                raise CommandRefused(f"{len(roots)} roots")
            _check_id(member)
            _check_serial(serial)
        case RevokeCertificate(member, serial):
            if bool(member) == bool(serial):
                raise CommandRefused("a member or a serial number is revoked, not both")
            if member:
                _check_id(member)
            else:
                _check_serial(serial)


def _check_id(member: int) -> None:
    if not 0 < member < 1 << 64:
        raise CommandRefused(f"{member} is not an id")


def _check_serial(serial: bytes) -> None:
    if not 0 < len(serial) <= SERIAL_BYTES_MAX or not serial[0]:
        raise CommandRefused("not a serial number: 1 to 20 bytes, the first not 0")


def parse_serial(text: str) -> bytes | None:
    """The serial number that hex digits say, colons or not; None: they say none."""
    digits = text.lower().replace(":", "").lstrip("0")
    if not 0 < len(digits) <= 2 * SERIAL_BYTES_MAX or digits.strip("0123456789abcdef"):
        return None
    return bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2))


def serial_name(serial: bytes) -> str:
    """As `certs show` and openssl write it, in small letters."""
    return f"{int.from_bytes(serial, 'big'):x}"


# -- what is shown ---------------------------------------------------------------------

Id: TypeAlias = Annotated[str, msgspec.Meta(pattern=f"^{ids.PATTERN}$")]


class Root(msgspec.Struct, frozen=True):
    """A CA that members trust. `signs`: new certificates are to be by this one."""

    sha256: str
    signs: bool


class Shown(msgspec.Struct, frozen=True):
    """What a member shows to the node that tells. `issuer` is the CA's name."""

    id: Id
    serial: str
    issuer: str
    ends_in_s: int


class Revoked(msgspec.Struct, frozen=True):
    """`member` is an id or empty, `serial` hex digits or empty."""

    member: str
    serial: str


class CertificatesStatus(msgspec.Struct, frozen=True):
    """`waits_for` are the ids of members that the next step of a rotation waits for."""

    phase: Phase = "settled"
    roots: tuple[Root, ...] = ()
    shown: tuple[Shown, ...] = ()
    revoked: tuple[Revoked, ...] = ()
    waits_for: tuple[Id, ...] = ()
