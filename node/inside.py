"""Requests that a node makes of itself, through the same door as its clients'.

Law: a shell. What a client would be told is what the node is told.
"""

import asyncio
from typing import TYPE_CHECKING

from ..wire import (
    DEFAULT_LIMITS,
    OK,
    ErrorReply,
    GetRequest,
    Level,
    RequestKind,
    decode_error,
    encode_get,
)

if TYPE_CHECKING:
    from .node import Node


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
