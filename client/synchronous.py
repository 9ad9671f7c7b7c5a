"""The synchronous client: the asynchronous one over a private event loop's thread.

Law: same methods, same arguments, same errors. It may be used from many threads at
once, and from signal handlers; closing it ends its thread, and no call is left waiting.
"""

import random
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, SupportsIndex, Unpack

from ..wire import CaretakerStatus, JoinRole, Members, Step
from .asynchronous import IN_FLIGHT_MAX_DEFAULT, AsyncClient
from .errors import QuorateError
from .leases import LeaseInfo
from .loop_thread import LoopThread
from .near_cache import BYTES_MAX_DEFAULT
from .options import ClientOptions, options_from_env, options_from_url
from .pipelines import Pipeline, Result
from .synchronous_handles import SyncLease, SyncNearCache, SyncPager, SyncWatch
from .synchronous_locks import SyncElection, SyncLock
from .transactions import Committed, Txn
from .values import KeyValue, ReadLevel


class Client:
    """A quorate cluster, reached through any of its nodes; AsyncClient's twin.

    Arguments are those of AsyncClient. Use it in a `with` block, or close it. After a
    fork it is the parent's alone: the child makes another one.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] | None = None,
        *,
        timeout: float = 5.0,
        cafile: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        token: str | None = None,
        balance: bool = False,
        learn: bool = True,
        in_flight_max: int = IN_FLIGHT_MAX_DEFAULT,
        sessions: bool = True,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client: AsyncClient = AsyncClient(
            endpoints,
            timeout=timeout,
            cafile=cafile,
            certfile=certfile,
            keyfile=keyfile,
            token=token,
            balance=balance,
            learn=learn,
            in_flight_max=in_flight_max,
            sessions=sessions,
            jitter=jitter,
        )
        self._thread: LoopThread = LoopThread()
        self._closed: bool = False

    @classmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """As AsyncClient.from_env."""
        return cls(**options_from_env(options))

    @classmethod
    def from_url(cls, url: str, **options: Unpack[ClientOptions]) -> Self:
        """As AsyncClient.from_url."""
        endpoints, merged = options_from_url(url, options)
        return cls(endpoints, **merged)

    @property
    def endpoints(self) -> list[str]:
        """As AsyncClient.endpoints."""
        return self._client.endpoints

    def put(
        self,
        key: str | bytes,
        value: str | bytes,
        *,
        if_revision: int | None = None,
        if_absent: bool = False,
        lease: SupportsIndex = 0,
        fence: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """As AsyncClient.put."""
        return self._thread.run(
            self._client.put(
                key,
                value,
                if_revision=if_revision,
                if_absent=if_absent,
                lease=lease,
                fence=fence,
                timeout=timeout,
            )
        )

    def delete(
        self,
        key: str | bytes,
        *,
        if_revision: int | None = None,
        fence: str | None = None,
        timeout: float | None = None,
    ) -> bool:
        """As AsyncClient.delete."""
        call = self._client.delete(
            key, if_revision=if_revision, fence=fence, timeout=timeout
        )
        return self._thread.run(call)

    def delete_range(
        self,
        prefix: str | bytes | None = None,
        *,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        fence: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """As AsyncClient.delete_range."""
        removing = self._client.delete_range(
            prefix, start=start, end=end, fence=fence, timeout=timeout
        )
        return self._thread.run(removing)

    def get(
        self,
        key: str | bytes,
        *,
        level: ReadLevel = "linearizable",
        max_staleness: float | None = None,
        min_revision: int = 0,
        revision: int = 0,
        timeout: float | None = None,
    ) -> KeyValue | None:
        """As AsyncClient.get."""
        return self._thread.run(
            self._client.get(
                key,
                level=level,
                max_staleness=max_staleness,
                min_revision=min_revision,
                revision=revision,
                timeout=timeout,
            )
        )

    def compact(self, revision: int, *, timeout: float | None = None) -> None:
        """As AsyncClient.compact."""
        self._thread.run(self._client.compact(revision, timeout=timeout))

    def commit(self, txn: Txn, *, timeout: float | None = None) -> Committed:
        """As AsyncClient.commit."""
        return self._thread.run(self._client.commit(txn, timeout=timeout))

    def run(
        self,
        pipeline: Pipeline,
        *,
        return_errors: bool = False,
        timeout: float | None = None,
    ) -> list[Result | QuorateError]:
        """As AsyncClient.run."""
        call = self._client.run(pipeline, return_errors=return_errors, timeout=timeout)
        return self._thread.run(call)

    def range(
        self,
        prefix: str | bytes | None = None,
        *,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        limit: int | None = None,
        keys_only: bool = False,
        level: ReadLevel = "linearizable",
        max_staleness: float | None = None,
        min_revision: int = 0,
        revision: int = 0,
        timeout: float | None = None,
    ) -> SyncPager:
        """As AsyncClient.range, as an ordinary iterator."""
        pager = self._client.range(
            prefix,
            start=start,
            end=end,
            limit=limit,
            keys_only=keys_only,
            level=level,
            max_staleness=max_staleness,
            min_revision=min_revision,
            revision=revision,
            timeout=timeout,
        )
        return SyncPager(self, self._thread, pager)

    def near_cache(
        self,
        prefix: str | bytes,
        *,
        bytes_max: int = BYTES_MAX_DEFAULT,
        timeout: float | None = None,
        patience: float = 5.0,
    ) -> SyncNearCache:
        """As AsyncClient.near_cache; what is in it is read without the other thread."""
        cache = self._client.near_cache(
            prefix, bytes_max=bytes_max, timeout=timeout, patience=patience
        )
        return SyncNearCache(self, self._thread, cache)

    def lease(
        self, ttl: float, *, lease: int = 0, timeout: float | None = None
    ) -> SyncLease:
        """As AsyncClient.lease, as an ordinary context."""
        made = self._client.lease(ttl, lease=lease, timeout=timeout)
        return SyncLease(self, self._thread, made)

    def lease_info(
        self, lease: SupportsIndex, *, keys: bool = False, timeout: float | None = None
    ) -> LeaseInfo:
        """As AsyncClient.lease_info."""
        call = self._client.lease_info(lease, keys=keys, timeout=timeout)
        return self._thread.run(call)

    def keep_alive(
        self, lease: SupportsIndex, *, timeout: float | None = None
    ) -> LeaseInfo:
        """As AsyncClient.keep_alive."""
        return self._thread.run(self._client.keep_alive(lease, timeout=timeout))

    def revoke(self, lease: SupportsIndex, *, timeout: float | None = None) -> None:
        """As AsyncClient.revoke."""
        self._thread.run(self._client.revoke(lease, timeout=timeout))

    def leases(self, *, timeout: float | None = None) -> list[int]:
        """As AsyncClient.leases."""
        return self._thread.run(self._client.leases(timeout=timeout))

    def lock(
        self,
        name: str | bytes,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        timeout: float | None = None,
    ) -> SyncLock:
        """As AsyncClient.lock, as an ordinary context."""
        made = self._client.lock(name, ttl=ttl, wait=wait, timeout=timeout)
        return SyncLock(self, self._thread, made)

    def election(
        self, name: str | bytes, *, ttl: float = 10.0, timeout: float | None = None
    ) -> SyncElection:
        """As AsyncClient.election."""
        made = self._client.election(name, ttl=ttl, timeout=timeout)
        return SyncElection(self, self._thread, made)

    def watch(
        self,
        prefix: str | bytes | None = None,
        *,
        key: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        revision: int = 0,
        previous: bool = False,
        puts: bool = True,
        deletes: bool = True,
        timeout: float | None = None,
        patience: float = 60.0,
    ) -> SyncWatch:
        """As AsyncClient.watch, as an ordinary iterator and context."""
        watch = self._client.watch(
            prefix,
            key=key,
            start=start,
            end=end,
            revision=revision,
            previous=previous,
            puts=puts,
            deletes=deletes,
            timeout=timeout,
            patience=patience,
        )
        return SyncWatch(self, self._thread, watch)

    def members(self, *, timeout: float | None = None) -> Members:
        """As AsyncClient.members."""
        return self._thread.run(self._client.members(timeout=timeout))

    def create_token(
        self,
        role: JoinRole = "voter",
        *,
        ttl: float = 3600.0,
        uses: int = 1,
        timeout: float | None = None,
    ) -> str:
        """As AsyncClient.create_token."""
        call = self._client.create_token(role, ttl=ttl, uses=uses, timeout=timeout)
        return self._thread.run(call)

    def drop_token(self, token: str, *, timeout: float | None = None) -> None:
        """As AsyncClient.drop_token."""
        self._thread.run(self._client.drop_token(token, timeout=timeout))

    def promote_member(self, member: str, *, timeout: float | None = None) -> None:
        """As AsyncClient.promote_member."""
        self._thread.run(self._client.promote_member(member, timeout=timeout))

    def demote_member(self, member: str, *, timeout: float | None = None) -> None:
        """As AsyncClient.demote_member."""
        self._thread.run(self._client.demote_member(member, timeout=timeout))

    def remove_member(self, member: str, *, timeout: float | None = None) -> None:
        """As AsyncClient.remove_member."""
        self._thread.run(self._client.remove_member(member, timeout=timeout))

    def replace_member(
        self, old: str, new: str, *, timeout: float | None = None
    ) -> None:
        """As AsyncClient.replace_member."""
        self._thread.run(self._client.replace_member(old, new, timeout=timeout))

    def spare_member(self, member: str, *, timeout: float | None = None) -> None:
        """As AsyncClient.spare_member."""
        self._thread.run(self._client.spare_member(member, timeout=timeout))

    def caretaker(self, *, timeout: float | None = None) -> CaretakerStatus:
        """As AsyncClient.caretaker."""
        return self._thread.run(self._client.caretaker(timeout=timeout))

    def set_caretaker(
        self,
        *,
        paused: bool | None = None,
        voters: int | None = None,
        silence: float | None = None,
        stable: float | None = None,
        lag: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """As AsyncClient.set_caretaker."""
        call = self._client.set_caretaker(
            paused=paused,
            voters=voters,
            silence=silence,
            stable=stable,
            lag=lag,
            timeout=timeout,
        )
        self._thread.run(call)

    def rotate_authority(
        self, step: Step, old: bytes, new: bytes, *, timeout: float | None = None
    ) -> None:
        """As AsyncClient.rotate_authority."""
        call = self._client.rotate_authority(step, old, new, timeout=timeout)
        self._thread.run(call)

    def revoke_certificate(
        self,
        *,
        member: str | None = None,
        serial: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """As AsyncClient.revoke_certificate."""
        call = self._client.revoke_certificate(
            member=member, serial=serial, timeout=timeout
        )
        self._thread.run(call)

    def move_leader(
        self, to: str | None = None, *, timeout: float | None = None
    ) -> None:
        """As AsyncClient.move_leader."""
        self._thread.run(self._client.move_leader(to, timeout=timeout))

    def status(
        self, endpoint: str | None = None, *, timeout: float | None = None
    ) -> dict[str, object]:
        """As AsyncClient.status."""
        return self._thread.run(self._client.status(endpoint, timeout=timeout))

    def close(self) -> None:
        """As AsyncClient.close, and end this client's thread."""
        self._closed = True
        self._thread.stop(self._client.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Not there when the constructor refused its arguments; and in a forked child
        # it is the parent's to close.
        if getattr(self, "_closed", True) or self._thread.foreign:
            return
        reason = "a Client was not closed"
        warnings.warn(reason, ResourceWarning, stacklevel=1, source=self)
        self._thread.abandon(self._client._calls.drop)
