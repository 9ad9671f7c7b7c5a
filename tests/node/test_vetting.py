"""Certificates change: whose connection is cut, whose is renewed, and whose stays."""

import asyncio
import ssl
from typing import Any, cast

import pytest
from quorate.node import vetting
from quorate.node.peer_hello import Stream
from quorate.node.tls import Kind, PeerCertificate, PeerIdentity
from quorate.node.transport import Transport

STOLEN, GOOD = b"\x01", b"\x02"
CLUSTER = 0xC1


def certificate(
    serial: bytes, member: int = 2, ends_s: float = 1000.0
) -> PeerCertificate:
    identity = PeerIdentity(CLUSTER, Kind.MEMBER, member_id=member)
    return PeerCertificate(identity, serial, "a CA", 0.0, ends_s)


class Session:
    """A connection; what became of it is kept."""

    def __init__(self, shown: PeerCertificate | None) -> None:
        self.shown = shown
        self.fate = ""
        self.ended = asyncio.Event()

    def abort(self) -> None:
        self.fate = "cut off"
        self.ended.set()

    def close(self) -> None:
        self.fate = "closed"
        self.ended.set()


class Link:
    """A connection that this node keeps up."""

    def __init__(self, shown: PeerCertificate | None) -> None:
        self.session = Session(shown)
        self.context: object = None
        self.former: set[Session] = set()
        self.renewed: list[bool] = []

    def renew(self, *, must: bool = False) -> None:
        self.renewed.append(must)


class Connections:
    """The part of a transport that is looked at."""

    def __init__(self, *links: Link) -> None:
        self.accepted: set[Session] = set()
        self.passing: set[Session] = set()
        self.links = {
            (number, Stream.RAFT): link for number, link in enumerate(links, start=2)
        }
        self.server_context: object = None
        self.client_context: object = None

    @property
    def all(self) -> Transport:
        return cast(Any, self)


def is_stolen(shown: PeerCertificate) -> bool:
    return shown.serial == STOLEN


def objection(shown: PeerCertificate) -> str | None:
    return "it was stolen" if is_stolen(shown) else None


@pytest.mark.parametrize("place", ["accepted", "passing"])
async def test_who_has_shown_what_was_revoked_is_cut_off_at_once(place: str) -> None:
    connections = Connections()
    thief, owner = Session(certificate(STOLEN)), Session(certificate(GOOD))
    nobody = Session(None)
    getattr(connections, place).update((thief, owner, nobody))
    vetting.review(connections.all, objection, is_stolen)
    assert (thief.fate, owner.fate, nobody.fate) == ("cut off", "", "")


async def test_who_dialled_with_what_is_not_good_any_more_has_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vetting, "GRACE_S", 0.0)
    connections = Connections()
    old = Session(certificate(STOLEN))
    connections.accepted.add(old)
    vetting.review(connections.all, objection, lambda shown: False)
    assert old.fate == ""
    await asyncio.wait_for(old.ended.wait(), 60)
    assert old.fate == "closed"


async def test_a_link_to_whoever_shows_what_is_not_good_is_dialled_anew() -> None:
    bad, good = Link(certificate(STOLEN)), Link(certificate(GOOD))
    vetting.review(Connections(bad, good).all, objection, is_stolen)
    assert (bad.renewed, good.renewed) == ([True], [])


async def test_a_link_to_whoever_shows_what_was_revoked_is_cut_off_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dialling anew was all, and the polite end of the old one: to a node that stood
    still connections stayed open for half a minute."""
    monkeypatch.setattr(vetting, "REDIAL_S", 0.0)
    link, other = Link(certificate(STOLEN)), Link(certificate(GOOD))
    before = Session(certificate(STOLEN))
    link.former.add(before)
    vetting.review(Connections(link, other).all, objection, is_stolen)
    assert link.session.fate == before.fate == ""
    await asyncio.wait_for(link.session.ended.wait(), 60)
    await asyncio.wait_for(before.ended.wait(), 60)
    assert link.session.fate == before.fate == "cut off"
    assert other.session.fate == ""


async def test_links_are_renewed_where_a_certificate_has_ended() -> None:
    ended, going_on = Link(certificate(GOOD)), Link(certificate(GOOD, ends_s=3000.0))
    unknown = Link(None)
    connections = Connections(ended, going_on, unknown)
    vetting.renew(connections.all, 1000.0)
    assert [len(each.renewed) for each in (ended, going_on, unknown)] == [1, 0, 0]
    vetting.renew(connections.all)
    assert [len(each.renewed) for each in (ended, going_on, unknown)] == [2, 1, 1]


async def test_new_contexts_are_for_connections_to_come() -> None:
    link = Link(certificate(GOOD))
    connections = Connections(link)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    vetting.use(connections.all, server, client)
    assert connections.server_context is server
    assert connections.client_context is link.context is client
    assert link.session.fate == ""


async def test_what_others_show_is_known_by_the_links_to_them() -> None:
    shown = certificate(GOOD)
    assert vetting.shown(Connections(Link(shown), Link(None)).all) == {2: shown}
