"""How effects become durable: flushes, merges, and the edits that make them count.

Law: one edit of the manifest at a time. What a job has made counts once the edit is
durable, and what it took the place of goes after that.
"""

from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from .. import rules
from ..env import Env
from ..errors import CorruptionError, is_no_space
from .cache import RecordCache
from .edit import edited, make_durable, remove
from .jobs import JobDropped, Jobs, Steps, T, advance
from .manifest import Made, Manifest, TableMeta
from .memtable import Memtable, forget_first
from .merge import Droppable
from .options import EngineOptions
from .policy import pick, should_drop_tombstones, to_be_moved
from .version import Run, Version


class Working:
    """What an engine has durably and what it owes; the engine sets these."""

    options: EngineOptions
    directory: str
    # What merges may leave out, by the meta that is durable; for the owner to set.
    droppable: Callable[[bytes], Sequence[Droppable]]
    damage: CorruptionError | None
    cache: RecordCache
    _env: Env
    _work: str
    _jobs: Jobs
    _manifest: Manifest
    _version: Version
    _memtable: Memtable

    def __init__(self) -> None:
        self.flushed_bytes = self.compacted_bytes = 0
        self._frozen: list[Memtable] = []
        # Of no use any more, on their way out of the memory.
        self._flushed: list[Memtable] = []
        # The last `work` ended because somebody else has all of it.
        self._idle = False
        self._flushing: dict[Memtable, Steps] = {}
        self._compacting: Steps | None = None
        # A manifest is on its way to the disk.
        self._editing = False
        self._picked: range | None = None
        # The next merge waits until so much is free on the disk; 0: none waits.
        self.awaited_bytes = 0

    # -- what is durable ---------------------------------------------------------------

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
        self._memtable = self._memtable.successor()

    # -- work --------------------------------------------------------------------------

    @property
    def owed(self) -> bool:
        """Is there anything that `work` would do?"""
        busy = self._frozen or self._flushed or self._compacting is not None
        return bool(busy) or self._picked is not None

    def work(self, budget_bytes: int = 1 << 20) -> bool:
        """Do a slice of what is owed; False when nothing is.

        Never waits: what a worker does is owed until it has answered. A merge for which
        the disk has no room is looked at again with each call. Raises `OSError`
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
        self.awaited_bytes = 0
        if self._compacting is None and self._picked is not None:
            picked = self._picked
            merged = self._version.runs[picked.start : picked.stop]
            moved = self._with_room(merged)
            if moved is not None:
                self._compacting = self._merge(merged, moved)
        if self._compacting is not None:
            try:
                step, self._compacting = advance(self._compacting)
            except CorruptionError:
                # Begun anew it would meet the same: not before the runs are others.
                self._compacting = self._picked = None
                raise
            return step
        return 0 if self._flushing else None

    def _flush(self, memtable: Memtable) -> Steps:
        """Make a frozen memtable a run, once it is the oldest one."""
        made = Made((), (), self._work)
        if memtable.data:
            made = yield from self._jobs.flush(memtable)
            self.flushed_bytes += made.size_bytes

        def changed(manifest: Manifest) -> Manifest:
            runs = (made.tables, *manifest.runs) if made.tables else manifest.runs
            index = rules.flushed_index(memtable.last_index, self.last_index)
            return edited(manifest, runs, made.blobs, index, memtable.meta)

        with self._or_removed(made):
            while self._frozen[0] is not memtable:
                yield 0
            yield from self._edit(changed, made)
        if self.damage is None:
            self._flushed.append(self._frozen.pop(0))

    def _pick(self) -> range | None:
        """The runs that should become one."""
        runs = self._version.runs
        sizes = [run.size_bytes for run in runs]
        picked = pick(sizes, self.options.memtable_bytes, self.options.tier_ratio)
        # Tiers first: a merge of all that waits for room must not hold up theirs.
        if picked is None and should_drop_tombstones(
            sum(run.tombstones for run in runs), sum(run.entries for run in runs)
        ):
            return range(len(runs))
        return picked

    def _moved(self, merged: tuple[Run, ...]) -> dict[bytes, int]:
        """What a merge writes anew of files of values, and how much of each."""
        referred: Counter[bytes] = Counter()
        for run in merged:
            for table in run.metas():
                for file_id, size in table.blobs:
                    referred[file_id] += size
        moved = to_be_moved(
            [(blob.file_id, blob.size_bytes) for blob in self._manifest.blobs],
            self._manifest.referenced_bytes(),
            referred,
            self.options.memtable_bytes // 2,
            self.options.tier_ratio,
        )
        return {file_id: referred[file_id] for file_id in moved}

    def _with_room(self, merged: tuple[Run, ...]) -> Collection[bytes] | None:
        """The files of values that a merge moves; None: there is no room for it.

        The disk has to have room for what it may write at most, and for flushes
        meanwhile. Else it would fill the disk, fail, and begin anew, again and again.
        Values move as far as there is room for them, and none is waited for: only
        merges give room back.
        """
        size = sum(run.size_bytes for run in merged)
        if self.options.codec(size) == "none":
            # What is compressed becomes as large as it was.
            block_bytes = self.options.block_bytes
            size = sum(run.expanded_bytes(block_bytes) for run in merged)
        size += (self.options.memtables_max + 1) * self.options.memtable_bytes
        room = self._env.free_bytes(self.directory) - size
        if room < 0:
            self.awaited_bytes = size
            return None
        moved: list[bytes] = []
        for file_id, value_bytes in self._moved(merged).items():
            if value_bytes <= room:
                moved.append(file_id)
                room -= value_bytes
        return moved

    def _merge(self, merged: tuple[Run, ...], moved: Collection[bytes]) -> Steps:
        """Make one run of neighbours; what they refer to in `moved` is written anew."""
        version = self._version
        oldest = rules.may_drop_deletions(merged[-1] is version.runs[-1])
        source = Version(merged, version.blobs)
        # By the durable meta: after a crash the owner is back at that one.
        droppable = self.droppable(self.meta)
        made = yield from self._jobs.merge(source, moved, droppable, oldest=oldest)
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

        with self._or_removed(made):
            yield from self._edit(changed, made)
        self.cache.merged(droppable)

    @contextmanager
    def _or_removed(self, made: Made) -> Generator[None]:
        """What a job has made goes, if its edit does not come about.

        Not when the store is closed: the next opening does it.
        """
        try:
            yield
        except (JobDropped, CorruptionError, OSError):
            with suppress(OSError):
                remove(self._env, made.paths())
            raise

    def _edit(self, changed: Callable[[Manifest], Manifest], made: Made) -> Steps:
        """Make another manifest durable, then current; one at a time."""
        while self._editing:
            yield 0
        manifest = changed(self._manifest)
        self._editing = True
        try:
            durably = self._durably(manifest, self._version, made.work)
            version = yield from self._run(durably)
        finally:
            self._editing = False
        obsolete = self._adopt(manifest, version)
        needed = {blob.file_id for blob in manifest.blobs}
        obsolete += [
            f"{made.work}/{blob.name}"
            for blob in made.blobs
            if blob.file_id not in needed
        ]
        if obsolete:
            yield from self._run(partial(remove, self._env, obsolete))

    def _run(self, function: Callable[[], T]) -> Generator[int, None, T]:
        """As `Jobs.run`; who drops the job waits: what a thread does is not undone.

        A removal that came later could meet files that have been put there since.
        """
        steps, dropped = self._jobs.run(function), False
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            if dropped:
                self._jobs.wait()
                continue
            try:
                yield step
            except JobDropped:
                dropped = True

    def _durably(
        self, manifest: Manifest, opened: Version, work: str, *, all_new: bool = False
    ) -> Callable[[], Version]:
        places = self._env, self.directory, work
        edit = (manifest, self._manifest, opened)
        return partial(make_durable, *places, *edit, all_new=all_new)

    def _adopt(self, manifest: Manifest, version: Version) -> list[str]:
        """A durable manifest becomes the current one; the files that may go now."""
        gone = self._manifest.names() - manifest.names()
        self._manifest = manifest
        # An edit that was on its way makes no condemned store whole.
        if self.damage is None:
            self._version = version
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
            self._compacting = self._merge(runs, self._moved(runs))
        while self._compacting is not None:
            self._step_or_wait()

    def _tombstones(self) -> int:
        return sum(table.tombstones for table in self._manifest.tables())

    def _stop_jobs(self) -> None:
        """An edit that is on its way is finished; nobody wants the rest.

        Raises the `OSError` or `CorruptionError` of the edit, once all are stopped.
        """
        met: CorruptionError | OSError | None = None
        for job in self._forget_jobs():
            try:
                while True:
                    job.throw(JobDropped)
            except (JobDropped, StopIteration):
                pass
            except (CorruptionError, OSError) as error:
                met = error
        if met is not None:
            raise met

    def _give_up(self) -> None:
        """Stop all jobs of a state that is given up, whatever became of them.

        Raises `OSError` where the disk failed under an edit: its owner must end.
        """
        try:
            self._stop_jobs()
        except CorruptionError:
            pass
        except OSError as error:
            if not is_no_space(error):
                raise

    def _forget_jobs(self) -> list[Steps]:
        jobs = [*self._flushing.values()]
        if self._compacting is not None:
            jobs.append(self._compacting)
        self._flushing, self._compacting = {}, None
        return jobs
