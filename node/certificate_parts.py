"""What goes into a certificate, piece by piece.

Law: values alone; nothing is read, written or signed here.
"""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .tls import PeerIdentity

# Clocks differ: a certificate is already good on a machine that is up to this late.
BACKDATED = timedelta(hours=1)


def builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    identity: PeerIdentity,
    now: datetime | None,
    lifetime: timedelta,
    hosts: Sequence[str] = (),
) -> x509.CertificateBuilder:
    """A certificate of this key, not signed yet; `hosts` are names and addresses."""
    begin = now or datetime.now(UTC)
    names = [x509.UniformResourceIdentifier(identity.uri), *map(host_name, hosts)]
    key_id = x509.SubjectKeyIdentifier.from_public_key(key)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - BACKDATED)
        .not_valid_after(begin + lifetime)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(key_id, critical=False)
    )


def key_usage(
    *,
    digital_signature: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """What the key may be used for; everything else is not."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def common_name(text: str) -> x509.Name:
    """The distinguished name of whom people call so."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def host_name(host: str) -> x509.GeneralName:
    """Where a client dials: an address, else a name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
