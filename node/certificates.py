"""The cluster's certificates: made here, and in no other place.

Law: this is the only file that imports cryptography. A cluster has one CA, whose
subject and URI carry the cluster's id; it signs members, clients and client ports and
nothing else (no intermediate CAs). A certificate stands for exactly one URI; a member's
is good for both ends of a connection, a client's only for the calling end, a server's,
which also has host names, only for the other one. Keys are EC P-256.
Files are new files: nothing is overwritten, keys are 0600 in folders of 0700, and what
was returned is on the disk.

    create_authority   DIR/ca.crt, DIR/ca.key (who has the key decides who belongs)
    issue_member       DIR/node.crt, DIR/node.key, DIR/ca.crt
    issue_client       DIR/client.crt, DIR/client.key, DIR/ca.crt
    issue_server       DIR/server.crt, DIR/server.key, DIR/ca.crt
    request_member     DIR/node.key, if there is none yet; a request to be signed
    request_renewal    nothing: a new key, and a request for it
    sign_member        nothing: the certificate for such a request
    keep_member        DIR/node.crt, DIR/ca.crt: what the signer answered

    CertificateError: a file is missing, damaged, in the way, or not what it should be
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .address import is_host, is_name
from .certificate_parts import builder, common_name, key_usage
from .identity import member_id_for
from .key_files import write_new
from .tls import Kind, PeerIdentity, StrangerError, identity_of

__all__ = [
    "Authority",
    "CertificateError",
    "Description",
    "create_authority",
    "describe",
    "issue_client",
    "issue_member",
    "issue_server",
    "keep_member",
    "key_of_request",
    "load_authority",
    "member_id_for",
    "random_id",
    "request_member",
    "request_renewal",
    "sign_member",
]

AUTHORITY_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
# A certificate of ours has about 700 bytes; a larger file is not one.
FILE_BYTES_MAX = 64 * 1024
# What reading may raise: the library looks at some parts only when they are asked for.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
_USAGES = {
    Kind.MEMBER: (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    Kind.CLIENT: (ExtendedKeyUsageOID.CLIENT_AUTH,),
    Kind.SERVER: (ExtendedKeyUsageOID.SERVER_AUTH,),
}


class CertificateError(Exception):
    """A certificate or key can't be made, read or used; the message names the file."""


class Authority(msgspec.Struct, frozen=True):
    """A cluster's CA with its private key: who holds it decides who belongs."""

    cluster_id: int
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate says, for people."""

    path: str
    kind: str
    cluster_id: str
    member_id: str | None
    name: str | None
    uri: str
    subject: str
    issuer: str
    usages: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    serial: str
    sha256: str

    def expired(self, now: datetime) -> bool:
        """Whether peers refuse it at `now` (also when it is not valid yet)."""
        return not self.not_before <= now <= self.not_after


def random_id() -> int:
    """A new id of a cluster or member: 64 random bits, never zero."""
    return secrets.randbelow((1 << 64) - 1) + 1


def create_authority(
    directory: Path,
    *,
    cluster_id: int | None = None,
    passphrase: str | None = None,
    now: datetime | None = None,
    lifetime: timedelta = AUTHORITY_LIFETIME,
    successor: bool = False,
) -> Authority:
    """Make the CA of a new cluster and write it into `directory`.

    The `successor` of a cluster's CA has a name of its own: by the name of who signed a
    certificate members tell the two apart.
    """
    identity = PeerIdentity(cluster_id or random_id(), Kind.CA)
    key = ec.generate_private_key(ec.SECP256R1())
    root = f" root {_key_digest(key.public_key()).hex()[:8]}" if successor else ""
    subject = common_name(f"quorate cluster {identity.cluster_id:016x}{root}")
    usage = key_usage(key_cert_sign=True, crl_sign=True)
    certificate = (
        builder(subject, subject, key.public_key(), identity, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    files = {"ca.key": _key_pem(key, passphrase), "ca.crt": _pem(certificate)}
    _write_new(directory, files)
    return Authority(identity.cluster_id, certificate, key)


def load_authority(directory: Path, *, passphrase: str | None = None) -> Authority:
    """Read a CA back, checking that its two files belong together."""
    certificate_path, key_path = directory / "ca.crt", directory / "ca.key"
    certificate = _load_certificate(certificate_path)
    identity = _identity(certificate, certificate_path)
    if identity.kind is not Kind.CA:
        raise CertificateError(f"{certificate_path}: not a CA but {identity.uri}")
    key = _load_key(key_path, passphrase)
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"{key_path}: not the key of {certificate_path}")
    return Authority(identity.cluster_id, certificate, key)


def issue_member(
    authority: Authority,
    directory: Path,
    *,
    name: str,
    member_id: int | None = None,
    now: datetime | None = None,
    lifetime: timedelta = LEAF_LIFETIME,
) -> PeerIdentity:
    """Write a member's certificate, key and CA certificate into `directory`.

    Without `member_id` it is the one that a static start expects of this name.
    """
    _check_name(name)
    if member_id is None:
        member_id = member_id_for(authority.cluster_id, name)
    identity = PeerIdentity(authority.cluster_id, Kind.MEMBER, member_id=member_id)
    return _issue(authority, directory, identity, name, "node", now, lifetime)


def issue_client(
    authority: Authority,
    directory: Path,
    *,
    name: str,
    now: datetime | None = None,
    lifetime: timedelta = LEAF_LIFETIME,
) -> PeerIdentity:
    """Write a client's certificate, key and CA certificate into `directory`."""
    _check_name(name)
    identity = PeerIdentity(authority.cluster_id, Kind.CLIENT, name=name)
    return _issue(authority, directory, identity, name, "client", now, lifetime)


def issue_server(
    authority: Authority,
    directory: Path,
    *,
    name: str,
    hosts: Sequence[str],
    now: datetime | None = None,
    lifetime: timedelta = LEAF_LIFETIME,
) -> PeerIdentity:
    """Write what a client port needs into `directory`, good for all `hosts`."""
    _check_name(name)
    for host in hosts:
        if not is_host(host):
            raise CertificateError(f"not a host name or address: {host[:256]!r}")
    identity = PeerIdentity(authority.cluster_id, Kind.SERVER, name=name)
    return _issue(authority, directory, identity, name, "server", now, lifetime, hosts)


def request_member(directory: Path, *, name: str) -> bytes:
    """A request (PEM) that a signer makes the certificate of a new member from.

    Its key stays in `directory`; one that is there already is taken again.
    """
    _check_name(name)
    path = directory / "node.key"
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        _write_new(directory, {"node.key": _key_pem(made, None)})
    return _request(_load_key(path, None), name)


def request_renewal(*, name: str) -> tuple[bytes, bytes]:
    """A request, and the new key that it is for, both PEM; nothing is written."""
    _check_name(name)
    key = ec.generate_private_key(ec.SECP256R1())
    return _request(key, name), _key_pem(key, None)


def _request(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(common_name(name))
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM)


def key_of_request(request: bytes) -> bytes:
    """The SHA-256 of the public key that the request proves to have the other half of.

    Raises CertificateError.
    """
    return _key_digest(_load_request(request).public_key())


def sign_member(
    authority: Authority,
    request: bytes,
    *,
    name: str,
    member_id: int,
    now: datetime | None = None,
    lifetime: timedelta = LEAF_LIFETIME,
) -> bytes:
    """The certificate (PEM) of a member with the request's key, and nothing else of it.

    Raises CertificateError.
    """
    _check_name(name)
    key = _load_request(request).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        key.curve, ec.SECP256R1
    ):
        raise CertificateError("the request's key is not EC P-256")
    identity = PeerIdentity(authority.cluster_id, Kind.MEMBER, member_id=member_id)
    return _pem(_signed(authority, key, identity, name, now, lifetime))


def keep_member(directory: Path, certificate: bytes, authority: bytes) -> None:
    """Write what a signer answered beside the key; the CA's certificate comes first.

    Raises CertificateError when the one is not by the other: the cluster's CA was
    replaced while this was asked for. Nothing is written then.
    """
    try:
        made = x509.load_pem_x509_certificate(certificate)
        made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (*_UNREADABLE, InvalidSignature) as error:
        raise CertificateError(
            "the certificate that was made is not by the CA of the token; the CA is"
            " being replaced: make another token"
        ) from error
    for name, data in (("ca.crt", authority), ("node.crt", certificate)):
        path = directory / name
        if path.exists():
            # An earlier try got this far.
            path.unlink()
        _write_new(directory, {name: data})


def describe(path: Path) -> list[Description]:
    """What the certificates in the file `path` say; they are read, not verified."""
    try:
        return [_description(each, path) for each in _load_certificates(path)]
    except _UNREADABLE as error:
        raise CertificateError(f"{path}: damaged: {error}") from error


def _description(certificate: x509.Certificate, path: Path) -> Description:
    identity = _identity(certificate, path)
    common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    common_name = str(common_names[0].value) if common_names else None
    member = identity.kind is Kind.MEMBER
    return Description(
        path=str(path),
        kind=identity.kind.value,
        cluster_id=f"{identity.cluster_id:016x}",
        member_id=f"{identity.member_id:016x}" if member else None,
        name=common_name if member else identity.name or None,
        uri=identity.uri,
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        usages=_usages(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=f"{certificate.serial_number:x}",
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def _issue(
    authority: Authority,
    directory: Path,
    identity: PeerIdentity,
    name: str,
    stem: str,
    now: datetime | None,
    lifetime: timedelta,
    hosts: Sequence[str] = (),
) -> PeerIdentity:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    certificate = _signed(authority, public, identity, name, now, lifetime, hosts)
    files = {
        f"{stem}.key": _key_pem(key, None),
        f"{stem}.crt": _pem(certificate),
        "ca.crt": _pem(authority.certificate),
    }
    _write_new(directory, files)
    return identity


def _signed(
    authority: Authority,
    key: ec.EllipticCurvePublicKey,
    identity: PeerIdentity,
    name: str,
    now: datetime | None,
    lifetime: timedelta,
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    issuer = authority.certificate.subject
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(
        authority.key.public_key()
    )
    return (
        builder(common_name(name), issuer, key, identity, now, lifetime, hosts)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USAGES[identity.kind]), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _load_request(data: bytes) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(data)
        valid = request.is_signature_valid
    except _UNREADABLE as error:
        raise CertificateError(f"not a request for a certificate: {error}") from error
    if not valid:
        raise CertificateError("the request is not signed by its own key")
    return request


def _key_digest(key: PublicKeyTypes) -> bytes:
    data = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return sha256(data).digest()


def _check_name(name: str) -> None:
    if not is_name(name):
        raise CertificateError(
            f"not a usable name: {name[:128]!r} (letters, digits, '.', '_', '-';"
            " at most 63, a letter or digit first)"
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey, passphrase: str | None) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption(),
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise CertificateError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    return data


def _load_certificates(path: Path) -> list[x509.Certificate]:
    data = _read(path)
    try:
        return x509.load_pem_x509_certificates(data)
    except _UNREADABLE as error:
        # Behind its first sentence the library's text is for programmers.
        reason = str(error).partition(". ")[0]
        raise CertificateError(f"{path}: not a certificate: {reason}") from error


def _load_certificate(path: Path) -> x509.Certificate:
    certificates = _load_certificates(path)
    if len(certificates) == 1:
        return certificates[0]
    raise CertificateError(f"{path}: holds {len(certificates)} certificates, not 1")


def _load_key(path: Path, passphrase: str | None) -> ec.EllipticCurvePrivateKey:
    data = _read(path)
    # An empty password would be an error for a plain key: None says that there is none.
    password = passphrase.encode() if passphrase else None
    try:
        key = serialization.load_pem_private_key(data, password)
    except TypeError as error:
        # The one report of "encrypted, no passphrase" and of "passphrase, not
        # encrypted".
        hint = "is not encrypted" if password else "is encrypted: give its passphrase"
        raise CertificateError(f"{path}: the key {hint}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        reason = "wrong passphrase or damaged key" if password else "not a private key"
        raise CertificateError(f"{path}: {reason}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{path}: not an EC key")
    return key


def _identity(certificate: x509.Certificate, path: Path) -> PeerIdentity:
    try:
        names = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        return identity_of(uris)
    except (x509.ExtensionNotFound, StrangerError) as error:
        raise CertificateError(f"{path}: not of a quorate cluster: {error}") from error
    except _UNREADABLE as error:
        raise CertificateError(f"{path}: damaged: {error}") from error


def _usages(certificate: x509.Certificate) -> tuple[str, ...]:
    words = {
        ExtendedKeyUsageOID.SERVER_AUTH: "server",
        ExtendedKeyUsageOID.CLIENT_AUTH: "client",
    }
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return ()
    return tuple(words.get(usage) or usage.dotted_string for usage in usages.value)


def _write_new(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files that must not exist yet; all of them or none, and durably."""
    try:
        write_new(directory, files)
    except FileExistsError as error:
        raise CertificateError(
            f"{error.filename}: exists already; nothing is overwritten"
        ) from error
    except OSError as error:
        raise CertificateError(f"{directory}: {error.strerror}") from error
