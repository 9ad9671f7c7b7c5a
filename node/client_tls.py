"""The client port's TLS: its files, read at the start and again when they change.

Law: TLS 1.3 only, and no session is ever resumed. What is read makes a context that is
never changed afterwards: new files make a new one, for new connections, and files that
can't be used leave the old one in use, with the reason in log, status and metrics. At
the start they are an error. A certificate is good when its key fits, its time has not
ended and it may stand at a listening end; who signed it is for clients to judge.

Who shows no certificate finishes the handshake all the same, because probes and the
reason of a refusal are for everybody; the door (api/door) lets them do nothing else.

Files change one after the other, so a change is read once it has stood still from one
look to the next.
"""

import asyncio
import logging
import os
import ssl
import stat
import time
from hashlib import sha256
from typing import Final, TypeAlias

import msgspec

from .address import Address
from .config import ClientPort
from .tls import (
    Certificate,
    Kind,
    StrangerError,
    TlsError,
    identity_of,
    load_pair,
    meet_in_memory,
    reason_of,
    uris_of,
)

LOOK_S: Final = 2.0
# Somebody should hear of it so long before a certificate ends.
ENDS_SOON_S: Final = 14 * 86_400.0

_URI_SCHEME: Final = "quorate:"
_NAME_CHARACTERS_MAX: Final = 256

# Of each file what changes when it is replaced; None of one that is not there.
_Stamp: TypeAlias = tuple[tuple[int, int, int] | None, ...]

logger = logging.getLogger("quorate.api")


class ClientTls(msgspec.Struct, frozen=True):
    """What was read: never changed, only replaced."""

    context: ssl.SSLContext
    # When our certificate ends, in seconds since 1970.
    ends_s: float
    # Whose certificates clients have to show: its file's SHA-256, "" for nobody's.
    authority: str


def load_client_tls(files: ClientPort) -> ClientTls:
    """Read and check certificate, key and CA. Raises TlsError."""
    for path in filter(None, (files.cert, files.key, files.ca)):
        _check_file(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    load_pair(context, files.cert, files.key)
    authority = ""
    if files.ca:
        authority = _load_authority(context, files.ca)
    return ClientTls(context, _ends_s(context, files.cert), authority)


def client_name(certificate: Certificate, cluster_id: int) -> str:
    """Whom a client's certificate names: by our URI, else by its one common name.

    Raises StrangerError.
    """
    uris = uris_of(certificate)
    if any(uri.lower().startswith(_URI_SCHEME) for uri in uris):
        identity = identity_of(uris)
        if identity.cluster_id != cluster_id:
            raise StrangerError(f"a certificate of cluster {identity.cluster_id:016x}")
        if identity.kind is not Kind.CLIENT:
            raise StrangerError(f"a certificate of a {identity.kind}, not of a client")
        return identity.name
    names = _common_names(certificate)
    if len(names) != 1:
        raise StrangerError(f"a certificate with {len(names)} common names, not one")
    if not names[0].isprintable() or not 0 < len(names[0]) <= _NAME_CHARACTERS_MAX:
        raise StrangerError("a certificate whose common name is no name")
    return names[0]


class ClientTlsFiles:
    """The files of one client port, and what was last read from them.

    Raises TlsError when made from files that can't be used.
    """

    def __init__(self, files: ClientPort, address: Address) -> None:
        self._files: ClientPort = files
        # What clients are told to dial, and will compare with the certificate.
        self._address: Address = address
        self._seen: _Stamp = self._stamp()
        self._read: _Stamp = self._seen
        self.current: ClientTls = load_client_tls(files)
        self.reloads: int = 0
        self.failures: int = 0
        # Why the files that are there now are not in use.
        self.problem: str | None = None
        self._tell()

    @property
    def wants_certificates(self) -> bool:
        """Does every client have to show one?"""
        return bool(self._files.ca)

    async def look(self) -> None:
        """Read the files if they have changed, and have stood still since last time."""
        loop = asyncio.get_running_loop()
        # A thread's work: the files may lie on a disk that answers slowly.
        seen = await loop.run_in_executor(None, self._stamp)
        settled, self._seen = seen == self._seen, seen
        if not settled or seen == self._read:
            return
        self._read = seen
        try:
            self.current = await loop.run_in_executor(
                None, load_client_tls, self._files
            )
        except TlsError as error:
            self.failures += 1
            self.problem = str(error)
            logger.error("the client port keeps its old certificate: %s", error)
            return
        self.reloads += 1
        self.problem = None
        logger.info("the client port's certificate was read again")
        self._tell()

    def _stamp(self) -> _Stamp:
        files = self._files
        return tuple(map(_stamp_of, filter(None, (files.cert, files.key, files.ca))))

    def _tell(self) -> None:
        """Warn of what clients will complain about, now or soon."""
        cert = self._files.cert
        left_s = self.current.ends_s - time.time()
        if left_s < ENDS_SOON_S:
            logger.warning("%s ends in %.1f days", cert, left_s / 86_400)
        reason = _objection(self.current.context, cert, self._address.host)
        if reason is not None:
            host = self._address.host
            logger.warning("%s: clients that dial %s refuse it: %s", cert, host, reason)


def _check_file(path: str) -> None:
    try:
        # Opened without waiting: nobody can make a node wait at its start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TlsError(f"{path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise TlsError(f"{path}: not a file")
    finally:
        os.close(descriptor)


def _load_authority(context: ssl.SSLContext, path: str) -> str:
    context.verify_mode = ssl.CERT_OPTIONAL
    try:
        with open(path, "rb") as file:
            digest = sha256(file.read()).hexdigest()
        context.load_verify_locations(cafile=path)
    except OSError as error:
        raise TlsError(f"{path}: {reason_of(error)}") from error
    if not context.cert_store_stats()["x509_ca"]:
        raise TlsError(f"{path}: holds no certificate of a CA")
    return digest


def _ends_s(context: ssl.SSLContext, path: str) -> float:
    """When the certificate ends, told by a client that trusts nothing else."""
    try:
        _, theirs = meet_in_memory(context, _believer(path))
    except ssl.SSLError as error:
        reason = reason_of(error)
        raise TlsError(f"{path}: clients would refuse it: {reason}") from error
    certificate = theirs.getpeercert()
    assert certificate is not None
    ends = certificate["notAfter"]
    assert isinstance(ends, str)
    return float(ssl.cert_time_to_seconds(ends))


def _objection(context: ssl.SSLContext, path: str, host: str) -> str | None:
    """What a client that dials `host` has against the certificate."""
    client = _believer(path)
    client.check_hostname = True
    try:
        meet_in_memory(context, client, host)
    except ssl.SSLError as error:
        return reason_of(error)
    return None


def _believer(path: str) -> ssl.SSLContext:
    """A client that trusts this very certificate, whoever signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cafile=path)
    return context


def _common_names(certificate: Certificate) -> list[str]:
    subject = certificate.get("subject", ())
    assert isinstance(subject, tuple)
    pairs = [pair for pairs in subject for pair in pairs if isinstance(pair, tuple)]
    return [value for kind, value in pairs if kind == "commonName"]


def _stamp_of(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
