"""Certificates: who they name, how long, for what, and what is never overwritten."""

import base64
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from quorate.node import certificates
from quorate.node.certificates import (
    Authority,
    CertificateError,
    create_authority,
    describe,
    issue_client,
    issue_member,
    issue_server,
    key_of_request,
    load_authority,
    request_renewal,
)
from quorate.node.identity import member_id_for

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
CLUSTER = 0x00C0FFEE00000001


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "ca", cluster_id=CLUSTER, now=NOON)


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def uris(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


def usages(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(
        certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    )


def test_the_ca_carries_the_clusters_id_and_can_sign_no_other_ca(
    authority: Authority,
) -> None:
    certificate = authority.certificate
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert uris(certificate) == ["quorate://00c0ffee00000001/ca"]
    assert "00c0ffee00000001" in certificate.subject.rfc4514_string()
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)


def test_a_member_is_named_by_one_uri_and_may_serve_and_call(
    authority: Authority, tmp_path: Path
) -> None:
    identity = issue_member(authority, tmp_path / "n1", name="n1", now=NOON)
    certificate = load(tmp_path / "n1" / "node.crt")
    assert identity.member_id == member_id_for(CLUSTER, "n1")
    assert uris(certificate) == [
        f"quorate://00c0ffee00000001/member/{identity.member_id:016x}"
    ]
    assert usages(certificate) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    certificate.verify_directly_issued_by(authority.certificate)


def test_a_client_may_call_and_not_serve(authority: Authority, tmp_path: Path) -> None:
    issue_client(authority, tmp_path / "alice", name="alice", now=NOON)
    certificate = load(tmp_path / "alice" / "client.crt")
    assert uris(certificate) == ["quorate://00c0ffee00000001/client/alice"]
    assert usages(certificate) == {ExtendedKeyUsageOID.CLIENT_AUTH}


def test_a_client_port_is_named_by_its_hosts_and_may_not_call(
    authority: Authority, tmp_path: Path
) -> None:
    hosts = ["n1.example", "10.0.0.1", "::1"]
    issue_server(authority, tmp_path / "s", name="n1", hosts=hosts)
    path = tmp_path / "s" / "server.crt"
    (shown,) = describe(path)
    assert (shown.kind, shown.name, shown.usages) == ("server", "n1", ("server",))
    names = x509.load_pem_x509_certificate(
        path.read_bytes()
    ).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["n1.example"]
    addresses = names.value.get_values_for_type(x509.IPAddress)
    assert [str(address) for address in addresses] == ["10.0.0.1", "::1"]


@pytest.mark.parametrize("host", ["", "n1:7400", "[::1]", "n1/x", "*.n1", "a b"])
def test_a_client_port_has_no_other_names_than_hosts(
    authority: Authority, tmp_path: Path, host: str
) -> None:
    with pytest.raises(CertificateError, match="not a host name"):
        issue_server(authority, tmp_path / "s", name="n1", hosts=[host])
    assert not (tmp_path / "s").exists()


def test_certificates_are_backdated_an_hour_and_end_after_one_and_ten_years(
    authority: Authority, tmp_path: Path
) -> None:
    issue_member(authority, tmp_path / "n1", name="n1", now=NOON)
    leaf = load(tmp_path / "n1" / "node.crt")
    for certificate, days in ((leaf, 365), (authority.certificate, 3650)):
        assert certificate.not_valid_before_utc == NOON - timedelta(hours=1)
        assert certificate.not_valid_after_utc == NOON + timedelta(days=days)


def test_the_id_of_a_static_voter_is_this_number_for_ever() -> None:
    # Permanent: members of running clusters have ids made by this rule.
    assert member_id_for(1, "n1") == 0x411E5B4AED7EC571
    assert member_id_for(CLUSTER, "n1") != member_id_for(CLUSTER, "n2")
    assert member_id_for(CLUSTER, "n1") != member_id_for(CLUSTER + 1, "n1")


def test_random_ids_are_never_zero_and_fit_64_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def below(lowest: int) -> list[int]:
        asked: list[int] = []

        def randbelow(bound: int) -> int:
            asked.append(bound)
            return lowest if lowest >= 0 else bound - 1

        monkeypatch.setattr(certificates.secrets, "randbelow", randbelow)
        return [certificates.random_id(), *asked]

    assert below(0)[0] == 1
    assert below(-1)[0] == (1 << 64) - 1


def test_keys_are_for_the_owner_alone(authority: Authority, tmp_path: Path) -> None:
    issue_member(authority, tmp_path / "n1", name="n1")
    for path in (tmp_path / "ca" / "ca.key", tmp_path / "n1" / "node.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_is_overwritten_and_nothing_half_made_stays(
    authority: Authority, tmp_path: Path
) -> None:
    directory = tmp_path / "n1"
    directory.mkdir()
    (directory / "node.crt").write_text("mine")
    with pytest.raises(CertificateError, match=r"node\.crt: exists already"):
        issue_member(authority, directory, name="n1")
    assert [path.name for path in directory.iterdir()] == ["node.crt"]
    assert (directory / "node.crt").read_text() == "mine"


def test_a_key_is_not_written_through_a_planted_link(
    authority: Authority, tmp_path: Path
) -> None:
    directory = tmp_path / "n1"
    directory.mkdir()
    (directory / "node.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CertificateError, match="exists already"):
        issue_member(authority, directory, name="n1")
    assert not (tmp_path / "elsewhere").exists()


def test_a_loaded_authority_is_the_one_that_was_made(
    authority: Authority, tmp_path: Path
) -> None:
    loaded = load_authority(tmp_path / "ca")
    assert loaded.cluster_id == CLUSTER
    issue_member(loaded, tmp_path / "n1", name="n1")
    load(tmp_path / "n1" / "node.crt").verify_directly_issued_by(authority.certificate)


def test_an_encrypted_ca_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    made = create_authority(tmp_path / "ca", passphrase="correct horse")
    assert b"ENCRYPTED" in (tmp_path / "ca" / "ca.key").read_bytes()
    opened = load_authority(tmp_path / "ca", passphrase="correct horse")
    assert opened.cluster_id == made.cluster_id
    with pytest.raises(CertificateError, match="wrong passphrase"):
        load_authority(tmp_path / "ca", passphrase="battery staple")
    with pytest.raises(CertificateError, match="is encrypted: give its passphrase"):
        load_authority(tmp_path / "ca")


def test_a_passphrase_for_a_plain_key_is_an_error_not_ignored(
    authority: Authority, tmp_path: Path
) -> None:
    with pytest.raises(CertificateError, match="is not encrypted"):
        load_authority(tmp_path / "ca", passphrase="needless")


def test_a_ca_whose_key_belongs_to_another_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    create_authority(tmp_path / "other")
    (tmp_path / "ca" / "ca.key").write_bytes(
        (tmp_path / "other" / "ca.key").read_bytes()
    )
    with pytest.raises(CertificateError, match="not the key of"):
        load_authority(tmp_path / "ca")


def test_a_members_files_are_not_a_ca(authority: Authority, tmp_path: Path) -> None:
    issue_member(authority, tmp_path / "n1", name="n1")
    (tmp_path / "n1" / "ca.crt").write_bytes(
        (tmp_path / "n1" / "node.crt").read_bytes()
    )
    with pytest.raises(CertificateError, match="not a CA"):
        load_authority(tmp_path / "n1")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "No such file"),
        (b"", "not a certificate"),
        (b"\x00\xff garbage", "not a certificate"),
        (b"x" * 70_000, "larger than"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "not a certificate",
        ),
    ],
)
def test_garbage_instead_of_a_certificate_names_file_and_reason(
    tmp_path: Path, data: bytes | None, reason: str
) -> None:
    path = tmp_path / "some.crt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CertificateError, match=rf"some\.crt: .*{reason}"):
        describe(path)


def test_a_certificate_of_an_unknown_version_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "ca" / "ca.crt"
    old = b"\xa0\3\2\1\2"
    lines = path.read_bytes().splitlines()
    der = base64.b64decode(b"".join(lines[1:-1])).replace(old, b"\xa0\3\2\1\7")
    path.write_text(ssl.DER_cert_to_PEM_cert(der))
    with pytest.raises(CertificateError, match=r"ca\.crt: not a certificate"):
        describe(path)


def test_a_request_of_an_unknown_version_is_refused() -> None:
    """Story: that was no error of those that were caught."""
    request, _ = request_renewal(name="n1")
    der = base64.b64decode(b"".join(request.splitlines()[1:-1]))
    changed = base64.encodebytes(der.replace(b"\2\1\0", b"\2\1\5", 1))
    mark = b"CERTIFICATE REQUEST-----\n"
    with pytest.raises(CertificateError, match="not a request"):
        key_of_request(b"-----BEGIN " + mark + changed + b"-----END " + mark)


@pytest.mark.parametrize("extension", [b"\x55\x1d\x11", b"\x55\x1d\x25"])
def test_a_certificate_with_a_damaged_extension_is_refused(
    authority: Authority, tmp_path: Path, extension: bytes
) -> None:
    issue_member(authority, tmp_path / "n1", name="n1", now=NOON)
    path = tmp_path / "n1" / "node.crt"
    der = ssl.PEM_cert_to_DER_cert(path.read_text())
    twice = der.replace(b"\x55\x1d\x0e", extension)
    path.write_text(ssl.DER_cert_to_PEM_cert(twice))
    with pytest.raises(CertificateError, match=r"node\.crt: "):
        describe(path)


def test_garbage_instead_of_a_key_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "ca" / "ca.key").write_bytes(b"no key")
    with pytest.raises(CertificateError, match="not a private key"):
        load_authority(tmp_path / "ca")


def test_two_certificates_in_one_file_are_refused(
    authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "ca" / "ca.crt"
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(CertificateError, match="holds 2 certificates"):
        load_authority(tmp_path / "ca")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../x", "ü", "a b", "n\n", "\0", "-x", "x" * 64]
)
def test_names_that_do_not_fit_a_uri_or_a_path_are_refused(
    authority: Authority, tmp_path: Path, name: str
) -> None:
    with pytest.raises(CertificateError, match="not a usable name"):
        issue_member(authority, tmp_path / "x", name=name)
    with pytest.raises(CertificateError, match="not a usable name"):
        issue_client(authority, tmp_path / "x", name=name)
    assert not (tmp_path / "x").exists()


def test_a_description_tells_who_for_what_and_until_when(
    authority: Authority, tmp_path: Path
) -> None:
    issue_member(authority, tmp_path / "n1", name="n1", member_id=7, now=NOON)
    issue_client(authority, tmp_path / "alice", name="alice", now=NOON)
    (member,) = describe(tmp_path / "n1" / "node.crt")
    (client,) = describe(tmp_path / "alice" / "client.crt")
    (ca,) = describe(tmp_path / "n1" / "ca.crt")
    assert (member.kind, member.name, member.member_id) == ("member", "n1", f"{7:016x}")
    assert (client.kind, client.name, client.member_id) == ("client", "alice", None)
    assert (ca.kind, ca.name, ca.cluster_id) == ("ca", None, f"{CLUSTER:016x}")
    assert (member.usages, client.usages) == (("server", "client"), ("client",))
    assert not member.expired(NOON)
    assert member.expired(NOON + timedelta(days=366))
    assert member.expired(NOON - timedelta(hours=2))
