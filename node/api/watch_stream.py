"""The sink of an HTTP request's watches: what comes is kept until it is written.

Law: it takes no more than one buffer holds; who does not read is told nothing more
until he does. What ends a watch comes in its place behind what was told before. Parts
of a revision that are gathered until it is whole count among what is unsent.
"""

import asyncio
from collections import deque
from typing import Final

import msgspec

from ...wire.errors import ErrorCode
from .connections import ClientPort
from .errors import Problem

_BUFFER_BYTES: Final = 1 << 20


class Said(msgspec.Struct, frozen=True, gc=False):
    """What the node had to say to one watch; `status` is there with its last word."""

    request_id: int
    body: bytes
    status: int | None = None


class WatchStream:
    """One for each HTTP request, whatever number of watches it has."""

    def __init__(self, port: ClientPort) -> None:
        self.number: int = port.number()
        self._port: ClientPort = port
        # The bytes of parts that are gathered, by the numbers of their requests.
        self._gathered: dict[int, int] = {}
        self._said: deque[Said] = deque()
        self._bytes: int = 0
        self._woken: asyncio.Event = asyncio.Event()
        self._closed: bool = False

    def room(self) -> int:
        return 0 if self._closed else _BUFFER_BYTES - self._bytes

    def push(self, request_id: int, kind: int, body: bytes) -> None:
        del kind
        self._say(Said(request_id, body))

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        del kind
        self._say(Said(request_id, body, status))

    def _say(self, said: Said) -> None:
        self._said.append(said)
        self._bytes += len(said.body)
        self._woken.set()

    async def next(self, timeout_s: float) -> Said | None:
        """What was said next; None after so long without anything."""
        if not self._said:
            self._woken.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._woken.wait()
            except TimeoutError:
                return None
        said = self._said.popleft()
        self._bytes -= len(said.body)
        return said

    def gather(self, part: Said) -> None:
        """One part of a revision is kept until the others have come; raises Problem."""
        count = len(part.body)
        if not self._port.unsent.reserve(count):
            detail = "too much that was said here waits to be read"
            raise Problem(ErrorCode.TOO_BUSY, detail)
        before = self._gathered.get(part.request_id, 0)
        self._gathered[part.request_id] = before + count

    def gathered(self, request_id: int) -> None:
        """The revision is whole, and goes, or its watch does."""
        self._port.unsent.release(self._gathered.pop(request_id, 0))

    def close(self) -> None:
        """Nobody reads it any more."""
        self._closed = True
        self._said.clear()
        for request_id in list(self._gathered):
            self.gathered(request_id)
