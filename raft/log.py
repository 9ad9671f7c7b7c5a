"""The log in memory: all entries since the last compaction.

Law: a container, it decides nothing. The journal holds the same entries on disk;
`stable_index` says how far. Indexes: base ≤ applied ≤ commit ≤ last, stable ≤ last.
"""

from collections.abc import Sequence

from . import rules
from .messages import Entry

ENTRY_OVERHEAD_BYTES = 32
_LET_GO_ENTRIES = 2048


class Log:
    """Entries base_index + 1 to last_index; (base_index, base_term) stands before."""

    def __init__(self, base_index: int, base_term: int) -> None:
        self.base_index = base_index
        self.base_term = base_term
        self.entries: list[Entry] = []
        self.stable_index = base_index
        self.commit_index = base_index
        self.applied_index = base_index
        self.truncated = False
        self.size_bytes = 0
        # Of no use any more; to free tens of thousands at once takes long.
        self._forgotten: list[Entry] = []

    @property
    def last_index(self) -> int:
        return self.base_index + len(self.entries)

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else self.base_term

    def term(self, index: int) -> int | None:
        """The term of the entry at `index`; None when it is not here."""
        offset = index - self.base_index
        if 0 < offset <= len(self.entries):
            return self.entries[offset - 1].term
        return self.base_term if offset == 0 else None

    def entry(self, index: int) -> Entry:
        return self.entries[index - self.base_index - 1]

    def slice(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries `first` to `last`, cut at `bytes_max`, but at least one if any."""
        low = first - self.base_index - 1
        chosen = self.entries[low : last - self.base_index]
        total = 0
        for position, entry in enumerate(chosen):
            total += len(entry.data) + ENTRY_OVERHEAD_BYTES
            if total > bytes_max and position:
                return tuple(chosen[:position])
        return tuple(chosen)

    def append(self, entries: Sequence[Entry]) -> None:
        assert not entries or entries[0].index == self.last_index + 1
        self.entries.extend(entries)
        self.size_bytes += _size_of(entries)

    def truncate_from(self, index: int) -> None:
        """Drop `index` and all after it. Committed entries stay (I-7)."""
        assert index > self.commit_index, "a committed entry is never dropped"
        offset = index - self.base_index - 1
        self.size_bytes -= _size_of(self.entries[offset:])
        del self.entries[offset:]
        if self.stable_index >= index:
            self.stable_index = index - 1
        self.truncated = True

    def find_conflict(self, entries: Sequence[Entry]) -> int | None:
        """The first index at which `entries` and this log disagree or this log ends."""
        for entry in entries:
            if self.term(entry.index) != entry.term:
                return entry.index
        return None

    def last_possible_match(self, index: int, term: int) -> tuple[int, int]:
        """The highest (index, term) here with index ≤ `index` and term ≤ `term`.

        The conflict hint of the dissertation's end of 3.5: skips whole terms.
        """
        index = min(index, self.last_index)
        while index > self.base_index:
            own = self.term(index)
            assert own is not None
            if own <= term:
                return index, own
            index -= 1
        return self.base_index, self.base_term

    def can_apply(self) -> bool:
        """Is anything committed and durable here that was not applied yet?"""
        limit = rules.applies_up_to(self.commit_index, self.stable_index)
        return self.applied_index < limit

    def hand_back(self, count: int) -> None:
        """The last `count` entries that were taken were not applied: once more."""
        assert 0 <= count <= self.applied_index - self.base_index
        self.applied_index -= count

    def compact(self, index: int) -> None:
        """Forget entries up to `index`, which a durable checkpoint holds."""
        if index <= self.base_index:
            return
        assert index <= self.applied_index
        assert index <= self.stable_index
        term = self.term(index)
        assert term is not None
        count = index - self.base_index
        forgotten = self.entries[:count]
        self.size_bytes -= _size_of(forgotten)
        del self.entries[:count]
        self._forgotten += forgotten
        self.base_index, self.base_term = index, term

    def unstable_bytes(self) -> int:
        """What the disk has yet to take."""
        return _size_of(self.entries[self.stable_index - self.base_index :])

    def let_go(self) -> None:
        """Free the memory of some of what was forgotten; to be called at each tick."""
        if self._forgotten:
            del self._forgotten[-_LET_GO_ENTRIES:]

    def restore(self, index: int, term: int) -> None:
        """Start again after an installed snapshot."""
        assert index > self.commit_index
        self.base_index, self.base_term = index, term
        self.entries.clear()
        self.size_bytes = 0
        self.stable_index = self.commit_index = self.applied_index = index
        self.truncated = False


def _size_of(entries: Sequence[Entry]) -> int:
    return sum([len(each.data) for each in entries]) + (
        ENTRY_OVERHEAD_BYTES * len(entries)
    )
