"""Reading a journal back: what is whole, what is torn, what is in doubt, what is wrong.

Law: a torn tail is cut, a damaged durable batch is an error, and the two are told apart
by what was written, never by hope (I-21, I-22):

- a batch was written only after the one before it was durable; so damage that is
  followed by a whole batch is corruption, and nothing is opened;
- damage to the last batch, when its head or its foot still says who it is, may be
  either: it is reported as *in doubt*, with the hard state that it carried;
- damage without any identity is an append that never got far: the log ends before it.

A segment that had a batch and is gone, or has none any more, is corruption as well.
"""

from itertools import pairwise

import msgspec

from . import rules
from .checksum import crc32
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
    salt_at,
    segment_name,
    segment_sequence,
)
from .journal_newest import Mark, newest_path, read_mark


class Recovered(msgspec.Struct):
    """What a journal holds. `segments` are (sequence, size, last index written).

    `last_batch` is (offset, bytes) of the last whole batch in the last segment, and of
    the damaged one behind it as far as its identity reaches.
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


def recover(env: Env, directory: str, salt: int, owner: int = 0) -> Recovered:
    """Read all segments, of this owner; 0: whoever it is.

    Raises CorruptionError, OSError.
    """
    names = env.list(directory)
    sequences = sorted(s for s in map(segment_sequence, names) if s is not None)
    state = Recovered(salt=salt)
    mark = read_mark(env, directory)
    if owner and mark.owner not in (0, owner):
        reason = f"the journal is that of {mark.owner:016x}, not of {owner:016x}"
        raise CorruptionError(newest_path(directory), 0, reason)
    for before, after in pairwise(sequences):
        if after != before + 1:
            path = f"{directory}/{segment_name(before + 1)}"
            raise CorruptionError(path, 0, "the segment is missing")
    if mark.sequence > (sequences[-1] if sequences else 0):
        path = f"{directory}/{segment_name(mark.sequence)}"
        raise CorruptionError(path, 0, "the segment is missing")
    if not sequences:
        return state
    reader = _Reader(env, directory, state)
    for sequence in sequences:
        reader.read_segment(sequence)
    reader.compare(mark)
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
        self.before: tuple[str, int] | None = None  # the end of the segment before
        self.damage: tuple[str, int, str] | None = None
        self.identities: list[Head | Foot] = []  # of what is damaged, oldest first
        # The last segment with a batch, or with one that still says who it was.
        self.newest = 0
        # The first damage gave its number by its foot, which has no flags.
        self.numbered_by_foot = False

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
        self._refuse_stranger(path, data, sequence)
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
        damage_end = self._look_behind(path, data, offset, sequence)
        if offset or damage_end:
            self.newest = sequence
        if damage_end:
            start = state.last_batch[0] if state.last_batch else offset
            state.last_batch = (start, data[start:damage_end])
        self.before = (path, offset)

    def _refuse_stranger(self, path: str, data: bytes, sequence: int) -> None:
        """A file begins with a batch of its own, of an older segment, or with none."""
        try:
            found = decode_head(data, 0)
        except ValueError as error:
            raise CorruptionError(path, 0, str(error)) from error
        if found is None:
            return
        if self.known_salt and found[0].salt != self.state.salt:
            raise CorruptionError(path, 0, "the segment is of another journal")
        if found[0].segment > sequence:
            raise CorruptionError(path, 0, "the segment is of a later name")

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
        if not head.flags & FLAG_ABANDONS:
            raise CorruptionError(*self.damage)
        self.damage = None
        self.identities.clear()

    def _head_at(
        self, path: str, data: bytes, offset: int, segment: int
    ) -> tuple[Head, int] | None:
        try:
            found = decode_head(data, offset)
        except ValueError as error:
            # A client's value can look like a head of any format, but for the salt.
            ours = salt_at(data, offset) == self.state.salt
            if ours if self.known_salt else offset == 0:
                raise CorruptionError(path, offset, str(error)) from error
            return None
        if found is None or not rules.is_of_this_file(found[0].segment, segment):
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
        end = rules.replaces_up_to(len(self.log), keep + head.entry_count)
        try:
            self.log[keep:end] = decode_entries(
                body, head.first_index, head.entry_count
            )
        except ValueError as error:
            raise CorruptionError(path, offset, str(error)) from error
        self._take_state(head)

    def _take_state(self, head: Head) -> None:
        state = self.state
        state.term, state.vote = head.term, head.vote
        state.commit_index = max(state.commit_index, head.commit_index)
        state.base_index, state.base_term = head.base_index, head.base_term
        state.next_batch = head.batch + 1
        doubt = rules.carries_doubt_on((head.doubt_term, head.doubt_index))
        state.doubt = doubt if doubt != (0, 0) else None

    def _look_behind(self, path: str, data: bytes, offset: int, segment: int) -> int:
        """What lies behind the last whole batch of a segment?

        Returns where a damaged batch's identity ends, 0 when there is none.
        """
        self._number_the_front(path, data, segment)
        head = self._damaged_head(path, data, offset, segment)
        # Damage in a segment before: a batch here can only be one that knew of it.
        damaged = self.state.next_batch + (self.damage is not None)
        damage_end = 0
        if head is not None:
            damaged = head.batch
            damage_end = offset + BLOCK_BYTES
            self._note(path, offset, "the batch's body does not match its crc", head)
        for start in range(offset, len(data), BLOCK_BYTES):
            if start > offset:
                later = self._head_at(path, data, start, segment)
                if later is not None:
                    self._refuse(path, offset, damaged, later[0].batch)
            end = start + BLOCK_BYTES
            foot = self._foot_at(data, end, segment)
            if foot is None or foot.batch < damaged:
                continue
            if foot.batch > damaged:
                self._refuse(path, offset, damaged, foot.batch)
            elif not damage_end:
                self._note(path, offset, "the batch's head is damaged", foot)
                damage_end = end
        return damage_end

    def _number_the_front(self, path: str, data: bytes, segment: int) -> None:
        """When segments before were reclaimed, the first damage tells its own number.

        It can be the batch of an abandoned segment; `finish` refuses it if it is not.
        """
        first = self.state.segments[0][0]
        if self.known_salt or self.damage is not None or first == 1:
            return
        found = self._head_at(path, data, 0, segment)
        if found is not None:
            head = found[0]
            knew = bool(head.flags & FLAG_ABANDONS)
            self.state.next_batch = head.batch - knew
            self.state.previous_crc = head.previous_crc
            return
        for end in range(BLOCK_BYTES, len(data) + 1, BLOCK_BYTES):
            foot = self._foot_at(data, end, segment)
            if foot is not None:
                self.state.next_batch = foot.batch
                self.numbered_by_foot = True
                return

    def _damaged_head(
        self, path: str, data: bytes, offset: int, segment: int
    ) -> Head | None:
        """The head in the next batch's place: its body was not whole."""
        found = self._head_at(path, data, offset, segment)
        if found is None:
            return None
        head = found[0]
        knew = head.flags & FLAG_ABANDONS
        same = knew and head.batch == self.state.next_batch
        if self.numbered_by_foot and not self.known_salt and same:
            # Both gave up one batch before them: so the front had the flag as well.
            self.state.next_batch -= 1
            self.numbered_by_foot = False
        if self._continues(head) and (self.damage is None or knew):
            return head
        self._refuse(path, offset, self.state.next_batch, head.batch)
        return None

    def _foot_at(self, data: bytes, end: int, segment: int) -> Foot | None:
        foot = decode_foot(data, end)
        if foot is None or foot.segment != segment:
            return None
        if self.known_salt and foot.salt != self.state.salt:
            return None
        return foot

    def _refuse(self, path: str, offset: int, damaged: int, found: int) -> None:
        """A batch was found that no crash explains: the one before it was durable."""
        if found <= damaged:
            reason = f"batch {found} does not continue what is before it"
            raise CorruptionError(path, offset, reason)
        if not rules.proves_durability(found, damaged):
            return
        if self.damage is not None:
            raise CorruptionError(*self.damage)
        if offset == 0 and self.before is not None:
            path, offset = self.before
        reason = f"batch {damaged} is damaged, later ones are whole"
        raise CorruptionError(path, offset, reason)

    def _note(self, path: str, offset: int, reason: str, known: Head | Foot) -> None:
        self.damage = (path, offset, reason)
        self.identities.append(known)

    def compare(self, mark: Mark) -> None:
        """Is what was marked as durable there?"""
        path = f"{self.directory}/{segment_name(mark.sequence)}"
        if self.known_salt and mark.salt not in (0, self.state.salt):
            raise CorruptionError(self.directory, 0, "this is another journal")
        if mark.sequence > self.newest:
            raise CorruptionError(path, 0, "its batches are missing")
        for sequence, size, _ in self.state.segments:
            if sequence == mark.sequence and size < mark.size:
                raise CorruptionError(path, size, f"it had {mark.size} bytes")

    def finish(self) -> None:
        """Decide about damage at the end, and cut the front."""
        state = self.state
        if not self.known_salt and state.segments[0][0] > 1:
            # A later segment is the first only when some batch behind it was durable.
            path = f"{self.directory}/{segment_name(state.segments[0][0])}"
            found = self.damage or (path, 0, "its batches are missing")
            raise CorruptionError(*found)
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
        assert self.identities
        state.torn = True
        state.abandoned = True
        if not rules.identity_means_doubt(True):
            return
        if not self.known_salt:
            state.salt, state.fresh = self.identities[0].salt, False
        for known in self.identities:
            # Its hard state may have been acted upon: taking it is always safe.
            assert known.term >= state.term
            if rules.counts_what_it_carried():
                state.term, state.vote = known.term, known.vote
            self._take_base(known)
            for doubt in _doubts_of(known):
                if doubt > self._last() and (
                    state.doubt is None or doubt > state.doubt
                ):
                    state.doubt = doubt

    def _take_base(self, known: Head | Foot) -> None:
        """The front that a damaged batch let go was in a checkpoint before that.

        Segments may have been reclaimed for it, so without it the log has a hole. (A
        reset is another matter: what the log held before it must not be kept.)
        """
        if isinstance(known, Foot) or known.flags & FLAG_RESET:
            return
        state = self.state
        if self.log_first <= known.base_index + 1 and (
            state.base_index < known.base_index <= self._last()[1]
        ):
            state.base_index, state.base_term = known.base_index, known.base_term


def _doubts_of(known: Head | Foot) -> list[tuple[int, int]]:
    """The last entry that a damaged batch wrote, and the one that it doubted."""
    last = (known.last_term, known.last_index)
    if isinstance(known, Foot):
        return [last]
    doubt = (known.doubt_term, known.doubt_index)
    return [last, doubt] if known.entry_count else [doubt]
