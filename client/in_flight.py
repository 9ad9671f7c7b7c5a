"""How much a client has in flight, and when that is too much.

Law: what a client holds is held whatever its own load is. So what keeps a lease, or
gives it up, is spared: neither counted nor refused.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from .errors import TooBusy

IN_FLIGHT_BYTES_MAX: Final = 256 * 1024 * 1024
# Not an argument of the call: between it and who spares it is the session of a write,
# which may have to be opened first, and is spared with it.
_spared: ContextVar[bool] = ContextVar("spared", default=False)


@contextmanager
def spared() -> Generator[None]:
    """Spare what is called in here."""
    token = _spared.set(True)
    try:
        yield
    finally:
        _spared.reset(token)


class InFlight:
    """The calls that have begun and not ended."""

    def __init__(self, calls_max: int) -> None:
        self._calls_max: int = calls_max
        self._calls: int = 0
        self._bytes: int = 0
        # Those that are spared, too.
        self._all: int = 0
        self._idle: asyncio.Event = asyncio.Event()

    def begin(self, size: int) -> bool:
        """One more, of `size` bytes, or TooBusy; does it count?"""
        counts = not _spared.get()
        if counts:
            if self._calls >= self._calls_max:
                raise TooBusy(f"{self._calls_max} calls of this client are in flight")
            if self._calls and self._bytes + size > IN_FLIGHT_BYTES_MAX:
                raise TooBusy(f"calls of {IN_FLIGHT_BYTES_MAX} bytes are in flight")
            self._calls += 1
            self._bytes += size
        self._all += 1
        return counts

    def end(self, size: int, counts: bool) -> None:
        """That one has ended."""
        if counts:
            self._calls -= 1
            self._bytes -= size
        self._all -= 1
        if not self._all:
            self._idle.set()

    async def ended(self) -> None:
        """Wait until all have."""
        while self._all:
            self._idle.clear()
            await self._idle.wait()
