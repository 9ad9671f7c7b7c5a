"""A small journal to hurt, and the model that says what it must hold.

Law: the model knows nothing of bytes, segments or recovery: only what was appended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
from quorate.storage.env import read_file
from quorate.storage.journal import Batch, Journal, JournalOptions
from quorate.storage.journal_format import (
    BLOCK_BYTES,
    FOOT_BYTES,
    HEAD_BYTES,
    JournalEntry,
)
from quorate.storage.journal_recovery import Recovered
from quorate.storage.memory_env import MemoryEnv

DIRECTORY = "/journal"
SALT = 0x5A17_C0FF_EE00_D15C
OPTIONS = JournalOptions(segment_bytes=4 * BLOCK_BYTES, spares_max=2)
BLOCK_ROOM = BLOCK_BYTES - HEAD_BYTES - FOOT_BYTES  # entry bytes in a batch's first


@dataclass(frozen=True)
class State:
    """What a journal holds; `doubt` as in `Batch`."""

    term: int = 0
    vote: int = 0
    commit_index: int = 0
    base: tuple[int, int] = (0, 0)
    entries: tuple[JournalEntry, ...] = ()
    doubt: tuple[int, int] | None = None

    @property
    def last(self) -> tuple[int, int]:
        """(term, index), the way logs are compared."""
        if self.entries:
            return self.entries[-1].term, self.entries[-1].index
        return self.base[1], self.base[0]

    @property
    def last_index(self) -> int:
        return self.last[1]

    def after(self, batch: Batch) -> "State":
        """This state with one more batch."""
        kept = [e for e in self.entries if e.index < batch.first_index]
        base = self.base
        if batch.reset is not None:
            kept, base = [], batch.reset
        elif batch.base is not None:
            base = max(base, batch.base)
        kept += numbered(batch)
        state = State(
            batch.term,
            batch.vote,
            max(self.commit_index, batch.commit_index),
            base,
            tuple(e for e in kept if e.index > base[0]),
        )
        doubt = batch.doubt
        return replace(state, doubt=doubt if doubt and doubt > state.last else None)


def numbered(batch: Batch) -> list[JournalEntry]:
    return [
        JournalEntry(index, entry.term, entry.kind, entry.data)
        for index, entry in enumerate(batch.entries, batch.first_index)
    ]


def identity(batch: Batch) -> tuple[int, int] | None:
    """(term, index) of the last entry that a batch writes."""
    if not batch.entries:
        return None
    last = numbered(batch)[-1]
    return last.term, last.index


def state_of(recovered: Recovered) -> State:
    return State(
        recovered.term,
        recovered.vote,
        recovered.commit_index,
        (recovered.base_index, recovered.base_term),
        tuple(recovered.entries),
        recovered.doubt,
    )


def entry(term: int, data: bytes = b"x", kind: int = 1) -> JournalEntry:
    """An entry to append; its index is the batch's business."""
    return JournalEntry(0, term, kind, data)


def batch(
    first_index: int,
    entries: Sequence[JournalEntry] = (),
    *,
    term: int = 1,
    vote: int = 0,
    commit_index: int = 0,
    reset: tuple[int, int] | None = None,
    base: tuple[int, int] | None = None,
    doubt: tuple[int, int] | None = None,
) -> Batch:
    return Batch(
        term=term,
        vote=vote,
        commit_index=commit_index,
        first_index=first_index,
        entries=entries,
        reset=reset,
        base=base,
        doubt=doubt,
    )


def script() -> list[Batch]:
    """Batches in which everything happens that a journal can do to its files.

    Rolling, a batch over a tail, a hard state alone, compaction that recycles and that
    removes, a recycled file in use, a batch larger than a segment, and a reset.
    """
    two, five = bytes(BLOCK_BYTES), bytes(5 * BLOCK_BYTES)
    batches = [
        batch(1, [entry(1, b"a"), entry(1, b"b"), entry(1, b"c")]),
        batch(3, [entry(2, two)], term=2),
        batch(4, term=3, vote=2),
        batch(4, [entry(3, two)], term=3, vote=2),  # rolls
        batch(5, [entry(3, b"d"), entry(3, b"e")], term=3),
        batch(7, [entry(3, b"f")], term=3, base=(3, 2)),  # recycles the first file
        batch(8, [entry(4, b"g")], term=4),  # uses it again
        batch(9, [entry(4, five)], term=4),  # in a file of its own
        batch(10, [entry(4, b"h")], term=4, base=(7, 3)),
        batch(11, [entry(4, b"i")], term=4, base=(10, 4)),
        batch(41, [entry(5, two)], term=5, reset=(40, 5)),
        batch(42, [entry(5, two)], term=5, base=(41, 5)),
        batch(43, [entry(5, b"j")], term=5, base=(42, 5)),
    ]
    commits = [0, 2, 2, 2, 5, 6, 6, 6, 7, 10, 40, 41, 42]
    return [
        msgspec.structs.replace(one, commit_index=commit)
        for one, commit in zip(batches, commits, strict=True)
    ]


SCRIPT_OPTIONS = JournalOptions(segment_bytes=4 * BLOCK_BYTES, spares_max=1)


class Run:
    """The script on a disk: what was acknowledged, what was tried and is unknown."""

    def __init__(self, env: MemoryEnv) -> None:
        self.env = env
        self.acknowledged = State()
        self.tried: Batch | None = None
        self.journal: Journal | None = None

    def go(self) -> None:
        self.journal, _ = open_journal(self.env, SCRIPT_OPTIONS)
        for one in script():
            self.tried = one
            self.journal.append(one)
            self.journal.sync()
            self.acknowledged = self.acknowledged.after(one)
            self.tried = None

    def expect(self, recovered: Recovered) -> None:
        """What comes back lies between acknowledged and tried."""
        if self.tried is None:
            assert state_of(recovered) == self.acknowledged
        else:
            expect_crash_result(recovered, self.acknowledged, self.tried)


def new_disk() -> MemoryEnv:
    """A disk with an empty journal folder that a power loss does not take."""
    env = MemoryEnv()
    env.make_directory(DIRECTORY)
    env.sync_directory("/")
    return env


def open_journal(
    env: MemoryEnv, options: JournalOptions = OPTIONS
) -> tuple[Journal, State]:
    journal, recovered = Journal.open(env, DIRECTORY, options, SALT)
    return journal, state_of(recovered)


def recover(env: MemoryEnv) -> Recovered:
    """What a new process would be told; as any process it may write meanwhile."""
    return Journal.open(env, DIRECTORY, OPTIONS, SALT)[1]


def persist(journal: Journal, *batches: Batch) -> None:
    for one in batches:
        journal.append(one)
        journal.sync()


def files_of(env: MemoryEnv) -> dict[str, bytes]:
    """Every file of the journal, as a reader sees it now."""
    return {n: read_file(env, f"{DIRECTORY}/{n}") for n in env.list(DIRECTORY)}


def disk_of(files: Mapping[str, bytes]) -> MemoryEnv:
    """A disk on which exactly these bytes are durable."""
    env = new_disk()
    for name, data in files.items():
        file = env.open(f"{DIRECTORY}/{name}", create=True)
        file.write_at(0, data)
        file.sync()
        file.close()
    env.sync_directory(DIRECTORY)
    return env


def expect_crash_result(recovered: Recovered, before: State, lost: Batch) -> str:
    """Nothing but the state before, doubt with its identity, or the whole batch."""
    state, after = state_of(recovered), before.after(lost)
    if state == before:
        return "before"  # and perhaps it was torn and in doubt already
    if not recovered.torn:
        assert state == after
        return "whole"
    assert (state.term, state.vote) == (lost.term, lost.vote)
    assert state.entries == before.entries
    assert (state.base, state.commit_index) == (before.base, before.commit_index)
    named = [before.doubt, identity(lost), lost.doubt, _swapped(lost.reset)]
    assert state.doubt in [None, *named]
    known = identity(lost)
    if known is not None and known > before.last:
        assert state.doubt is not None
        assert state.doubt >= known
    return "doubt"


def _swapped(pair: tuple[int, int] | None) -> tuple[int, int] | None:
    """(index, term) as (term, index)."""
    return None if pair is None else (pair[1], pair[0])
