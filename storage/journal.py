"""The journal: Raft's durable log, and the only write-ahead log.

Law: one append and one sync make several entries and the hard state durable together;
a batch is written only after the one before it is durable; the first failed write or
sync is final (I-19). Nothing here is thread-safe: one caller at a time.

Segments are files of equal size, filled with zeros once and then recycled, because a
sync of blocks that were written before need not wait for the file system's own journal.
Batches lie in whole 4 KiB blocks. Entries are overwritten, never erased: a batch says
from which index on it replaces the log; a new base index drops the front. Both take
effect with one batch, so a crash at any point leaves the log before or after it.
"""

import errno
import re
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from . import rules
from .checksum import crc32
from .env import Env, File, write_file_durably
from .errors import CorruptionError, JournalFailed, NoSpace
from .journal_format import (
    FLAG_ABANDONS,
    FLAG_RESET,
    EntryLike,
    Head,
    encode_batch,
    encode_entries,
    extent,
    segment_name,
    segment_sequence,
)
from .journal_newest import NEWEST_BYTES, Mark, newest_path, write_mark
from .journal_recovery import Recovered, recover

_ZEROS = bytes(1 << 20)
_NEW = "new-spare.seg"
_AHEAD = "ahead-spare.seg"
_SPARE = re.compile(r"(new|ahead|[0-9a-f]{16})-spare\.seg")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class JournalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`segment_bytes` is a multiple of 4,096; `spares_max` files are kept for reuse.

    `owner` is a 64-bit number of whoever writes it: another one's is not opened. 0:
    anybody's is.
    """

    segment_bytes: int = 16 << 20
    spares_max: int = 2
    owner: int = 0


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one append makes durable.

    `entries` replace the log from `first_index` on (none: the log ends before it).
    `reset` = (index, term) starts the log anew after it. `base` = (index, term): what
    a checkpoint holds; entries up to there are dropped. `doubt` = (term, index) of an
    entry that recovery found damaged and that is still in doubt.
    """

    term: int
    vote: int
    commit_index: int
    first_index: int
    entries: Sequence[EntryLike] = ()
    reset: tuple[int, int] | None = None
    base: tuple[int, int] | None = None
    doubt: tuple[int, int] | None = None


class _Segment(msgspec.Struct):
    sequence: int
    size: int
    last_index: int


class Journal:
    """An open journal. `open` reads what is there; then append, sync, append, sync."""

    def __init__(
        self, env: Env, directory: str, options: JournalOptions, recovered: Recovered
    ) -> None:
        assert options.segment_bytes % 4096 == 0
        self.env = env
        self.directory = directory
        self.options = options
        self.salt = recovered.salt
        self.base = (recovered.base_index, recovered.base_term)
        self.durable_base_index = recovered.base_index
        self.last = (recovered.last_index, recovered.last_term)
        self.batch: int = recovered.next_batch - 1
        self.durable_batch = self.batch
        self.previous_crc = recovered.previous_crc
        self.abandons = recovered.abandoned
        self.segments = [
            _Segment(sequence, size, last_index)
            for sequence, size, last_index in recovered.segments
        ]
        self.offset = recovered.offset
        self.file: File | None = None
        # A segment has gone whose name may still be on the disk.
        self.reclaiming = False
        # The segment whose first batch is durable, and said to be so; 0: none yet.
        self.marked = 0
        self.failure: JournalFailed | None = None
        self.syncs = 0
        self.bytes_written = 0

    @classmethod
    def open(
        cls, env: Env, directory: str, options: JournalOptions, salt: int
    ) -> "tuple[Journal, Recovered]":
        """Read the journal in `directory`, which exists.

        `salt` is a random 64-bit number for a new journal; it keeps bytes of other
        journals, and of values that look like batches, from being taken for batches.
        Raises CorruptionError (path, offset, reason) when something durable is damaged.
        """
        assert 0 < salt < 1 << 64
        recovered = recover(env, directory, salt, options.owner)
        journal = cls(env, directory, options, recovered)
        if journal.segments:
            journal._settle(recovered.last_batch)
            if recovered.abandoned:
                journal.close()
        return journal, recovered

    def _settle(self, last_batch: tuple[int, bytes] | None) -> None:
        """Make durable what was read, before anybody acts on it.

        A process that ended between a write and its sync leaves a batch in the page
        cache: it reads back whole and would still be lost with the power. When that
        sync had failed, the cache may even call it clean, and only writing it again
        helps. Batches before the last were durable when the last was written. The
        segment's name may be in the cache alone as well, though nothing is in it yet;
        and so may the mark that it is the newest.
        """
        path = self._path(self.segments[-1].sequence)
        self.file = self.env.open(path)
        if not rules.rewrites_what_it_read():
            return
        try:
            if last_batch is not None:
                self.file.write_at(*last_batch)
                self.file.sync()
            self.env.sync_directory(self.directory)
        except OSError as error:
            raise self._fail("sync", path, error) from error
        if last_batch is not None:
            # Without room for one an older version's journal opens all the same.
            with suppress(NoSpace):
                self._have_mark()
            self._mark()

    @property
    def size_bytes(self) -> int:
        """Bytes of all live segments."""
        return sum(segment.size for segment in self.segments)

    def append(self, batch: Batch) -> None:
        """Write one batch; it is durable when `sync` has returned.

        Raises NoSpace, with nothing changed, when a new segment has no room (try
        again later); JournalFailed when the write failed (never again).
        """
        self._check_alive()
        assert self.durable_batch == self.batch, "sync before the next append"
        assert batch.reset or batch.first_index <= self.last[0] + 1, "no gaps"
        body = encode_entries(batch.entries)
        size = extent(len(body))
        self._make_room(size)
        assert self.file is not None
        segment = self.segments[-1]
        head = self._head(batch, body, segment.sequence)
        data, head_crc = encode_batch(head, body)
        try:
            self.file.write_at(self.offset, data)
        except OSError as error:
            raise self._fail("write", self.file.path, error) from error
        self.offset += size
        self.batch = head.batch
        self.previous_crc = head_crc
        self.abandons = False
        self.base = (head.base_index, head.base_term)
        self.last = (head.last_index, head.last_term)
        if head.entry_count:
            segment.last_index = max(segment.last_index, head.last_index)
        self.bytes_written += size

    def sync(self) -> None:
        """Make the last batch durable. Raises JournalFailed, once and for all."""
        self._check_alive()
        if self.file is None:
            return
        if rules.syncs_before_acknowledging():
            try:
                self.file.sync()
            except OSError as error:
                failure = self._fail("sync", self.file.path, error)
                if rules.failed_sync_is_final():
                    raise failure from error
                self.failure = None
        if self.offset and self.marked != self.segments[-1].sequence:
            self._mark()
        self.syncs += 1
        self.durable_batch = self.batch
        self.durable_base_index = self.base[0]
        self._reclaim()

    def wants_spare(self) -> bool:
        """Is the last segment half full, with no recycled file to follow it?"""
        return (
            self.file is not None
            and self.offset * 2 >= self.segments[-1].size
            and not self._spares()
        )

    def prepare_spare(self) -> None:
        """Fill a file for the next segment; may run beside appends, in a thread.

        It spares one batch in many the time of zeroing a whole segment. Without room
        `append` finds out by itself. Raises `OSError`, which is final (I-19).
        """
        path = f"{self.directory}/ahead.tmp"
        try:
            self._fill(path, self.options.segment_bytes, sync_each=True)
            self.env.rename(path, f"{self.directory}/{_AHEAD}")
        except OSError as error:
            if error.errno not in _FULL:
                raise
            if self.env.exists(path):
                self.env.remove(path)

    def _fill(self, path: str, size: int, sync_each: bool = False) -> None:
        """A file of `size` zeros, durable; what a crash left of one is replaced."""
        if self.env.exists(path):
            self.env.remove(path)
        file = self.env.open(path, create=True)
        try:
            for offset in range(0, size, len(_ZEROS)):
                file.write_at(offset, _ZEROS[: min(len(_ZEROS), size - offset)])
                if sync_each:
                    file.sync()
            file.sync()
        finally:
            file.close()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    # -- heads -------------------------------------------------------------------

    def _head(self, batch: Batch, body: bytes, segment: int) -> Head:
        base = batch.base if batch.base and batch.base > self.base else self.base
        flags = FLAG_ABANDONS if self.abandons else 0
        if batch.reset is not None:
            flags |= FLAG_RESET
            base = batch.reset
            assert batch.first_index == base[0] + 1
        last = self._last_after(batch, base)
        doubt_term, doubt_index = batch.doubt or (0, 0)
        return Head(
            flags=flags,
            salt=self.salt,
            segment=segment,
            batch=self.batch + 1,
            durable=self.durable_batch,
            previous_crc=0 if self.abandons else self.previous_crc,
            body_length=len(body),
            body_crc=crc32(body),
            entry_count=len(batch.entries),
            term=batch.term,
            vote=batch.vote,
            commit_index=batch.commit_index,
            base_index=base[0],
            base_term=base[1],
            first_index=batch.first_index,
            last_index=last[0],
            last_term=last[1],
            doubt_term=doubt_term,
            doubt_index=doubt_index,
        )

    def _last_after(self, batch: Batch, base: tuple[int, int]) -> tuple[int, int]:
        if batch.entries:
            count = len(batch.entries)
            return batch.first_index + count - 1, batch.entries[-1].term
        if batch.reset is not None:
            return base
        if batch.first_index > self.last[0]:
            return self.last
        # The log is cut before first_index; its new last term is for identity only.
        return batch.first_index - 1, 0

    # -- segments ----------------------------------------------------------------

    def _path(self, sequence: int) -> str:
        return f"{self.directory}/{segment_name(sequence)}"

    def _make_room(self, size: int) -> None:
        if (
            self.file is not None
            and not self.abandons
            and self.offset + size <= self.segments[-1].size
        ):
            return
        sequence = self.segments[-1].sequence + 1 if self.segments else 1
        wanted = max(self.options.segment_bytes, size)
        self._have_mark()
        file = self._take_spare(sequence, wanted) or self._create(sequence, wanted)
        if self.abandons:
            self.batch += 1
            self.durable_batch = self.batch
        old, self.file = self.file, file
        if old is not None:
            try:
                old.close()
            except OSError as error:
                raise self._fail("close", old.path, error) from error
        self.segments.append(_Segment(sequence, wanted, 0))
        self.offset = 0

    def _spares(self) -> list[str]:
        names = self.env.list(self.directory)
        spares = [name for name in names if name.endswith("-spare.seg")]
        return [name for name in spares if _SPARE.fullmatch(name)]

    def _take_spare(self, sequence: int, wanted: int) -> File | None:
        """Give a recycled file its new name; the name is durable before it is used."""
        if wanted != self.options.segment_bytes:
            return None
        path = self.directory
        try:
            for name in self._spares():
                path = f"{self.directory}/{name}"
                if self.env.size(path) == wanted:
                    return self._name_segment(path, sequence, wanted)
        except OSError as error:
            raise self._fail("recycle", path, error) from error
        return None

    def _create(self, sequence: int, wanted: int) -> File:
        path = f"{self.directory}/{_NEW}"
        try:
            self._fill(path, wanted)
        except OSError as error:
            if error.errno in _FULL:
                self._discard(path)
                raise NoSpace(path, wanted) from error
            raise self._fail("create", path, error) from error
        try:
            return self._name_segment(path, sequence, wanted)
        except NoSpace:
            self._discard(path)
            raise

    def _discard(self, path: str) -> None:
        try:
            if self.env.exists(path):
                self.env.remove(path)
        except OSError as error:
            raise self._fail("remove", path, error) from error

    def _name_segment(self, path: str, sequence: int, wanted: int) -> File:
        """Only a rename that did not happen may be tried again."""
        try:
            self.env.rename(path, self._path(sequence))
        except OSError as error:
            if error.errno in _FULL:
                raise NoSpace(path, wanted) from error
            raise self._fail("rename", path, error) from error
        path = self._path(sequence)
        try:
            if rules.syncs_directory_after_rename():
                self.env.sync_directory(self.directory)
                self.reclaiming = False
            return self.env.open(path)
        except OSError as error:
            raise self._fail("name", path, error) from error

    def _have_mark(self) -> None:
        """Make the file that says which segment is the newest, if there is none."""
        path = newest_path(self.directory)
        try:
            if not self.env.exists(path):
                write_file_durably(self.env, path, bytes(NEWEST_BYTES))
        except OSError as error:
            if error.errno in _FULL:
                self._discard(path + ".tmp")
                raise NoSpace(path, NEWEST_BYTES) from error
            raise self._fail("create", path, error) from error

    def _mark(self) -> None:
        """Say durably that the last segment has a batch, which is durable already."""
        path, segment = newest_path(self.directory), self.segments[-1]
        try:
            if self.env.exists(path):
                file = self.env.open(path)
                try:
                    origin = self.salt, self.options.owner
                    write_mark(file, Mark(segment.sequence, segment.size, *origin))
                finally:
                    file.close()
        except OSError as error:
            raise self._fail("mark", path, error) from error
        self.marked = segment.sequence

    def _reclaim(self) -> None:
        """Recycle segments that lie before the durable base (I-30).

        One name at a time: a directory's changes become durable in any order, and of
        two segments the older one alone would be a gap to the next start.
        """
        while len(self.segments) > 1 and rules.may_reclaim(
            self.segments[0].last_index, self.durable_base_index
        ):
            segment = self.segments[0]
            path = self._path(segment.sequence)
            try:
                if self.reclaiming:
                    self.env.sync_directory(self.directory)
                self.reclaiming = True
                if (
                    segment.size == self.options.segment_bytes
                    and len(self._spares()) < self.options.spares_max
                ):
                    spare = f"{self.directory}/{segment.sequence:016x}-spare.seg"
                    self.env.rename(path, spare)
                else:
                    self.env.remove(path)
            except OSError as error:
                raise self._fail("reclaim", path, error) from error
            del self.segments[0]

    # -- failure -----------------------------------------------------------------

    def _check_alive(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _fail(self, action: str, path: str, error: OSError) -> JournalFailed:
        self.failure = JournalFailed(action, path, str(error))
        return self.failure


__all__ = [
    "Batch",
    "CorruptionError",
    "Journal",
    "JournalFailed",
    "JournalOptions",
    "NoSpace",
    "Recovered",
    "segment_sequence",
]
