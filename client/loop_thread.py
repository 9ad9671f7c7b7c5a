"""A thread with an event loop, which runs coroutines for threads that have none.

Law: nobody is left waiting for a loop that has stopped. Whoever hands something over
takes no lock and decides nothing: he puts it into a queue, of which the loop's thread
makes what it will. So a signal handler may do it while the thread that it interrupts is
doing it, too. In a forked child there is no such thread, and everybody is refused.
"""

import asyncio
import concurrent.futures
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from .errors import InvalidRequest, Unavailable, Unknown

T = TypeVar("T")


class _Job(Generic[T]):
    """A coroutine for the loop, which ends after the `last` one; who waits for it."""

    def __init__(
        self, coroutine: Coroutine[object, object, T], *, last: bool = False
    ) -> None:
        self.coroutine: Coroutine[object, object, T] = coroutine
        self.last: bool = last
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._task: asyncio.Task[T] | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Task[T]":
        self._task = loop.create_task(self.coroutine)
        self._task.add_done_callback(self._tell)
        return self._task

    def refuse(self) -> None:
        self.coroutine.close()
        self.future.set_exception(Unavailable("the client is closed"))

    def cancel(self) -> None:
        """In the loop's thread, once it was begun."""
        if self._task is not None:
            self._task.cancel()

    def _tell(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            # The loop has ended under it, or else nobody waits any more.
            self.future.set_exception(Unknown("the client was closed"))
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())


class LoopThread:
    """An event loop in a thread of its own, which runs coroutines for others."""

    def __init__(self) -> None:
        self._process: int = os.getpid()
        self._jobs: deque[_Job[Any]] = deque()
        self._stopped: bool = False
        self._ended: bool = False
        self._halt: asyncio.Event = asyncio.Event()
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

    @property
    def foreign(self) -> bool:
        """Is this another process, forked since, which has none of its threads?"""
        return os.getpid() != self._process

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """The coroutine's result; whoever waits here may be interrupted."""
        if self.foreign:
            coroutine.close()
            raise InvalidRequest(
                "the client was made before a fork: make another one in the child"
            )
        job = _Job(coroutine)
        try:
            self._hand_over(job)
            return job.future.result()
        except BaseException:
            # After an interrupt nobody waits for the call any more.
            if not job.future.cancel() and not job.future.done():
                self._wake(job.cancel)
            raise

    def stop(self, coroutine: Coroutine[object, object, None]) -> None:
        """Run a last coroutine, then end the thread; the second time, do nothing."""
        if self.foreign:
            coroutine.close()
            return
        job = _Job(coroutine, last=True)
        try:
            self._hand_over(job)
            with suppress(Unavailable):
                # Refused: another one is the last.
                job.future.result()
        except BaseException:
            self.abandon()
            raise
        self._thread.join()

    def abandon(self) -> None:
        """End the thread without waiting for anything."""
        if not self.foreign:
            self._stopped = True
            self._wake(self._halt.set)

    def _hand_over(self, job: _Job[T]) -> None:
        self._jobs.append(job)
        self._wake(self._take)
        if self._ended:
            # Nobody may have looked since the end: all that is there is refused.
            self._take()

    def _wake(self, callback: Callable[[], object]) -> None:
        with suppress(RuntimeError):
            # It is raised when the loop is closed: then nothing goes on in there.
            self._loop.call_soon_threadsafe(callback)

    def _take(self) -> None:
        """Begin what was handed over, or refuse it; in any thread after the end."""
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            if not job.future.set_running_or_notify_cancel():
                job.coroutine.close()
            elif self._stopped:
                job.refuse()
            else:
                self._begin(job)

    def _begin(self, job: _Job[T]) -> None:
        task = job.begin(self._loop)
        if job.last:
            self._stopped = True
            # Whoever waits for it can't see to that: he may be interrupted by somebody
            # who waits for the end.
            task.add_done_callback(lambda _: self._halt.set())

    def _main(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            # No asyncio.Runner, which would wait here for the threads of its executor:
            # one that looks up a name can't be hurried.
            self._loop.close()
            self._stopped = self._ended = True
            self._take()

    async def _serve(self) -> None:
        await self._halt.wait()
        self._stopped = True
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
