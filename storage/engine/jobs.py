"""Flush and compaction: sorted chunks in, finished tables out, a slice at a time.

Law: generators; each step handles about a mebibyte at most and yields how many bytes
that was, or 0: somebody else is at it, ask again later. They write into the work
directory alone and edit nothing. A job that fails, or into which `JobDropped` is
thrown, removes what it has written; one that is closed does not touch the disk, and
what it leaves goes with the next opening.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import suppress
from typing import Protocol, TypeAlias, TypeVar

from ..env import Env
from .blob import BlobWriter, rewrite, separate
from .compression import Codec
from .manifest import Made, TableMeta
from .memtable import Memtable
from .merge import Chunk, Droppable, merge, without_droppable, without_tombstones
from .options import EngineOptions
from .table_writer import TableWriter
from .version import Version

Job: TypeAlias = Generator[int, None, Made]
Steps: TypeAlias = Generator[int, None, None]
T = TypeVar("T")


class JobDropped(Exception):
    """Thrown into a job: nobody wants it any more."""


def advance(steps: Steps) -> tuple[int, Steps | None]:
    """The next step's bytes; and what goes on with it, if anything is left."""
    try:
        return next(steps), steps
    except StopIteration:
        return 1, None


class Jobs(Protocol):
    """Who does the work: the caller itself (`InlineJobs`) or a process (`Worker`)."""

    def flush(self, memtable: Memtable) -> Job:
        """Make tables of a memtable that nobody writes to any more."""
        ...

    def merge(
        self,
        source: Version,
        sparse: Collection[bytes],
        droppable: Sequence[Droppable],
        *,
        oldest: bool,
    ) -> Job:
        """Make one run of the runs of `source`, without what is `droppable`.

        Values in the files `sparse` are written again; `oldest`: deletions may go.
        """
        ...

    def run(self, function: Callable[[], T]) -> Generator[int, None, T]:
        """Do what blocks on the disk and touches nothing that is in memory."""
        ...

    def wait(self) -> None:
        """Block until a job that yielded 0 may have more to say."""
        ...

    def close(self) -> None:
        """Drop all jobs."""
        ...


def write_tables(
    env: Env,
    work: str,
    ids: Callable[[], bytes],
    options: EngineOptions,
    codec: Codec,
    chunks: Iterator[Chunk],
    blobs: BlobWriter,
) -> Job:
    """Write `chunks` into as many tables as they need; returns them in order.

    Each is complete and synced, and has no name outside of `work` yet. `blobs` is where
    values went while the chunks were made.
    """
    done: list[TableMeta] = []
    paths: list[str] = []
    writer: TableWriter | None = None
    values = 0
    try:
        for keys, records in chunks:
            if writer is None:
                file_id = ids()
                path = f"{work}/{file_id.hex()}.sst"
                paths.append(path)
                writer = TableWriter(env, path, file_id, options, codec)
            before = writer.size_bytes
            writer.add(keys, records)
            # Never 0: that would say that somebody else is at it.
            step = max(1, writer.size_bytes - before + blobs.size_bytes - values)
            values = blobs.size_bytes
            if writer.size_bytes >= options.table_bytes:
                done.append(writer.finish())
                writer = None
            yield step
        if writer is not None:
            done.append(writer.finish())
            writer = None
        return Made(tuple(done), blobs.finish(), work)
    except Exception:
        # A disk that is full would be filled more by each new try.
        for path in (*paths, *blobs.paths):
            with suppress(OSError):
                env.remove(path)
        raise
    finally:
        blobs.abandon()
        if writer is not None:
            writer.abandon()


class InlineJobs:
    """Whoever asks for the next slice does it: `Engine.work`, or a worker process."""

    def __init__(
        self, env: Env, work: str, ids: Callable[[], bytes], options: EngineOptions
    ) -> None:
        self._parts = (env, work, ids, options)

    def _blobs(self) -> BlobWriter:
        env, work, ids, options = self._parts
        return BlobWriter(env, work, ids, options.blob_file_bytes)

    def flush(self, memtable: Memtable) -> Job:
        return self.write(merge(memtable.sources(None, b"", None, reverse=False)))

    def write(self, chunks: Iterator[Chunk]) -> Job:
        """Make tables of entries that nobody has seen yet in any."""
        blobs = self._blobs()
        options = self._parts[3]
        chunks = separate(chunks, options.blob_bytes, blobs)
        return write_tables(*self._parts, options.codec(0), chunks, blobs)

    def merge(
        self,
        source: Version,
        sparse: Collection[bytes],
        droppable: Sequence[Droppable],
        *,
        oldest: bool,
    ) -> Job:
        blobs = self._blobs()
        chunks = merge(source.sources(b"", None, reverse=False))
        if droppable:
            chunks = without_droppable(chunks, droppable)
        if oldest:
            chunks = without_tombstones(chunks)
        if sparse:
            chunks = rewrite(chunks, source.blobs, sparse, blobs)
        codec = self._parts[3].codec(sum(run.size_bytes for run in source.runs))
        return write_tables(*self._parts, codec, chunks, blobs)

    def run(self, function: Callable[[], T]) -> Generator[int, None, T]:
        return function()
        yield 0

    def wait(self) -> None:
        """Nothing here ever waits."""

    def close(self) -> None:
        """Nothing here is anybody else's."""
