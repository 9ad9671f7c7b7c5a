"""What one replica keeps on its disk: journal and engine, and how they come back.

Law: synchronous, through the env alone; used by the node and by the simulator. Nothing
here repairs or deletes what it does not understand: a contradiction between engine and
journal is an error with the path's name (I-24, I-25).

    data/stores/1/journal/<sequence>.seg
    data/stores/1/journal.newest             which of them is the newest
    data/stores/1/engine/                    the state machine, up to its applied index
"""

from collections.abc import Callable

import msgspec

from ..raft import (
    Configuration,
    Entry,
    HardState,
    InstallSnapshot,
    SnapshotMark,
    decode_configuration,
    encode_configuration,
)
from ..storage import rules
from ..storage.engine import Codec, Engine, EngineOptions, Incoming
from ..storage.engine.jobs import Jobs
from ..storage.env import Env
from ..storage.errors import CorruptionError
from ..storage.journal import Batch, Journal, JournalOptions
from ..storage.journal_recovery import Recovered
from .database import Database, begin, decode_meta, layout

BOOTSTRAP_INDEX = 1
BOOTSTRAP_TERM = 1


class NotBootstrapped(Exception):
    """The directory holds no replica, and nobody said that a cluster begins here."""


class Opened(msgspec.Struct):
    """A replica's state as its disk has it: what Raft and the database start from.

    `damage`: a file of the engine is not what was written; nothing can be read from the
    database before another state is installed.
    """

    snapshot: SnapshotMark
    hard_state: HardState
    entries: list[Entry]
    doubt: tuple[int, int] | None
    database: Database
    damage: CorruptionError | None = None


def engine_options(compression: tuple[Codec, ...], cache_bytes: int) -> EngineOptions:
    """Of a replica's engine; both as `EngineOptions` has them."""
    return EngineOptions(
        scanned=layout.SCANNED, compression=compression, cache_bytes=cache_bytes
    )


class StableOptions(msgspec.Struct, frozen=True):
    """`jobs` makes whoever flushes and compacts (see `Engine`); None: the caller."""

    journal: JournalOptions = JournalOptions()
    engine: EngineOptions = EngineOptions(scanned=layout.SCANNED)
    jobs: Callable[[str, EngineOptions], Jobs] | None = None


class Stable:
    """Journal and engine of store 1 below `data_dir`, which exists."""

    def __init__(
        self, env: Env, data_dir: str, cluster_id: int, options: StableOptions
    ) -> None:
        self.env = env
        self.data_dir = data_dir
        self.cluster_id = cluster_id
        self.options = options
        self.store_dir = f"{data_dir}/stores/1"
        self.engine_dir = f"{self.store_dir}/engine"
        self.journal_dir = f"{self.store_dir}/journal"
        self.journal: Journal | None = None
        self.engine: Engine | None = None

    # -- opening ---------------------------------------------------------------------

    def open(
        self, bootstrap: Configuration | None, salt: int, ids: Callable[[], bytes]
    ) -> Opened:
        """Read everything back. `bootstrap` is used when nothing is there yet.

        `salt` is a random 64-bit number for a new journal, `ids` gives 16 random bytes
        for each new file of the engine. Raises CorruptionError, NotBootstrapped,
        NoSpace (try again), JournalFailed, OSError; then nothing is left open.
        """
        try:
            return self._open(bootstrap, salt, ids)
        except BaseException:
            self.close()
            raise

    def _open(
        self, bootstrap: Configuration | None, salt: int, ids: Callable[[], bytes]
    ) -> Opened:
        self.make_directories()
        options = self.options
        engine = self.engine = Engine(
            *(self.env, self.engine_dir, ids, options.engine, options.jobs),
            even_damaged=True,
        )
        journal, recovered = Journal.open(
            self.env, self.journal_dir, options.journal, salt
        )
        self.journal = journal
        if not engine.applied_index:
            if not _unused(recovered):
                raise CorruptionError(
                    self.engine_dir, 0, "it is empty, and the journal is not"
                )
            if bootstrap is None:
                raise NotBootstrapped(
                    f"{self.data_dir}: holds no replica, and this member was not"
                    " among the first voters"
                )
            return self._bootstrap(bootstrap, engine)
        database = Database(engine, self.cluster_id)
        return self._join(mark_of(database), recovered, database)

    def make_directories(self) -> None:
        """Durably, all but `data_dir` itself."""
        env = self.env
        made = [self.data_dir, f"{self.data_dir}/stores", self.store_dir]
        for path in [*made[1:], self.engine_dir, self.journal_dir]:
            env.make_directory(path)
        for path in made:
            env.sync_directory(path)

    def _bootstrap(self, configuration: Configuration, engine: Engine) -> Opened:
        """A cluster begins as if all its voters had applied the same, up to index 1.

        The journal comes first: wherever there is a state there was a journal, and a
        replica that lost its votes is not taken for a new one (I-25).
        """
        mark = SnapshotMark(BOOTSTRAP_INDEX, BOOTSTRAP_TERM, configuration)
        hard_state = HardState(BOOTSTRAP_TERM, 0, BOOTSTRAP_INDEX)
        self._reset(mark, hard_state, None)
        database = begin(
            engine,
            self.cluster_id,
            BOOTSTRAP_INDEX,
            BOOTSTRAP_TERM,
            encode_configuration(configuration),
        )
        return Opened(mark, hard_state, [], None, database)

    def begin_log(self, salt: int) -> None:
        """An empty log behind the state that the engine has, which no log led to.

        For a state that was made, not applied; the engine is not open.
        """
        engine = Engine(self.env, self.engine_dir, lambda: salt.to_bytes(16, "big"))
        try:
            mark = mark_of(Database(engine, self.cluster_id))
        finally:
            engine.close()
        options = self.options.journal
        self.journal, recovered = Journal.open(
            self.env, self.journal_dir, options, salt
        )
        assert recovered.fresh
        self._reset(mark, HardState(mark.term, 0, mark.index), None)
        self.close()

    def _join(
        self, mark: SnapshotMark, recovered: Recovered, database: Database
    ) -> Opened:
        """Engine and journal together: the log that follows what the engine has."""
        if recovered.fresh:
            raise CorruptionError(
                self.journal_dir, 0, "the engine has a state, and there is no journal"
            )
        hard_state = HardState(recovered.term, recovered.vote, recovered.commit_index)
        if recovered.base_index > mark.index:
            raise CorruptionError(
                self.engine_dir,
                0,
                f"the journal begins after index {recovered.base_index}, "
                f"the engine's state is at {mark.index}",
            )
        entries = [
            Entry(e.index, e.term, e.kind, e.data)
            for e in recovered.entries
            if e.index > mark.index
        ]
        term = _term_at(recovered, mark.index)
        if term not in (None, mark.term) and mark.index <= recovered.commit_index:
            # Both were committed, and there is one such entry at an index: one of the
            # two is not this replica's, and its log is not dropped for it.
            raise CorruptionError(
                self.engine_dir,
                0,
                f"its state is at index {mark.index} of term {mark.term}, where the"
                f" journal has a committed entry of term {term}",
            )
        if not rules.continues_state(term, mark.term):
            # The state came from a leader: the log before and after it was not part of
            # that history (7 in the paper).
            entries = []
            self._reset(mark, hard_state, recovered.doubt)
        damage = database.store.damage
        return Opened(mark, hard_state, entries, recovered.doubt, database, damage)

    def _reset(
        self,
        mark: SnapshotMark,
        hard_state: HardState,
        doubt: tuple[int, int] | None,
    ) -> None:
        self.persist(
            Batch(
                term=hard_state.term,
                vote=hard_state.vote,
                commit_index=mark.index,
                first_index=mark.index + 1,
                reset=(mark.index, mark.term),
                doubt=doubt,
            )
        )

    # -- running ---------------------------------------------------------------------

    def persist(self, batch: Batch) -> None:
        """Append and sync. Raises NoSpace (nothing happened), JournalFailed (final)."""
        assert self.journal is not None
        self.journal.append(batch)
        self.journal.sync()

    def close(self) -> None:
        """Give everything back. What the engine has not flushed is in the journal."""
        if self.journal is not None:
            self.journal.close()
            self.journal = None
        if self.engine is not None:
            self.engine.close()
            self.engine = None


def mark_of(database: Database) -> SnapshotMark:
    """What the database's store has durably: where the log behind it may end."""
    meta = database.durable_meta()
    return SnapshotMark(
        database.store.applied_index,
        meta.term,
        decode_configuration(meta.configuration),
    )


def check_snapshot(
    database: Database, incoming: Incoming, message: InstallSnapshot, source: str
) -> None:
    """Is what was received and checked what the leader's message says it is?

    Raises CorruptionError, also when it is of another cluster.
    """
    manifest = incoming.manifest
    assert manifest is not None
    meta = decode_meta(manifest.meta, database.cluster_id, source)
    found = (manifest.applied_index, meta.term)
    if found != (message.index, message.snapshot_term):
        raise CorruptionError(source, 0, f"it is of index and term {found}")


def announced(message: InstallSnapshot, database: Database) -> InstallSnapshot:
    """The message about what the engine has durably by now: a newer state, perhaps."""
    mark = mark_of(database)
    return msgspec.structs.replace(
        message,
        index=mark.index,
        snapshot_term=mark.term,
        configuration=mark.configuration,
    )


def _unused(recovered: Recovered) -> bool:
    """Nothing but, perhaps, the first batch of a bootstrap that was cut short."""
    return (
        recovered.term <= BOOTSTRAP_TERM
        and recovered.vote == 0
        and recovered.base_index <= BOOTSTRAP_INDEX
        and not recovered.entries
    )


def _term_at(recovered: Recovered, index: int) -> int | None:
    if index == recovered.base_index:
        return recovered.base_term
    offset = index - recovered.base_index - 1
    if 0 <= offset < len(recovered.entries):
        return recovered.entries[offset].term
    return None
