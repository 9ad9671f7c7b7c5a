"""Locks and elections of the synchronous client, on its own thread.

Law: as for the client, same methods, same arguments, same errors. `lost` is a fact and
no event here.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from .elections import Election, Observation
from .errors import Unavailable
from .locks import Lock
from .loop_thread import LoopThread
from .values import KeyValue


class SyncLock:
    """A lock, kept alive on the client's own thread while its context is open."""

    def __init__(self, thread: LoopThread, lock: Lock) -> None:
        self._thread: LoopThread = thread
        self._lock: Lock = lock

    @property
    def name(self) -> bytes:
        """As Lock.name."""
        return self._lock.name

    @property
    def token(self) -> str:
        """As Lock.token."""
        return self._lock.token

    @property
    def key(self) -> bytes:
        """As Lock.key."""
        return self._lock.key

    @property
    def revision(self) -> int:
        """As Lock.revision."""
        return self._lock.revision

    @property
    def lost(self) -> bool:
        """Is its lease over?"""
        return self._lock.lease.over

    def acquire(self) -> Self:
        """As Lock.acquire."""
        self._thread.run(self._lock.acquire())
        return self

    def release(self) -> None:
        """As Lock.release."""
        self._thread.run(self._lock.release())

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.run(self._lock.__aexit__(kind, error, trace))


class SyncElection:
    """An election, kept alive on the client's own thread while we lead."""

    def __init__(self, thread: LoopThread, election: Election) -> None:
        self._thread: LoopThread = thread
        self._election: Election = election

    @property
    def name(self) -> bytes:
        """As Election.name."""
        return self._election.name

    @property
    def token(self) -> str:
        """As Election.token."""
        return self._election.token

    @property
    def lost(self) -> bool:
        """Is the lease over?"""
        return self._election.lease.over

    def campaign(self, value: str | bytes, *, wait: float | None = None) -> None:
        """As Election.campaign."""
        self._thread.run(self._election.campaign(value, wait=wait))

    def proclaim(self, value: str | bytes) -> int:
        """As Election.proclaim."""
        return self._thread.run(self._election.proclaim(value))

    def resign(self) -> None:
        """As Election.resign."""
        self._thread.run(self._election.resign())

    def leader(self) -> KeyValue | None:
        """As Election.leader."""
        return self._thread.run(self._election.leader())

    def observe(self) -> "SyncObservation":
        """As Election.observe, as an ordinary iterator and context."""
        return SyncObservation(self._thread, self._election.observe())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.run(self._election.__aexit__(kind, error, trace))


class SyncObservation(Iterator[KeyValue | None]):
    """Leaders, which are waited for; another thread may close it."""

    def __init__(self, thread: LoopThread, observation: Observation) -> None:
        self._thread: LoopThread = thread
        self._observation: Observation = observation

    def __next__(self) -> KeyValue | None:
        found = self._thread.run(_next(self._observation))
        if not found:
            raise StopIteration
        return found[0]

    def close(self) -> None:
        """As Observation.close."""
        try:
            self._thread.run(self._observation.close())
        except Unavailable:
            # The client was closed, and this with it.
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


async def _next(observation: Observation) -> tuple[KeyValue | None, ...]:
    """The next one; nothing at the end, since a StopIteration can't leave a coroutine.

    None is a leader, too: nobody leads.
    """
    try:
        return (await anext(observation),)
    except StopAsyncIteration:
        return ()
