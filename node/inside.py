"""Requests that a node makes of itself, through the same door as its clients'.

Law: a shell. What a client would be told is what the node is told.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..wire import (
    DEFAULT_LIMITS,
    OK,
    ErrorCode,
    ErrorReply,
    GetRequest,
    Level,
    MemberCommand,
    RequestKind,
    decode_error,
    encode_get,
    encode_member_command,
)

if TYPE_CHECKING:
    from .node import Node


_SAY_TIMEOUT_MS: Final = 5000
_SAY_AGAIN_MIN_S: Final = 0.5
_SAY_AGAIN_MAX_S: Final = 60.0
# What the log itself refuses: each try is one more entry in it.
_LOGGED: Final = (ErrorCode.MEMBER_EXISTS, ErrorCode.MEMBER_NOT_FOUND)

logger = logging.getLogger("quorate.node")


class Refused(Exception):
    """The request was refused, or nobody knows what became of it: `error`, `reason`."""

    def __init__(self, error: ErrorReply) -> None:
        super().__init__(error.message)
        self.error = error
        self.reason = error.message


class _Waiter:
    """Whoever waits for one reply."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.answered: asyncio.Future[tuple[int, bytes]] = loop.create_future()

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        del request_id, kind
        if not self.answered.done():
            self.answered.set_result((status, body))


async def ask(node: "Node", kind: RequestKind, body: bytes, timeout_ms: int) -> bytes:
    """The body of the reply. Raises Refused."""
    waiter = _Waiter()
    node.submit(waiter, 0, kind, body, timeout_ms, own=True)
    status, reply = await waiter.answered
    if status != OK:
        raise Refused(decode_error(reply, DEFAULT_LIMITS))
    return reply


async def catch_up(node: "Node", timeout_ms: int) -> None:
    """Have everything here that was committed when this was asked. Raises Refused."""
    read = GetRequest(Level.LINEARIZABLE, 0, 0, b"\0", 0)
    await ask(node, RequestKind.GET, encode_get(read), timeout_ms)


class Sayings:
    """What a node tells the log of itself: the same thing again ever more seldom.

    A node that is far behind does not see that it was heard, and one that the log
    refuses never is: each try would be an entry, for as long as that lasts.
    """

    def __init__(
        self, node: "Node", clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.node = node
        self.clock_s = clock_s
        self.last: MemberCommand | None = None
        self.pause_s = 0.0
        self.next_s = 0.0

    def due(self, said: MemberCommand) -> bool:
        """Is it time to say this, perhaps again?"""
        return said != self.last or self.clock_s() >= self.next_s

    async def say(self, said: MemberCommand) -> None:
        """Raises Refused."""
        body = encode_member_command(said)
        try:
            await ask(self.node, RequestKind.WRITE, body, _SAY_TIMEOUT_MS)
        except Refused as refused:
            if refused.error.code in _LOGGED:
                self._was_written(said)
                logger.warning(
                    "what this member says of itself is refused: %s", refused.reason
                )
            raise
        self._was_written(said)

    def _was_written(self, said: MemberCommand) -> None:
        if said != self.last:
            self.last, self.pause_s = said, _SAY_AGAIN_MIN_S
        else:
            self.pause_s = min(2 * self.pause_s, _SAY_AGAIN_MAX_S)
        self.next_s = self.clock_s() + self.pause_s
