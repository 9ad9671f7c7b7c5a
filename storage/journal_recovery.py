"""Reading a journal back: what is whole, what is torn, what is in doubt, what is wrong.

Law: a torn tail is cut, a damaged durable batch is an error, and the two are told apart
by what was written, never by hope (I-21, I-22):

- a batch was written only after the one before it was durable; so damage that is
  followed by a whole batch is corruption, and nothing is opened;
- damage to the last batch, when its head or its foot still says who it is, may be
  either: it is reported as *in doubt*, with the hard state that it carried;
- damage without any identity is an append that never got far: the log ends before it.
"""

from itertools import pairwise
from zlib import crc32

import msgspec

from . import rules
from .env import Env
from .errors import CorruptionError
from .journal_format import (
    BLOCK_BYTES,
    FLAG_ABANDONS,
    FLAG_RESET,
    HEAD_BYTES,
    Foot,
    Head,
    JournalEntry,
    decode_entries,
    decode_foot,
    decode_head,
    extent,
    segment_name,
    segment_sequence,
)


class Recovered(msgspec.Struct):
    """What a journal holds. `segments` are (sequence, size, last index written).

    `last_batch` is (offset, bytes) of the last whole batch in the last segment.
    """

    salt: int
    fresh: bool = True
    term: int = 0
    vote: int = 0
    commit_index: int = 0
    base_index: int = 0
    base_term: int = 0
    entries: list[JournalEntry] = []
    doubt: tuple[int, int] | None = None
    torn: bool = False
    next_batch: int = 1
    previous_crc: int = 0
    offset: int = 0
    abandoned: bool = False
    last_batch: tuple[int, bytes] | None = None
    segments: list[tuple[int, int, int]] = []

    @property
    def last_index(self) -> int:
        return self.entries[-1].index if self.entries else self.base_index

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else self.base_term


def recover(env: Env, directory: str, salt: int) -> Recovered:
    """Read all segments. Raises CorruptionError, OSError."""
    names = env.list(directory)
    sequences = sorted(s for s in map(segment_sequence, names) if s is not None)
    state = Recovered(salt=salt)
    if not sequences:
        return state
    for before, after in pairwise(sequences):
        if after != before + 1:
            path = f"{directory}/{segment_name(before + 1)}"
            raise CorruptionError(path, 0, "the segment is missing")
    reader = _Reader(env, directory, state)
    for sequence in sequences:
        reader.read_segment(sequence)
    reader.finish()
    return state


class _Reader:
    def __init__(self, env: Env, directory: str, state: Recovered) -> None:
        self.env = env
        self.directory = directory
        self.state = state
        self.log: list[JournalEntry] = []
        self.log_first = 0
        self.known_salt = False
        self.damage: tuple[str, int, str] | None = None
        self.damage_head: Head | None = None
        self.damage_foot: Foot | None = None

    def read_segment(self, sequence: int) -> None:
        path = f"{self.directory}/{segment_name(sequence)}"
        file = self.env.open(path, read_only=True)
        try:
            size = file.size()
            data = file.read_at(0, size)
        finally:
            file.close()
        offset, last_index = 0, 0
        state = self.state
        state.last_batch = None
        while (found := self._batch_at(path, data, offset, sequence)) is not None:
            head, body = found
            self._take(path, offset, head, body)
            size_of_batch = extent(head.body_length)
            state.last_batch = (offset, data[offset : offset + size_of_batch])
            if head.entry_count:
                last_index = max(last_index, head.last_index)
            offset += size_of_batch
        state.segments.append((sequence, size, last_index))
        state.offset = offset
        self._look_behind(path, data, offset, sequence)

    def _batch_at(
        self, path: str, data: bytes, offset: int, segment: int
    ) -> tuple[Head, bytes] | None:
        """The next whole batch in order, or None."""
        head = self._head_at(path, data, offset, segment)
        if head is None:
            return None
        parsed, crc = head
        state = self.state
        if self.known_salt and not self._continues(parsed):
            return None
        body = data[offset + HEAD_BYTES : offset + HEAD_BYTES + parsed.body_length]
        if len(body) < parsed.body_length:
            return None
        if not rules.checks_body(parsed.body_crc, crc32(body)):
            return None
        if self.damage is not None:
            self._after_damage(parsed)
        state.previous_crc = crc
        return parsed, body

    def _continues(self, head: Head) -> bool:
        state = self.state
        if head.flags & FLAG_ABANDONS:
            return head.batch == state.next_batch + 1
        return (
            head.batch == state.next_batch and head.previous_crc == state.previous_crc
        )

    def _after_damage(self, head: Head) -> None:
        """A whole batch behind damage: only one that says it knew of it is right."""
        assert self.damage is not None
        path, offset, reason = self.damage
        if not head.flags & FLAG_ABANDONS:
            raise CorruptionError(path, offset, reason)
        self.damage = self.damage_head = self.damage_foot = None

    def _head_at(
        self, path: str, data: bytes, offset: int, segment: int
    ) -> tuple[Head, int] | None:
        try:
            found = decode_head(data, offset)
        except ValueError as error:
            raise CorruptionError(path, offset, str(error)) from error
        if found is None or found[0].segment != segment:
            return None
        if self.known_salt and found[0].salt != self.state.salt:
            return None
        return found

    def _take(self, path: str, offset: int, head: Head, body: bytes) -> None:
        state = self.state
        if not self.known_salt:
            self.known_salt = True
            state.salt = head.salt
            state.fresh = False
            self.log_first = head.first_index
        if head.flags & FLAG_RESET:
            self.log.clear()
            self.log_first = head.first_index
        keep = head.first_index - self.log_first
        if keep < 0 or keep > len(self.log):
            if keep > 0:
                reason = f"entries before index {head.first_index} are missing"
                raise CorruptionError(path, offset, reason)
            self.log.clear()
            self.log_first = head.first_index
            keep = 0
        del self.log[keep:]
        try:
            self.log += decode_entries(body, head.first_index, head.entry_count)
        except ValueError as error:
            raise CorruptionError(path, offset, str(error)) from error
        self._take_state(head)

    def _take_state(self, head: Head) -> None:
        state = self.state
        state.term, state.vote = head.term, head.vote
        state.commit_index = max(state.commit_index, head.commit_index)
        state.base_index, state.base_term = head.base_index, head.base_term
        state.next_batch = head.batch + 1
        doubt = (head.doubt_term, head.doubt_index)
        state.doubt = doubt if doubt != (0, 0) else None

    def _look_behind(self, path: str, data: bytes, offset: int, segment: int) -> None:
        """What lies behind the last whole batch of a segment?"""
        state = self.state
        for start in range(offset, len(data), BLOCK_BYTES):
            head = self._head_at(path, data, start, segment)
            if head is None:
                continue
            if head[0].batch == state.next_batch and start == offset:
                if self.known_salt and not self._continues(head[0]):
                    continue
                self._note(path, offset, "the batch's body does not match its crc")
                self.damage_head = head[0]
            elif rules.proves_durability(head[0].batch, state.next_batch):
                reason = f"batch {state.next_batch} is damaged, later ones are whole"
                raise CorruptionError(path, offset, reason)
        if self.damage_head is not None or self.damage is not None:
            return
        for end in range(offset + BLOCK_BYTES, len(data) + 1, BLOCK_BYTES):
            foot = decode_foot(data, end)
            if foot is None or foot.segment != segment:
                continue
            if self.known_salt and foot.salt != state.salt:
                continue
            if foot.batch >= state.next_batch:
                self._note(path, offset, "the batch's head is damaged")
                self.damage_foot = foot
                return

    def _note(self, path: str, offset: int, reason: str) -> None:
        if self.damage is None:
            self.damage = (path, offset, reason)

    def finish(self) -> None:
        """Decide about damage at the end, and cut the front."""
        state = self.state
        if self.damage is not None:
            self._doubt_or_cut()
        if state.doubt is not None and state.doubt <= self._last():
            state.doubt = None
        drop = state.base_index + 1 - self.log_first
        if drop < 0 and not state.fresh:
            path = f"{self.directory}/{segment_name(state.segments[0][0])}"
            reason = f"entries before index {self.log_first} are missing"
            raise CorruptionError(path, 0, reason)
        state.entries = self.log[max(drop, 0) :]

    def _last(self) -> tuple[int, int]:
        if self.log:
            return self.log[-1].term, self.log[-1].index
        return self.state.base_term, self.state.base_index

    def _doubt_or_cut(self) -> None:
        state = self.state
        known = self.damage_head or self.damage_foot
        assert known is not None
        state.torn = True
        state.abandoned = True
        if not rules.identity_means_doubt(True):
            return
        if not self.known_salt:
            state.salt, state.fresh = known.salt, False
        # Its hard state may have been acted upon: taking it is always safe.
        if (known.term, known.vote) != (state.term, state.vote):
            assert known.term >= state.term
            state.term, state.vote = known.term, known.vote
        if self.damage_head is not None and not self.damage_head.entry_count:
            return
        doubt = (known.last_term, known.last_index)
        if doubt > self._last() and (state.doubt is None or doubt > state.doubt):
            state.doubt = doubt
