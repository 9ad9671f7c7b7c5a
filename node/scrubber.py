"""Reads the engine's files again and again, slowly: what rots unread is found in time.

Law: decides nothing. Each piece is read in a thread and checked there against the
checksums above it; damage is reported while its file is still in use, and only then. A
file is read as the operating system gives it, so what it holds in memory is not read
from the disk again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Final

from ..storage.engine import Engine
from ..storage.errors import CorruptionError

# A store that is read through sooner than this is left alone until then.
PASS_SECONDS_MIN: Final = 600.0

logger = logging.getLogger("quorate.scrubber")


class Scrubber:
    """`passes` over all files and `read_bytes` are counted since it was made.

    `found` is told of damage; `bytes_per_s` is how fast it reads, at most.
    """

    def __init__(
        self,
        engine: Engine,
        executor: Executor,
        found: Callable[[CorruptionError], None],
        bytes_per_s: int,
        pass_seconds_min: float = PASS_SECONDS_MIN,
    ) -> None:
        self.passes = 0
        self.read_bytes = 0
        self._engine = engine
        self._executor = executor
        self._found = found
        self._bytes_per_s = bytes_per_s
        self._pass_seconds_min = pass_seconds_min

    async def run(self) -> None:
        """One pass after the other, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            ends = loop.time() + self._pass_seconds_min
            for file_id in self._ids():
                await self._check(file_id)
            self.passes += 1
            logger.debug("pass %d is done", self.passes)
            await asyncio.sleep(max(0.0, ends - loop.time()))

    def _ids(self) -> list[bytes]:
        """Of the files of a pass: to hold these would keep what merges do away with."""
        return [file.meta.file_id for file in self._engine.files()]

    async def _check(self, file_id: bytes) -> None:
        """Read one file, unless a compaction has done away with it meanwhile."""
        loop = asyncio.get_running_loop()
        file = next(
            (f for f in self._engine.files() if f.meta.file_id == file_id), None
        )
        if file is None:
            return
        pieces = file.stream()
        while True:
            began = loop.time()
            try:
                size = await loop.run_in_executor(self._executor, _read, pieces)
            except (CorruptionError, OSError) as error:
                if file in self._engine.files():
                    self._found(_as_damage(file.path, error))
                return
            if size == 0:
                return
            self.read_bytes += size
            pause = size / self._bytes_per_s - (loop.time() - began)
            await asyncio.sleep(max(0.0, pause))


def _read(pieces: Iterator[bytes]) -> int:
    """The size of the next piece, 0 at the end."""
    return len(next(pieces, b""))


def _as_damage(path: str, error: CorruptionError | OSError) -> CorruptionError:
    """A sector that can't be read is as lost as one that was read wrong."""
    if isinstance(error, CorruptionError):
        return error
    return CorruptionError(path, 0, f"it can't be read: {error}")
