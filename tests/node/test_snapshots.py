"""Snapshots have a connection of their own, from its first byte on, and go slowly."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
from quorate.node import snapshots
from quorate.node.node import Node
from quorate.node.peer_session import Session
from quorate.node.peer_wire import Encoder
from quorate.node.snapshots import SnapshotReceiver, Snapshots, send_snapshot
from quorate.raft import Configuration, InstallSnapshot


async def test_what_arrives_before_the_transfers_task_begins_is_not_lost() -> None:
    """A sender may be quick: its head came first, was dropped, and nothing followed.

    The transfer then hung for a minute, or took the manifest for its head.
    """
    begun: list[Coroutine[None, None, None]] = []
    ended: list[Callable[[object], None]] = []
    node = SimpleNamespace(
        replica=SimpleNamespace(database=None, healing=SimpleNamespace(arriving=False)),
        executor=None,
        stopping=False,
        background=begun.append,
    )
    session = SimpleNamespace(
        on_data=None,
        transport=None,
        closed=SimpleNamespace(add_done_callback=ended.append),
    )
    Snapshots(cast(Node, node)).take(2, cast(Session, session))
    assert session.on_data is not None
    session.on_data(b"the head")
    (task,) = begun
    task.close()


class Pinned:
    size_bytes = 5_000

    def pieces(self) -> Iterator[bytes]:
        for _ in range(5):
            yield bytes(1_000)


async def pauses_of(
    monkeypatch: pytest.MonkeyPatch, in_time: Callable[[float], bool]
) -> list[float]:
    """When each piece of five thousand bytes may be followed, at a byte a second."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    due_s: list[float] = []

    async def sleep(seconds: float) -> None:
        due_s.append(loop.time() + seconds - began_s)

    monkeypatch.setattr(snapshots.asyncio, "sleep", sleep)
    written: list[bytes] = []

    def write(data: bytes) -> bool:
        written.append(data)
        return True

    room = asyncio.Event()
    room.set()
    session = SimpleNamespace(
        closed=loop.create_future(),
        resumed=room,
        on_data=None,
        write=write,
        close=lambda: None,
    )
    message = InstallSnapshot(1, 2, 1, 5, 1, Configuration((1, 2)))
    with ThreadPoolExecutor(1) as executor:
        sending = asyncio.ensure_future(
            send_snapshot(
                cast(Any, Pinned()),
                cast(Any, session),
                message,
                executor,
                1,
                in_time,
            )
        )
        while len(written) < 6:
            await asyncio.wait((sending,), timeout=0.001)
        session.on_data(b"\1")
        assert await sending
    assert sum(map(len, written[1:])) == 5_000
    return due_s


async def test_a_state_goes_no_faster_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    due_s = await pauses_of(monkeypatch, lambda _: True)
    # Each piece waits until those before it have had their time.
    expected = [1_000, 2_000, 3_000, 4_000, 5_000]
    assert all(due >= at for due, at in zip(due_s, expected, strict=True))


async def test_a_state_goes_as_fast_as_it_can_when_the_log_would_fill_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares: list[float] = []

    def in_time(share: float) -> bool:
        shares.append(share)
        return share > 0.5

    due_s = await pauses_of(monkeypatch, in_time)
    assert shares == [0.2, 0.4, 0.6, 0.8, 1.0]
    # The first two pieces were not held up, and that is not made up for.
    assert len(due_s) == 3
    expected = [1_000, 2_000, 3_000]
    assert all(at <= due < at + 1_000 for due, at in zip(due_s, expected, strict=True))


@pytest.mark.parametrize(
    ("grown", "share", "paced"),
    [(0, 0.01, True), (15, 0.4, False), (15, 0.6, True), (30, 0.999, False)],
)
def test_a_log_that_fills_faster_than_the_state_goes_hurries_it(
    grown: int, share: float, paced: bool
) -> None:
    """Of the room for 60, half is for what comes while the receiver checks it."""
    log = SimpleNamespace(size_bytes=40)
    options = SimpleNamespace(log_bytes_max=100)
    replica = SimpleNamespace(raft=SimpleNamespace(log=log), options=options)
    in_time = Snapshots(cast(Node, SimpleNamespace(replica=replica)))._in_time()
    log.size_bytes += grown
    assert in_time(share) is paced


async def test_a_state_for_which_there_is_no_room_is_not_begun() -> None:
    """Story: it was written until the disk was full, thrown away, and sent again, and
    meanwhile the journal had no room either.
    """
    session = SimpleNamespace(
        on_data=None,
        transport=SimpleNamespace(resume_reading=lambda: None),
        member=2,
        closed=asyncio.get_running_loop().create_future(),
    )
    # It has no store that could take anything.
    database = cast(Any, SimpleNamespace())
    with ThreadPoolExecutor(1) as executor:
        receiver = SnapshotReceiver(
            database, cast(Session, session), executor, lambda: 999
        )
        message = InstallSnapshot(2, 1, 1, 5, 1, Configuration((1, 2)))
        session.on_data(Encoder().encode(message) + (1000).to_bytes(8, "little"))
        with pytest.raises(OSError, match="1000 bytes are too many for 999"):
            await receiver.receive()
