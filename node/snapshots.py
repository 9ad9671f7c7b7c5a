"""Checkpoints on their way: to the disk, to a peer, from a peer.

Law: a shell. Bytes move in pieces, so that the loop is held for about a millisecond at
a time; files are written in a thread; nothing received counts before its hash was right
and its name durable (I-51). A transfer has a connection of its own (I-53).

    after the hello: length u32 | kind u8 | InstallSnapshot | size u64 | checkpoint
    the receiver's answer: 1 (it has it) or 0, one byte
"""

import asyncio
import errno
import logging
import struct
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from ..raft import InstallSnapshot, encode_configuration
from ..storage.errors import NoSpace
from .database import (
    CheckpointReader,
    DamagedCheckpoint,
    Database,
    header_of,
    write_checkpoint,
)
from .peer_wire import Encoder, PeerProtocolError, decode_message
from .replica import CheckpointJob
from .stable import CheckpointFile, Stable
from .transport import Session

SLICE_S: Final = 0.001
PIECE_BYTES: Final = 256 << 10
SYNC_EVERY_BYTES: Final = 1 << 20
# After each of these syncs the disk is the journal's for a while.
SYNC_PAUSE_S: Final = 0.01
WINDOW_BYTES: Final = 2 << 20
TRANSFER_TIMEOUT_S: Final = 60.0
SNAPSHOT_BYTES_MAX: Final = 1 << 40
_HEAD = struct.Struct("<IB")
_SIZE = struct.Struct("<Q")

logger = logging.getLogger("quorate.snapshot")


class _Broken(Exception):
    """The transfer ended before its end; another one will be made."""


async def write_job(
    stable: Stable, cluster_id: int, job: CheckpointJob, executor: Executor
) -> None:
    """Write the job's view as the checkpoint of its index. Raises OSError."""
    loop = asyncio.get_running_loop()
    configuration = encode_configuration(job.mark.configuration)
    header = header_of(cluster_id, configuration, job.meta, job.count)
    pieces = write_checkpoint(header, job.view)
    file = await loop.run_in_executor(
        executor, stable.begin_checkpoint, job.mark.index, "write"
    )
    try:
        unsynced = 0
        while gathered := _gather(pieces.__next__):
            data = b"".join(gathered)
            await loop.run_in_executor(executor, file.write, data)
            unsynced += len(data)
            if unsynced >= SYNC_EVERY_BYTES:
                # A large sync at the end would hold up the journal's.
                await loop.run_in_executor(executor, file.sync)
                await asyncio.sleep(SYNC_PAUSE_S)
                unsynced = 0
        await loop.run_in_executor(executor, file.commit)
    except BaseException:
        file.abandon()
        raise


def _gather(following: Callable[[], bytes]) -> list[bytes]:
    """As many pieces as fit into one slice of time."""
    gathered: list[bytes] = []
    end = time.perf_counter() + SLICE_S
    try:
        while True:
            gathered.append(following())
            if time.perf_counter() >= end:
                return gathered
    except StopIteration:
        return gathered


async def send_snapshot(
    stable: Stable, session: Session, message: InstallSnapshot, executor: Executor
) -> bool:
    """Send the checkpoint of `message` over a fresh session; did it arrive?"""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    def answered(data: bytes) -> None:
        if not answer.done():
            answer.set_result(data)

    session.on_data = answered
    session.closed.add_done_callback(lambda _: answered(b""))
    file = await loop.run_in_executor(executor, stable.open_checkpoint, message.index)
    try:
        size = file.size()
        session.write(Encoder().encode(message) + _SIZE.pack(size))
        offset = 0
        while offset < size:
            piece = await loop.run_in_executor(
                executor, file.read_at, offset, PIECE_BYTES
            )
            await asyncio.wait_for(session.resumed.wait(), TRANSFER_TIMEOUT_S)
            if not piece or not session.write(piece):
                return False
            offset += len(piece)
        return await asyncio.wait_for(answer, TRANSFER_TIMEOUT_S) == b"\x01"
    except TimeoutError:
        return False
    finally:
        file.close()
        session.close()


class SnapshotReceiver:
    """Takes one checkpoint off a session, to a file and into a new database."""

    def __init__(
        self, stable: Stable, cluster_id: int, session: Session, executor: Executor
    ) -> None:
        self.stable = stable
        self.cluster_id = cluster_id
        self.session = session
        self.executor = executor
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
            await asyncio.wait_for(self.arrived.wait(), TRANSFER_TIMEOUT_S)
        data = bytes(self.buffer[:most])
        del self.buffer[:most]
        return data

    async def receive(self) -> tuple[InstallSnapshot, Database] | None:
        """The snapshot, verified and durable as a checkpoint; None when it failed."""
        try:
            return await self._receive()
        except (_Broken, TimeoutError, DamagedCheckpoint, PeerProtocolError) as error:
            logger.warning("a snapshot was not received: %s", error)
            return None

    async def _receive(self) -> tuple[InstallSnapshot, Database]:
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
        loop = asyncio.get_running_loop()
        file = await loop.run_in_executor(
            self.executor, self.stable.begin_checkpoint, message.index, "received"
        )
        try:
            database = await self._fill(file, size)
            if database.applied_index != message.index:
                raise DamagedCheckpoint("its index is not the announced one")
            await loop.run_in_executor(self.executor, file.commit)
        except BaseException:
            file.abandon()
            raise
        return message, database

    async def _fill(self, file: CheckpointFile, size: int) -> Database:
        loop = asyncio.get_running_loop()
        reader = CheckpointReader(self.cluster_id)
        left, unsynced = size, 0
        while left:
            piece = await self._take(1, min(PIECE_BYTES, left))
            left -= len(piece)
            unsynced += len(piece)
            await loop.run_in_executor(self.executor, file.write, piece)
            for start in range(0, len(piece), 64 << 10):
                reader.feed(piece[start : start + (64 << 10)])
                await asyncio.sleep(0)
            if unsynced >= SYNC_EVERY_BYTES:
                await loop.run_in_executor(self.executor, file.sync)
                unsynced = 0
        return reader.finish()

    def answer(self, installed: bool) -> None:
        self.session.write(b"\x01" if installed else b"\x00")
        self.session.close()


def is_no_space(error: BaseException) -> bool:
    """Errors that waiting can cure; others on these paths end the node."""
    return isinstance(error, NoSpace) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    )
