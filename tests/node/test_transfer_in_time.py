"""A state that goes while writes go on: it arrives, is checked, and leads somewhere.

The clock is the tests' (client/jumping.py); replicas, their engines and both ends of
the transfer are real.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from quorate.node.node import Node
from quorate.node.peer_session import Session
from quorate.node.replica import PeerMessage, Replica
from quorate.node.snapshots import Snapshots, send_snapshot
from quorate.raft import Configuration, InstallSnapshot
from quorate.storage.engine import Incoming
from quorate.wire import encode_put

from ..client.jumping import JumpingLoop, run
from .replica.together import Together

KIB, MIB = 1 << 10, 1 << 20
VALUE = bytes(16 * KIB)
STATE_VALUES = 512
PACE = 1 * MIB
LINK = 8 * MIB
# Slower than the state goes in when it is hurried.
CHECK = 4 * MIB
LOG = 1 * MIB
TICK_S = 0.05


class Leading(Together):
    """Three replicas; who needs a state is told of, and gets it from the test."""

    def __init__(self) -> None:
        self.needed: list[InstallSnapshot] = []
        self.written = 0
        super().__init__()
        for replica in self.replicas.values():
            replica.options = msgspec.structs.replace(
                replica.options,
                log_bytes_max=LOG,
                log_keep_entries=4,
                checkpoint_bytes=4 * len(VALUE),
            )

    def deliver(self, message: PeerMessage) -> None:
        if isinstance(message, InstallSnapshot):
            self.needed.append(message)
        else:
            super().deliver(message)

    def write(self) -> None:
        self.written += 1
        self.done(encode_put(b"%d" % self.written, VALUE))
        for replica in self.replicas.values():
            while replica.database.store.work(MIB):
                pass


class Disk(Executor):
    """Does everything at once; what is read to be checked takes the clock's time."""

    def __init__(self, loop: JumpingLoop) -> None:
        self.loop = loop

    def submit(  # type: ignore[override]
        self, work: Callable[..., object], /, *arguments: object
    ) -> "Future[object]":
        done: Future[object] = Future()
        found = work(*arguments)
        if isinstance(found, int):
            self.loop.stand_still(found / CHECK)
        done.set_result(found)
        return done


class End:
    """One end of a connection that carries `LINK` bytes a second."""

    def __init__(self, loop: JumpingLoop, member: int) -> None:
        self.loop = loop
        self.member = member
        self.other: End
        self.on_data: Callable[[bytes], None] | None = None
        self.closed = loop.create_future()
        self.resumed = asyncio.Event()
        self.resumed.set()
        self.free_s = 0.0
        self.transport = SimpleNamespace(
            pause_reading=lambda: None, resume_reading=lambda: None
        )

    def write(self, data: bytes) -> bool:
        self.free_s = max(self.free_s, self.loop.time()) + len(data) / LINK
        self.resumed.clear()
        self.loop.call_at(self.free_s, self._arrived, data)
        return True

    def _arrived(self, data: bytes) -> None:
        assert self.other.on_data is not None
        self.other.on_data(data)
        if self.free_s <= self.loop.time():
            self.resumed.set()

    def close(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


def connected(loop: JumpingLoop, to: int, sender: int) -> tuple[End, End]:
    """Both ends: the sender's, the receiver's."""
    near, far = End(loop, to), End(loop, sender)
    near.other, far.other = far, near
    return near, far


class Shell:
    """What a transfer needs of the node around a replica."""

    def __init__(self, loop: JumpingLoop, replica: Replica) -> None:
        self.replica = replica
        self.stopping = False
        self.executor = Disk(loop)
        self.tasks: list[asyncio.Future[None]] = []
        self.config = SimpleNamespace(
            data_dir="/", limits=SimpleNamespace(snapshot_bytes_per_second=PACE)
        )
        self.env = self
        self.loop = SimpleNamespace(
            stopped=False, reserve_bytes=0, install=self.install, plan_turn=lambda: None
        )
        self.transport = SimpleNamespace(dial_snapshot=self.dial)
        self.clock = loop
        self.snapshots = Snapshots(cast(Node, self))
        self.receiver: Shell

    def install(self, message: InstallSnapshot, incoming: Incoming) -> bool:
        known = self.replica.database.arrivals._known[incoming]
        assert known.whole, "what is in memory was read before"
        return self.replica.install(message, incoming)

    def free_bytes(self, path: str) -> int:
        del path
        return 1 << 40

    def background(self, work: Any) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def dial(self, member: int) -> Session:
        near, far = connected(self.clock, member, self.replica.raft.id)
        self.receiver.snapshots.take(far.member, cast(Session, far))
        return cast(Session, near)


def _one_that_is_behind() -> tuple[Leading, int]:
    together = Leading()
    member = together.follower
    together.cut.add(member)
    for _ in range(STATE_VALUES):
        together.write()
    together.heal()
    together.wait_for(lambda: bool(together.needed))
    return together, member


@pytest.mark.parametrize("seconds_a_write", [1 / 8, 1 / 12])
def test_a_state_arrives_and_is_checked_while_the_log_still_leads_on_from_it(
    monkeypatch: pytest.MonkeyPatch, seconds_a_write: float
) -> None:
    """I-53. Story: a state was paced so that the log was full when its last byte went
    out. The receiver checked it, the log went on growing, was let go, and the state led
    nowhere: another one was sent, for ever.
    """
    together, member = _one_that_is_behind()

    async def main(loop: JumpingLoop) -> None:
        leader = Shell(loop, together.replicas[together.leader])
        receiver = Shell(loop, together.replicas[member])
        leader.receiver = receiver
        began_s, before = loop.time(), together.written

        async def writes() -> None:
            while True:
                due = int((loop.time() - began_s) / seconds_a_write)
                while together.written - before < due:
                    together.write()
                together.tick()
                await asyncio.sleep(TICK_S)

        writing = asyncio.ensure_future(writes())
        await leader.snapshots.send(together.needed.pop())
        # It was hurried, and no more than it had to be.
        state = STATE_VALUES * len(VALUE)
        took_s = loop.time() - began_s
        assert 1.5 * state / LINK < took_s - state / CHECK < state / PACE
        await asyncio.sleep(1)
        writing.cancel()
        assert leader.snapshots.sent == 1
        assert not together.needed, "another one has to be sent"
        applied = {r.raft.log.applied_index for r in together.replicas.values()}
        assert len(applied) == 1

    run(monkeypatch, main)


class Large:
    """Of ten gigabytes, of which a few have to go."""

    size_bytes = 10 << 30

    def pieces(self) -> Iterator[bytes]:
        yield b"piece"


async def _sent(loop: JumpingLoop, after_s: float, answer: bytes) -> tuple[bool, float]:
    """Is a state said to have arrived whose receiver does so then? How long it took."""
    near, far = connected(loop, 2, 1)
    received = bytearray()
    far.on_data = received.extend
    if answer:
        loop.call_later(after_s, far.write, answer)
    else:
        loop.call_later(after_s, near.close)
    message = InstallSnapshot(1, 2, 1, 5, 1, Configuration((1, 2)))
    began_s = loop.time()
    large, session = cast(Any, Large()), cast(Session, near)
    disk = Disk(loop)
    sent = await send_snapshot(large, session, message, disk, PACE, lambda _: True)
    return sent, loop.time() - began_s


@pytest.mark.parametrize(
    ("answer", "after_s", "sent", "took_s"),
    [
        (b"\1", 3_600, True, 3_600),
        (b"\0", 3_600, False, 3_600),
        # The connection ends.
        (b"", 100, False, 100),
        # It would answer tomorrow: a mebibyte a second, and a minute.
        (b"\1", 86_400, False, 10_300),
    ],
)
def test_who_checks_a_large_state_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    after_s: float,
    sent: bool,
    took_s: float,
) -> None:
    """Story: the answer was waited for a minute, however large the state. A check that
    took longer was given up, and all was sent again, for ever.
    """

    async def main(loop: JumpingLoop) -> None:
        arrived, found_s = await _sent(loop, after_s, answer)
        assert arrived is sent
        assert found_s == pytest.approx(took_s, abs=1)

    run(monkeypatch, main)
