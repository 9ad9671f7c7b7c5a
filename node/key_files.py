"""A node's certificate, key and roots on its disk, and how they are replaced.

Law: whenever the machine stops, the next start finds a certificate with its own key,
and roots that were whole at some time. A root is replaced as one file. A certificate
and its key are two: both are written beside the old ones first, durably, the
certificate last, and once it is there the pair is the new one, whatever is left to
rename. No certificate is read here: what it says is for node/tls to find out.

    node.key.next                   alone: an interrupted try, and thrown away
    node.key.next, node.crt.next    the new pair: both are renamed, the key first
    node.crt.next                   alone: the key was renamed, this one follows
"""

import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ..storage.env import parent_of
from .tls import PeerCertificate, TlsError, own_certificate, roots_of

NEXT: Final = ".next"


class Held(msgspec.Struct, frozen=True):
    """What the files hold: whom the node is, and the roots (DER) that it trusts."""

    certificate: PeerCertificate
    roots: tuple[bytes, ...]


class KeyFiles:
    """The three files that `peer.cert`, `peer.key` and `peer.ca` name."""

    def __init__(self, cert: str, key: str, ca: str) -> None:
        self.cert = cert
        self.key = key
        self.ca = ca

    def load(self) -> Held:
        """What is there, as peers would see it. Raises TlsError."""
        try:
            self._finish()
        except OSError as error:
            raise TlsError(f"{self.cert}: {error.strerror}") from error
        return Held(own_certificate(self.cert, self.key, self.ca), roots_of(self.ca))

    def _finish(self) -> None:
        """A pair that was on its way when the node stopped."""
        cert, key = Path(self.cert + NEXT), Path(self.key + NEXT)
        if cert.exists():
            self._take()
        elif key.exists():
            key.unlink()

    def _take(self) -> None:
        for path in (self.key, self.cert):
            if Path(path + NEXT).exists():
                Path(path + NEXT).replace(path)
                sync_directory(parent_of(path))

    def keep_pair(self, certificate: bytes, key: bytes, ours: PeerCertificate) -> None:
        """Take a new certificate and its key, both PEM, in the place of `ours`.

        Raises TlsError when peers would refuse them, and OSError; the old ones stay.
        """
        # One that is on its way still comes first: its key is nowhere else.
        self._finish()
        _put(self.key + NEXT, key, 0o600)
        # Under a name that means nothing to `_finish` until the two are known to fit.
        tried = self.cert + ".tried"
        try:
            _put(tried, certificate, 0o644)
            found = own_certificate(tried, self.key + NEXT, self.ca)
            if found.identity != ours.identity:
                raise TlsError(f"the new certificate is for {found.identity.uri}")
        except BaseException:
            Path(self.key + NEXT).unlink()
            Path(tried).unlink(missing_ok=True)
            raise
        Path(tried).replace(self.cert + NEXT)
        sync_directory(parent_of(self.cert))
        self._take()

    def keep_roots(self, roots: Sequence[bytes]) -> None:
        """Trust these from the next load on. Raises OSError."""
        text = "".join(map(ssl.DER_cert_to_PEM_cert, roots))
        _put(self.ca, text.encode(), 0o644)


def write_new(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files that must not exist yet; all of them or none, and durably.

    Keys are for their owner alone. Raises OSError.
    """
    made: list[Path] = []
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in files.items():
            _write(directory / name, data, 0o600 if name.endswith(".key") else 0o644)
            made.append(directory / name)
        sync_directory(str(directory))
        sync_directory(str(directory.parent))
    except OSError:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _put(path: str, data: bytes, mode: int) -> None:
    """Put a whole file in place, durably, with these rights."""
    temporary = Path(path + ".tmp")
    temporary.unlink(missing_ok=True)
    _write(temporary, data, mode)
    temporary.replace(path)
    sync_directory(parent_of(path))


def _write(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def sync_directory(directory: str) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
