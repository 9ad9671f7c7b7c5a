"""The engine: an ordered map of bytes on a disk, for one owner.

Law: it has no log. Effects go into the memtable; a flush makes a full one a table and
moves `applied_index` in the same edit, and the owner's journal replays what comes after
it. Files appear in the manifest only when they and their names are durable, and
disappear only when the manifest without them is. Nothing that is not understood is
deleted. See docs/formats.md section 8.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from .. import rules
from ..env import Env, parent_of
from ..errors import CorruptionError, WriteStalled
from . import condemned
from .blob import Blob
from .cache import RecordCache
from .edit import copy_by_links, remove
from .jobs import InlineJobs, Jobs
from .manifest import Manifest, TableMeta, save_manifest
from .memtable import Memtable, size_of
from .opening import clean, load_or_begin
from .options import EngineOptions
from .table import Table
from .table_format import TOMBSTONE, VALUE, VALUE_KIND
from .transfer import Incoming, Pinned
from .version import DamagedVersion, open_version
from .view import View
from .working import Working


class Engine(Working):
    """One directory. Not for several threads; one owner at a time (a lock file).

    `ids` gives 16 random bytes, a new name for each table.
    """

    def __init__(
        self,
        env: Env,
        directory: str,
        ids: Callable[[], bytes],
        options: EngineOptions | None = None,
        jobs: Callable[[str, EngineOptions], Jobs] | None = None,
        *,
        even_damaged: bool = False,
    ) -> None:
        """Open or make a store.

        `jobs` makes whoever flushes and compacts, given the work directory: `Worker` is
        a process; by default `work` does it itself. `even_damaged`: where a table is,
        open it as one that was condemned. Raises `DirectoryLocked`, `CorruptionError`,
        `OSError`.
        """
        super().__init__()
        self.options = options or EngineOptions()
        self.directory = directory
        self.droppable = lambda _: ()
        self.written_bytes = 0
        self._env = env
        # Of this opening alone: a worker of the one before may be still at it.
        self._work = f"{directory}/work/{ids().hex()}"
        env.make_directory(directory)
        self._lock = env.lock(f"{directory}/LOCK")
        try:
            self._manifest = load_or_begin(env, directory)
            self.damage = None
            try:
                condemned.check(env, directory)
                self._version = open_version(
                    env, directory, self._manifest.runs, self._manifest.blobs
                )
            except CorruptionError as damage:
                if not even_damaged:
                    raise
                self.damage, self._version = damage, DamagedVersion(damage)
            # What was read may be in the page cache alone (decision 0008): nothing is
            # removed, here or in the owner's journal, before it is on the disk.
            save_manifest(env, directory, self._manifest)
            env.sync_directory(parent_of(directory))
            clean(env, directory, self._work, self._manifest.names())
        except BaseException:
            self._lock.release()
            raise
        self._memtable = Memtable(self.applied_index, self.meta)
        self.cache = RecordCache(self.options.cache_bytes, self.options.scanned)
        self._jobs = (
            InlineJobs(env, self._work, ids, self.options)
            if jobs is None
            else jobs(self._work, self.options)
        )
        self._picked = self._pick()

    # -- the end -----------------------------------------------------------------------

    def close(self) -> None:
        """Give everything back. What was not flushed is in the owner's journal.

        The disk is not touched: what a dropped job has written goes with the next
        opening.
        """
        for job in self._forget_jobs():
            job.close()
        self._jobs.close()
        for file in self._version.files():
            file.close()
        self._lock.release()

    # -- writing -----------------------------------------------------------------------

    def write(
        self, effects: Mapping[bytes, bytes | None], index: int, meta: bytes = b""
    ) -> None:
        """Apply effects at once, all of them or none: key to value, None deletes.

        `index` is the place in the owner's journal and only grows; `meta` is what the
        owner wants to find again with it. Raises `ValueError` for a key that is empty
        or over 8,256 bytes or a value over 64 MiB, `WriteStalled` when flushes have
        fallen too far behind, `CorruptionError` when it was condemned; then nothing was
        applied.
        """
        records = {
            key: TOMBSTONE if value is None else VALUE + value
            for key, value in effects.items()
        }
        self.write_records(records, index, meta)

    def write_records(
        self, records: Mapping[bytes, bytes], index: int, meta: bytes = b""
    ) -> None:
        """As `write`, of records: each is `VALUE` and a value, or `TOMBSTONE`."""
        if self.damage is not None:
            raise self.damage
        assert index > self.last_index, "effects are applied in order"
        size_bytes = size_of(records)
        if self._memtable.size_bytes >= self.options.memtable_bytes:
            if self.stalled:
                raise WriteStalled(self.directory, len(self._frozen))
            self._freeze()
        memtable = self._memtable
        before = memtable.size_bytes
        memtable.write(records, size_bytes)
        if rules.forgets_what_is_written():
            self.cache.drop(records)
        memtable.last_index, memtable.meta = index, meta
        self.written_bytes += memtable.size_bytes - before

    @property
    def stalled(self) -> bool:
        """Would `write` refuse now, because flushes have fallen too far behind?"""
        full = self._memtable.size_bytes >= self.options.memtable_bytes
        return len(self._frozen) + full > self.options.memtables_max

    # -- reading -----------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """The value of `key` now, or None. Raises `CorruptionError`."""
        record = self._find(key)
        if record is None:
            return None
        return record[1:] if record[0] == VALUE_KIND else self._version.value(record)

    def record(self, key: bytes) -> bytes | None:
        """As `get`, behind a `VALUE`: what `write_records` takes, without a copy."""
        record = self._find(key)
        if record is None or record[0] == VALUE_KIND:
            return record
        value = self._version.value(record)
        return None if value is None else VALUE + value

    def _find(self, key: bytes) -> bytes | None:
        record = self._memtable.data.get(key)
        if record is not None:
            return record
        if self._frozen:
            for memtable in reversed(self._frozen):
                record = memtable.data.get(key)
                if record is not None:
                    return record
        return self.cache.find(key, self._version)

    def view(self) -> View:
        """Everything as it is now, for as long as it is held."""
        memtables = [self._memtable, *reversed(self._frozen)]
        return View([(m, m.now()) for m in memtables], self._version, self.last_index)

    def scan(
        self, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) with start ≤ key < end, over a view of now."""
        return self.view().scan(start, end, reverse=reverse)

    # -- copies and care ---------------------------------------------------------------

    def condemn(self, damage: CorruptionError, *, lasting: bool = False) -> None:
        """Nothing of this store is to be answered from any more, only `damage` raised.

        Until `install` brings another one; its files stay as they are. `lasting`: also
        when it is opened again. Raises `OSError` when that can't be written down, or
        when the disk failed under an edit; condemned it is all the same.
        """
        self.damage = damage
        self._version, self._picked = DamagedVersion(damage), None
        self._forget()
        try:
            self._give_up()
        finally:
            # An edit that was on its way may have moved the index.
            self._forget()
            if lasting:
                condemned.mark(self._env, self.directory, damage)

    def _forget(self) -> None:
        """As if nothing had come since the flush that is durable.

        No other may claim effects that are gone. They are let go as what was flushed
        is: all at once they would hold the loop.
        """
        self._flushed += [*self._frozen, self._memtable]
        self._frozen.clear()
        self._memtable = Memtable(self.applied_index, self.meta)
        self.cache.clear()

    def pin(self) -> Pinned:
        """Everything up to `applied_index`, to be sent somewhere else.

        Raises `CorruptionError` when it was condemned.
        """
        if self.damage is not None:
            raise self.damage
        return Pinned(self._manifest, self._version)

    def receive(self, source: str) -> Incoming:
        """Take a store that somebody else sends; `install` makes it this one."""
        return Incoming(self._env, self._work, source)

    def install(self, incoming: Incoming) -> None:
        """Be the store that was received and checked, in one step.

        What is here, memtables and damage too, is given up; views go on. After an
        `OSError` this engine is of no use.
        """
        manifest = incoming.manifest
        assert manifest is not None
        self._give_up()
        edition = self._manifest.edition + 1
        manifest = msgspec.structs.replace(manifest, edition=edition)
        arrived = incoming.hand_over(self.directory)
        # What is here under the same names may be what is damaged.
        version = self._durably(manifest, arrived, self._work, all_new=True)()
        self.damage = None
        obsolete = self._adopt(manifest, version)
        self._forget()
        condemned.unmark(self._env, self.directory)
        remove(self._env, obsolete)
        incoming.close()

    def checkpoint(self, directory: str) -> Manifest:
        """A copy of the tables by hard links, complete and durable when it returns.

        It holds everything up to `applied_index` (`flush` first for everything). The
        directory must not exist; its parent must. Raises `CorruptionError` when it was
        condemned.
        """
        if self.damage is not None:
            raise self.damage
        files = [(file.path, file.meta.name) for file in self._version.files()]
        copy_by_links(self._env, self._manifest, files, directory)
        return self._manifest

    def verify(self) -> Iterator[int]:
        """Check every byte of every file, slice by slice; yields the bytes of each.

        Raises `CorruptionError` with path, offset and reason, also when it was
        condemned.
        """
        if self.damage is not None:
            raise self.damage
        for file in self._version.files():
            yield from file.verify()

    def files(self) -> list[Table | Blob]:
        """All open files of tables and values that are in use now."""
        return self._version.files()

    def levels(self) -> list[tuple[TableMeta, ...]]:
        """The tables of each run, newest run first."""
        return list(self._manifest.runs)

    @property
    def blocks_read(self) -> int:
        """Blocks that point gets have read since it was opened."""
        return self._version.touched
