"""A node's three files: whenever it stops, the next start finds a pair that fits."""

import errno
import itertools
import os
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from quorate.node import key_files
from quorate.node.certificates import (
    Authority,
    create_authority,
    issue_member,
    request_renewal,
    sign_member,
)
from quorate.node.key_files import KeyFiles
from quorate.node.tls import TlsError, roots_of

CLUSTER, MEMBER = 0xC1, 0xA1


class Setting(msgspec.Struct):
    """A CA, and a node's folder with what it has signed."""

    authority: Authority
    directory: Path

    @property
    def files(self) -> KeyFiles:
        names = ("node.crt", "node.key", "ca.crt")
        return KeyFiles(*(str(self.directory / name) for name in names))

    def renewed(self, member: int = MEMBER) -> tuple[bytes, bytes]:
        """A new certificate and its key."""
        request, key = request_renewal(name="n1")
        signed = sign_member(self.authority, request, name="n1", member_id=member)
        return signed, key

    def names(self) -> set[str]:
        return set(os.listdir(self.directory))


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    authority = create_authority(tmp_path / "ca", cluster_id=CLUSTER)
    issue_member(authority, tmp_path / "certs", name="n1", member_id=MEMBER)
    return Setting(authority, tmp_path / "certs")


NAMES = {"node.crt", "node.key", "ca.crt"}


def test_a_new_pair_takes_the_place_of_the_old_one(setting: Setting) -> None:
    files, before = setting.files, setting.files.load().certificate
    files.keep_pair(*setting.renewed(), before)
    after = files.load().certificate
    assert after.identity == before.identity
    assert after.serial != before.serial
    assert setting.names() == NAMES
    assert (setting.directory / "node.key").stat().st_mode & 0o777 == 0o600


class _Stopped(BaseException):
    """The machine stops here."""


@pytest.mark.parametrize("steps", range(12))
def test_a_start_after_any_stop_finds_a_pair_that_fits(
    setting: Setting, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, before = setting.files, setting.files.load().certificate
    left = itertools.count(steps, -1)

    def sync(directory: str) -> None:
        """Each name that was to be made durable, or renamed, is a place to stop."""
        if next(left) <= 0:
            raise _Stopped

    monkeypatch.setattr(key_files, "sync_directory", sync)
    try:
        files.keep_pair(*setting.renewed(), before)
        stopped = False
    except _Stopped:
        stopped = True
    monkeypatch.undo()
    found = setting.files.load().certificate
    assert found.identity == before.identity
    assert found.serial != before.serial or stopped
    # Whoever asks again is not in its own way.
    files.keep_pair(*setting.renewed(), found)
    assert setting.files.load().certificate.serial != found.serial
    assert setting.names() <= NAMES | {"node.crt.tried"}


@pytest.mark.parametrize("certificate", [None, b"no certificate"])
def test_a_pair_that_could_not_be_put_in_place_is_not_forgotten(
    setting: Setting, certificate: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: the next try threw its key away, and left its certificate to the old one's
    place: no start found a pair any more.
    """
    files, before = setting.files, setting.files.load().certificate

    def fails(_: KeyFiles) -> None:
        raise OSError(errno.EIO, "a disk that fails")

    with monkeypatch.context() as patched:
        patched.setattr(KeyFiles, "_take", fails)
        with pytest.raises(OSError, match="a disk that fails"):
            files.keep_pair(*setting.renewed(), before)
    new, key = setting.renewed()
    if certificate is None:
        files.keep_pair(new, key, before)
    else:
        with pytest.raises(TlsError):
            files.keep_pair(certificate, key, before)
    assert setting.files.load().certificate.serial != before.serial
    assert setting.names() == NAMES


def test_the_key_alone_is_an_interrupted_try(setting: Setting) -> None:
    before = setting.files.load().certificate
    (setting.directory / "node.key.next").write_bytes(setting.renewed()[1])
    assert setting.files.load().certificate == before
    assert setting.names() == NAMES


def test_what_peers_would_refuse_is_not_taken(setting: Setting, tmp_path: Path) -> None:
    files, before = setting.files, setting.files.load().certificate
    stranger = create_authority(tmp_path / "other", cluster_id=CLUSTER)
    ours, key = setting.renewed()
    foreign = Setting(stranger, setting.directory)
    refused = [
        (ours, foreign.renewed()[1]),
        foreign.renewed(),
        setting.renewed(member=0xA2),
        (b"no certificate", key),
    ]
    for certificate, its_key in refused:
        with pytest.raises(TlsError):
            files.keep_pair(certificate, its_key, before)
        assert setting.names() == NAMES
        assert files.load().certificate == before


def test_an_ended_certificate_says_what_helps(setting: Setting, tmp_path: Path) -> None:
    short = timedelta(seconds=-1)
    issue_member(
        setting.authority,
        tmp_path / "ended",
        name="n1",
        member_id=MEMBER,
        lifetime=short,
    )
    with pytest.raises(TlsError, match="certs issue"):
        Setting(setting.authority, tmp_path / "ended").files.load()


def test_two_roots_are_kept_in_their_order(setting: Setting, tmp_path: Path) -> None:
    create_authority(tmp_path / "next", cluster_id=CLUSTER, successor=True)
    (old,) = setting.files.load().roots
    (new,) = roots_of(str(tmp_path / "next" / "ca.crt"))
    for roots in ((old, new), (new, old), (old,)):
        setting.files.keep_roots(roots)
        assert setting.files.load().roots == roots
    # Without the one that signed what it shows, a node could not start again.
    setting.files.keep_roots((new,))
    with pytest.raises(TlsError):
        setting.files.load()
