"""The engine: an ordered map of bytes on a disk, for one owner.

Law: it has no log. Effects go into the memtable; a flush makes a full one a table and
moves `applied_index` in the same edit, and the owner's journal replays what comes after
it. Files appear in the manifest only when they and their names are durable, and
disappear only when the manifest without them is. Nothing that is not understood is
deleted. See docs/formats.md section 8.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from .. import rules
from ..env import Env, parent_of
from ..errors import CorruptionError, WriteStalled
from . import condemned
from .blob import Blob
from .cache import RecordCache
from .edit import copy_by_links, edited, make_durable, remove
from .jobs import InlineJobs, JobDropped, Jobs, Steps, advance
from .manifest import BlobMeta, Manifest, TableMeta, save_manifest
from .memtable import Memtable, forget_first, size_of
from .merge import Droppable
from .opening import clean, load_or_begin
from .options import EngineOptions
from .policy import pick
from .table import Table
from .table_format import TOMBSTONE, VALUE, VALUE_KIND
from .transfer import Incoming, Pinned
from .version import DamagedVersion, Run, Version, open_version
from .view import View


class Engine:
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
        self.options = options or EngineOptions()
        self.directory = directory
        # What merges may leave out, by the meta that is durable; for the owner to set.
        self.droppable: Callable[[bytes], Sequence[Droppable]] = lambda _: ()
        self.written_bytes = self.flushed_bytes = self.compacted_bytes = 0
        self._env = env
        # Of this opening alone: a worker of the one before may be still at it.
        self._work = f"{directory}/work/{ids().hex()}"
        env.make_directory(directory)
        self._lock = env.lock(f"{directory}/LOCK")
        try:
            self._manifest = load_or_begin(env, directory)
            self.damage: CorruptionError | None = None
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
        self._jobs: Jobs = (
            InlineJobs(env, self._work, ids, self.options)
            if jobs is None
            else jobs(self._work, self.options)
        )
        self._frozen: list[Memtable] = []
        self._flushed: list[Memtable] = []
        # The last `work` ended because somebody else has all of it.
        self._idle = False
        self._flushing: dict[Memtable, Steps] = {}
        self._compacting: Steps | None = None
        # A manifest is on its way to the disk.
        self._editing = False
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

    def _forget_jobs(self) -> list[Steps]:
        jobs = [*self._flushing.values()]
        if self._compacting is not None:
            jobs.append(self._compacting)
        self._flushing, self._compacting = {}, None
        return jobs

    # -- writing -----------------------------------------------------------------------

    @property
    def applied_index(self) -> int:
        """Every effect up to this one is durable here: the journal may forget it."""
        return self._manifest.applied_index

    @property
    def manifest(self) -> Manifest:
        """What is durable: another object after each flush and each compaction."""
        return self._manifest

    @property
    def meta(self) -> bytes:
        """The owner's bytes of `applied_index`."""
        return self._manifest.meta

    @property
    def last_index(self) -> int:
        """The last effect that reads see."""
        return self._memtable.last_index

    def write(
        self, effects: Mapping[bytes, bytes | None], index: int, meta: bytes = b""
    ) -> None:
        """Apply effects at once, all of them or none: key to value, None deletes.

        `index` is the place in the owner's journal and only grows; `meta` is what the
        owner wants to find again with it. Raises `ValueError` for a key that is empty
        or over 8,256 bytes or a value over 64 MiB, `WriteStalled` when flushes have
        fallen too far behind; then nothing was applied.
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

    def freeze(self) -> None:
        """Let `work` flush everything written so far, however little it is.

        Raises `CorruptionError` when it was condemned, as `flush` does.
        """
        if self.damage is not None:
            raise self.damage
        frozen = self._frozen[-1].last_index if self._frozen else self.applied_index
        if self.last_index > frozen:
            self._freeze()

    def _freeze(self) -> None:
        self._frozen.append(self._memtable)
        self._memtable = Memtable(self._memtable.last_index, self._memtable.meta)

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

    # -- work ------------------------------------------------------------------------

    def work(self, budget_bytes: int = 1 << 20) -> bool:
        """Do a slice of what is owed; False when nothing is.

        Never waits: what a worker does is owed until it has answered. Raises `OSError`
        when the disk does and `WorkerFailed` when the worker is gone: nothing is lost
        by it, and the same work is owed again. Raises `CorruptionError` when a table
        to be merged is damaged.
        """
        self._idle = False
        while budget_bytes > 0:
            step = self._step()
            if step is None:
                return bool(self._flushed)
            if step == 0:
                self._idle = True
                return True
            budget_bytes -= step
        return True

    def wait(self) -> None:
        """Block until `work` has something to do again, a second at most.

        Returns at once when the last `work` did not end for want of an answer.
        """
        if self._idle:
            self._jobs.wait()

    def _step(self) -> int | None:
        forget_first(self._flushed)
        # The second one is handed over while the first one is made a table.
        for memtable in self._frozen[:2]:
            steps = self._flushing.pop(memtable, None) or self._flush(memtable)
            step, left = advance(steps)
            if left is not None:
                self._flushing[memtable] = left
            if step:
                return step
        if self._compacting is None and self._picked is not None:
            picked = self._picked
            self._compacting = self._merge(
                self._version.runs[picked.start : picked.stop]
            )
        if self._compacting is not None:
            step, self._compacting = advance(self._compacting)
            return step
        return 0 if self._flushing else None

    def _flush(self, memtable: Memtable) -> Steps:
        """Make a frozen memtable a run, once it is the oldest one."""
        tables: tuple[TableMeta, ...] = ()
        blobs: tuple[BlobMeta, ...] = ()
        if memtable.data:
            made = yield from self._jobs.flush(memtable)
            self.flushed_bytes += made.size_bytes
            tables, blobs = made.tables, made.blobs
        while self._frozen[0] is not memtable:
            yield 0

        def changed(manifest: Manifest) -> Manifest:
            runs = (tables, *manifest.runs) if tables else manifest.runs
            index = rules.flushed_index(memtable.last_index, self.last_index)
            return edited(manifest, runs, blobs, index, memtable.meta)

        yield from self._edit(changed, blobs)
        self._flushed.append(self._frozen.pop(0))

    def _pick(self) -> range | None:
        """The runs that should become one."""
        sizes = [run.size_bytes for run in self._version.runs]
        return pick(sizes, self.options.memtable_bytes, self.options.tier_ratio)

    def _merge(self, merged: tuple[Run, ...]) -> Steps:
        """Make one run of neighbours."""
        version = self._version
        oldest = rules.may_drop_deletions(merged[-1] is version.runs[-1])
        source = Version(merged, version.blobs)
        sparse = self._manifest.sparse()
        # By the durable meta: after a crash the owner is back at that one.
        droppable = self.droppable(self.meta)
        made = yield from self._jobs.merge(source, sparse, droppable, oldest=oldest)
        self.compacted_bytes += made.size_bytes
        gone = {run.metas() for run in merged}
        newest = merged[0].metas()

        def changed(manifest: Manifest) -> Manifest:
            runs: list[tuple[TableMeta, ...]] = []
            for run in manifest.runs:
                if run == newest and made.tables:
                    runs.append(made.tables)
                if run not in gone:
                    runs.append(run)
            index, meta = manifest.applied_index, manifest.meta
            return edited(manifest, tuple(runs), made.blobs, index, meta)

        yield from self._edit(changed, made.blobs)
        self.cache.merged(droppable)

    def _edit(
        self, changed: Callable[[Manifest], Manifest], made: tuple[BlobMeta, ...]
    ) -> Steps:
        """Make another manifest durable, then current; one at a time."""
        while self._editing:
            yield 0
        manifest = changed(self._manifest)
        self._editing = True
        try:
            durably = self._durably(manifest, self._version)
            version = yield from self._jobs.run(durably)
        finally:
            self._editing = False
        obsolete = self._adopt(manifest, version)
        needed = {blob.file_id for blob in manifest.blobs}
        obsolete += [
            f"{self._work}/{blob.name}" for blob in made if blob.file_id not in needed
        ]
        if obsolete:
            yield from self._jobs.run(partial(remove, self._env, obsolete))

    def _durably(self, manifest: Manifest, opened: Version) -> Callable[[], Version]:
        places = self._env, self.directory, self._work
        return partial(make_durable, *places, manifest, self._manifest, opened)

    def _adopt(self, manifest: Manifest, version: Version) -> list[str]:
        """A durable manifest becomes the current one; the files that may go now."""
        gone = self._manifest.names() - manifest.names()
        self._manifest, self._version = manifest, version
        self._picked = self._pick()
        return [f"{self.directory}/{name}" for name in sorted(gone)]

    def flush(self) -> None:
        """Make everything durable in tables now: `applied_index` is `last_index`."""
        self.freeze()
        while self._frozen:
            self._step_or_wait()

    def _step_or_wait(self) -> None:
        if self._step() == 0:
            self._jobs.wait()

    def compact(self) -> None:
        """Flush, and merge everything into one run; a merge of a few is given up."""
        self.flush()
        self._stop_jobs()
        runs = self._version.runs
        if len(runs) > 1 or (
            runs and (self._tombstones() or self.droppable(self.meta))
        ):
            self._compacting = self._merge(runs)
        while self._compacting is not None:
            self._step_or_wait()

    def _tombstones(self) -> int:
        return sum(table.tombstones for table in self._manifest.tables())

    def _stop_jobs(self) -> None:
        """An edit that is on its way is finished; nobody wants the rest."""
        while self._editing:
            self._step_or_wait()
        for job in self._forget_jobs():
            with suppress(JobDropped):
                job.throw(JobDropped)

    # -- copies and care ---------------------------------------------------------------

    def condemn(self, damage: CorruptionError, *, lasting: bool = False) -> None:
        """Nothing of this store is to be answered from any more, only `damage` raised.

        Until `install` brings another one; its files stay as they are. `lasting`: also
        when it is opened again. Raises `OSError` when that can't be written down.
        """
        if lasting:
            condemned.mark(self._env, self.directory, damage)
        with suppress(CorruptionError):
            self._stop_jobs()
        self.damage = damage
        self._frozen.clear()
        # As if nothing had come since: no flush may claim effects that are gone.
        self._memtable = Memtable(self.applied_index, self.meta)
        self.cache.clear()
        self._version = DamagedVersion(damage)
        self._picked = None

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
        self._stop_jobs()
        self._frozen.clear()
        edition = self._manifest.edition + 1
        manifest = msgspec.structs.replace(manifest, edition=edition)
        arrived = incoming.hand_over(self.directory)
        obsolete = self._adopt(manifest, self._durably(manifest, arrived)())
        self.damage = None
        condemned.unmark(self._env, self.directory)
        self._memtable = Memtable(self.applied_index, self.meta)
        self.cache.clear()
        remove(self._env, obsolete)
        incoming.close()

    def checkpoint(self, directory: str) -> Manifest:
        """A copy of the tables by hard links, complete and durable when it returns.

        It holds everything up to `applied_index` (`flush` first for everything). The
        directory must not exist; its parent must.
        """
        files = [(file.path, file.meta.name) for file in self._version.files()]
        copy_by_links(self._env, self._manifest, files, directory)
        return self._manifest

    def verify(self) -> Iterator[int]:
        """Check every byte of every file, slice by slice; yields the bytes of each.

        Raises `CorruptionError` with path, offset and reason.
        """
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

    @property
    def owed(self) -> bool:
        """Is there anything that `work` would do?"""
        busy = self._frozen or self._flushed or self._compacting is not None
        return bool(busy) or self._picked is not None
