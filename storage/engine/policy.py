"""What to compact: a pure function over the sizes of the runs.

Law: tiered. A run's tier is the logarithm of its size; as soon as `ratio` runs are in
one tier, they and all newer ones become one run. An entry is rewritten once a tier, so
about log(size / memtable) / log(ratio) times. Runs are only merged with neighbours:
their order is their age.
"""

from collections.abc import Sequence


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
