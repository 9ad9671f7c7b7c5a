"""What to compact: pure functions over the sizes of runs and of files of values.

Law: tiered. A run's tier is the logarithm of its size; as soon as `ratio` runs are in
one tier, they and all newer ones become one run. An entry is rewritten once a tier, so
about log(size / memtable) / log(ratio) times. Runs are only merged with neighbours:
their order is their age. Where tombstones are many, all runs become one: only a merge
with the oldest run drops them.
"""

from collections.abc import Mapping, Sequence
from typing import Final

# A scan passes so many in a few milliseconds: for fewer no merge is worth while.
TOMBSTONES_MIN: Final = 4096
# Each tombstone pays for so many entries that are rewritten to be rid of it. With four
# it would never come to that where an owner keeps old versions and changes as well: of
# the four entries that a key leaves which was put and deleted, one is a tombstone.
ENTRIES_A_TOMBSTONE: Final = 8


def tier_of(size_bytes: int, memtable_bytes: int, ratio: int) -> int:
    """0 for everything up to one memtable's run; one more for each factor `ratio`."""
    tier, limit = 0, memtable_bytes
    while size_bytes > limit:
        tier, limit = tier + 1, limit * ratio
    return tier


def pick(sizes: Sequence[int], memtable_bytes: int, ratio: int) -> range | None:
    """Which runs to merge next, newest first; None when nothing is owed.

    `sizes` are those of the runs, newest first.
    """
    tiers = [tier_of(size, memtable_bytes, ratio) for size in sizes]
    for tier in sorted(set(tiers)):
        if tiers.count(tier) >= ratio:
            return range(len(tiers) - tiers[::-1].index(tier))
    return None


def should_drop_tombstones(tombstones: int, entries: int) -> bool:
    """Should all runs become one, so that scans need not pass their tombstones?

    Both are counts over all runs; tombstones are entries as well. None is left
    afterwards, whatever the oldest run was, so the next such merge is as many deletions
    away: a deletion causes `ENTRIES_A_TOMBSTONE` rewrites at most.
    """
    many = ENTRIES_A_TOMBSTONE * tombstones >= entries
    return many and tombstones >= TOMBSTONES_MIN


def to_be_moved(
    files: Sequence[tuple[bytes, int]],
    live: Mapping[bytes, int],
    referred: Mapping[bytes, int],
    small_bytes: int,
    ratio: int,
) -> list[bytes]:
    """Of which files of values a merge should write its values anew.

    `files` are all, with their sizes; `live` is how much of each any table refers to,
    `referred` how much those that are merged do. Those of which less than half is live
    go, as far as this merge has a part in them. Small ones become one, as soon as there
    are `ratio` of them: each costs a descriptor, and else there would be one for each
    flush that had one large value, for ever. A value is moved so about
    log(small / value) / log(ratio) times.
    """
    concerned = [(file_id, size) for file_id, size in files if file_id in referred]
    sparse = [file_id for file_id, size in concerned if 2 * live[file_id] < size]
    small = [
        file_id
        for file_id, size in concerned
        if size < small_bytes and 2 * live[file_id] >= size
    ]
    return sparse + small if len(small) >= ratio else sparse
