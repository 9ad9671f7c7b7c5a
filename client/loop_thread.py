"""A thread with an event loop, which runs coroutines for threads that have none.

Law: nobody is left waiting for a loop that has stopped. Whoever hands something over
takes no lock and decides nothing: he puts it into a queue, of which the loop's thread
makes what it will. So a signal handler may do it while the thread that it interrupts is
doing it, too. In a forked child there is no such thread, and everybody is refused.
Nobody waits in that thread for itself, whatever the collector runs there. Whoever is
interrupted leaves nothing behind: what he waited for is cancelled, and when that came
too late, undone.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeAlias, TypeVar

from .errors import Closed, InvalidRequest, Unknown

T = TypeVar("T")
# In so many turns of the loop a transport that was aborted is closed, also under TLS.
_TURNS: Final = 4
# What takes a result back that nobody has been given.
Undo: TypeAlias = Callable[[T], Coroutine[object, object, object]]


class _Job(Generic[T]):
    """A coroutine for the loop, which ends after the `last` one; who waits for it.

    He waits at a bare lock: whatever is built of Python's own code breaks when a signal
    handler raises in the middle of it.
    """

    def __init__(
        self, coroutine: Coroutine[object, object, T], *, last: bool = False
    ) -> None:
        self.coroutine: Coroutine[object, object, T] = coroutine
        self.last: bool = last
        # Does nobody wait for it any more?
        self.unwanted: bool = False
        self.task: asyncio.Task[T] | None = None
        # One of them, once it is over.
        self.results: tuple[T, ...] = ()
        self.error: BaseException | None = None
        self._over: threading.Lock = threading.Lock()
        self._over.acquire()

    def wait(self) -> None:
        """Until it is over, or the thread that waits is interrupted."""
        self._over.acquire()

    def begin(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Task[T]":
        self.task = loop.create_task(self.coroutine)
        self.task.add_done_callback(self._tell)
        return self.task

    def refuse(self) -> None:
        self.coroutine.close()
        self.error = Closed("the client is closed")
        self._over.release()

    async def come_to_nothing(self, undo: Undo[T] | None) -> None:
        """Cancel it; when that comes too late, undo what it did."""
        if self.task is None:
            # It was not even handed over, or not begun.
            self.coroutine.close()
            return
        if not self.task.done():
            self.task.cancel()
            await asyncio.wait({self.task})
        if self.task.cancelled() or self.task.exception() is not None:
            return
        if undo is not None:
            await undo(self.task.result())

    def _tell(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            # The loop has ended under it, or else nobody waits any more.
            self.error = Unknown("the client was closed")
        elif (error := task.exception()) is not None:
            self.error = error
        else:
            self.results = (task.result(),)
        self._over.release()


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

    @property
    def own(self) -> bool:
        """Is it this very thread, in which the collector may run anything?"""
        # Not by its number, which another thread may have once this one has ended.
        return threading.current_thread() is self._thread

    def run(
        self, coroutine: Coroutine[object, object, T], undo: Undo[T] | None = None
    ) -> T:
        """The coroutine's result; whoever waits here may be interrupted.

        Then it is cancelled, and given to `undo` when it has a result all the same.
        """
        if self.foreign:
            coroutine.close()
            raise InvalidRequest(
                "the client was made before a fork: make another one in the child"
            )
        if self.own:
            coroutine.close()
            raise InvalidRequest(
                "asked from the client's own thread, which would wait for itself:"
                " a __del__ asks nothing"
            )
        job = _Job(coroutine)
        try:
            self._hand_over(job)
            job.wait()
        except BaseException:
            self._take_back(job, undo)
            raise
        try:
            # From here on nothing is called: signal handlers run in between calls, and
            # a result that one of them kept from the caller would be lost.
            if job.error is not None:
                raise job.error
            return job.results[0]
        finally:
            # An error refers to this frame.
            del job

    def stop(self, coroutine: Coroutine[object, object, None]) -> None:
        """Run a last coroutine, then end the thread; the second time, do nothing."""
        if self.foreign:
            coroutine.close()
            return
        job = _Job(coroutine, last=True)
        try:
            self._hand_over(job)
            if self.own:
                # It comes when whoever asks for it here is done.
                return
            job.wait()
            # Refused: another one is the last.
            if job.error is not None and not isinstance(job.error, Closed):
                raise job.error
        except BaseException:
            self.abandon()
            raise
        self._thread.join()

    def abandon(self, drop: Callable[[], object] | None = None) -> None:
        """End the thread without waiting for anything; `drop` is called in it before.

        What that begins to close is closed.
        """
        if not self.foreign:
            self._stopped = True
            if drop is not None:
                self._wake(drop)
            self._wake(self._halt.set)

    def _hand_over(self, job: _Job[T]) -> None:
        self._jobs.append(job)
        self._wake(self._take)
        if self._ended:
            # Nobody may have looked since the end: all that is there is refused.
            self._take()

    def _take_back(self, job: _Job[T], undo: Undo[T] | None) -> None:
        """After an interrupt: wait until nothing goes on any more, and nothing is left.

        A second interrupt ends that wait alone.
        """
        if self.foreign:
            # It came of a fork: what goes on is the parent's.
            return
        job.unwanted = True
        # Begun after it, as it was handed over after it.
        ending = _Job(job.come_to_nothing(undo))
        self._hand_over(ending)
        ending.wait()

    def _wake(self, callback: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # When the loop is closed nothing goes on in there; else it is a signal
            # handler's, which has a right to be heard.
            if not self._loop.is_closed():
                raise

    def _take(self) -> None:
        """Begin what was handed over, or refuse it; in any thread after the end."""
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            if job.unwanted:
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
        for _ in range(_TURNS):
            await asyncio.sleep(0)
