"""Those at the peer port who are nobody yet, or nobody any more."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

import pytest
from quorate.node import transport
from quorate.node.config import _BOUNDS
from quorate.node.peer_hello import (
    HelloError,
    Introduction,
    Stream,
    Unable,
    encode_join,
    parse_join_answer,
)
from quorate.node.peer_session import BUFFER_BYTES_MAX, NOBODY, Session
from quorate.node.peer_wire import FRAME_BYTES_MAX
from quorate.node.replica import ForwardReply
from quorate.node.tls import PeerCertificate
from quorate.node.transport import Transport

from .test_vetting import GOOD, certificate

MEMBER = 2


class Wire:
    """A connection below TLS; what was written, and whether it has ended."""

    def __init__(self, lost: Callable[[None], None]) -> None:
        self.lost = lost
        self.written = b""
        self.waiting = 0
        self.ended = False

    def get_extra_info(self, name: str) -> object:
        return ("10.0.0.1", 9) if name == "peername" else None

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True
        asyncio.get_running_loop().call_soon(self.lost, None)

    abort = close


class Node:
    """Who was removed is known to it at once."""

    cluster_id, member_id, parting = 0xC1, 1, False

    def __init__(self) -> None:
        self.removed = False
        self.strangers: list[str] = []

    def objection(self, shown: PeerCertificate) -> str | None:
        return "it was removed" if self.removed else None

    def sent_away(self, shown: PeerCertificate) -> bool:
        return self.removed

    def introduction(self, to: int) -> Introduction:
        return Introduction(0xC1, 1, to, 1, 1, "n1", "http://h:1", b"1234")

    async def meet(self, who: Introduction) -> None:
        """Its boot is durable after a while, and meanwhile it is removed."""
        self.removed = True

    def stranger(self, where: str, reason: str) -> None:
        self.strangers.append(reason)

    async def joins(self, body: bytes, *, relayed: bool) -> bytes:
        """What is wrong with the request is nothing that anybody thought of."""
        raise NotImplementedError


class Slow(Node):
    """It takes its time, say since it asks others."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = asyncio.Event()
        self.free = asyncio.Event()

    async def joins(self, body: bytes, *, relayed: bool) -> bytes:
        self.busy.set()
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            self.free.set()


def session(node: Node, certified: int) -> Session:
    made = Session(cast(Any, node))
    made.transport = cast(Any, Wire(made.connection_lost))
    made.certified = certified
    if certified != NOBODY:
        made.shown = certificate(GOOD, certified)
    return made


def listening(node: Node) -> Transport:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return Transport(cast(Any, node), context, context, lambda: 0.5)


def has_ended(one: Session) -> bool:
    return one.transport is not None and one.transport.is_closing()


async def test_who_is_removed_during_its_hello_is_not_welcomed() -> None:
    """Story: whether it may speak was asked when TLS was done, and never again. It held
    its hello back, was removed, was welcomed, and could write for ever.
    """
    node = Node()
    one = session(node, MEMBER)
    await one._meet(Introduction(0xC1, MEMBER, 1, 1, 5, "n2", "http://h:2", b"1234"))
    assert one.member == 0
    assert node.strangers == ["it was removed"]
    assert has_ended(one)


async def test_who_has_left_is_parted_with_before_it_has_said_hello() -> None:
    all_of_it = listening(Node())
    silent, other = session(Node(), MEMBER), session(Node(), 3)
    all_of_it._opened(silent)
    all_of_it._opened(other)
    await all_of_it.disconnect(MEMBER)
    assert (has_ended(silent), has_ended(other)) == (True, False)


async def test_strangers_hold_a_few_connections_and_members_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Story: a stranger who says nothing was counted nowhere, and held a descriptor
    for half a minute; some thousands, and the journal had none.
    """
    monkeypatch.setattr(transport, "UNKNOWN_MAX", 3)
    all_of_it = listening(Node())
    strangers = [session(Node(), NOBODY) for _ in range(5)]
    for one in strangers:
        all_of_it._opened(one)
    assert [has_ended(one) for one in strangers] == [False] * 3 + [True] * 2
    member = session(Node(), MEMBER)
    all_of_it._opened(member)
    assert not has_ended(member)
    # Who has ended makes room.
    strangers[0].connection_lost(None)
    await strangers[0].closed
    for one in strangers[3:]:
        one.connection_lost(None)
    last = session(Node(), NOBODY)
    all_of_it.accepted -= {strangers[0], *strangers[3:]}
    all_of_it._opened(last)
    assert not has_ended(last)


async def test_what_can_not_be_answered_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Story: a request for a certificate of another version was an error that nobody
    caught, and the connection stayed, without a word in the log. With 32 of them, for
    which it took no token, no newcomer was heard for as long as they were held.
    """
    one = session(Node(), NOBODY)
    one.data_received(encode_join(b"nonsense"))
    async with asyncio.timeout(30):
        await one.closed
    assert "a request to join has no answer" in caplog.text


async def test_who_hangs_up_takes_the_place_of_nobody_who_asks() -> None:
    """Story: its request went on for up to half a minute, as one of eight."""
    node = Slow()
    one = session(node, NOBODY)
    one.data_received(encode_join(b"body"))
    async with asyncio.timeout(30):
        await node.busy.wait()
        assert one.transport is not None
        one.transport.abort()
        await node.free.wait()
    assert has_ended(one)
    assert node.strangers == []


async def test_where_a_member_has_come_from_is_remembered_when_it_has_gone() -> None:
    all_of_it, member = listening(Node()), session(Node(), MEMBER)
    member.member, member.stream = MEMBER, Stream.GOSSIP
    all_of_it._opened(member)
    assert not all_of_it.handshakes.hosts
    all_of_it._met(member)
    member.connection_lost(None)
    assert list(all_of_it.handshakes.hosts) == ["10.0.0.1"]


async def test_no_goodbye_is_said_where_there_was_no_room_for_an_answer() -> None:
    """Story: it was dropped, and a goodbye followed that there was room for. Who had
    handed the write on took it for one that was not done, and handed it on once more.
    """
    all_of_it = listening(Node())
    full = session(Node(), MEMBER)
    full.member, full.stream = MEMBER, Stream.FORWARD
    wire = cast(Wire, full.transport)
    wire.waiting = BUFFER_BYTES_MAX
    all_of_it._opened(full)
    all_of_it._met(full)
    assert all_of_it.send([ForwardReply(1, MEMBER, 5, 0, b"done")]) == []
    wire.waiting = 0
    other = session(Node(), 3)
    other.member, other.stream = 3, Stream.FORWARD
    all_of_it._opened(other)
    all_of_it.say_goodbye()
    assert (wire.written, wire.ended) == (b"", False)
    assert cast(Wire, other.transport).written


async def test_what_is_larger_than_may_wait_goes_when_nothing_does() -> None:
    """Story: with `request_bytes_max` at 64 MiB one entry was larger than a connection
    took, and was tried for ever while all others waited behind it.
    """
    one = session(Node(), MEMBER)
    one.member = MEMBER
    wire = cast(Wire, one.transport)
    large = bytes(BUFFER_BYTES_MAX + 1)
    wire.waiting = 1
    assert not one.write(large)
    wire.waiting = 0
    assert one.write(large)
    most = _BOUNDS["request_bytes_max"][1]
    assert most + (1 << 20) < FRAME_BYTES_MAX


@pytest.mark.parametrize(
    ("refusal", "counted"),
    [(Unable("no key here"), []), (HelloError("stolen"), ["stolen"])],
    ids=["unable", "refused"],
)
async def test_a_member_that_asks_who_can_not_sign_is_no_stranger(
    refusal: HelloError, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: without a node that signs all members ask all, again and again. Each was
    told of as a stranger, and counted where people are to be alerted.
    """
    node = Node()
    one = session(node, MEMBER)

    async def renews(shown: PeerCertificate, request: bytes) -> bytes:
        raise refusal

    monkeypatch.setattr(node, "renews", renews, raising=False)
    await one._let_in(b"request", renews=True)
    with pytest.raises(HelloError, match=str(refusal)):
        parse_join_answer(cast(Any, one.transport).written)
    assert node.strangers == counted
    assert has_ended(one)
