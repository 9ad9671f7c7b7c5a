"""What this node shows to peers and whom it trusts: kept as the log says, and renewed.

Law: a shell. The log says which roots are trusted and what was revoked
(node/database/trust); this makes the node's files, and then its connections, follow.
Files come first: what is told to others about this node is on its disk. Each change
makes new TLS contexts, since a live one keeps what it has loaded. Connections that are
there stay until they are renewed, and no key ever leaves the node that made it.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from ..wire import (
    CertificatesStatus,
    Present,
    Revoked,
    Root,
    Shown,
    id_name,
    serial_name,
)
from ..wire.certificates import Phase
from . import vetting
from .admission import NOT_SPOKEN_BY
from .database import trust
from .identity import IdentityError
from .inside import Refused, Sayings
from .key_files import Held, KeyFiles
from .peer_hello import HelloError
from .signing import NO_KEY, NOBODY_SIGNS
from .tls import (
    PeerCertificate,
    TlsError,
    client_context,
    digest_of_root,
    end_of,
    names_of,
    server_context,
)

if TYPE_CHECKING:
    from .node import Node

_LOOK_TICKS: Final = 50
_ENDED_TICKS: Final = 500
# Certificates of ours begin so long before they are made (node/certificates).
_BACKDATED_S: Final = 3600.0
# A new certificate is asked for when so much of the old one's time is over; nodes that
# were started together do not all ask at once.
_RENEW_AT: Final = 2 / 3
_RENEW_SPREAD: Final = 0.05
_DAY_S: Final = 86_400.0
_AUTHORITY_LATE_S: Final = 90 * _DAY_S
_RETRY_MIN_S: Final = 1.0
_RETRY_MAX_S: Final = 3600.0
_RETRY_SHARE: Final = 0.05

T = TypeVar("T")
# For the side that listens, and the side that dials.
Contexts: TypeAlias = tuple[ssl.SSLContext, ssl.SSLContext]

PHASES: Final[tuple[Phase, ...]] = ("settled", "trusting", "issuing")

logger = logging.getLogger("quorate.node")


class RevokedCertificate(IdentityError):
    """The cluster refuses what this node shows; the message says what helps."""


class Credentials:
    """This node's certificate and roots, from its start to its end.

    Raises TlsError when its files can't be used.
    """

    def __init__(self, node: "Node") -> None:
        self.node = node
        peer = node.config.peer
        self.files = KeyFiles(peer.cert, peer.key, peer.ca)
        self.followed: tuple[object, int] = (None, -1)
        self.ticks = 0
        self.working = False
        self.sayings = Sayings(node)
        # By the clock that nobody sets.
        self.retry_at_s = 0.0
        # What is shown could not be written down just now.
        self.unsaid = False
        self.asked = False
        # Why there is no new certificate, though it is time; empty: there is no reason.
        self.waits_for = ""
        self.renewals = 0
        self.warned_s = 0.0
        self._take(self.files.load(), self._contexts())

    async def _load(self) -> None:
        """Take what is there by now; of another member it is not taken (TlsError).

        The files are read in a thread, and what they hold is in use, all of it, before
        anybody else looks.
        """
        self._take(*await _in_thread(self._read))

    def _read(self) -> tuple[Held, Contexts]:
        held = self.files.load()
        found, ours = held.certificate.identity, self.shown.identity
        if found != ours:
            raise TlsError(f"{self.files.cert}: is for {found.uri}, not {ours.uri}")
        return held, self._contexts()

    def _take(self, held: Held, contexts: Contexts) -> None:
        """All of it, or, with a TlsError, nothing."""
        trusted, roots_end_s = names_of(held.roots), end_of(held.roots)
        self.contexts = contexts
        self.shown = held.certificate
        self.roots = held.roots
        self.trusted, self.roots_end_s = trusted, roots_end_s
        # Of somebody else's CA it may be one that is in no file of ours.
        signed = [r for r in held.roots if self.shown.issuer in names_of((r,))]
        self.issuing_root = [*signed, held.roots[0]][0]
        begins_s, ends_s = self.shown.begins_s, self.shown.ends_s
        if ends_s - begins_s > _BACKDATED_S:
            begins_s += _BACKDATED_S
        share = _RENEW_AT - _RENEW_SPREAD * self.node.random.random()
        self.renew_at_s = begins_s + share * (ends_s - begins_s)

    def _contexts(self) -> Contexts:
        """Of the files, which somebody may be copying. Raises TlsError."""
        files = (self.files.cert, self.files.key, self.files.ca)
        return server_context(*files), client_context(*files)

    # -- what others are told ------------------------------------------------------

    @property
    def seconds_left(self) -> float:
        return self.shown.ends_s - time.time()

    @property
    def authority_seconds_left(self) -> float:
        return self.roots_end_s - time.time()

    def authority(self) -> str:
        """The root by which new certificates are made, as tokens know it."""
        return digest_of_root(self._trust.signing or self.roots[0]).hex()

    def own_root(self) -> bytes:
        """The root of what this node shows, PEM."""
        return ssl.DER_cert_to_PEM_cert(self.issuing_root).encode()

    def status(self) -> CertificatesStatus:
        """What this node knows of certificates, its own and those it is shown."""
        said, node = self._trust, self.node
        signing = said.signing or self.roots[0]
        table, raft = node.replica.database.member_table, node.replica.raft
        shown = {**vetting.shown(node.transport), node.member_id: self.shown}
        waits_for = said.waits_for(table.everybody(raft.configuration))
        return CertificatesStatus(
            phase=PHASES[said.phase],
            roots=tuple(
                Root(digest_of_root(root).hex(), root == signing)
                for root in said.roots or self.roots
            ),
            shown=tuple(
                Shown(
                    id_name(member),
                    serial_name(each.serial),
                    each.issuer,
                    int(each.ends_s - time.time()),
                )
                for member, each in sorted(shown.items())
            ),
            revoked=(
                *(Revoked(id_name(member), "") for member in said.members),
                *(Revoked("", serial_name(serial)) for serial in said.serials),
            ),
            waits_for=tuple(id_name(member) for member in waits_for),
        )

    def is_behind(self) -> bool:
        """Does it still show a certificate of another root than new ones are of?"""
        signing = self._trust.signing
        return signing is not None and self.issuing_root != signing

    @property
    def _trust(self) -> trust.TrustRecord:
        return self.node.replica.database.member_table.trust

    # -- who may speak -------------------------------------------------------------

    def objection(self, shown: PeerCertificate) -> str | None:
        """Why what a member shows is not good, though TLS let it in; None: it is."""
        member = shown.identity.member_id
        if self._trust.refuses(member, shown.serial):
            return _revoked(member, shown.serial, member in self._trust.members)
        if self._trust.roots and shown.issuer not in self.trusted:
            return f"a certificate by {shown.issuer}, which is not trusted any more"
        return None

    def revokes(self, shown: PeerCertificate) -> bool:
        return self._trust.refuses(shown.identity.member_id, shown.serial)

    # -- time ----------------------------------------------------------------------

    def start(self) -> None:
        """Raises RevokedCertificate."""
        reason = self._own_end()
        if reason is not None:
            raise RevokedCertificate(reason)

    def _own_end(self) -> str | None:
        return self.objection(self.shown) if self.revokes(self.shown) else None

    def tick(self) -> None:
        """Now and then: has the log said something, or is it time for a new one?"""
        node = self.node
        table = node.replica.database.member_table
        self.ticks += 1
        if self.followed != (table, table.version):
            self.followed = (table, table.version)
            self._follow()
        elif self.ticks % _LOOK_TICKS == 0:
            self._look()
            if self.ticks % _ENDED_TICKS == 0:
                # What was good when it was shown may go on; a newer one is better.
                vetting.renew(node.transport, time.time())
                self._warn_of_authority()

    def _warn_of_authority(self) -> None:
        """Once a day: nothing renews a CA but people."""
        now_s, left_s = time.time(), self.authority_seconds_left
        if left_s < _AUTHORITY_LATE_S and now_s >= self.warned_s + _DAY_S:
            self.warned_s = now_s
            logger.warning(
                "the CA ends in %s: `quorate certs rotate` makes another", span(left_s)
            )

    def _follow(self) -> None:
        reason = self._own_end()
        if reason is not None and not self.node.stopping:
            self.node.fail(RevokedCertificate(reason))
            return
        transport = self.node.transport
        vetting.review(transport, self.objection, self.revokes)
        for member in self._trust.members:
            if member in transport.known():
                self.node.background(transport.disconnect(member))
        self.retry_at_s = 0.0
        self._look()

    def _look(self) -> None:
        """Begin whatever is to be done next, one thing at a time."""
        node = self.node
        if self.working or node.stopping or node.loop.stopped:
            return
        if time.monotonic() < self.retry_at_s:
            return
        if self._wanted_roots() != self.roots:
            self._begin(self._change_roots())
        elif self._has_news() and not self.unsaid:
            # First: what a member has not said that it shows is not renewed while a
            # rotation issues.
            self._begin(self._present())
        elif self._is_due():
            self.unsaid = False
            self._begin(self._renew())

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        self.working = True
        self.node.background(self._to_its_end(work))

    async def _to_its_end(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        finally:
            self.working = False

    def _again_later(self, reason: str) -> None:
        """What could not be done is tried again, the sooner the less time is left."""
        pause_s = max(_RETRY_MIN_S, min(_RETRY_MAX_S, self.seconds_left * _RETRY_SHARE))
        if self._trust.phase != trust.SETTLED:
            pause_s = _RETRY_MIN_S
        self.retry_at_s = time.monotonic() + pause_s
        if reason != self.waits_for:
            logger.warning("%s; this one ends in %s", reason, span(self.seconds_left))
        self.waits_for = reason

    # -- the roots -----------------------------------------------------------------

    def _wanted_roots(self) -> tuple[bytes, ...]:
        said = self._trust
        if said.phase != trust.SETTLED:
            # Whatever is in the file stays until the rotation has ended.
            return tuple(dict.fromkeys((*self.roots, *said.roots)))
        return said.roots or self.roots

    async def _change_roots(self) -> None:
        wanted = self._wanted_roots()
        try:
            if self.shown.issuer not in names_of(wanted):
                reason = f"the cluster trusts {self.shown.issuer} no more"
                self._again_later(f"{reason}: this node needs a new certificate")
                return
            await _in_thread(lambda: self.files.keep_roots(wanted))
            await self._load()
        except (OSError, TlsError) as error:
            self._again_later(f"the roots can't be kept: {error}")
            return
        self._changed()
        logger.info("%d roots are trusted for peers", len(self.roots))
        self._look_again()

    def _changed(self) -> None:
        transport = self.node.transport
        vetting.use(transport, *self.contexts)
        vetting.review(transport, self.objection, self.revokes)
        self.waits_for = ""

    def _look_again(self) -> None:
        """There may be more to do: somebody may wait for it."""
        asyncio.get_running_loop().call_soon(self._look)

    # -- a new certificate ---------------------------------------------------------

    def renew(self) -> None:
        """Somebody has put another certificate there, or wants a new one to be made."""
        self.asked, self.retry_at_s = True, 0.0
        self._look()

    async def _read_again(self) -> bool:
        """Whether there were other files than those that are in use."""
        before = (self.shown, self.roots)
        await self._load()
        if (self.shown, self.roots) == before:
            return False
        self._changed()
        vetting.renew(self.node.transport)
        logger.info("the certificate was read again: %s", self._description())
        return True

    def _description(self) -> str:
        serial = serial_name(self.shown.serial)
        return f"{serial}, by {self.shown.issuer}, for {span(self.seconds_left)}"

    def _is_due(self) -> bool:
        issuing = self._trust.phase == trust.ISSUING
        late = time.time() >= self.renew_at_s
        return late or self.asked or (issuing and self.is_behind())

    async def _renew(self) -> None:
        node = self.node
        try:
            if self.asked and await self._read_again():
                self.asked = False
                return
            request, key = await _in_thread(lambda: _request(node.config.name))
            certificate = await self._signed(request)
            await self._keep(certificate, key)
        except (HelloError, OSError, TlsError) as error:
            self._again_later(f"no new certificate: {error}")
            return
        self.asked = False
        self.renewals += 1
        self._changed()
        vetting.renew(node.transport)
        logger.info("a new certificate: %s", self._description())
        self._look_again()

    async def _keep(self, certificate: bytes, key: bytes) -> None:
        shown = self.shown
        await _in_thread(lambda: self.files.keep_pair(certificate, key, shown))
        # Should it not be read now, it is next time, and no other one made.
        self.asked = True
        await self._load()

    async def _signed(self, request: bytes) -> bytes:
        """By ourselves, or by the first member that can. Raises HelloError."""
        node = self.node
        if await node.signer.ready():
            return await node.signer.sign(request, node.config.name, node.member_id)
        reason = NOBODY_SIGNS
        for member in node.transport.reached():
            try:
                return await node.transport.ask_to_renew(member, request)
            except (HelloError, OSError, TimeoutError) as error:
                if str(error) == NOT_SPOKEN_BY:
                    # A link that is older than what is shown now: the next try is by
                    # another one.
                    vetting.renew(node.transport)
                if str(error) != NO_KEY:
                    reason = str(error) or "no answer in time"
        raise HelloError(reason)

    # -- what the others wait for --------------------------------------------------

    def _said(self) -> Present:
        return Present(
            self.node.member_id,
            self.shown.serial,
            digest_of_root(self.issuing_root),
            tuple(
                digest_of_root(root) for root in self._trust.roots if root in self.roots
            ),
        )

    def _has_news(self) -> bool:
        """During a rotation the next step waits until everybody has spoken."""
        said = self._trust
        if said.phase == trust.SETTLED or not self.node.replica.raft.leader_id:
            return False
        ours = self._said()
        return trust.presented(said, ours) != said and self.sayings.due(ours)

    async def _present(self) -> None:
        try:
            await self.sayings.say(self._said())
        except Refused as refused:
            self.retry_at_s = time.monotonic() + _RETRY_MIN_S
            # A certificate may be due meanwhile.
            self.unsaid = self._is_due()
            logger.debug("what is shown was not written down: %s", refused.reason)


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, work)


def _request(name: str) -> tuple[bytes, bytes]:
    """In a thread: what certificates are made of takes long to import."""
    from . import certificates

    return certificates.request_renewal(name=name)


def _revoked(member: int, serial: bytes, whole: bool) -> str:
    if whole:
        return f"member {member:016x} was revoked; a new member needs a new folder"
    return (
        f"the certificate {serial_name(serial)} of member {member:016x} was revoked;"
        " another one is made by `quorate certs issue`"
    )


def span(seconds: float) -> str:
    """A time for people, in the largest unit of which there are two."""
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
