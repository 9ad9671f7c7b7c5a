"""A power loss tears the last batch: it is there, it is not, or it is in doubt.

Every state of a torn batch is one of those three, never an exception, never a part of
it, and never a loss of what was acknowledged before.
"""

import random
from collections import Counter

import pytest
from quorate.storage.journal import Batch
from quorate.storage.journal_format import BLOCK_BYTES, segment_name
from quorate.storage.memory_disk import SECTOR_BYTES

from .journal_kit import (
    BLOCK_ROOM,
    State,
    batch,
    disk_of,
    entry,
    expect_crash_result,
    files_of,
    new_disk,
    open_journal,
    persist,
    recover,
)

SECTORS = BLOCK_BYTES // SECTOR_BYTES


class Torn:
    """A last batch that was not synced, to be torn at will.

    With `recycled` it lies in a file that is full of old batches.
    """

    def __init__(self, lost: Batch, *, recycled: bool = False) -> None:
        env = new_disk()
        journal, self.before = open_journal(env)
        rounds = 9 if recycled else 1
        for index in range(1, rounds + 1):
            one = batch(index, [entry(1, bytes(20))], base=(index - 1, 1))
            persist(journal, one)
            self.before = self.before.after(one)
        assert recycled == (len(env.list("/journal")) > 1)
        self.lost = lost
        old = files_of(env)
        journal.append(lost)
        self.name = segment_name(journal.segments[-1].sequence)
        self.old = old[self.name]
        self.files = files_of(env)
        self.start = journal.offset - (journal.bytes_written - rounds * BLOCK_BYTES)
        self.sectors = (journal.offset - self.start) // SECTOR_BYTES

    def recover(self, kept: int) -> str:
        """What becomes of it when only the sectors in the bits of `kept` were left."""
        image = bytearray(self.old)
        new = self.files[self.name]
        for sector in range(self.sectors):
            if kept >> sector & 1:
                at = self.start + sector * SECTOR_BYTES
                image[at : at + SECTOR_BYTES] = new[at : at + SECTOR_BYTES]
        disk = disk_of(self.files | {self.name: bytes(image)})
        recovered = recover(disk)
        assert recover(disk) == recovered, "reading twice gives the same"
        return expect_crash_result(recovered, self.before, self.lost)


def blocks(
    count: int, first: int, *, term: int, vote: int = 0, commit_index: int = 0
) -> Batch:
    """A batch that takes `count` blocks."""
    room = BLOCK_ROOM - 100 + (count - 1) * BLOCK_BYTES
    noise = random.Random(count).randbytes(room)
    entries = [entry(term, noise)]
    return batch(first, entries, term=term, vote=vote, commit_index=commit_index)


@pytest.mark.parametrize("recycled", [False, True])
def test_any_subset_of_a_blocks_sectors_is_before_doubt_or_whole(
    recycled: bool,
) -> None:
    torn = Torn(blocks(1, 10 if recycled else 2, term=2, vote=5), recycled=recycled)
    assert torn.sectors == SECTORS
    seen = Counter(torn.recover(kept) for kept in range(1 << SECTORS))
    # Head and foot are in the first and in the last sector; without both nothing says
    # that anything was there.
    assert seen == {"before": 64, "doubt": 191, "whole": 1}


@pytest.mark.parametrize("recycled", [False, True])
def test_a_torn_hard_state_is_never_half_taken(recycled: bool) -> None:
    first = 10 if recycled else 2
    torn = Torn(batch(first, term=6, vote=3, commit_index=1), recycled=recycled)
    seen = Counter(torn.recover(kept) for kept in range(1 << SECTORS))
    # All of it is in the head's sector.
    assert seen == {"before": 64, "doubt": 64, "whole": 128}


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("recycled", [False, True])
def test_large_batches_torn_at_every_sector_border(count: int, recycled: bool) -> None:
    torn = Torn(blocks(count, 10 if recycled else 2, term=2), recycled=recycled)
    assert torn.sectors == count * SECTORS
    everything = (1 << torn.sectors) - 1
    dice = random.Random(count)
    subsets = {0, everything}
    for sector in range(torn.sectors):
        prefix = (1 << sector) - 1
        single = 1 << sector
        subsets |= {prefix, everything ^ prefix, single, everything ^ single}
    subsets |= {dice.getrandbits(torn.sectors) for _ in range(100)}
    # Without head and foot: blocks of values only.
    subsets |= {s & (everything >> 1) & ~1 for s in subsets}
    seen = Counter(torn.recover(kept) for kept in sorted(subsets))
    assert seen["whole"] == 1
    assert min(seen["before"], seen["doubt"]) > 20


@pytest.mark.parametrize(
    "lost",
    [
        batch(1, [entry(2)] * 3, term=2),
        batch(2, term=3),
        batch(51, reset=(50, 4), term=4),
        batch(51, [entry(4)], reset=(50, 4), term=4),
        batch(3, base=(2, 1), term=2),
        batch(3, [entry(1)], base=(2, 1), doubt=(5, 40), term=2),
        batch(3, doubt=(5, 40), term=2),
    ],
    ids=["overwrite", "cut", "reset", "reset+entry", "base", "all", "doubt"],
)
def test_batches_of_every_kind_are_torn_safely(lost: Batch) -> None:
    env = new_disk()
    journal, before = open_journal(env)
    first = batch(1, [entry(1), entry(1)])
    persist(journal, first)
    before = before.after(first)
    journal.append(lost)
    old = env.copy()
    seen: set[str] = set()
    for seed in range(60):
        disk = old.copy()
        disk.crash(random.Random(seed))
        seen.add(expect_crash_result(recover(disk), before, lost))
    assert seen == {"before", "doubt", "whole"}


def test_the_very_first_batch_may_be_torn() -> None:
    env = new_disk()
    journal, before = open_journal(env)
    lost = blocks(2, 1, term=2, vote=1)
    journal.append(lost)
    seen: Counter[str] = Counter()
    for seed in range(60):
        disk = env.copy()
        disk.crash(random.Random(seed))
        recovered = recover(disk)
        seen[expect_crash_result(recovered, before, lost)] += 1
        assert recovered.fresh == (recovered.term == 0)
    assert len(seen) == 3


def test_the_journal_goes_on_behind_a_torn_batch() -> None:
    """Whatever the tear left, what is appended then survives the next one, too."""
    env = new_disk()
    journal, start = open_journal(env)
    start = start.after(batch(1, [entry(1)]))
    persist(journal, batch(1, [entry(1)]))
    journal.append(blocks(2, 2, term=2))
    for seed in range(40):
        disk = env.copy()
        disk.crash(random.Random(seed))
        state = start
        for step in range(4):
            journal, found = open_journal(disk)
            assert found.entries[: len(state.entries)] == state.entries
            state = found
            more = batch(found.last_index + 1, [entry(3, b"%d" % step)], term=3)
            persist(journal, more)
            state = state.after(more)
            journal.append(blocks(1 + step % 3, state.last_index + 1, term=3))
            disk.crash(random.Random(1000 + seed * 4 + step))


def test_a_torn_batch_behind_a_torn_batch_is_not_corruption() -> None:
    """Story: the enumeration found it. The last batch was torn and in doubt; the next
    boot began a new segment with a batch that says so; that was torn as well. It was
    taken for the proof that the first one had been durable, and the replica was lost.
    """
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1, b"kept")]))
    first = blocks(2, 2, term=2, vote=7)
    journal.append(first)
    journal.sync()
    env.zero_range(f"/journal/{segment_name(1)}", 2 * BLOCK_BYTES, 100)
    env.kill()
    journal, state = open_journal(env)
    assert (state.doubt, state.term, state.vote) == ((2, 2), 2, 7)
    second = blocks(2, 2, term=3, vote=8, commit_index=1)
    journal.append(second)
    seen: set[tuple[int, int, tuple[int, int] | None, int]] = set()
    for seed in range(200):
        disk = env.copy()
        disk.crash(random.Random(seed))
        _, found = open_journal(disk)
        seen.add((found.term, found.vote, found.doubt, found.last_index))
    assert seen == {
        (2, 7, (2, 2), 1),  # lost: the first doubt stays
        (3, 8, (3, 2), 1),  # torn: the newer name counts
        (3, 8, None, 2),  # whole: it was repaired
    }


def test_what_a_torn_batch_doubted_stays_in_doubt() -> None:
    """Two torn batches in a row: the doubt about the first outlives the second."""
    env = new_disk()
    journal, _ = open_journal(env)
    persist(journal, batch(1, [entry(1)]))
    persist(journal, batch(2, [entry(5)] * 8, term=5))
    env.flip_bit(f"/journal/{segment_name(1)}", BLOCK_BYTES + 150, 0)
    env.kill()
    journal, state = open_journal(env)
    assert state.doubt == (5, 9)
    journal.append(blocks(2, 2, term=5))
    journal.sync()
    env.flip_bit(f"/journal/{segment_name(2)}", 150, 0)
    env.kill()
    assert open_journal(env)[1].doubt == (5, 9)
    assert State(doubt=(5, 9)).last == (0, 0)
