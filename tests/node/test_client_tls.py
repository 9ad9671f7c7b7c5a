"""The client port's files: what is refused, whom certificates name, reading again."""

import logging
import os
import ssl
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from quorate.node.address import Address
from quorate.node.client_tls import (
    ClientTlsFiles,
    client_name,
    load_client_tls,
)
from quorate.node.config import ClientPort
from quorate.node.tls import Certificate, StrangerError, TlsError, meet_in_memory

from .client_tls_kit import ADDRESS, AGO, CLUSTER, Folder, copy_over, files_of


@pytest.fixture
def ours(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def refusal(port: ClientPort) -> str:
    with pytest.raises(TlsError) as caught:
        load_client_tls(port)
    return str(caught.value)


def test_good_files_make_a_context_without_resumption(ours: Folder) -> None:
    loaded = load_client_tls(ours.server())
    context = loaded.context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.num_tickets == 0
    assert context.verify_mode is ssl.CERT_OPTIONAL
    assert len(loaded.authority) == 64
    without = msgspec.structs.replace(ours.server("n2"), ca="")
    loaded = load_client_tls(without)
    assert (loaded.authority, loaded.context.verify_mode) == ("", ssl.CERT_NONE)


def test_files_that_are_not_there_or_no_files_are_named(
    ours: Folder, tmp_path: Path
) -> None:
    port = ours.server()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for field in ("cert", "key", "ca"):
        for path, reason in (
            (tmp_path / "missing", "No such file"),
            (tmp_path, "not a file"),
            (fifo, "not a file"),
        ):
            said = refusal(msgspec.structs.replace(port, **{field: str(path)}))
            assert str(path) in said
            assert reason in said


def test_a_key_of_another_certificate_is_refused(ours: Folder) -> None:
    mixed = msgspec.structs.replace(ours.server(), key=ours.server("n2").key)
    assert "key values mismatch" in refusal(mixed)


def test_a_certificate_whose_time_is_over_is_refused(ours: Folder) -> None:
    assert "certificate has expired" in refusal(ours.server(now=AGO))


def test_a_clients_certificate_is_none_for_a_port(ours: Folder) -> None:
    cert, key = ours.client()
    port = msgspec.structs.replace(ours.server(), cert=cert, key=key)
    assert "purpose" in refusal(port)


def test_garbage_is_refused(ours: Folder, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_text("nothing of this is PEM")
    for field in ("cert", "key", "ca"):
        port = msgspec.structs.replace(ours.server(field), **{field: str(garbage)})
        assert str(garbage) in refusal(port)


def test_a_file_without_a_ca_is_refused(ours: Folder) -> None:
    port = ours.server()
    said = refusal(msgspec.structs.replace(port, ca=port.cert))
    assert "holds no certificate of a CA" in said


def test_an_encrypted_key_is_refused_without_asking_at_the_terminal(
    ours: Folder,
) -> None:
    port = ours.server()
    path = Path(port.key)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    path.write_bytes(sealed)
    assert "encrypted" in refusal(port)


# -- names -------------------------------------------------------------------------


def certificate(uris: list[str], *names: str) -> Certificate:
    return {
        "subject": tuple((("commonName", name),) for name in names),
        "subjectAltName": tuple(("URI", uri) for uri in uris),
    }


HEAD = f"quorate://{CLUSTER:016x}"


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        (certificate([f"{HEAD}/client/alice"], "bob"), "alice"),
        (certificate([], "Étienne of the night shift"), "Étienne of the night shift"),
        (certificate(["spiffe://x/y"], "bob"), "bob"),
    ],
)
def test_a_client_is_named_by_our_uri_or_by_its_common_name(
    shown: Certificate, name: str
) -> None:
    assert client_name(shown, CLUSTER) == name


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (certificate([f"{HEAD}/member/{5:016x}"], "n1"), "of a member"),
        (certificate([f"{HEAD}/server/n1"], "n1"), "of a server"),
        (certificate([f"{HEAD}/ca"], "n1"), "of a ca"),
        (certificate([f"quorate://{2:016x}/client/a"]), "of cluster 0000000000000002"),
        (certificate([f"{HEAD}/client/a", f"{HEAD}/client/b"]), "exactly one"),
        (certificate([f"QUORATE://{CLUSTER:016x}/client/a"], "b"), "not an identity"),
        (certificate([]), "0 common names"),
        (certificate([], "a", "b"), "2 common names"),
        (certificate([], ""), "no name"),
        (certificate([], "a\nb"), "no name"),
        (certificate([], "a" * 257), "no name"),
    ],
)
def test_whoever_is_not_clearly_one_client_is_a_stranger(
    shown: Certificate, reason: str
) -> None:
    with pytest.raises(StrangerError, match=reason):
        client_name(shown, CLUSTER)


# -- reading again -----------------------------------------------------------------


def serial(files: ClientTlsFiles, ours: Folder) -> object:
    """Of the certificate that new connections are shown."""
    client = ours.trusting()
    _, theirs = meet_in_memory(files.current.context, client, "127.0.0.1")
    shown = theirs.getpeercert()
    assert shown is not None
    return shown["serialNumber"]


async def test_new_files_make_a_new_context_once_they_stand_still(
    ours: Folder,
) -> None:
    port, new = ours.server(), ours.server("n2")
    files = files_of(port)
    before, shown = files.current, serial(files, ours)
    await files.look()
    assert files.current is before
    copy_over(new.cert, port.cert)
    await files.look()
    # It has only just changed, and the key will, too.
    assert files.current is before
    copy_over(new.key, port.key)
    await files.look()
    await files.look()
    assert files.current.context is not before.context
    assert serial(files, ours) != shown
    assert (files.reloads, files.failures, files.problem) == (1, 0, None)
    await files.look()
    assert files.reloads == 1


async def test_files_that_can_not_be_used_leave_the_old_ones_in_use(
    ours: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    port, new = ours.server(), ours.server("n2")
    files = files_of(port)
    before = files.current
    for damage in (new.key, port.cert):
        copy_over(damage, port.key)
        for _ in range(4):
            await files.look()
    assert files.current is before
    assert (files.reloads, files.failures) == (0, 2)
    assert files.problem is not None
    assert port.key in files.problem
    told = [r for r in caplog.records if "keeps its old certificate" in r.message]
    assert len(told) == 2
    os.unlink(port.cert)
    for _ in range(2):
        await files.look()
    assert "No such file" in files.problem
    copy_over(new.cert, port.cert)
    copy_over(new.key, port.key)
    for _ in range(2):
        await files.look()
    assert files.current is not before
    assert (files.reloads, files.failures, files.problem) == (1, 3, None)


async def test_another_ca_is_taken_too(ours: Folder, tmp_path: Path) -> None:
    port, others = ours.server(), Folder(tmp_path / "others")
    theirs = str(tmp_path / "trusted.crt")
    copy_over(ours.cafile, theirs)
    files = files_of(msgspec.structs.replace(port, ca=theirs))
    before = files.current.authority
    stranger = ours.trusting(others.client())
    with pytest.raises(ssl.SSLError):
        meet_in_memory(files.current.context, stranger, "localhost")
    copy_over(others.cafile, theirs)
    for _ in range(2):
        await files.look()
    assert files.current.authority != before
    met, _ = meet_in_memory(files.current.context, stranger, "localhost")
    shown = met.getpeercert()
    assert shown is not None
    assert client_name(shown, CLUSTER) == "alice"


def test_what_clients_will_complain_about_is_told_at_the_start(
    ours: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    port = ours.server()
    with caplog.at_level(logging.WARNING):
        ClientTlsFiles(port, Address("n1.example", 7400))
    assert "ends in 1.0 days" in caplog.text
    assert "clients that dial n1.example refuse it" in caplog.text
    caplog.clear()
    ClientTlsFiles(ours.server("n2", days=90), ADDRESS)
    assert not caplog.records
