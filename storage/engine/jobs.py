"""Flush and compaction: sorted chunks in, finished tables out, a slice at a time.

Law: generators; each step writes about a mebibyte at most and yields how many bytes it
has handled. They write into the work directory alone and edit nothing: a job that is
dropped leaves files that the next opening removes.
"""

from collections.abc import Callable, Generator, Iterator

from ..env import Env
from .manifest import TableMeta
from .merge import Chunk
from .options import EngineOptions
from .table_writer import TableWriter

Job = Generator[int, None, list[TableMeta]]


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
                yield writer.size_bytes - before
        if writer is not None:
            done.append(writer.finish())
            writer = None
    finally:
        if writer is not None:
            writer.abandon()
    return done
