"""A backup of this node's state, taken while it serves.

Law: a shell. What is sent is a state that the engine has durably and that holds at
least everything that was acknowledged before the backup was asked for. Files are read
in a thread; what is sent to a slow reader waits for him, and costs disk space alone.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

from ..storage.errors import CorruptionError
from ..wire import ErrorCode
from .api.errors import Problem, problem_of
from .backup import head_of, pieces_of
from .inside import Refused, catch_up

if TYPE_CHECKING:
    from .node import Node

FLUSH_TIMEOUT_S: Final = 60.0
AT_ONCE_MAX: Final = 2


class Backups:
    """Of one node."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self.busy = 0

    async def stream(self, timeout_ms: int) -> AsyncGenerator[bytes]:
        """The bytes of a backup. Raises Problem.

        `timeout_ms` is for the leader to say what was committed; then the disk has
        FLUSH_TIMEOUT_S.
        """
        if self.busy >= AT_ONCE_MAX:
            raise Problem(
                ErrorCode.TOO_BUSY, f"{AT_ONCE_MAX} backups are being taken already"
            )
        self.busy += 1
        try:
            await self._catch_up(timeout_ms)
            async for piece in self._pieces():
                yield piece
        finally:
            self.busy -= 1

    async def _catch_up(self, timeout_ms: int) -> None:
        """Flush everything that was committed when this began."""
        node = self.node
        try:
            await catch_up(node, timeout_ms)
        except Refused as refused:
            raise problem_of(refused.error) from None
        database = node.replica.database
        index = database.applied_index
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                database.store.freeze()
                while database.store.applied_index < index:
                    if database.store.damage is not None:
                        # It was condemned meanwhile: nothing is flushed any more.
                        raise database.store.damage
                    await node.loop.turned()
        except TimeoutError:
            raise Problem(
                ErrorCode.TOO_BUSY, "the disk is too slow for a backup"
            ) from None
        except CorruptionError as error:
            raise Problem(ErrorCode.DAMAGED, str(error)) from None

    async def _pieces(self) -> AsyncGenerator[bytes]:
        node, loop = self.node, asyncio.get_running_loop()
        database = node.replica.database
        pinned, meta = database.store.pin(), database.durable_meta()
        wall_ms = time.time_ns() // 1_000_000
        pieces = pieces_of(head_of(meta, pinned, node.member_id, wall_ms), pinned)
        try:
            while piece := await loop.run_in_executor(None, next, pieces, b""):
                yield piece
        except CorruptionError as error:
            # It ends early, without its hash; and this node heals, where it can: alone
            # it goes on to serve what is left.
            node.loop.rotten(error)
