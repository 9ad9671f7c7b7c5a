"""The peer port's handshakes, between two buffers in memory."""

import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.certificate_parts import common_name
from quorate.node.certificates import (
    Authority,
    create_authority,
    describe,
    issue_client,
    issue_member,
)
from quorate.node.tls import (
    Kind,
    PeerIdentity,
    StrangerError,
    TlsError,
    client_context,
    end_of,
    identity_of,
    names_of,
    own_certificate,
    own_identity,
    parse_uri,
    peer_uri,
    roots_of,
    server_context,
)
from quorate.wire import serial_name

CLUSTER = 0xC0FFEE

Files = tuple[str, str, str]


def member_files(authority: Authority, directory: Path, name: str = "n1") -> Files:
    issue_member(authority, directory, name=name)
    return files(directory, "node")


def files(directory: Path, stem: str) -> Files:
    names = (f"{stem}.crt", f"{stem}.key", "ca.crt")
    certificate, key, ca = (str(directory / name) for name in names)
    return certificate, key, ca


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "ca", cluster_id=CLUSTER)


@pytest.fixture
def ours(authority: Authority, tmp_path: Path) -> Files:
    return member_files(authority, tmp_path / "n1")


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Finish a handshake and carry one byte each way, else raise what refused it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = server.wrap_bio(to_server, to_client, server_side=True)
    far = client.wrap_bio(to_client, to_server, server_side=False)
    steps: list[Callable[[], object]] = [
        far.do_handshake,
        near.do_handshake,
        far.do_handshake,
        near.do_handshake,
        lambda: far.write(b"x"),
        lambda: near.read(1),
        lambda: near.write(b"y"),
        lambda: far.read(1),
    ]
    for step in steps:
        try:
            step()
        except ssl.SSLWantReadError:
            continue
    assert near.version() == "TLSv1.3"
    return near, far


def test_two_members_of_one_cluster_know_each_other(
    authority: Authority, ours: Files, tmp_path: Path
) -> None:
    theirs = member_files(authority, tmp_path / "n2", "n2")
    near, far = shake(server_context(*ours), client_context(*theirs))
    assert peer_uri(near).kind is Kind.MEMBER
    assert peer_uri(near) == own_identity(*theirs)
    assert peer_uri(far) == own_identity(*ours)
    assert peer_uri(near).cluster_id == CLUSTER
    assert peer_uri(near) != peer_uri(far)


def test_a_clients_certificate_passes_the_handshake_but_is_no_member(
    authority: Authority, ours: Files, tmp_path: Path
) -> None:
    issue_client(authority, tmp_path / "alice", name="alice")
    client = client_context(*files(tmp_path / "alice", "client"))
    near, _ = shake(server_context(*ours), client)
    assert peer_uri(near) == PeerIdentity(CLUSTER, Kind.CLIENT, name="alice")


def test_a_clients_certificate_can_not_serve(
    authority: Authority, ours: Files, tmp_path: Path
) -> None:
    issue_client(authority, tmp_path / "alice", name="alice")
    server = server_context(*files(tmp_path / "alice", "client"))
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        shake(server, client_context(*ours))


def test_a_certificate_that_may_only_serve_can_not_call(
    authority: Authority, ours: Files, tmp_path: Path
) -> None:
    odd = handmade(authority, tmp_path / "odd", usage=[ExtendedKeyUsageOID.SERVER_AUTH])
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        shake(server_context(*ours), client_context(*odd))


def test_a_peer_without_a_certificate_is_nobody(ours: Files) -> None:
    # It gets through the handshake, and may then ask to join; see peer_session.
    naked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    naked.check_hostname = False
    naked.load_verify_locations(ours[2])
    near, _ = shake(server_context(*ours), naked)
    with pytest.raises(StrangerError, match="no certificate"):
        peer_uri(near)


def test_another_clusters_member_is_refused_by_both_sides(
    ours: Files, tmp_path: Path
) -> None:
    # Even with the same cluster id in its names: the CA decides.
    other = create_authority(tmp_path / "other-ca", cluster_id=CLUSTER)
    theirs = member_files(other, tmp_path / "other")
    for server, client in ((ours, theirs), (theirs, ours)):
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(server_context(*server), client_context(*client))


def test_a_stranger_who_trusts_us_is_still_refused(ours: Files, tmp_path: Path) -> None:
    other = create_authority(tmp_path / "other-ca")
    certificate, key, _ = member_files(other, tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server_context(*ours), client_context(certificate, key, ours[2]))


def test_a_member_can_not_sign_members(
    authority: Authority, ours: Files, tmp_path: Path
) -> None:
    member = x509.load_pem_x509_certificate(Path(ours[0]).read_bytes())
    key = serialization.load_pem_private_key(Path(ours[1]).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signer = Authority(CLUSTER, member, key)
    certificate, child_key, _ = member_files(signer, tmp_path / "child", "n9")
    chain = Path(certificate).read_bytes() + Path(ours[0]).read_bytes()
    Path(certificate).write_bytes(chain)
    client = client_context(certificate, child_key, ours[2])
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server_context(*ours), client)


@pytest.mark.parametrize(("shift_days", "reason"), [(-400, "expired"), (2, "not yet")])
def test_a_certificate_outside_its_time_is_refused(
    authority: Authority, ours: Files, tmp_path: Path, shift_days: int, reason: str
) -> None:
    now = datetime.now(UTC) + timedelta(days=shift_days)
    issue_member(authority, tmp_path / "n2", name="n2", now=now)
    theirs = files(tmp_path / "n2", "node")
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        shake(server_context(*ours), client_context(*theirs))
    with pytest.raises(TlsError, match=rf"peers would refuse.*{reason}"):
        own_identity(*theirs)


def test_tls_1_2_is_refused(ours: Files) -> None:
    old = client_context(*ours)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shake(server_context(*ours), old)


def test_no_session_can_be_resumed(ours: Files) -> None:
    server = server_context(*ours)
    assert server.num_tickets == 0
    _, far = shake(server, client_context(*ours))
    assert far.session is None or not far.session.has_ticket


def test_system_roots_are_not_trusted(ours: Files) -> None:
    for context, mode in (
        (server_context(*ours), ssl.CERT_OPTIONAL),
        (client_context(*ours), ssl.CERT_REQUIRED),
    ):
        assert context.cert_store_stats()["x509"] == 1
        assert context.verify_mode is mode


def handmade(
    authority: Authority,
    directory: Path,
    *,
    uris: list[str] | None = None,
    others: Sequence[x509.GeneralName] = (),
    usage: list[x509.ObjectIdentifier] | None = None,
) -> Files:
    """A member's files; the certificate, by our CA, has other URIs or usages."""
    certificate_path, key_path, ca_path = member_files(authority, directory, "odd")
    honest = x509.load_pem_x509_certificate(Path(certificate_path).read_bytes())
    builder = (
        x509.CertificateBuilder()
        .subject_name(honest.subject)
        .issuer_name(honest.issuer)
        .public_key(honest.public_key())
        .serial_number(honest.serial_number)
        .not_valid_before(honest.not_valid_before_utc)
        .not_valid_after(honest.not_valid_after_utc)
    )
    for extension in honest.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName) and uris is not None:
            if not uris:
                continue
            value = x509.SubjectAlternativeName(
                [*map(x509.UniformResourceIdentifier, uris), *others]
            )
        if isinstance(value, x509.ExtendedKeyUsage) and usage is not None:
            value = x509.ExtendedKeyUsage(usage)
        builder = builder.add_extension(value, extension.critical)
    odd = builder.sign(authority.key, hashes.SHA256())
    pem = odd.public_bytes(serialization.Encoding.PEM)
    Path(certificate_path).write_bytes(pem)
    return certificate_path, key_path, ca_path


MEMBER = f"quorate://{CLUSTER:016x}/member/{5:016x}"


@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["https://example.org/"],
        [MEMBER, f"quorate://{CLUSTER:016x}/member/{6:016x}"],
        [MEMBER, f"Quorate://{CLUSTER:016x}/member/{6:016x}"],
        [MEMBER.upper()],
        [MEMBER + "/"],
    ],
)
def test_a_certificate_of_our_ca_that_names_nobody_or_two_is_a_strangers(
    authority: Authority, ours: Files, tmp_path: Path, uris: list[str]
) -> None:
    odd = handmade(authority, tmp_path / "odd", uris=uris)
    near, _ = shake(server_context(*ours), client_context(*odd))
    with pytest.raises(StrangerError):
        peer_uri(near)
    with pytest.raises(TlsError):
        own_identity(*odd)


def test_foreign_uris_beside_ours_are_left_alone(
    authority: Authority, ours: Files, tmp_path: Path
) -> None:
    odd = handmade(authority, tmp_path / "odd", uris=["https://example.org/", MEMBER])
    near, _ = shake(server_context(*ours), client_context(*odd))
    assert peer_uri(near) == PeerIdentity(CLUSTER, Kind.MEMBER, member_id=5)


def test_names_of_other_forms_beside_our_uri_are_left_alone(
    authority: Authority, ours: Files, tmp_path: Path
) -> None:
    """A directory's name is no text to Python: who had one was met by a traceback, at
    the client port as well.
    """
    others = [
        x509.DirectoryName(common_name("ops")),
        x509.RFC822Name("a@b.org"),
    ]
    odd = handmade(authority, tmp_path / "odd", uris=[MEMBER], others=others)
    near, _ = shake(server_context(*ours), client_context(*odd))
    assert peer_uri(near) == PeerIdentity(CLUSTER, Kind.MEMBER, member_id=5)


def test_who_was_not_asked_for_a_certificate_is_a_stranger(ours: Files) -> None:
    careless = server_context(*ours)
    careless.verify_mode = ssl.CERT_NONE
    near, _ = shake(careless, client_context(*ours))
    with pytest.raises(StrangerError, match="no certificate"):
        peer_uri(near)


ids = st.integers(1, (1 << 64) - 1)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
identities = st.one_of(
    st.builds(PeerIdentity, ids, st.just(Kind.CA)),
    st.builds(PeerIdentity, ids, st.just(Kind.MEMBER), member_id=ids),
    st.builds(PeerIdentity, ids, st.just(Kind.CLIENT), name=names),
    st.builds(PeerIdentity, ids, st.just(Kind.SERVER), name=names),
)


@given(identities)
def test_every_identity_reads_back_from_its_uri(identity: PeerIdentity) -> None:
    assert parse_uri(identity.uri) == identity


def almost_ours(head: str, tail: str) -> str:
    return f"quorate://{head}/{tail}"


@given(st.text() | st.builds(almost_ours, st.text(), st.text()))
def test_garbage_is_a_stranger_and_nothing_worse(text: str) -> None:
    with pytest.raises(StrangerError):
        identity_of([text])


@pytest.mark.parametrize(
    "uri",
    [
        "quorate://0000000000000000/ca",
        f"quorate://{CLUSTER:016x}/member/0000000000000000",
        f"quorate://{CLUSTER:x}/ca",
        f"quorate://{CLUSTER:016x}/ca/",
        f"quorate://{CLUSTER:016x}/ca\n",
        f"quorate://{CLUSTER:016x}/client/",
        f"quorate://{CLUSTER:016x}/client/..",
        f"quorate://{CLUSTER:016x}/client/a/b",
        f"quorate://{CLUSTER:016x}/member/{5:016X}0",
        f"quorate://{CLUSTER:016x}/voter/{5:016x}",
        f"quorate://{CLUSTER:016x}:80/ca",
        f"quorate://x@{CLUSTER:016x}/ca",
    ],
)
def test_a_uri_that_is_almost_ours_is_a_strangers(uri: str) -> None:
    with pytest.raises(StrangerError):
        parse_uri(uri)


def test_missing_and_damaged_files_are_named(ours: Files, tmp_path: Path) -> None:
    certificate, key, ca = ours
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    with pytest.raises(TlsError, match="absent"):
        server_context(certificate, key, str(tmp_path / "absent"))
    with pytest.raises(TlsError, match=r"^\S+/absent: No such file"):
        server_context(str(tmp_path / "absent"), key, ca)
    with pytest.raises(TlsError, match=r"^\S+/absent: No such file"):
        server_context(certificate, str(tmp_path / "absent"), ca)
    with pytest.raises(TlsError, match="junk"):
        client_context(certificate, key, str(junk))
    with pytest.raises(TlsError, match="junk"):
        client_context(certificate, str(junk), ca)
    with pytest.raises(TlsError, match="no certificate of a CA"):
        client_context(certificate, key, certificate)


def test_a_key_of_another_certificate_is_refused_at_start(
    authority: Authority, ours: Files, tmp_path: Path
) -> None:
    theirs = member_files(authority, tmp_path / "n2", "n2")
    with pytest.raises(TlsError, match="mismatch"):
        server_context(ours[0], theirs[1], ours[2])


def test_an_encrypted_key_is_an_error_and_not_a_question_at_the_terminal(
    tmp_path: Path,
) -> None:
    create_authority(tmp_path / "ca", passphrase="secret")
    certificate = str(tmp_path / "ca" / "ca.crt")
    with pytest.raises(TlsError, match="encrypted"):
        client_context(certificate, str(tmp_path / "ca" / "ca.key"), certificate)


def test_files_of_another_ca_fail_at_start(ours: Files, tmp_path: Path) -> None:
    create_authority(tmp_path / "other")
    certificate, key, _ = ours
    with pytest.raises(TlsError, match="peers would refuse"):
        own_identity(certificate, key, str(tmp_path / "other" / "ca.crt"))


def test_two_roots_of_one_cluster_are_told_apart_by_who_signed(tmp_path: Path) -> None:
    names: list[str] = []
    for folder, successor in (("old", False), ("new", True)):
        place = tmp_path / folder
        authority = create_authority(place, cluster_id=CLUSTER, successor=successor)
        issue_member(authority, place / "n1", name="n1", member_id=0xA1)
        shown = own_certificate(*files(place / "n1", "node"))
        (root,) = roots_of(str(place / "ca.crt"))
        assert names_of((root,)) == {shown.issuer}
        assert abs(end_of((root,)) - shown.ends_s) > 86_400
        names.append(shown.issuer)
    assert names[0] != names[1]
    assert names[1].startswith(names[0])


def test_what_is_shown_has_the_number_that_people_see(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "ca", cluster_id=CLUSTER)
    issue_member(authority, tmp_path / "n1", name="n1", member_id=0xA1)
    shown = own_certificate(*files(tmp_path / "n1", "node"))
    (told,) = describe(tmp_path / "n1" / "node.crt")
    assert serial_name(shown.serial) == told.serial
    assert shown.ends_s == told.not_after.timestamp()
    assert shown.begins_s == told.not_before.timestamp()


@pytest.mark.parametrize("text", ["", "no certificate", "\xff"])
def test_a_file_without_roots_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "ca.crt").write_text(text, encoding="latin-1")
    with pytest.raises(TlsError, match=r"ca\.crt"):
        roots_of(str(tmp_path / "ca.crt"))
    with pytest.raises(TlsError):
        names_of((text.encode(),))
