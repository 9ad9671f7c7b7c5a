"""Who waits for the disk: the loop itself while that is quick, else a thread.

Law: one batch at a time, in order; write and sync together. What a sync raised is
handed back as it is: the loop decides, and ends the node. The loop waits only for small
batches, and only while the disk is quick, as it was for many in succession: on one that
is slow, or stalls now and then, heartbeats and reads go on (I-74). docs/decisions/0035.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from ..storage.journal import Batch
from .stable import Stable

Done = Callable[[BaseException | None, float], None]

# A disk is quick if a batch, write and sync, takes no longer on the average,
QUICK_S: Final = 0.001
# and of so many, one after the other, none took so long.
QUICK_BATCHES: Final = 100
SLOW_S: Final = 0.005
# By so much of its difference a batch moves the average.
_SHARE: Final = 1 / 32
# Larger batches take longer anywhere; and when the loop has such, it has other work.
ENTRIES_MAX: Final = 64
BYTES_MAX: Final = 64 << 10


class JournalWriter:
    """`submit` takes a batch; `done(error, seconds)` is called in the loop, later.

    `seconds` is what write and sync took.
    """

    def __init__(
        self,
        stable: Stable,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._stable = stable
        self._loop = loop
        self._clock = clock
        # Batches that must not be slow before the loop waits for one.
        self._wanted = QUICK_BATCHES
        self._average_s = 0.0
        self._queue: queue.SimpleQueue[tuple[Batch, Done] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, name="quorate-journal", daemon=True
        )
        self._thread.start()

    def submit(self, batch: Batch, done: Done) -> None:
        quick = not self._wanted and self._average_s <= QUICK_S
        if not quick or not _is_small(batch):
            self._queue.put((batch, done))
        else:
            # What this turn has to say leaves at the end of the next one at the latest:
            # the peers write while this node does.
            self._loop.call_soon(self._loop.call_soon, self._here, batch, done)

    def close(self, patience_s: float | None = None) -> None:
        """Finish what was given to the thread, then end; wait for it, for so long."""
        self._queue.put(None)
        self._thread.join(patience_s)

    def _here(self, batch: Batch, done: Done) -> None:
        done(*self._persisted(batch))

    def _persisted(self, batch: Batch) -> tuple[BaseException | None, float]:
        begin = self._clock()
        error: BaseException | None = None
        try:
            self._stable.persist(batch)
        # Everything goes to the loop: nothing may be lost in a thread.
        except BaseException as caught:  # noqa: BLE001
            error = caught
        seconds = self._clock() - begin
        self._average_s += (seconds - self._average_s) * _SHARE
        slow = error is not None or seconds > SLOW_S
        self._wanted = QUICK_BATCHES if slow else max(0, self._wanted - 1)
        return error, seconds

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            batch, done = item
            error, seconds = self._persisted(batch)
            try:
                self._loop.call_soon_threadsafe(done, error, seconds)
            except RuntimeError:
                return  # the loop is closed: the process is ending


def _is_small(batch: Batch) -> bool:
    entries = batch.entries
    return (
        len(entries) <= ENTRIES_MAX
        and sum(len(entry.data) for entry in entries) <= BYTES_MAX
    )
