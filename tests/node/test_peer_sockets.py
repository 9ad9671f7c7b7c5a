"""When a connection between peers is given up: what its sockets are told, and do.

Two transports on loopback, with TLS and hello, on the loop of the tests and on the one
that nodes have.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from quorate.node import peer_session
from quorate.node.address import Address
from quorate.node.certificates import create_authority, issue_member
from quorate.node.peer_hello import Introduction, Stream
from quorate.node.peer_session import BUFFER_BYTES_MAX, TRANSFER_TIMEOUT_S, Session
from quorate.node.tls import PeerCertificate, client_context, server_context
from quorate.node.transport import LINKED, Transport

CLUSTER = 0xC1
SOME_S = 30.0
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Member:
    """A host that lets everybody in and keeps what is said on no stream."""

    cluster_id, parting = CLUSTER, False

    def __init__(self, directory: Path, member_id: int) -> None:
        self.member_id = member_id
        files = [str(directory / n) for n in ("node.crt", "node.key", "ca.crt")]
        self.transport = Transport(
            cast(Any, self),
            server_context(*files),
            client_context(*files),
            lambda: 0.5,
        )

    def introduction(self, to: int) -> Introduction:
        return Introduction(CLUSTER, self.member_id, to, 1, 1, "n", "", b"1234")

    def objection(self, shown: PeerCertificate) -> str | None:
        del shown

    async def meet(self, who: Introduction) -> None:
        """No boot is an old copy."""

    def link_up(self, member: int) -> None: ...
    def link_refused(self, member: int) -> None: ...
    def link_down(self, member: int, stream: Stream, polite: bool) -> None: ...
    def gossip_stream(self, member: int, session: Session) -> None: ...
    def snapshot_stream(self, member: int, session: Session) -> None: ...

    def stranger(self, where: str, reason: str) -> None:
        """A dial that the end of a test has cut off."""

    def accepted(self, stream: Stream) -> Session | None:
        """What was dialled here for it."""
        for session in self.transport.accepted:
            if session.stream is stream and session.member:
                return session
        return None

    async def dial(self, stream: Stream, there: "Member") -> tuple[Session, Session]:
        """A connection that both have said hello on: this end, and the other one."""
        if stream is Stream.SNAPSHOT:
            near = await self.transport.dial_snapshot(there.member_id)
        else:
            near = self.transport.links[there.member_id, stream].session
        far = there.accepted(stream)
        while near is None or far is None:
            await asyncio.sleep(0.01)
            near = self.transport.links[there.member_id, stream].session
            far = there.accepted(stream)
        return near, far


@asynccontextmanager
async def two_members(directory: Path) -> AsyncGenerator[tuple[Member, Member]]:
    authority = create_authority(directory / "ca", cluster_id=CLUSTER)
    members: list[Member] = []
    for number in (1, 2):
        folder = directory / str(number)
        issue_member(authority, folder, name=f"n{number}", member_id=number)
        members.append(Member(folder, number))
    one, two = members
    await two.transport.listen(Address("127.0.0.1", 0))
    assert two.transport.listener is not None
    port = two.transport.listener.getsockname()[1]
    one.transport.connect(2, Address("127.0.0.1", port))
    try:
        async with asyncio.timeout(SOME_S):
            yield one, two
    finally:
        await one.transport.close()
        await two.transport.close()


def run(loop: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


def _socket_of(session: Session) -> socket.socket:
    assert session.transport is not None
    return cast(socket.socket, session.transport.get_extra_info("socket"))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_peer_that_vanished_is_noticed_where_nothing_is_said(
    tmp_path: Path, loop: str
) -> None:
    """Story: only who has something to send was told. On the accepting end of Raft's
    messages and of gossip nothing ever is, and half a connection stayed for ever.
    """

    async def main() -> None:
        async with two_members(tmp_path) as (one, two):
            for stream in (*LINKED, Stream.SNAPSHOT):
                for end in await one.dial(stream, two):
                    sock, tcp = _socket_of(end), socket.IPPROTO_TCP
                    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                    idle_s = sock.getsockopt(tcp, socket.TCP_KEEPIDLE)
                    interval_s = sock.getsockopt(tcp, socket.TCP_KEEPINTVL)
                    probes = sock.getsockopt(tcp, socket.TCP_KEEPCNT)
                    assert idle_s + probes * interval_s == 5

    run(loop, main)


async def _ends_while_nobody_reads(
    near: Session, far: Session, within_s: float
) -> bool:
    """More comes than all buffers take, and the other end's process takes nothing."""
    assert far.transport is not None
    far.transport.pause_reading()
    assert near.write(bytes(BUFFER_BYTES_MAX))
    await asyncio.wait((near.closed,), timeout=within_s)
    return near.closed.done()


@pytest.mark.parametrize("loop", LOOPS)
def test_who_takes_a_state_may_stop_for_as_long_as_its_disk_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    """Story: a receiver waits for its disk, and takes nothing meanwhile. A sync of five
    seconds, and the kernel ended the transfer, which had to begin anew; a minute was
    meant.
    """
    monkeypatch.setattr(peer_session, "SILENCE_S", 0.5)

    async def main() -> None:
        async with two_members(tmp_path) as (one, two):
            transfer = await one.dial(Stream.SNAPSHOT, two)
            for end in transfer:
                most_ms = _socket_of(end).getsockopt(
                    socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT
                )
                assert most_ms == 1000 * TRANSFER_TIMEOUT_S
            assert not await _ends_while_nobody_reads(*transfer, 4)
            # A member that does not take what it is told is gone.
            linked = await one.dial(Stream.RAFT, two)
            assert await _ends_while_nobody_reads(*linked, SOME_S)
            transfer[0].abort()

    run(loop, main)
