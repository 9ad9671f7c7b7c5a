"""One node's disk, as far as Raft sees it: batches that were synced, one in flight.

Law: what is not synced does not exist after a crash; a batch is whole or it is not
there, or, when a test damages it, it is known by name only (its hard state and the
term and index of its last entry), which is what a journal's recovery reports.
"""

import msgspec
from quorate.raft import Entry, HardState, Persist, SnapshotMark


class Recovered(msgspec.Struct):
    """What a restarted replica is given."""

    hard_state: HardState
    entries: tuple[Entry, ...]
    doubtful: tuple[int, int] | None


class _Batch(msgspec.Struct):
    persist: Persist
    doubt: tuple[int, int] | None


class Disk:
    """`held`: batches wait for the test's release instead of being synced at once.

    `entries` are what it held before its first batch.
    """

    def __init__(self, snapshot: SnapshotMark, hard_state: HardState) -> None:
        self.snapshot = snapshot
        self._first = hard_state
        self._doubt: tuple[int, int] | None = None
        self.entries: tuple[Entry, ...] = ()
        self.batches: list[_Batch] = []
        self.damaged = False
        self.held = False

    def write(self, persist: Persist, doubt: tuple[int, int] | None) -> None:
        """Append and sync one batch; `doubt` is what the replica still doubts."""
        assert not self.damaged, "recovery comes before the next write"
        self.batches.append(_Batch(persist, doubt))

    @property
    def hard_state(self) -> HardState:
        """What is durable now."""
        return self.batches[-1].persist.hard_state if self.batches else self._first

    def damage_last_batch(self) -> None:
        """The newest batch can no longer be read; its identity can."""
        assert self.batches
        self.damaged = True

    def recover(self) -> Recovered:
        """Read everything back, and go on from it as the new beginning."""
        hard_state, doubt = self._first, self._doubt
        log = {entry.index: entry for entry in self.entries}
        last_damaged = self.batches[-1] if self.damaged else None
        for batch in self.batches:
            hard_state = _newer(hard_state, batch.persist, batch is not last_damaged)
            if batch is last_damaged:
                doubt = _identity(batch.persist) or doubt
            else:
                doubt = batch.doubt
                _replay(log, batch.persist)
        entries = self._after_snapshot(log)
        self._first, self.entries, self._doubt = hard_state, entries, doubt
        self.batches.clear()
        self.damaged = False
        return Recovered(hard_state, entries, doubt)

    def _after_snapshot(self, log: dict[int, Entry]) -> tuple[Entry, ...]:
        """The entries that continue the snapshot: none if they disagree with it."""
        index = self.snapshot.index
        known = log.get(index)
        if known is not None and known.term != self.snapshot.term:
            return ()
        chosen: list[Entry] = []
        while (entry := log.get(index + 1)) is not None:
            chosen.append(entry)
            index += 1
        return tuple(chosen)


def _replay(log: dict[int, Entry], persist: Persist) -> None:
    if persist.reset is not None:
        log.clear()
    for index in [index for index in log if index >= persist.first_index]:
        del log[index]
    log.update((entry.index, entry) for entry in persist.entries)


def _newer(known: HardState, persist: Persist, whole: bool) -> HardState:
    """A damaged batch still tells its term and vote; its commit index is not used."""
    state = persist.hard_state
    commit = max(known.commit_index, state.commit_index if whole else 0)
    return HardState(state.term, state.vote, commit)


def _identity(persist: Persist) -> tuple[int, int] | None:
    if not persist.entries:
        return None
    return persist.entries[-1].term, persist.entries[-1].index
