"""The engine: an ordered map of bytes on a disk, for one owner.

Law: it has no log. Effects go into the memtable; a flush makes a full one a table and
moves `applied_index` in the same edit, and the owner's journal replays what comes after
it. Files appear in the manifest only when they and their names are durable, and
disappear only when the manifest without them is. Nothing that is not understood is
deleted. See docs/formats.md section 8.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from ..env import Env, parent_of
from ..errors import CorruptionError, WriteStalled
from .blob import VALUE_BYTES_MAX, Blob, resolve
from .jobs import InlineJobs, Job, Jobs
from .manifest import (
    NAME,
    BlobMeta,
    Made,
    Manifest,
    TableMeta,
    load_manifest,
    save_manifest,
)
from .memtable import Memtable
from .options import EngineOptions
from .policy import pick
from .table import Table
from .table_format import KEY_BYTES_MAX, TOMBSTONE, VALUE
from .version import Run, Version
from .view import View

_VALUE: Final = VALUE[0]
_ID: Final = re.compile(r"[0-9a-f]{32}")
_FILE_NAME: Final = re.compile(r"[0-9a-f]{32}\.(sst|blob)")


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
    ) -> None:
        """Open or make a store.

        `jobs` makes whoever flushes and compacts, given the work directory: `Worker` is
        a process; by default `work` does it itself. Raises `DirectoryLocked`,
        `CorruptionError`, `OSError`.
        """
        self.options = options or EngineOptions()
        self.directory = directory
        self.written_bytes = self.flushed_bytes = self.compacted_bytes = 0
        self._env = env
        # Of this opening alone: a worker of the one before may be still at it.
        self._work = f"{directory}/work/{ids().hex()}"
        env.make_directory(directory)
        self._lock = env.lock(f"{directory}/LOCK")
        try:
            self._manifest = self._load()
            self._version = self._open_version(self._manifest, Version([], {}))
            # What was read may be in the page cache alone (decision 0008): nothing is
            # removed, here or in the owner's journal, before it is on the disk.
            save_manifest(env, directory, self._manifest)
            env.sync_directory(parent_of(directory))
            self._clean()
        except BaseException:
            self._lock.release()
            raise
        self._memtable = Memtable()
        self._memtable.last_index = self._manifest.applied_index
        self._memtable.meta = self._manifest.meta
        self._jobs: Jobs = (
            InlineJobs(env, self._work, ids, self.options)
            if jobs is None
            else jobs(self._work, self.options)
        )
        self._frozen: list[Memtable] = []
        self._flushed: list[Memtable] = []
        # The last `work` ended because somebody else has all of it.
        self._idle = False
        self._obsolete: list[str] = []
        self._flushing: Job | None = None
        self._compacting: tuple[Job, tuple[Run, ...]] | None = None
        # Beside what the tables refer to: what a file of values is large by now.
        self._referenced = self._manifest.referenced_bytes()

    # -- opening -----------------------------------------------------------------------

    def _load(self) -> Manifest:
        manifest = load_manifest(self._env, self.directory)
        if manifest is None:
            if any(map(_FILE_NAME.fullmatch, self._env.list(self.directory))):
                raise CorruptionError(
                    f"{self.directory}/{NAME}", 0, "missing, and tables are there"
                )
            manifest = Manifest(1, 0, b"", ())
        return manifest

    def _open_version(self, manifest: Manifest, current: Version) -> Version:
        """What is open in `current` is not opened again."""
        env, directory = self._env, self.directory
        runs = {run.metas(): run for run in current.runs}
        blobs = current.blobs
        return Version(
            [
                runs.get(metas) or Run([Table(env, directory, m) for m in metas])
                for metas in manifest.runs
            ],
            {
                meta.file_id: blobs.get(meta.file_id) or Blob(env, directory, meta)
                for meta in manifest.blobs
            },
        )

    def _clean(self) -> None:
        """Remove what a crash left: finished tables that nobody named, work files."""
        env = self._env
        work = parent_of(self._work)
        env.make_directory(work)
        for name in env.list(work):
            if _ID.fullmatch(name):
                self._clean_work(f"{work}/{name}")
        env.make_directory(self._work)
        known = {meta.name for meta in self._manifest.files()}
        for name in env.list(self.directory):
            if _FILE_NAME.fullmatch(name) and name not in known:
                env.remove(f"{self.directory}/{name}")

    def _clean_work(self, directory: str) -> None:
        for name in self._env.list(directory):
            if _FILE_NAME.fullmatch(name):
                self._env.remove(f"{directory}/{name}")
        if not self._env.list(directory):
            self._env.remove_directory(directory)

    def close(self) -> None:
        """Give everything back. What was not flushed is in the owner's journal."""
        for job in (self._flushing, self._compacting and self._compacting[0]):
            if job is not None:
                job.close()
        self._flushing = self._compacting = None
        self._jobs.close()
        self._clean_work(self._work)
        for file in self._version.files():
            file.close()
        self._lock.release()

    # -- writing -----------------------------------------------------------------------

    @property
    def applied_index(self) -> int:
        """Every effect up to this one is durable here: the journal may forget it."""
        return self._manifest.applied_index

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
        or over 8 KiB or a value over 64 MiB, `WriteStalled` when flushes have fallen
        too far behind; then nothing was applied.
        """
        assert index > self.last_index, "effects are applied in order"
        records = {
            key: TOMBSTONE if value is None else VALUE + value
            for key, value in effects.items()
        }
        if records:
            if not min(records) or max(map(len, records)) > KEY_BYTES_MAX:
                raise ValueError("a key is empty or too long")
            if max(map(len, records.values())) > VALUE_BYTES_MAX:
                raise ValueError("a value is too long")
        if self._memtable.size_bytes >= self.options.memtable_bytes:
            if len(self._frozen) >= self.options.memtables_max:
                raise WriteStalled(self.directory, len(self._frozen))
            self._freeze()
        memtable = self._memtable
        before = memtable.size_bytes
        memtable.write(records)
        memtable.last_index, memtable.meta = index, meta
        self.written_bytes += memtable.size_bytes - before

    def _freeze(self) -> None:
        frozen, self._memtable = self._memtable, Memtable()
        self._memtable.last_index, self._memtable.meta = frozen.last_index, frozen.meta
        self._frozen.append(frozen)

    # -- reading -----------------------------------------------------------------------

    def get(self, key: bytes) -> bytes | None:
        """The value of `key` now, or None. Raises `CorruptionError`."""
        record = self._memtable.data.get(key)
        if record is None:
            for memtable in reversed(self._frozen):
                record = memtable.data.get(key)
                if record is not None:
                    break
            else:
                record = self._version.get(key)
                if record is None:
                    return None
        if record[0] == _VALUE:
            return record[1:]
        return None if record == TOMBSTONE else resolve(self._version.blobs, record)

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
        self._forget_flushed()
        if self._flushing is None and self._frozen:
            self._flushing = self._jobs.flush(self._frozen[0])
        try:
            step = self._step_flush(self._flushing) if self._flushing else 0
            if step:
                return step
            if self._compacting is None:
                self._begin_compaction()
            if self._compacting is not None:
                return self._step_compaction(*self._compacting)
        except BaseException:
            # The jobs are over; what they wrote is removed with the next opening.
            self._flushing = self._compacting = None
            raise
        return 0 if self._flushing else None

    def _forget_flushed(self) -> None:
        """Free a memtable little by little: at once it would hold the loop for long."""
        while self._flushed:
            if self._flushed[0].forget():
                del self._flushed[0]
            else:
                return

    def _step_flush(self, job: Job) -> int:
        try:
            done = next(job)
        except StopIteration as end:
            made: Made = end.value
            self.flushed_bytes += made.size_bytes
            flushed = self._frozen[0]
            runs = self._manifest.runs
            if made.tables:
                runs = (made.tables, *runs)
            self._edit(runs, made.blobs, flushed.last_index, flushed.meta)
            self._flushed.append(self._frozen.pop(0))
            self._flushing = None
            self._remove_obsolete()
            return 1
        return done

    def _picked(self) -> range | None:
        """The runs that should become one."""
        sizes = [run.size_bytes for run in self._version.runs]
        return pick(sizes, self.options.memtable_bytes, self.options.tier_ratio)

    def _begin_compaction(self) -> None:
        picked = self._picked()
        if picked is not None:
            self._compact_runs(self._version.runs[picked.start : picked.stop])

    def _compact_runs(self, runs: tuple[Run, ...]) -> None:
        version = self._version
        source = Version(runs, version.blobs)
        job = self._jobs.merge(
            source, self._sparse(), oldest=runs[-1] is version.runs[-1]
        )
        self._compacting = (job, runs)

    def _sparse(self) -> list[bytes]:
        """Files of values of which less than half is referred to any more."""
        live = self._referenced
        return [
            blob.file_id
            for blob in self._manifest.blobs
            if 2 * live[blob.file_id] < blob.size_bytes
        ]

    def _step_compaction(self, job: Job, merged: tuple[Run, ...]) -> int:
        try:
            done = next(job)
        except StopIteration as end:
            made: Made = end.value
            self.compacted_bytes += made.size_bytes
            runs: list[tuple[TableMeta, ...]] = []
            for run in self._version.runs:
                if run is merged[0] and made.tables:
                    runs.append(made.tables)
                if run not in merged:
                    runs.append(run.metas())
            manifest = self._manifest
            self._edit(tuple(runs), made.blobs, manifest.applied_index, manifest.meta)
            self._compacting = None
            self._remove_obsolete()
            return 1
        return done

    def _edit(
        self,
        runs: tuple[tuple[TableMeta, ...], ...],
        made: tuple[BlobMeta, ...],
        applied_index: int,
        meta: bytes,
    ) -> None:
        """Make another version of these runs; values that nobody refers to go."""
        edition = self._manifest.edition + 1
        manifest = Manifest(edition, applied_index, meta, runs)
        live = manifest.referenced_bytes()
        blobs = [blob for blob in (*self._manifest.blobs, *made) if live[blob.file_id]]
        self._adopt(msgspec.structs.replace(manifest, blobs=tuple(blobs)))
        self._obsolete += [
            f"{self._work}/{blob.name}" for blob in made if not live[blob.file_id]
        ]

    def _adopt(self, manifest: Manifest) -> None:
        """Name the new files, make the manifest durable, then current."""
        env, directory = self._env, self.directory
        known = {file.name for file in self._manifest.files()}
        new_files = [f for f in manifest.files() if f.name not in known]
        for file in new_files:
            env.rename(f"{self._work}/{file.name}", f"{directory}/{file.name}")
        if new_files:
            env.sync_directory(directory)
        version = self._open_version(manifest, self._version)
        save_manifest(env, directory, manifest)
        version.touched = self._version.touched
        self._obsolete += [
            f"{directory}/{name}"
            for name in sorted(known.difference(f.name for f in manifest.files()))
        ]
        self._manifest, self._version = manifest, version
        self._referenced = manifest.referenced_bytes()

    def _remove_obsolete(self) -> None:
        """Files that no durable manifest names. Views may still read their bytes."""
        while self._obsolete:
            self._env.remove(self._obsolete.pop())

    def flush(self) -> None:
        """Make everything durable in tables now: `applied_index` is `last_index`."""
        frozen = self._frozen[-1].last_index if self._frozen else self.applied_index
        if self.last_index > frozen:
            self._freeze()
        while self._frozen:
            self._step_or_wait()

    def _step_or_wait(self) -> None:
        if self._step() == 0:
            self._jobs.wait()

    def compact(self) -> None:
        """Flush, and merge everything into one run."""
        self.flush()
        while self._compacting is not None:
            self._step_or_wait()
        if len(self._version.runs) > 1 or (self._version.runs and self._tombstones()):
            self._compact_runs(self._version.runs)
            while self._compacting is not None:
                self._step_or_wait()

    def _tombstones(self) -> int:
        return sum(table.tombstones for table in self._manifest.tables())

    # -- copies and care ---------------------------------------------------------------

    def checkpoint(self, directory: str) -> Manifest:
        """A copy of the tables by hard links, complete and durable when it returns.

        It holds everything up to `applied_index` (`flush` first for everything). The
        directory must not exist; its parent must.
        """
        env = self._env
        if env.exists(directory):
            raise FileExistsError(f"{directory} is there already")
        env.make_directory(directory)
        for file in self._version.files():
            env.link(file.path, f"{directory}/{file.meta.name}")
        save_manifest(env, directory, self._manifest)
        env.sync_directory(parent_of(directory))
        return self._manifest

    def verify(self) -> Iterator[int]:
        """Check every byte of every file, slice by slice; yields the bytes of each.

        Raises `CorruptionError` with path, offset and reason.
        """
        for file in self._version.files():
            yield from file.verify()

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
        busy = self._frozen or self._compacting is not None
        return bool(busy) or self._picked() is not None
