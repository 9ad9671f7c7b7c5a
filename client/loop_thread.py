"""A thread with an event loop, which runs coroutines for threads that have none.

Law: nothing is handed to a loop that has stopped, and nobody is left waiting for one.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import TypeVar

from .errors import Unavailable

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own, which runs coroutines for others."""

    def __init__(self) -> None:
        self._lock: threading.Lock = threading.Lock()
        self._stopped: bool = False
        self._loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        # A daemon: a client that nobody closed must not keep the program from ending.
        self._thread: threading.Thread = threading.Thread(
            target=self._main, name="quorate-client", daemon=True
        )
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """Does it take nothing more?"""
        return self._stopped

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """The coroutine's result; whoever waits here may be interrupted."""
        future = self._submit(coroutine, last=False)
        if future is None:
            raise Unavailable("the client is closed")
        try:
            return future.result()
        finally:
            # After an interrupt nobody waits for the call any more.
            future.cancel()

    def stop(self, coroutine: Coroutine[object, object, None]) -> None:
        """Run a last coroutine, then end the thread; the second time, do nothing."""
        future = self._submit(coroutine, last=True)
        if future is not None:
            try:
                future.result()
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def abandon(self) -> None:
        """End the thread without waiting for anything."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._loop.call_soon_threadsafe(self._loop.stop)

    def _submit(
        self, coroutine: Coroutine[object, object, T], *, last: bool
    ) -> concurrent.futures.Future[T] | None:
        # Under the lock, so that nothing is handed to a loop that has stopped.
        with self._lock:
            if self._stopped:
                coroutine.close()
                return None
            self._stopped = last
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _main(self) -> None:
        # The runner's end cancels what still runs and closes the loop.
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()
