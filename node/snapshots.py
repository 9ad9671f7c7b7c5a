"""The state on its way to a peer, and from one.

Law: a shell. Files are read, written and checked in a thread, in pieces; nothing that
was received counts before all of it was checked on this disk (I-51). A transfer has a
connection of its own (I-53).

    after the hello: length u32 | kind u8 | InstallSnapshot | size u64 | pieces
    the receiver's answer: 1 (it has it) or 0, one byte

The pieces are those of storage/engine/transfer.
"""

import asyncio
import errno
import logging
import struct
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Final

from ..raft import InstallSnapshot
from ..storage.engine import Incoming, Pinned
from ..storage.errors import CorruptionError, is_no_space
from .database import Database
from .peer_session import TRANSFER_TIMEOUT_S
from .peer_wire import Encoder, PeerProtocolError, decode_message
from .stable import announced, check_snapshot
from .transport import Session

if TYPE_CHECKING:
    from .node import Node

PIECE_BYTES: Final = 256 << 10
# Who shares the disk waits as long as a sync takes.
SYNC_EVERY_BYTES: Final = 256 << 10
WINDOW_BYTES: Final = 2 << 20
# So fast any disk reads what was received. Who gives up sooner gains nothing: while a
# receiver checks it takes no other state, and when it ends so does the connection.
CHECKED_BYTES_PER_S: Final = 1 << 20
SNAPSHOT_BYTES_MAX: Final = 1 << 40
RETRY_S: Final = 0.5
# Of the log's room, while the state goes. The receiver then reads all of it once more,
# which takes no longer than to send and to write it as fast as that goes.
SENDING_SHARE: Final = 0.5
_HEAD = struct.Struct("<IB")
_SIZE = struct.Struct("<Q")

logger = logging.getLogger("quorate.snapshot")


class _Broken(Exception):
    """The transfer ended before its end; another one will be made."""


async def send_snapshot(
    pinned: Pinned,
    session: Session,
    message: InstallSnapshot,
    executor: Executor,
    bytes_per_s: int,
    in_time: Callable[[float], bool],
) -> bool:
    """Send what was pinned, which `message` describes; did it arrive?

    At most `bytes_per_s`, and less where the receiver is slower; but as fast as it can
    be while `in_time`, told which share has gone, says that this is not enough. Raises
    CorruptionError when this node's own disk is damaged, OSError.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    def answered(data: bytes) -> None:
        if not answer.done():
            answer.set_result(data)

    session.on_data = answered
    session.closed.add_done_callback(lambda _: answered(b""))
    try:
        session.write(Encoder().encode(message) + _SIZE.pack(pinned.size_bytes))
        pieces = pinned.pieces()
        due_s, sent = loop.time(), 0
        while piece := await loop.run_in_executor(executor, next, pieces, b""):
            # Not wait_for: until Python 3.12 it may swallow that it was cancelled.
            async with asyncio.timeout(TRANSFER_TIMEOUT_S):
                await session.resumed.wait()
            if not session.write(piece):
                return False
            sent += len(piece)
            if in_time(sent / pinned.size_bytes):
                # What a slow receiver has let pass is not made up for.
                due_s = max(due_s + len(piece) / bytes_per_s, loop.time())
                await asyncio.sleep(due_s - loop.time())
        check_s = pinned.size_bytes / CHECKED_BYTES_PER_S
        async with asyncio.timeout(TRANSFER_TIMEOUT_S + check_s):
            return await answer == b"\x01"
    except TimeoutError:
        return False
    finally:
        session.close()


class SnapshotReceiver:
    """Takes a state off a session, into files of the engine's.

    `room` says how many bytes there are on its disk that the journal can do without.
    """

    def __init__(
        self,
        database: Database,
        session: Session,
        executor: Executor,
        room: Callable[[], int],
    ) -> None:
        self.database = database
        self.session = session
        self.executor = executor
        self.room = room
        self.buffer = bytearray()
        self.arrived = asyncio.Event()
        session.on_data = self._data
        session.closed.add_done_callback(lambda _: self.arrived.set())

    def _data(self, data: bytes) -> None:
        self.buffer += data
        transport = self.session.transport
        if len(self.buffer) > WINDOW_BYTES and transport is not None:
            transport.pause_reading()
        self.arrived.set()

    async def _take(self, least: int, most: int) -> bytes:
        while len(self.buffer) < least:
            transport = self.session.transport
            if self.session.closed.done() or transport is None:
                raise _Broken("the connection ended")
            self.arrived.clear()
            transport.resume_reading()
            async with asyncio.timeout(TRANSFER_TIMEOUT_S):
                await self.arrived.wait()
        data = bytes(self.buffer[:most])
        del self.buffer[:most]
        return data

    async def receive(self) -> tuple[InstallSnapshot, Incoming] | None:
        """What came, on this disk and checked; None when it failed. Raises OSError.

        Whoever gets it installs it, or closes it.
        """
        try:
            return await self._receive()
        except (_Broken, TimeoutError, CorruptionError, PeerProtocolError) as error:
            logger.warning("a snapshot was not received: %s", error)
            return None

    async def _receive(self) -> tuple[InstallSnapshot, Incoming]:
        length, kind = _HEAD.unpack(await self._take(_HEAD.size, _HEAD.size))
        if not 1 <= length <= 1 << 20:
            raise PeerProtocolError(f"a snapshot's head of {length} bytes")
        message = decode_message(kind, await self._take(length - 1, length - 1))
        if not isinstance(message, InstallSnapshot) or (
            message.sender != self.session.member
        ):
            raise PeerProtocolError("a snapshot stream without a snapshot")
        (size,) = _SIZE.unpack(await self._take(_SIZE.size, _SIZE.size))
        if size > SNAPSHOT_BYTES_MAX:
            raise PeerProtocolError(f"a snapshot of {size} bytes")
        if size > (room := self.room()):
            # The rest would be taken from the journal, which has to go on (I-29).
            raise OSError(
                errno.ENOSPC, f"{size} bytes are too many for {room} free ones"
            )
        source = f"the snapshot of member {message.sender:016x}"
        incoming = self.database.store.receive(source)
        try:
            await self._fill(incoming, size)
            await self._check(incoming, message, source)
        except BaseException:
            # Whatever runs in the thread is done before its files go.
            await asyncio.shield(self._do(incoming.close))
            raise
        return message, incoming

    async def _do(self, work: Callable[[], object]) -> object:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, work)

    async def _fill(self, incoming: Incoming, size: int) -> None:
        left, unsynced = size, 0
        while left:
            piece = await self._take(1, min(PIECE_BYTES, left))
            left -= len(piece)
            unsynced += len(piece)
            await self._do(partial(incoming.feed, piece))
            if unsynced >= SYNC_EVERY_BYTES:
                # A large sync at the end would hold up the journal's.
                await self._do(incoming.sync)
                unsynced = 0

    async def _check(
        self, incoming: Incoming, message: InstallSnapshot, source: str
    ) -> None:
        steps = incoming.check()
        while await self._do(lambda: next(steps, None)) is not None:
            pass
        check_snapshot(self.database, incoming, message, source)
        steps = self.database.arrivals.read(incoming)
        while await self._do(lambda: next(steps, None)) is not None:
            pass

    def answer(self, installed: bool) -> None:
        self.session.write(b"\x01" if installed else b"\x00")
        self.session.close()


class Snapshots:
    """All transfers of one node: one comes in at a time."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self.sent = 0

    async def send(self, message: InstallSnapshot) -> None:
        """Send the newest state, which a member needs."""
        node, member = self.node, message.to
        ok = False
        database = node.replica.database
        try:
            session = await node.transport.dial_snapshot(member)
            if session is not None:
                message = announced(message, database)
                pinned = database.store.pin()
                ok = await send_snapshot(
                    pinned,
                    session,
                    message,
                    node.executor,
                    node.config.limits.snapshot_bytes_per_second,
                    self._in_time(),
                )
            if not ok:
                # It may be busy with another one: it is not asked all the time.
                await asyncio.sleep(RETRY_S)
        except CorruptionError as error:
            node.loop.found(error)
        finally:
            node.replica.snapshot_finished(member, ok)
        self.sent += ok
        logger.info(
            "snapshot at index %d to %016x: %s",
            message.index,
            member,
            "sent" if ok else "failed",
        )
        node.loop.plan_turn()

    def _in_time(self) -> Callable[[float], bool]:
        """Has the log room for all that comes until the whole state is in its place?

        It is kept for the receiver meanwhile, and bounded. Once it has been let go the
        state that was sent leads nowhere, and another one has to be.
        """
        replica = self.node.replica
        log = replica.raft.log
        before = log.size_bytes
        room = SENDING_SHARE * (replica.options.log_bytes_max - before)
        return lambda share: log.size_bytes - before <= share * room

    def take(self, member: int, session: Session) -> None:
        """A member sends a state."""
        node = self.node
        if node.replica.healing.arriving or node.stopping:
            session.close()
            return
        node.replica.healing.arriving = True
        # Here, and not in the task: what comes before that begins would be lost.
        receiver = SnapshotReceiver(
            node.replica.database, session, node.executor, self._room
        )
        node.background(self._receive(member, session, receiver))

    def _room(self) -> int:
        node = self.node
        return node.env.free_bytes(node.config.data_dir) - node.loop.reserve_bytes

    async def _receive(
        self, member: int, session: Session, receiver: SnapshotReceiver
    ) -> None:
        node = self.node
        try:
            found = await receiver.receive()
        except OSError as error:
            if not is_no_space(error):
                raise
            logger.error("no room for a snapshot: %s", error)
            found = None
        finally:
            node.replica.healing.arriving = False
        if found is None:
            session.close()
            return
        message, incoming = found
        if node.loop.stopped:
            incoming.close()
            session.close()
            return
        installed = node.loop.install(message, incoming)
        receiver.answer(True)
        if not installed:
            # Files may be large, and to remove one takes long.
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(node.executor, incoming.close)
        logger.info(
            "snapshot at index %d from %016x: %s",
            message.index,
            member,
            "installed" if installed else "was not needed",
        )
        node.loop.plan_turn()
