"""TLS to the client port: who is trusted, and how a refusal looks from here."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from quorate.client import (
    AsyncClient,
    InvalidRequest,
    TlsFailed,
    Unavailable,
)

from .fake_node import FakeNode, running


class Authority:
    """A throw-away CA that writes certificates into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(self._key, name, None)
        self.cafile = str(folder / f"{name}.pem")
        Path(self.cafile).write_bytes(_pem(self._certificate))

    def issue(self, name: str, passphrase: bytes | None = None) -> tuple[str, str]:
        """A certificate for 127.0.0.1: the paths of it and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key, name, self._certificate)
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(_pem(certificate))
        encryption = (
            serialization.BestAvailableEncryption(passphrase)
            if passphrase
            else serialization.NoEncryption()
        )
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                encryption,
            )
        )
        return str(paths[0]), str(paths[1])

    def _sign(
        self,
        key: ec.EllipticCurvePrivateKey,
        name: str,
        issuer: x509.Certificate | None,
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(
                x509.BasicConstraints(ca=issuer is None, path_length=None), True
            )
            .add_extension(x509.SubjectAlternativeName([address]), False)
        )
        return builder.sign(self._key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def serving(authority: Authority, *, ask: bool) -> ssl.SSLContext:
    """A node's side; with `ask` it wants a certificate of its own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(*authority.issue("node"))
    context.num_tickets = 0
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.cafile)
    return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


async def test_a_client_with_the_right_certificates_is_served(
    authority: Authority,
) -> None:
    node = FakeNode()
    certfile, keyfile = authority.issue("client")
    async with (
        running(node, tls=serving(authority, ask=True)) as endpoints,
        AsyncClient(
            endpoints, cafile=authority.cafile, certfile=certfile, keyfile=keyfile
        ) as kv,
    ):
        assert await kv.put("k", b"v" * 300_000) == 2
        entry = await kv.get("k")
        assert entry is not None
        assert entry.value == b"v" * 300_000


@pytest.mark.parametrize("stranger", [True, False], ids=["another's", "none"])
async def test_a_node_that_refuses_our_certificate_makes_a_write_unavailable(
    authority: Authority, tmp_path: Path, stranger: bool
) -> None:
    # With TLS 1.3 we believe to be connected before the node has judged us.
    certfile = keyfile = None
    if stranger:
        certfile, keyfile = Authority(tmp_path, "theirs").issue("stranger")
    node = FakeNode()
    async with (
        running(node, tls=serving(authority, ask=True)) as endpoints,
        AsyncClient(
            endpoints, cafile=authority.cafile, certfile=certfile, keyfile=keyfile
        ) as kv,
    ):
        # asyncio's server hangs up without a word, as one that stops would.
        with pytest.raises(Unavailable):
            await kv.put("k", "v", timeout=0.05)
        # Asked once, without a race against the deadline: the reason is told.
        with pytest.raises(Unavailable, match="refuses our certificate"):
            await kv.status(endpoints)
        assert node.requests == []


async def test_a_node_that_we_do_not_trust_is_told_at_once_and_asked_nothing(
    authority: Authority, tmp_path: Path
) -> None:
    node = FakeNode()
    cafile = Authority(tmp_path, "theirs").cafile
    async with (
        running(node, tls=serving(authority, ask=False)) as endpoints,
        AsyncClient(endpoints, timeout=60, cafile=cafile) as kv,
    ):
        with pytest.raises(TlsFailed, match="certificate is not trusted"):
            await kv.put("k", "v")
        assert node.requests == []


async def test_a_node_with_another_name_is_not_trusted(authority: Authority) -> None:
    node = FakeNode()
    async with (
        running(node, tls=serving(authority, ask=False)),
        AsyncClient(
            f"localhost:{node.port}", timeout=60, cafile=authority.cafile
        ) as kv,
    ):
        with pytest.raises(TlsFailed, match=r"(?i)hostname mismatch"):
            await kv.put("k", "v")


async def test_tls_and_plain_text_do_not_meet(authority: Authority) -> None:
    node, plain = FakeNode(), FakeNode()
    async with (
        running(node, tls=serving(authority, ask=False)) as tls_endpoint,
        running(plain) as plain_endpoint,
        AsyncClient(tls_endpoint, timeout=0.1) as without,
        AsyncClient(plain_endpoint, timeout=0.1, cafile=authority.cafile) as with_tls,
    ):
        for kv in (without, with_tls):
            with pytest.raises(Unavailable):
                await kv.put("k", "v")
        assert node.requests == plain.requests == []


def test_an_encrypted_key_is_refused_without_asking_at_the_terminal(
    authority: Authority,
) -> None:
    certfile, keyfile = authority.issue("client", b"passphrase")
    with pytest.raises(InvalidRequest, match="encrypted"):
        AsyncClient("a:1", certfile=certfile, keyfile=keyfile)


def test_files_that_are_no_certificates_are_refused(authority: Authority) -> None:
    _, keyfile = authority.issue("client")
    with pytest.raises(InvalidRequest, match=r"client\.key: no certificate"):
        AsyncClient("a:1", cafile=keyfile)
