"""New certificates for members that show one: who gets none though TLS let it in."""

from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from quorate.node import admission, vetting
from quorate.node.admission import (
    AT_ONCE_MAX,
    NOT_SPOKEN_BY,
    Admission,
    objection_to_renewal,
)
from quorate.node.credentials import Credentials
from quorate.node.database.trust import (
    ISSUING,
    SETTLED,
    TRUSTING,
    Presented,
    TrustRecord,
)
from quorate.node.peer_hello import HelloError, Unable
from quorate.node.signing import NO_KEY
from quorate.node.tls import PeerCertificate

from .test_vetting import GOOD, STOLEN, certificate

SHOWN = Presented(2, GOOD, b"i" * 32, (b"o" * 32, b"n" * 32))


class FakeSession:
    def __init__(self, shown: PeerCertificate, member: int) -> None:
        self.shown, self.member = shown, member
        self.is_closed = False
        self.closed = SimpleNamespace(done=lambda: self.is_closed)


class Node:
    """Has the key; what was revoked it learns when it catches up."""

    def __init__(self, trust: TrustRecord, revoked: bytes = b"") -> None:
        table = SimpleNamespace(trust=trust)
        self.replica = SimpleNamespace(database=SimpleNamespace(member_table=table))
        self.roster = self
        self.signer = self
        self.has_key = True
        self.behind, self.revoked = True, revoked
        self.signed: list[bytes] = []
        self.transport = SimpleNamespace(accepted=[])
        self.speaks_by(certificate(GOOD))

    def speaks_by(self, shown: PeerCertificate, hello: bool = True) -> "FakeSession":
        """Somebody dials with it."""
        session = FakeSession(shown, shown.identity.member_id if hello else 0)
        self.transport.accepted.append(session)
        return session

    def place_of(self, member: int) -> tuple[str, str, str]:
        return "n2", "", ""

    async def ready(self) -> bool:
        return self.has_key

    async def sign(self, request: bytes, name: str, member: int) -> bytes:
        self.signed.append(request)
        return b"a certificate"

    def objection(self, shown: PeerCertificate) -> str | None:
        known = not self.behind and shown.serial == self.revoked
        return "it was revoked" if known else None


@pytest.fixture(autouse=True)
def no_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def catch_up(node: Node, timeout_ms: int) -> None:
        node.behind = False

    monkeypatch.setattr(admission, "catch_up", catch_up)


def admitting(node: Node) -> Admission:
    return Admission(cast(Any, node))


async def test_a_member_gets_a_new_certificate() -> None:
    node = Node(TrustRecord())
    assert await admitting(node).renew(certificate(GOOD), b"r") == b"a certificate"
    assert node.signed == [b"r"]


async def test_what_was_revoked_is_not_renewed_by_a_signer_that_is_behind() -> None:
    """Story: it looked at what it had applied, which lacked the revocation yet, and
    made the thief a certificate that nobody knew of.
    """
    node = Node(TrustRecord(), revoked=STOLEN)
    node.speaks_by(certificate(STOLEN))
    with pytest.raises(HelloError, match="revoked"):
        await admitting(node).renew(certificate(STOLEN), b"r")
    assert node.signed == []


async def test_the_old_ca_makes_no_certificates_of_the_new_one() -> None:
    """Story: while a rotation issues, both roots are trusted. Who had the old CA's key
    made a certificate in a member's name, and got one of the new root for it.
    """
    node = Node(TrustRecord(ISSUING, (b"old", b"new"), (SHOWN,)))
    node.speaks_by(certificate(STOLEN))
    node.speaks_by(certificate(GOOD, member=3))
    with pytest.raises(HelloError, match="has said"):
        await admitting(node).renew(certificate(STOLEN), b"r")
    with pytest.raises(HelloError, match="has said"):
        await admitting(node).renew(certificate(GOOD, member=3), b"r")
    assert node.signed == []
    await admitting(node).renew(certificate(GOOD), b"r")
    assert node.signed == [b"r"]


async def test_a_certificate_is_renewed_while_its_member_speaks_by_it() -> None:
    """Story: who had stolen a certificate had it renewed, and that one again, for ever;
    also when the member itself had shown another one for years.
    """
    node = Node(TrustRecord())
    with pytest.raises(HelloError, match="does not speak"):
        await admitting(node).renew(certificate(STOLEN), b"r")
    # Who has not said hello yet has proved nothing but that he has the key.
    node.speaks_by(certificate(STOLEN), hello=False)
    with pytest.raises(HelloError, match="does not speak"):
        await admitting(node).renew(certificate(STOLEN), b"r")
    node.speaks_by(certificate(STOLEN)).is_closed = True
    with pytest.raises(HelloError, match="does not speak"):
        await admitting(node).renew(certificate(STOLEN), b"r")
    assert node.signed == []


async def test_a_member_that_speaks_by_an_older_certificate_dials_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A link stays when it can't be renewed; by that one no certificate is renewed."""
    renewed: list[object] = []
    monkeypatch.setattr(vetting, "renew", renewed.append)

    async def asked(member: int, request: bytes) -> bytes:
        raise HelloError(NOT_SPOKEN_BY if member == 3 else NO_KEY)

    ours = Credentials.__new__(Credentials)
    node = Node(TrustRecord())
    node.has_key = False
    node.transport = SimpleNamespace(reached=lambda: [1, 3], ask_to_renew=asked)
    ours.node = cast(Any, node)
    with pytest.raises(HelloError, match="does not speak"):
        await ours._signed(b"r")
    assert renewed == [node.transport]
    # The others have no key: what helps is said.
    node.transport.reached = lambda: [1]
    with pytest.raises(HelloError, match=r"peer\.authority of one"):
        await ours._signed(b"r")


@pytest.mark.parametrize("phase", [SETTLED, TRUSTING])
def test_whatever_is_good_is_renewed_by_the_root_that_signed_it(phase: int) -> None:
    trust = TrustRecord(phase, (b"old", b"new"), (SHOWN,))
    assert objection_to_renewal(trust, certificate(STOLEN)) is None


async def test_who_joins_keeps_no_member_from_its_certificate() -> None:
    """Story: the two shared one count, and strangers could hold all of it."""
    node = Node(TrustRecord())
    all_of_it = admitting(node)
    all_of_it.busy = AT_ONCE_MAX
    assert await all_of_it.renew(certificate(GOOD), b"r")
    all_of_it.renewing = AT_ONCE_MAX
    with pytest.raises(HelloError, match="try again"):
        await all_of_it.renew(certificate(GOOD), b"r")


async def test_a_node_without_a_key_says_so() -> None:
    node = Node(TrustRecord())
    node.has_key = False
    with pytest.raises(Unable, match=NO_KEY):
        await admitting(node).renew(certificate(GOOD), b"r")


def always(self: Credentials) -> bool:
    return True


def no_roots(self: Credentials) -> tuple[bytes, ...]:
    return ()


@pytest.mark.parametrize(("unsaid", "first"), [(False, "_present"), (True, "_renew")])
def test_what_is_shown_is_said_before_it_is_renewed(
    monkeypatch: pytest.MonkeyPatch, unsaid: bool, first: str
) -> None:
    """Story: a member whose certificate was renewed at the wrong moment of a rotation
    was due for another one for ever, was refused it, since it had not said what it
    showed, and never came to say it. The rotation waited for it for ever.
    """
    begun: list[str] = []

    def begin(self: Credentials, work: Coroutine[None, None, None]) -> None:
        begun.append(work.__name__)
        work.close()

    monkeypatch.setattr(Credentials, "_begin", begin)
    monkeypatch.setattr(Credentials, "_is_due", always)
    monkeypatch.setattr(Credentials, "_has_news", always)
    monkeypatch.setattr(Credentials, "_wanted_roots", no_roots)
    ours = Credentials.__new__(Credentials)
    loop = SimpleNamespace(stopped=False)
    ours.node = cast(Any, SimpleNamespace(stopping=False, loop=loop))
    ours.working, ours.retry_at_s, ours.roots = False, 0.0, ()
    ours.unsaid = unsaid
    ours._look()
    assert begun == [first]
