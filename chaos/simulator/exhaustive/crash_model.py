"""What a disk must say after a crash: a model of a few lines, and the invariants.

Law: nothing of bytes, segments, files or recovery is known here: only what was
appended, what of it was acknowledged (synced), and what was on its way. An invariant is
one function; it returns its complaint, or nothing.
"""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from ....storage.journal import Batch
from ....storage.journal_format import JournalEntry

Pair = tuple[int, int]
NOTHING = (0, 0)


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint that counts: where it stands, and the hash of its state."""

    index: int
    term: int
    state: str


class Answer(msgspec.Struct, frozen=True):
    """What recovery tells. `base` is (index, term), `doubt` is (term, index).

    `state` is the hash of the state at `base`, empty for a journal alone.
    """

    term: int = 0
    vote: int = 0
    commit_index: int = 0
    base: Pair = (0, 0)
    entries: tuple[JournalEntry, ...] = ()
    doubt: Pair | None = None
    state: str = ""

    @property
    def last(self) -> Pair:
        """(term, index), the way logs are compared."""
        if self.entries:
            return self.entries[-1].term, self.entries[-1].index
        return self.base[1], self.base[0]

    @property
    def last_index(self) -> int:
        return self.last[1]

    def term_at(self, index: int) -> int | None:
        if index == self.base[0]:
            return self.base[1]
        return next((e.term for e in self.entries if e.index == index), None)

    def after(self, batch: Batch) -> "Answer":
        """With one more batch."""
        kept = [e for e in self.entries if e.index < batch.first_index]
        base = self.base
        if batch.reset is not None:
            kept, base = [], batch.reset
        elif batch.base is not None:
            base = max(base, batch.base)
        kept += numbered(batch)
        answer = Answer(
            batch.term,
            batch.vote,
            max(self.commit_index, batch.commit_index),
            base,
            tuple(e for e in kept if e.index > base[0]),
            batch.doubt,
            self.state,
        )
        return settled(answer)


def numbered(batch: Batch) -> list[JournalEntry]:
    return [
        JournalEntry(index, entry.term, entry.kind, entry.data)
        for index, entry in enumerate(batch.entries, batch.first_index)
    ]


def settled(answer: Answer) -> Answer:
    """What the log has reached is not in doubt any more, for Raft neither."""
    if answer.doubt is None or answer.doubt > answer.last:
        return answer
    return replace(answer, doubt=None)


def join(log: Answer, checkpoint: Checkpoint | None) -> Answer:
    """Checkpoint and journal together: the log that follows the checkpoint."""
    if checkpoint is None:
        return log
    index, term = checkpoint.index, checkpoint.term
    same = log.term_at(index) == term
    answer = replace(
        log,
        commit_index=max(log.commit_index, index),
        base=(index, term),
        entries=tuple(e for e in log.entries if same and e.index > index),
        state=checkpoint.state,
    )
    return settled(answer)


def torn_logs(before: Answer, batch: Batch) -> list[Answer]:
    """What the remains of `batch` may tell: its hard state, and what may be lost.

    That is its last entry, or what was in doubt before; when its foot alone is left,
    nobody can tell the end of a snapshot from an entry.
    """
    doubt = max(before.doubt or NOTHING, written(batch) or NOTHING)
    end = (batch.reset[1], batch.reset[0]) if batch.reset else NOTHING
    damaged = replace(before, term=batch.term, vote=batch.vote)
    return [settled(replace(damaged, doubt=d)) for d in (doubt, max(doubt, end))]


def written(batch: Batch) -> Pair | None:
    """(term, index) of the last entry that a batch writes."""
    entries = numbered(batch)
    return (entries[-1].term, entries[-1].index) if entries else None


class Wanted(msgspec.Struct, frozen=True):
    """Between what was acknowledged and that with what was on its way.

    `torn` is what the remains of a batch on its way may tell, `hard_state` its term and
    vote, `identity` its last entry. `traced`: its head or its foot is on the disk.
    `known_torn`: the last recovery told of a damaged batch, and nothing came since.
    """

    before: Answer
    after: Answer
    torn: tuple[Answer, ...] = ()
    hard_state: Pair | None = None
    identity: Pair | None = None
    traced: bool = False
    known_torn: bool = False


class Told(msgspec.Struct, frozen=True):
    """What a recovery told; `torn`: it found a batch that is not whole."""

    answer: Answer
    torn: bool


def term_and_vote_never_fall_back(told: Told, wanted: Wanted) -> str:
    """I-2, I-27: they are those acknowledged last, or those on their way."""
    found = told.answer.term, told.answer.vote
    good = [(wanted.before.term, wanted.before.vote)]
    if wanted.hard_state is not None:
        good.append(wanted.hard_state)
    return "" if found in good else f"(term, vote) is {found}, not in {good}"


def acknowledged_entries_are_there(told: Told, wanted: Wanted) -> str:
    """I-16: byte for byte, unless the batch on its way replaced them, whole."""
    answer = told.answer
    if (answer.base, answer.entries) == (wanted.after.base, wanted.after.entries):
        return ""
    lost = [e for e in wanted.before.entries if e not in answer.entries]
    return f"lost: {_short(lost)}" if lost else ""


def nothing_unwritten_appears(told: Told, wanted: Wanted) -> str:
    """I-21: each entry is one that was written, in its place."""
    written = (*wanted.before.entries, *wanted.after.entries)
    strange = [e for e in told.answer.entries if e not in written]
    return f"never written: {_short(strange)}" if strange else ""


def no_checkpoint_is_lost(told: Told, wanted: Wanted) -> str:
    """I-20, I-30, I-51: base and its state are the newest that count, and whole."""
    found = told.answer.base, told.answer.state
    good = [(a.base, a.state) for a in (wanted.before, wanted.after)]
    return "" if found in good else f"(base, state) is {found}, not in {good}"


def damage_is_told(told: Told, wanted: Wanted) -> str:
    """I-22: a damaged last batch that says who it is may have counted."""
    if wanted.traced and not told.torn and told.answer != wanted.after:
        return "a batch that can be identified is passed over"
    return ""


def damage_is_doubted(told: Told, wanted: Wanted) -> str:
    """I-22, I-23: so its last entry is in doubt, unless the log is past it."""
    identity = wanted.identity
    if not told.torn or wanted.known_torn or identity is None:
        return ""
    doubt = told.answer.doubt
    if identity <= wanted.before.last or (doubt is not None and doubt >= identity):
        return ""
    return f"{identity} was damaged, and {doubt} is in doubt"


def log_is_before_or_after(told: Told, wanted: Wanted) -> str:
    """I-8: the answer as a whole is the old one, the new one, or the old in doubt."""
    good = (wanted.before, wanted.after, *(wanted.torn if told.torn else ()))
    if told.answer in good:
        return ""
    return f"a mixture: {_terse(told.answer)}, not in {[_terse(a) for a in good]}"


Invariant = Callable[[Told, Wanted], str]

INVARIANTS: tuple[Invariant, ...] = (
    term_and_vote_never_fall_back,
    acknowledged_entries_are_there,
    nothing_unwritten_appears,
    no_checkpoint_is_lost,
    damage_is_told,
    damage_is_doubted,
    log_is_before_or_after,
)


def complaints_about(told: Told, wanted: Wanted) -> list[str]:
    """What is wrong with an answer, each complaint with its invariant's name."""
    found = [(rule.__name__, rule(told, wanted)) for rule in INVARIANTS]
    return [f"{name}: {what}" for name, what in found if what]


def _short(entries: list[JournalEntry]) -> str:
    return ", ".join(f"{e.index} of term {e.term}" for e in entries)


def _terse(answer: Answer) -> str:
    """An answer without its entries' bytes."""
    entries = [(e.index, e.term, len(e.data)) for e in answer.entries]
    return (
        f"term {answer.term} vote {answer.vote} commit {answer.commit_index}"
        f" base {answer.base} entries {entries} doubt {answer.doubt}"
    )
