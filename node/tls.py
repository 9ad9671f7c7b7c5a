"""The peer port's TLS: who may speak, decided before a byte of theirs is read.

Law: TLS 1.3 only; both sides must show a certificate of the cluster's own CA, and of no
other: no system roots are loaded. Host names prove nothing here, because a member may
move: its identity is the one URI in its certificate. The handshake proves that the
certificate is ours; the hello must still compare what `peer_uri` returns with what the
peer claims to be and with what the cluster knows, since a client's certificate passes
the handshake as well. No session tickets are given out: a resumed session would slip
past a certificate that was taken back. After a change of files always build new
contexts: a live one keeps what it has loaded.

    Exception
    ├── TlsError        our own files are missing, damaged or do not belong together
    └── StrangerError   the other side is not somebody this cluster knows by its URI
"""

import re
import ssl
from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import NoReturn, TypeAlias

import msgspec

from .address import is_name

SCHEME = "quorate"

# What `getpeercert` gives.
Certificate: TypeAlias = Mapping[
    str, str | tuple[tuple[tuple[str, str], ...], ...] | tuple[tuple[str, str], ...]
]

_URI = re.compile(
    r"quorate://(?P<cluster>[0-9a-f]{16})/"
    r"(?:(?P<ca>ca)|member/(?P<member>[0-9a-f]{16})"
    r"|(?P<kind>client|server)/(?P<name>[^/]+))"
)
# Far above what a handshake between two buffers needs; a loop that goes on is a bug.
_HANDSHAKE_ROUNDS_MAX = 16
_PEM = re.compile(
    "-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]*-----END CERTIFICATE-----"
)


class TlsError(Exception):
    """Our own certificate files can't be used."""


class StrangerError(Exception):
    """The other side's certificate does not name somebody of a cluster of ours."""


class Kind(StrEnum):
    """What a certificate of a cluster may stand for."""

    CA = "ca"
    MEMBER = "member"
    CLIENT = "client"
    # The client port of a node, which clients know by its host names.
    SERVER = "server"


class PeerIdentity(msgspec.Struct, frozen=True):
    """Who a certificate names: `member_id` for members, else `name`."""

    cluster_id: int
    kind: Kind
    member_id: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        assert 0 < self.cluster_id < 1 << 64
        assert (self.kind is Kind.MEMBER) == (0 < self.member_id < 1 << 64)
        named = self.kind in (Kind.CLIENT, Kind.SERVER)
        assert named == is_name(self.name)

    @property
    def uri(self) -> str:
        """The one URI that a certificate of this identity carries."""
        head = f"{SCHEME}://{self.cluster_id:016x}"
        match self.kind:
            case Kind.CA:
                return f"{head}/ca"
            case Kind.MEMBER:
                return f"{head}/member/{self.member_id:016x}"
            case Kind.CLIENT | Kind.SERVER:
                return f"{head}/{self.kind}/{self.name}"


class PeerCertificate(msgspec.Struct, frozen=True):
    """What is shown in a handshake. `serial` has no leading zeros.

    `issuer` is the CA's name: two roots of one cluster have two. Times are Unix times.
    """

    identity: PeerIdentity
    serial: bytes
    issuer: str
    begins_s: float
    ends_s: float


def parse_uri(text: str) -> PeerIdentity:
    """Read a certificate's URI back; whatever is not exactly ours is a stranger's."""
    match = _URI.fullmatch(text)
    if match is None:
        raise StrangerError(f"not an identity of a quorate cluster: {text[:128]!r}")
    cluster_id = int(match["cluster"], 16)
    member_id = int(match["member"] or "0", 16)
    name = match["name"] or ""
    if cluster_id == 0 or (match["member"] and member_id == 0):
        raise StrangerError(f"an id of zero names nobody: {text!r}")
    if match["ca"]:
        return PeerIdentity(cluster_id, Kind.CA)
    if match["member"]:
        return PeerIdentity(cluster_id, Kind.MEMBER, member_id=member_id)
    kind = Kind(match["kind"])
    if not is_name(name):
        raise StrangerError(f"not a {kind}'s name: {name[:128]!r}")
    return PeerIdentity(cluster_id, kind, name=name)


def identity_of(uris: list[str]) -> PeerIdentity:
    """The identity among a certificate's URIs: exactly one of them must be ours.

    Schemes ignore case, so `Quorate://…` counts as ours too (and is then refused for
    its spelling): nobody gets in by hiding a second identity behind capitals.
    """
    ours = [uri for uri in uris if uri.lower().startswith(SCHEME + ":")]
    if len(ours) != 1:
        raise StrangerError(f"expected exactly one {SCHEME} URI, found {len(ours)}")
    return parse_uri(ours[0])


def peer_uri(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> PeerIdentity:
    """Who is at the other end of a finished handshake; `StrangerError` if nobody."""
    return peer_certificate(ssl_object).identity


def peer_certificate(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> PeerCertificate:
    """What the other end of a finished handshake showed; `StrangerError` if nothing."""
    certificate = ssl_object.getpeercert()
    if not certificate:
        raise StrangerError("the peer showed no certificate")
    return PeerCertificate(
        identity_of(uris_of(certificate)),
        _serial(str(certificate["serialNumber"])),
        _name(certificate["issuer"]),
        ssl.cert_time_to_seconds(str(certificate["notBefore"])),
        ssl.cert_time_to_seconds(str(certificate["notAfter"])),
    )


def uris_of(certificate: Certificate) -> list[str]:
    """The URIs among a certificate's names, of which others may be of any form."""
    shown = certificate.get("subjectAltName", ())
    names = msgspec.convert(shown, tuple[tuple[str, object], ...])
    return [str(value) for kind, value in names if kind == "URI"]


def _serial(digits: str) -> bytes:
    number = int(digits, 16)
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def _name(name: object) -> str:
    """A distinguished name as one text: only ever compared, or shown."""
    parts = msgspec.convert(name, tuple[tuple[tuple[str, str], ...], ...])
    return ", ".join(value for part in parts for _, value in part)


def server_context(certfile: str, keyfile: str, cafile: str) -> ssl.SSLContext:
    """What the listening side of the peer port uses.

    Who shows no certificate may ask to join, and nothing else (peer_session).
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, certfile, keyfile, cafile)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    return context


def client_context(certfile: str, keyfile: str, cafile: str) -> ssl.SSLContext:
    """What the connecting side of the peer port uses."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, certfile, keyfile, cafile)


def roots_of(cafile: str) -> tuple[bytes, ...]:
    """The certificates (DER) in a file of roots, in its order. Raises TlsError."""
    try:
        text = Path(cafile).read_text(encoding="ascii")
        found = tuple(map(ssl.PEM_cert_to_DER_cert, _PEM.findall(text)))
    except OSError as error:
        raise TlsError(f"{cafile}: {reason_of(error)}") from error
    except ValueError as error:
        raise TlsError(f"{cafile}: not a certificate: {error}") from error
    if not found:
        raise TlsError(f"{cafile}: holds no certificate of a CA")
    return found


def names_of(roots: Sequence[bytes]) -> frozenset[str]:
    """How the certificates that they sign call them. Raises TlsError."""
    return frozenset(_name(each["subject"]) for each in _read_roots(roots))


def _read_roots(roots: Sequence[bytes]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for root in roots:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=root)
        except (ValueError, ssl.SSLError) as error:
            raise TlsError(f"a root that is no certificate: {error}") from error
        read = msgspec.convert(context.get_ca_certs(), list[dict[str, object]])
        if len(read) != 1:
            raise TlsError("a root that is not one certificate of a CA")
        found += read
    return found


def end_of(roots: Sequence[bytes]) -> float:
    """When the first of them ends, as a Unix time. Raises TlsError."""
    return min(
        ssl.cert_time_to_seconds(str(each["notAfter"])) for each in _read_roots(roots)
    )


def digest_of_root(root: bytes) -> bytes:
    """SHA-256 of a CA's certificate: what tokens, and members, know it by."""
    return sha256(root).digest()


def own_identity(certfile: str, keyfile: str, cafile: str) -> PeerIdentity:
    """Who our own files say that we are. Raises TlsError."""
    return own_certificate(certfile, keyfile, cafile).identity


def own_certificate(certfile: str, keyfile: str, cafile: str) -> PeerCertificate:
    """What our own files show to peers, found by a handshake with ourselves.

    The node's first peer is itself: files that a peer would refuse (expired, of
    another CA, fit for one direction only) fail here, at start, with the reason.
    """
    server = server_context(certfile, keyfile, cafile)
    client = client_context(certfile, keyfile, cafile)
    try:
        return peer_certificate(meet_in_memory(server, client)[0])
    except ssl.SSLError as error:
        reason = reason_of(error)
        if "expired" in reason:
            reason += "; another one is made by `quorate certs issue`"
        raise TlsError(
            f"{certfile}: peers would refuse this certificate: {reason}"
        ) from error
    except StrangerError as error:
        raise TlsError(f"{certfile}: {error}") from error


def meet_in_memory(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a handshake between two contexts of ours; `host` is dialled.

    Raises ssl.SSLError.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=host)
    for _ in range(_HANDSHAKE_ROUNDS_MAX):
        # Both sides are stepped in each round, never the second alone.
        finished = [_advanced(theirs), _advanced(ours)]
        if all(finished):
            return ours, theirs
    raise AssertionError("a handshake in memory did not end")


def _advanced(side: ssl.SSLObject) -> bool:
    """Step one side of a handshake; true when it needs nothing more."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _context(protocol: int, certfile: str, keyfile: str, cafile: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cafile=cafile)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"{cafile}: {reason_of(error)}") from error
    if not context.cert_store_stats()["x509_ca"]:
        raise TlsError(f"{cafile}: holds no certificate of a CA")

    load_pair(context, certfile, keyfile)
    return context


def load_pair(context: ssl.SSLContext, certfile: str, keyfile: str) -> None:
    """Have `context` show this certificate; raises TlsError."""

    def ask_nobody() -> NoReturn:
        # Without this OpenSSL would ask for the passphrase at the terminal.
        raise TlsError(f"{keyfile}: the key is encrypted; a node can't ask for it")

    try:
        context.load_cert_chain(certfile, keyfile, password=ask_nobody)
    except ssl.SSLError as error:
        raise TlsError(f"{certfile}, {keyfile}: {reason_of(error)}") from error
    except OSError as error:
        named = _unreadable(certfile, keyfile) or f"{certfile}, {keyfile}"
        raise TlsError(f"{named}: {reason_of(error)}") from error


def _unreadable(*files: str) -> str:
    """The first that can't be read: OpenSSL's error names none."""
    for path in files:
        try:
            with open(path, "rb"):
                pass
        except OSError:
            return path
    return ""


def reason_of(error: OSError) -> str:
    """What went wrong, without OpenSSL's file names and numbers where possible."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return error.strerror or str(error)
