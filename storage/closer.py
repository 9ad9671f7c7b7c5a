"""Closes files for whoever can't wait.

Law: a thread, a part of the door (env). Whoever closes a file whose names are gone
waits until the system has given back its space: for the tables of a merge, beside a
busy journal, that was 300 ms.
"""

import os
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Final


class _Closer:
    """One thread, which starts with the first descriptor."""

    def __init__(self) -> None:
        self._descriptors: SimpleQueue[int] = SimpleQueue()
        self._thread: Thread | None = None

    def close(self, fd: int) -> None:
        if self._thread is None:
            # It needs no end: the system closes what a process leaves open.
            self._thread = Thread(target=self._run, name="quorate-close", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                # The interpreter is about to end.
                self._thread = None
                os.close(fd)
                return
        self._descriptors.put(fd)

    def _run(self) -> None:
        while True:
            fd = self._descriptors.get()
            with suppress(OSError):
                # It is gone all the same, and what counts has been synced.
                os.close(fd)


_CLOSER: Final = _Closer()


def close_later(fd: int) -> None:
    """Close a descriptor soon, in a thread."""
    _CLOSER.close(fd)
