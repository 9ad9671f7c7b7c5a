"""A copy of some keys in the process, kept right by a watch: reading it asks nobody.

Law: what is told from the copy was so at the copy's revision, all keys at the same
one, and a revision is never seen in part. Once nobody keeps it right any more, the
cluster is asked, until the copy is right again.
"""

import asyncio
from types import TracebackType
from typing import Final, Protocol, Self, cast

from .errors import Closed, Compacted, InvalidRequest, QuorateError, TooLarge
from .paging import Pager
from .values import KeyValue, to_bytes, to_key, to_revision, to_timeout
from .watching import Watch

BYTES_MAX_DEFAULT: Final = 64 << 20
# What an entry takes beside the bytes of its key and value, about.
ENTRY_BYTES: Final = 256
# Before all of it is read again; twice as long each time when it is too large.
PAUSE_SECONDS_MIN: Final = 1.0
PAUSE_SECONDS_MAX: Final = 60.0
# Asking for the same again is of no use; reading all of it again may be.
_FROM_THE_BEGINNING: Final = (Compacted, TooLarge)


class Reader(Protocol):
    """What a cache asks of a client."""

    async def get(
        self,
        key: str | bytes,
        *,
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> KeyValue | None: ...
    def range(
        self, prefix: str | bytes | None = None, *, timeout: float | None = None
    ) -> Pager: ...
    def watch(
        self,
        prefix: str | bytes | None = None,
        *,
        revision: int = 0,
        timeout: float | None = None,
        patience: float = 60.0,
    ) -> Watch: ...


class NearCache:
    """All keys with a prefix; use it as a context.

    async with kv.near_cache("config/") as config:
        entry = await config.get("config/color")
    """

    def __init__(
        self,
        client: Reader,
        prefix: bytes,
        bytes_max: int,
        timeout: float | None,
        patience: float,
    ) -> None:
        if bytes_max < 1:
            raise InvalidRequest(f"bytes_max is {bytes_max}")
        self._client: Reader = client
        self._prefix: bytes = prefix
        self._bytes_max: int = bytes_max
        self._timeout: float | None = timeout
        self._patience: float = patience
        self._entries: dict[bytes, KeyValue] = {}
        self._bytes: int = 0
        # Read by other threads (SyncNearCache): 0 before anything is not so any more,
        # and until all of the next revision is there.
        self._revision: int = 0
        self._following: asyncio.Task[None] | None = None
        self._error: QuorateError | None = None

    @property
    def revision(self) -> int:
        """The copy is as of this revision; 0 while nobody keeps it right."""
        return self._revision

    def __len__(self) -> int:
        """How many keys there are in the copy."""
        return len(self._entries)

    async def __aenter__(self) -> Self:
        """Read all of it; TooLarge when that is more than `bytes_max`."""
        if self._following is not None:
            raise InvalidRequest("a near cache is entered once")
        await self._copy()
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the copy and its watch."""
        self._end(Closed("the near cache is closed"))
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})

    async def get(
        self,
        key: str | bytes,
        *,
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> KeyValue | None:
        """What `key` is, from the copy, or None.

        With `min_revision`, which a put returned, at least as new as that. Where the
        copy is not as new, or is not kept right for now, the cluster is asked.
        """
        found = self.known(key, min_revision)
        if found is not None:
            return found[0]
        return await self._client.get(key, min_revision=min_revision, timeout=timeout)

    def known(
        self, key: str | bytes, min_revision: int = 0
    ) -> tuple[KeyValue | None] | None:
        """What `get` answers without asking the cluster, as a tuple of one; else None.

        Raises what the cache has ended in.
        """
        name = to_key(key)
        if not name.startswith(self._prefix):
            # It would be told as absent, whatever the cluster has.
            raise InvalidRequest(f"{key!r} does not begin with {self._prefix!r}")
        if self._error is not None:
            raise self._error.with_traceback(None)
        revision = self._revision
        if revision < max(to_revision("min_revision", min_revision), 1):
            return None
        found = self._entries.get(name)
        # What was found while another thread was changing it is of no revision.
        return (found,) if self._revision == revision else None

    def entries(self) -> list[KeyValue]:
        """All of the copy, in the order of its keys, as it is at `revision`."""
        if self._error is not None:
            raise self._error.with_traceback(None)
        return sorted(self._entries.values(), key=_key)

    # -- its task ----------------------------------------------------------------------

    async def _copy(self) -> None:
        entries: dict[bytes, KeyValue] = {}
        size = 0
        pages = self._client.range(self._prefix, timeout=self._timeout)
        async for entry in pages:
            entries[entry.key] = entry
            size += _size(entry)
            if size > self._bytes_max:
                raise TooLarge(
                    f"what begins with {self._prefix!r} takes more than"
                    f" {self._bytes_max} bytes"
                )
        self._entries, self._bytes = entries, size
        self._revision = pages.revision

    async def _follow(self) -> None:
        """Take each change; read all of it again when the watch has come to its end."""
        pause = PAUSE_SECONDS_MIN
        try:
            while True:
                try:
                    if not self._revision:
                        await self._copy()
                        pause = PAUSE_SECONDS_MIN
                    await self._watch()
                except QuorateError as error:
                    self._revision = 0
                    is_large = isinstance(error, TooLarge)
                    if not (error.retryable or isinstance(error, _FROM_THE_BEGINNING)):
                        raise
                    await asyncio.sleep(pause)
                    if is_large:
                        pause = min(2 * pause, PAUSE_SECONDS_MAX)
        except QuorateError as error:
            self._end(error)
        finally:
            self._end(Closed("nobody keeps the near cache right any more"))

    async def _watch(self) -> None:
        """Until that ends; raises why."""
        watch = self._client.watch(
            self._prefix,
            revision=self._revision + 1,
            timeout=self._timeout,
            patience=self._patience,
        )
        async with watch as changes:
            # Nothing is awaited between the events of one revision.
            async for event in changes:
                self._revision = 0
                before = self._entries.pop(event.key, None)
                self._bytes -= 0 if before is None else _size(before)
                if event.kv is not None:
                    self._entries[event.key] = event.kv
                    self._bytes += _size(event.kv)
                    if self._bytes > self._bytes_max:
                        raise TooLarge("the near cache has grown over its bytes_max")
                if changes.revision >= event.revision:
                    self._revision = changes.revision

    def _end(self, error: QuorateError) -> None:
        self._revision = 0
        if self._error is None:
            self._error = error
        self._entries, self._bytes = {}, 0


class NearCaching:
    """What AsyncClient has of it."""

    def near_cache(
        self,
        prefix: str | bytes,
        *,
        bytes_max: int = BYTES_MAX_DEFAULT,
        timeout: float | None = None,
        patience: float = 5.0,
    ) -> NearCache:
        """A copy of all keys with `prefix`, of `bytes_max` at most, while it is open.

        A watch keeps it right. While no node at all is there for `patience` seconds it
        is not, and neither is what the watch can't go on with, or is too large: then
        its `get` asks the cluster. `timeout` is of each page that is read, and of how
        long the watch may take to begin.

            async with kv.near_cache("config/") as config:
                entry = await config.get("config/color")
        """
        return NearCache(
            cast(Reader, self),
            to_bytes(prefix),
            bytes_max,
            None if timeout is None else to_timeout(timeout),
            to_timeout(patience, "patience"),
        )


def _size(entry: KeyValue) -> int:
    return len(entry.key) + len(entry.value) + ENTRY_BYTES


def _key(entry: KeyValue) -> bytes:
    return entry.key
