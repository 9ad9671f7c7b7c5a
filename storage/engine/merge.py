"""Merges sorted sources, window by window.

Law: pure. A source yields chunks: (keys, records), each ascending in itself; the chunks
ascend, or descend when `reverse`. Of equal keys the newest source's record counts. The
work is done by dict and sort, which are C: one step merges what all windows have up to
the nearest end of one of them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from .table_format import TOMBSTONE

Chunk: TypeAlias = tuple[list[bytes], list[bytes]]


def merge(sources: Sequence[Iterator[Chunk]], reverse: bool = False) -> Iterator[Chunk]:
    """`sources` from newest to oldest; tombstones are passed on."""
    live: list[tuple[Iterator[Chunk], Chunk]] = []
    for source in sources:
        chunk = next(source, None)
        if chunk is not None:
            live.append((source, chunk))
    while len(live) > 1:
        if reverse:
            bound = max([keys[0] for _, (keys, _) in live])
        else:
            bound = min([keys[-1] for _, (keys, _) in live])
        taken: list[Chunk] = []
        left: list[tuple[Iterator[Chunk], Chunk]] = []
        for source, (keys, records) in live:
            if reverse:
                cut = bisect_left(keys, bound)
                part, rest = (keys[cut:], records[cut:]), (keys[:cut], records[:cut])
            else:
                cut = bisect_right(keys, bound)
                part, rest = (keys[:cut], records[:cut]), (keys[cut:], records[cut:])
            if part[0]:
                taken.append(part)
            if not rest[0]:
                chunk = next(source, None)
                if chunk is None:
                    continue
                rest = chunk
            left.append((source, rest))
        live = left
        yield _together(taken)
    for source, chunk in live:
        yield chunk
        yield from source


def _together(parts: list[Chunk]) -> Chunk:
    if len(parts) == 1:
        return parts[0]
    newest: dict[bytes, bytes] = {}
    for keys, records in reversed(parts):
        newest.update(zip(keys, records, strict=True))
    keys = sorted(newest)
    return keys, list(map(newest.__getitem__, keys))


def without_tombstones(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """For the oldest run of all: below it nothing is left to be hidden."""
    for keys, records in chunks:
        if TOMBSTONE not in records:
            yield keys, records
            continue
        kept = [(k, r) for k, r in zip(keys, records, strict=True) if r != TOMBSTONE]
        if kept:
            yield [key for key, _ in kept], [record for _, record in kept]
