"""Flush and compaction: sorted chunks in, finished tables out, a slice at a time.

Law: generators; each step handles about a mebibyte at most and yields how many bytes
that was, or 0: somebody else is at it, ask again later. They write into the work
directory alone and edit nothing: a job that is dropped leaves files that the next
opening removes.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol, TypeAlias

from ..env import Env
from .manifest import TableMeta
from .memtable import Memtable
from .merge import Chunk, merge, without_tombstones
from .options import EngineOptions
from .table_writer import TableWriter
from .version import Run

Job: TypeAlias = Generator[int, None, list[TableMeta]]


class Jobs(Protocol):
    """Who does the work: the caller itself (`InlineJobs`) or a process (`Worker`)."""

    def flush(self, memtable: Memtable) -> Job:
        """Make tables of a memtable that nobody writes to any more."""
        ...

    def merge(self, runs: Sequence[Run], *, oldest: bool) -> Job:
        """Make one run of `runs`, newest first; `oldest`: deletions may go."""
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
    chunks: Iterator[Chunk],
) -> Job:
    """Write `chunks` into as many tables as they need; returns them in order.

    Each is complete and synced, and has no name outside of `work` yet.
    """
    done: list[TableMeta] = []
    writer: TableWriter | None = None
    try:
        for keys, records in chunks:
            if writer is None:
                file_id = ids()
                path = f"{work}/{file_id.hex()}.sst"
                writer = TableWriter(env, path, file_id, options)
            before = writer.size_bytes
            writer.add(keys, records)
            if writer.size_bytes >= options.table_bytes:
                done.append(writer.finish())
                writer = None
                yield options.block_bytes
            else:
                # Never 0: that would say that somebody else is at it.
                yield max(1, writer.size_bytes - before)
        if writer is not None:
            done.append(writer.finish())
            writer = None
    finally:
        if writer is not None:
            writer.abandon()
    return done


class InlineJobs:
    """Whoever asks for the next slice does it: `Engine.work`, or a worker process."""

    def __init__(
        self, env: Env, work: str, ids: Callable[[], bytes], options: EngineOptions
    ) -> None:
        self._parts = (env, work, ids, options)

    def flush(self, memtable: Memtable) -> Job:
        chunks = merge(memtable.sources(None, b"", None, reverse=False))
        return write_tables(*self._parts, chunks)

    def merge(self, runs: Sequence[Run], *, oldest: bool) -> Job:
        chunks = merge([run.chunks(b"", None, reverse=False) for run in runs])
        if oldest:
            chunks = without_tombstones(chunks)
        return write_tables(*self._parts, chunks)

    def wait(self) -> None:
        """Nothing here ever waits."""

    def close(self) -> None:
        """Nothing here is anybody else's."""
