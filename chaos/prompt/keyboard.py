"""Lines from a terminal, a pipe or a file, while everything else goes on.

Law: a thread of its own reads, since a file can't be waited for, and whoever waits for
a terminal may be left waiting at the end. It reads ahead by a few lines at most, and
keeps no more of a line than a command may have.
"""

import asyncio
import os
import threading
from contextlib import suppress
from typing import Final

from .commands import LINE_CHARACTERS_MAX

LINES_AHEAD: Final = 16
_READ_BYTES: Final = 4096
# One more than a command has in its longest encoding: still seen to be too long.
_LINE_BYTES_MAX: Final = 4 * LINE_CHARACTERS_MAX + 1


class Keyboard:
    """The lines that come from a file descriptor, and then None."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: asyncio.Queue[str | None] = asyncio.Queue(LINES_AHEAD)

    def start(self) -> None:
        """Begin to read; must be called where the lines are wanted."""
        loop = asyncio.get_running_loop()
        # Never joined: nothing ends its read but the other side.
        threading.Thread(target=self._read, args=(loop,), daemon=True).start()

    async def next(self) -> str | None:
        """The next line; None when no more will come."""
        return await self._lines.get()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        rest = b""
        with suppress(OSError):
            # A terminal that is gone ends with an error.
            while data := os.read(self._fd, _READ_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._tell(loop, line)
                rest = rest[:_LINE_BYTES_MAX]
        if rest:
            self._tell(loop, rest)
        self._tell(loop, None)

    def _tell(self, loop: asyncio.AbstractEventLoop, line: bytes | None) -> None:
        text = None if line is None else line.decode(errors="replace")
        telling = self._lines.put(text)
        try:
            # Waits for room: a long file is not read at once.
            asyncio.run_coroutine_threadsafe(telling, loop).result()
        except RuntimeError:
            # Nobody waits for lines any more.
            telling.close()
