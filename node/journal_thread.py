"""The thread that waits for the disk, so that the loop need not.

Law: one batch at a time, in order; write and sync together. What a sync raised is
handed back as it is: the loop decides, and ends the node.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable

from ..storage.journal import Batch
from .stable import Stable

Done = Callable[[BaseException | None, float], None]


class JournalThread:
    """`submit` takes a batch; `done(error, seconds)` is called in the loop."""

    def __init__(self, stable: Stable, loop: asyncio.AbstractEventLoop) -> None:
        self._stable = stable
        self._loop = loop
        self._queue: queue.SimpleQueue[tuple[Batch, Done] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, name="quorate-journal", daemon=True
        )
        self._thread.start()

    def submit(self, batch: Batch, done: Done) -> None:
        self._queue.put((batch, done))

    def close(self) -> None:
        """Finish what was submitted, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            batch, done = item
            start = time.perf_counter()
            error: BaseException | None = None
            try:
                self._stable.persist(batch)
            # Everything goes to the loop: nothing may be lost in a thread.
            except BaseException as caught:  # noqa: BLE001
                error = caught
            seconds = time.perf_counter() - start
            try:
                self._loop.call_soon_threadsafe(done, error, seconds)
            except RuntimeError:
                return  # the loop is closed: the process is ending
