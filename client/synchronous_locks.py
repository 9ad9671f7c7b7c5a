"""Locks and elections of the synchronous client, on its own thread.

Law: as for the client, same methods, same arguments, same errors. `lost` is a fact and
no event here.
"""

from types import TracebackType
from typing import Generic, Self, TypeVar

from .elections import Election
from .locks import Lock
from .loop_thread import LoopThread
from .places import Holding
from .synchronous_handles import Handle, Stream, SyncLease
from .values import KeyValue

H = TypeVar("H", bound=Holding)


class _SyncHolding(Handle, Generic[H]):
    """What a lock and an election share, on the client's own thread."""

    def __init__(self, client: object, thread: LoopThread, holding: H) -> None:
        super().__init__(client, thread)
        self._holding: H = holding

    @property
    def name(self) -> bytes:
        """As Lock.name and Election.name."""
        return self._holding.name

    @property
    def token(self) -> str:
        """As Lock.token and Election.token."""
        return self._holding.token

    @property
    def lease(self) -> SyncLease:
        """As Lock.lease and Election.lease."""
        return SyncLease(self._client, self._thread, self._holding.lease)

    @property
    def lost(self) -> bool:
        """Is its lease over?"""
        return self._holding.lease.over

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(self._holding.__aexit__(kind, error, trace), error)


class SyncLock(_SyncHolding[Lock]):
    """A lock, kept alive on the client's own thread while its context is open."""

    @property
    def key(self) -> bytes:
        """As Lock.key."""
        return self._holding.key

    @property
    def revision(self) -> int:
        """As Lock.revision."""
        return self._holding.revision

    def acquire(self) -> Self:
        """As Lock.acquire."""
        self._thread.run(self._holding.acquire(), lambda _: self._holding._forgo())
        return self

    def release(self) -> None:
        """As Lock.release."""
        self._thread.run(self._holding.release())

    def __enter__(self) -> Self:
        return self.acquire()


class SyncElection(_SyncHolding[Election]):
    """An election, kept alive on the client's own thread while we lead."""

    def campaign(self, value: str | bytes, *, wait: float | None = None) -> None:
        """As Election.campaign."""
        self._thread.run(
            self._holding.campaign(value, wait=wait),
            lambda _: self._holding._forgo(),
        )

    def proclaim(self, value: str | bytes) -> int:
        """As Election.proclaim."""
        return self._thread.run(self._holding.proclaim(value))

    def resign(self) -> None:
        """As Election.resign."""
        self._thread.run(self._holding.resign())

    def leader(self) -> KeyValue | None:
        """As Election.leader."""
        return self._thread.run(self._holding.leader())

    def observe(self) -> "SyncObservation":
        """As Election.observe, as an ordinary iterator and context."""
        observation = self._holding.observe()
        return SyncObservation(self._client, self._thread, observation)

    def __enter__(self) -> Self:
        return self


class SyncObservation(Stream[KeyValue | None]):
    """Leaders, which are waited for; another thread may close it."""
