"""Where a link dials: the log's word, then gossip's, and first where it was found.

And when it dials no more: its member was removed, or this one was.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from quorate.node import transport
from quorate.node.address import Address, parse_address
from quorate.node.peer_hello import HelloError, Stream
from quorate.node.peer_session import Host, Session
from quorate.node.peer_wire import Frame, FrameParser, SentAway
from quorate.node.transport import Link, Transport

LOG, HEARD = parse_address("10.0.0.1:1"), parse_address("10.0.0.2:2")


class Ended:
    """A session that is over when the test says so."""

    def __init__(self) -> None:
        self.member = 2
        self.certified = 2
        self.polite = False
        # Whoever is at the other end stands still, and takes part in no end.
        self.paused = False
        self.sent_bytes = 0
        self.transport = None
        self.told: list[Frame] = []
        self.closed = asyncio.get_running_loop().create_future()

    def write(self, data: bytes) -> bool:
        self.told += FrameParser().feed(data)
        return True

    def abort(self) -> None:
        self.paused = False
        self.close()

    def close(self) -> None:
        if not self.paused and not self.closed.done():
            self.closed.set_result(None)


class Net:
    """Who listens where; and what the node is told."""

    def __init__(self) -> None:
        self.listening: dict[Address, Exception | None] = {}
        self.dialled: list[Address] = []
        self.parting = False
        self.refusals = 0
        self.ups = 0
        self.downs = 0
        self.sessions: list[Ended] = []
        self.changed = asyncio.Event()
        self.pauses = 0

    def jitter(self) -> float:
        """Asked once before each pause."""
        self.pauses += 1
        return 0.0

    async def dial(
        self,
        host: Host,
        member: int,
        address: Address,
        stream: Stream,
        context: ssl.SSLContext,
    ) -> Session:
        self.dialled.append(address)
        self.changed.set()
        await asyncio.sleep(0)
        error = self.listening.get(address, ConnectionRefusedError())
        if error is not None:
            raise error
        session = Ended()
        self.sessions.append(session)
        return cast(Session, session)

    def link_up(self, member: int) -> None:
        self.ups += 1

    def link_down(self, member: int, stream: Stream, polite: bool) -> None:
        self.downs += 1

    def link_refused(self, member: int) -> None:
        self.refusals += 1

    async def until_dialled(self, count: int) -> list[Address]:
        async with asyncio.timeout(30):
            while len(self.dialled) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.dialled[:count]

    async def until_up(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.sessions) < count:
                self.changed.clear()
                await asyncio.sleep(0)


@asynccontextmanager
async def linked(
    net: Net, monkeypatch: pytest.MonkeyPatch, stream: Stream = Stream.RAFT
) -> AsyncGenerator[Link]:
    monkeypatch.setattr(transport, "_dial", net.dial)
    monkeypatch.setattr(transport, "RETRY_MIN_S", 0.0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    link = Link(cast(Host, net), 2, LOG, stream, context, net.jitter)
    try:
        yield link
    finally:
        await link.close()


async def test_gossips_word_is_dialled_when_the_logs_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net()
    async with linked(net, monkeypatch) as link:
        link.heard = HEARD
        assert await net.until_dialled(4) == [LOG, HEARD, LOG, HEARD]


async def test_who_welcomes_and_ends_it_at_once_is_not_dialled_without_a_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a member of another build does that understands no frame of ours. It had as
    many handshakes as the processors could do.
    """
    net = Net()
    net.listening = {LOG: None}
    async with linked(net, monkeypatch):
        for count in range(1, 6):
            await net.until_up(count)
            net.sessions[-1].close()
        await net.until_dialled(6)
        assert net.pauses >= 5


async def test_what_a_link_died_of_is_told_once_and_ends_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Story: it was told when its member was removed, and then by ending every node."""
    net = Net()
    net.listening[LOG] = RuntimeError("a bug")
    async with linked(net, monkeypatch) as link:
        await asyncio.wait((link.task,))
    assert caplog.text.count("a bug") == 1


async def test_the_logs_address_is_enough_where_it_leads_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net()
    net.listening = {LOG: None, HEARD: None}
    async with linked(net, monkeypatch) as link:
        link.heard = HEARD
        await net.until_up(1)
        assert net.dialled == [LOG]


async def test_a_member_that_was_found_by_hearsay_is_looked_for_there_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net()
    net.listening = {HEARD: None}
    async with linked(net, monkeypatch) as link:
        link.heard = HEARD
        await net.until_up(1)
        net.sessions[0].close()
        await net.until_up(2)
        assert net.dialled == [LOG, HEARD, HEARD]


async def test_what_the_log_says_anew_comes_first_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net()
    net.listening = {HEARD: None}
    new = parse_address("10.0.0.3:3")
    async with linked(net, monkeypatch) as link:
        link.heard = HEARD
        await net.until_up(1)
        link.move(new)
        net.sessions[0].close()
        await net.until_up(2)
        assert net.dialled == [LOG, HEARD, new, HEARD]


async def test_nobody_at_a_place_that_gossip_names_is_no_hint_for_elections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I-66: else a lie could make a leader look dead."""
    net = Net()
    net.listening = {LOG: HelloError("busy")}
    async with linked(net, monkeypatch) as link:
        link.heard = HEARD
        await net.until_dialled(6)
        assert net.refusals == 0
        net.listening = {}
        await net.until_dialled(10)
        assert net.refusals > 0


async def test_the_stream_of_gossip_is_no_hint_for_elections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net()
    async with linked(net, monkeypatch, Stream.GOSSIP):
        await net.until_dialled(4)
        net.listening = {LOG: None}
        await net.until_up(1)
        assert (net.refusals, net.ups) == (0, 0)


async def test_a_new_connection_takes_the_place_of_one_without_a_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net()
    net.listening = {LOG: None}
    monkeypatch.setattr(transport, "GRACE_S", 0.01)
    async with linked(net, monkeypatch) as link:
        await net.until_up(1)
        link.renew()
        assert link.connected
        await net.until_up(2)
        old, new = net.sessions
        # What is under way on the old one still arrives.
        assert link.renewal is not None
        await link.renewal
        assert link.session is cast(Session, new)
        assert not old.closed.done()
        await old.closed
        await asyncio.sleep(0)
        assert (net.ups, net.downs) == (1, 0)
        # And when the new one breaks, that is noticed as ever.
        new.close()
        await net.until_up(3)
        assert (net.ups, net.downs) == (2, 1)


async def test_a_break_of_the_new_connection_is_not_hidden_by_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net()
    net.listening = {LOG: None}
    async with linked(net, monkeypatch) as link:
        await net.until_up(1)
        link.renew()
        await net.until_up(2)
        old, new = net.sessions
        assert link.renewal is not None
        await link.renewal
        new.close()
        await net.until_up(3)
        assert net.downs == 1
        assert not old.closed.done()


@pytest.mark.parametrize("must", [False, True])
async def test_a_connection_that_must_end_does_so_also_without_another(
    must: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net()
    net.listening = {LOG: None}
    async with linked(net, monkeypatch) as link:
        await net.until_up(1)
        net.listening = {LOG: HelloError("it shows what was revoked")}
        link.renew(must=must)
        await net.until_dialled(2)
        assert link.renewal is not None
        await link.renewal
        assert net.sessions[0].closed.done() is must
        if must:
            await net.until_dialled(3)
            assert net.downs == 1


async def test_who_parts_dials_nobody_again(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    net.listening = {LOG: None}
    async with linked(net, monkeypatch) as link:
        await net.until_up(1)
        net.parting = True
        net.sessions[0].close()
        await asyncio.wait_for(link.task, 30)
        assert net.downs == 1
        assert net.dialled == [LOG]


@asynccontextmanager
async def transported(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Transport]:
    """A transport that is linked to member 2, as far as `net` lets it be."""
    monkeypatch.setattr(transport, "_dial", net.dial)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made = Transport(cast(Host, net), context, context, lambda: 0.0)
    made.connect(2, LOG)
    try:
        yield made
    finally:
        await made.close()


async def test_a_member_that_was_removed_is_told_and_ends_its_connections_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net()
    net.listening = {LOG: None}
    monkeypatch.setattr(transport, "PARTING_S", 30.0)
    async with transported(net, monkeypatch) as made:
        await net.until_up(3)
        parting = asyncio.ensure_future(made.send_away(2))
        await asyncio.sleep(0)
        [told] = [each for each in net.sessions if each.told]
        assert told.told == [SentAway()]
        # What is under way still arrives.
        assert made.connected(2)
        told.close()
        await asyncio.wait_for(parting, 10)
        assert not made.known()


async def test_who_was_removed_and_does_not_go_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net()
    net.listening = {LOG: None}
    monkeypatch.setattr(transport, "PARTING_S", 0.01)
    async with transported(net, monkeypatch) as made:
        await net.until_up(3)
        await made.send_away(2)
        assert not made.known()
        assert all(each.closed.done() for each in net.sessions)


async def test_who_was_removed_and_is_not_there_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net()
    monkeypatch.setattr(transport, "PARTING_S", 3600.0)
    async with transported(net, monkeypatch) as made:
        await net.until_dialled(1)
        await asyncio.wait_for(made.send_away(2), 30)
        assert not made.known()


@pytest.mark.parametrize("ending", ["the node", "its links"])
async def test_who_stands_still_is_waited_for_once_and_not_for_long(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: two times 30 s, the bound of TLS, while systemd waits 30 s for all."""
    net = Net()
    net.listening = {LOG: None}
    async with transported(net, monkeypatch) as made:
        await net.until_up(3)
        accepted = [Ended() for _ in range(3)]
        made.accepted.update(cast(list[Session], accepted[:2]))
        made.passing.add(cast(Session, accepted[2]))
        for each in [*net.sessions, *accepted]:
            each.paused = True
        monkeypatch.setattr(transport, "PARTING_S", 0.4)
        try:
            async with asyncio.timeout(0.8):
                await (made.close() if ending == "the node" else made.disconnect(2))
            assert all(each.closed.done() for each in [*net.sessions, *accepted])
        finally:
            for each in [*net.sessions, *accepted]:
                each.abort()


async def test_where_a_member_was_reached_or_has_come_from_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net()
    net.listening = {LOG: None}
    met: list[object] = []
    async with linked(net, monkeypatch) as link:
        link.reached = met.append
        await net.until_up(1)
        await asyncio.sleep(0)
        assert met == [link.session]
