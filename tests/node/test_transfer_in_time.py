"""A state that goes while writes go on: it arrives, is checked, and leads somewhere.

The clock is the tests' (client/jumping.py); replicas, their engines and both ends of
the transfer are real.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from quorate.node.node import Node
from quorate.node.peer_session import Session
from quorate.node.replica import PeerMessage, Replica
from quorate.node.snapshots import Snapshots
from quorate.raft import InstallSnapshot
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
        self.env = SimpleNamespace(free_bytes=lambda _: 1 << 40)
        self.loop = SimpleNamespace(
            stopped=False, reserve_bytes=0, install=self.install, plan_turn=lambda: None
        )
        self.transport = SimpleNamespace(dial_snapshot=self.dial)
        self.clock = loop
        self.snapshots = Snapshots(cast(Node, self))
        self.receiver: Shell

    def install(self, message: InstallSnapshot, incoming: Incoming) -> bool:
        return self.replica.install(message, incoming)

    def background(self, work: Any) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def dial(self, member: int) -> Session:
        near, far = End(self.clock, member), End(self.clock, self.replica.raft.id)
        near.other, far.other = far, near
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
    """Story: a state was paced so that the log was full when its last byte went out.
    The receiver checked it, the log went on growing, was let go, and the state led
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
