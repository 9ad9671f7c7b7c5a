"""Merges sorted sources, window by window.

Law: pure. A source yields chunks: (keys, records), each ascending in itself; the chunks
ascend, or descend when `reverse`. Of equal keys the newest source's record counts. The
work is done by dict and sort, which are C: one step merges what all windows have up to
the nearest end of one of them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from .table_format import TOMBSTONE

Chunk: TypeAlias = tuple[list[bytes], list[bytes]]

_NUMBER_BYTES = 8
# What a source in memory yields at once.
CHUNK_KEYS = 512


class Droppable(msgspec.Struct, frozen=True):
    """Entries that the owner needs no more, so that a merge leaves them out.

    Those whose key begins with `prefix` and has at `offset` (from its end, when
    negative) a big-endian number of 8 bytes `below` this one. The owner must have
    written such a key once only, and never deleted it: what is in older runs under the
    same key would come back.
    """

    prefix: bytes
    offset: int
    below: int


def in_order(keys: Sequence[bytes], records: Sequence[bytes]) -> Iterator[Chunk]:
    """Entries of which no two have the same key, in the order of their keys."""
    order = sorted(range(len(keys)), key=keys.__getitem__)
    for start in range(0, len(order), CHUNK_KEYS):
        some = order[start : start + CHUNK_KEYS]
        yield [*map(keys.__getitem__, some)], [*map(records.__getitem__, some)]


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
        deleted = records.count(TOMBSTONE)
        if deleted == 0:
            yield keys, records
            continue
        # Where a queue was taken from, nothing else comes for long.
        if deleted == len(records):
            continue
        kept = [(k, r) for k, r in zip(keys, records, strict=True) if r != TOMBSTONE]
        yield [key for key, _ in kept], [record for _, record in kept]


def without_droppable(
    chunks: Iterator[Chunk], droppable: Sequence[Droppable]
) -> Iterator[Chunk]:
    """What is left when nobody needs `droppable`; other keys cost a comparison."""
    for keys, records in chunks:
        for drop in droppable:
            keys, records = _without(keys, records, drop)
        if keys:
            yield keys, records


def _without(keys: list[bytes], records: list[bytes], drop: Droppable) -> Chunk:
    length = len(drop.prefix)
    low = bisect_left(keys, drop.prefix)
    high = bisect_right(keys, drop.prefix, lo=low, key=lambda key: key[:length])
    below = drop.below.to_bytes(_NUMBER_BYTES, "big")
    begin, end = drop.offset, drop.offset + _NUMBER_BYTES or None
    kept = [at for at in range(low, high) if keys[at][begin:end] >= below]
    if len(kept) == high - low:
        return keys, records
    return (
        keys[:low] + [keys[at] for at in kept] + keys[high:],
        records[:low] + [records[at] for at in kept] + records[high:],
    )
