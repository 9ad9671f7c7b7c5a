"""What one replica keeps on its disk: journal and checkpoints, and how it comes back.

Law: synchronous, through the env alone; used by the node's I/O thread and by the
simulator. Nothing here repairs or deletes what it does not understand: a contradiction
between checkpoint and journal is an error with the path's name (I-24, I-25).

    data/stores/1/journal/<sequence>.seg
    data/stores/1/checkpoints/<index>.qck        the newest one counts
    data/stores/1/checkpoints/<index>.<kind>.tmp being written or received
"""

from collections.abc import Iterator

import msgspec

from ..raft import (
    Configuration,
    Entry,
    HardState,
    SnapshotMark,
    decode_configuration,
    encode_configuration,
)
from ..storage.env import Env, File
from ..storage.errors import CorruptionError
from ..storage.journal import Batch, Journal, JournalOptions
from ..storage.journal_recovery import Recovered
from . import rules
from .database import (
    CheckpointReader,
    DamagedCheckpoint,
    Database,
    Meta,
    header_of,
    write_checkpoint,
)
from .database.core import FIRST_REVISION

BOOTSTRAP_INDEX = 1
BOOTSTRAP_TERM = 1
_READ_BYTES = 256 << 10
_SUFFIX = ".qck"
_TEMPORARY = ".tmp"


class NotBootstrapped(Exception):
    """The directory holds no replica, and nobody said that a cluster begins here."""


class Opened(msgspec.Struct):
    """A replica's state as its disk has it: what Raft and the database start from."""

    snapshot: SnapshotMark
    hard_state: HardState
    entries: list[Entry]
    doubt: tuple[int, int] | None
    database: Database


class CheckpointFile:
    """A checkpoint being written. It counts once `commit` has returned."""

    def __init__(self, stable: "Stable", index: int, kind: str) -> None:
        self.stable = stable
        self.index = index
        self.path = f"{stable.checkpoints}/{index:016x}.{kind}{_TEMPORARY}"
        env = stable.env
        if env.exists(self.path):
            env.remove(self.path)
        self.file: File = env.open(self.path, create=True)
        self.offset = 0

    def write(self, piece: bytes) -> None:
        self.file.write_at(self.offset, piece)
        self.offset += len(piece)

    def sync(self) -> None:
        """Make what was written durable; worth doing now and then in a long write."""
        self.file.sync()

    def commit(self) -> None:
        """Sync, give it its name, make the name durable (I-20). Older ones stay."""
        if rules.syncs_checkpoint_contents():
            self.file.sync()
        self.file.close()
        stable = self.stable
        stable.env.rename(self.path, stable.checkpoint_path(self.index))
        if rules.syncs_checkpoint_name():
            stable.env.sync_directory(stable.checkpoints)

    def abandon(self) -> None:
        self.file.close()
        if self.stable.env.exists(self.path):
            self.stable.env.remove(self.path)


class Stable:
    """Journal and checkpoints of store 1 below `data_dir`, which exists."""

    def __init__(
        self, env: Env, data_dir: str, cluster_id: int, options: JournalOptions
    ) -> None:
        self.env = env
        self.data_dir = data_dir
        self.cluster_id = cluster_id
        self.options = options
        self.store_dir = f"{data_dir}/stores/1"
        self.checkpoints = f"{self.store_dir}/checkpoints"
        self.journal_dir = f"{self.store_dir}/journal"
        self.journal: Journal | None = None

    # -- opening ---------------------------------------------------------------------

    def open(self, bootstrap: Configuration | None, salt: int) -> Opened:
        """Read everything back. `bootstrap` is used when nothing is there yet.

        `salt` is a random 64-bit number for a new journal. Raises CorruptionError,
        NotBootstrapped, NoSpace (try again), JournalFailed, OSError.
        """
        self._make_directories()
        self._clear_temporary()
        # A name that was read may be in the cache alone, after a kill in `commit`.
        self.env.sync_directory(self.checkpoints)
        index = self._newest_checkpoint()
        journal, recovered = Journal.open(
            self.env, self.journal_dir, self.options, salt
        )
        self.journal = journal
        if index is None:
            if not _unused(recovered):
                raise CorruptionError(
                    self.checkpoints, 0, "there is a journal but no checkpoint"
                )
            if bootstrap is None:
                raise NotBootstrapped(
                    f"{self.data_dir}: holds no replica, and this member was not"
                    " among the first voters"
                )
            return self._bootstrap(bootstrap)
        database, configuration = self._load(index)
        mark = SnapshotMark(index, database.applied_term, configuration)
        return self._join(mark, recovered, database)

    def _make_directories(self) -> None:
        env = self.env
        made = [self.data_dir, f"{self.data_dir}/stores", self.store_dir]
        for path in [*made[1:], self.checkpoints, self.journal_dir]:
            env.make_directory(path)
        for path in made:
            env.sync_directory(path)

    def _clear_temporary(self) -> None:
        """What was being written when the process ended; nothing refers to it."""
        for name in self.env.list(self.checkpoints):
            if name.endswith(_TEMPORARY) and _index_of(name.split(".")[0]) is not None:
                self.env.remove(f"{self.checkpoints}/{name}")

    def _indexes(self) -> list[int]:
        names = self.env.list(self.checkpoints)
        stems = [n.removesuffix(_SUFFIX) for n in names if n.endswith(_SUFFIX)]
        return sorted(i for i in map(_index_of, stems) if i is not None)

    def _newest_checkpoint(self) -> int | None:
        return max(self._indexes(), default=None)

    def _bootstrap(self, configuration: Configuration) -> Opened:
        """A cluster begins as if all its voters had the same checkpoint at index 1.

        The journal comes first: wherever there is a checkpoint there was a journal,
        and a replica that lost its votes is not taken for a new one (I-25).
        """
        database = Database(
            meta=Meta(BOOTSTRAP_INDEX, BOOTSTRAP_TERM, FIRST_REVISION, 0, 0, 0)
        )
        mark = SnapshotMark(BOOTSTRAP_INDEX, BOOTSTRAP_TERM, configuration)
        hard_state = HardState(BOOTSTRAP_TERM, 0, BOOTSTRAP_INDEX)
        self._reset(mark, hard_state, None)
        file = CheckpointFile(self, BOOTSTRAP_INDEX, "write")
        for piece in checkpoint_pieces(self.cluster_id, configuration, database):
            file.write(piece)
        file.commit()
        return Opened(mark, hard_state, [], None, database)

    def _load(self, index: int) -> tuple[Database, Configuration]:
        path = self.checkpoint_path(index)
        reader = CheckpointReader(self.cluster_id)
        file = self.env.open(path, read_only=True)
        offset = 0
        try:
            while piece := file.read_at(offset, _READ_BYTES):
                reader.feed(piece)
                offset += len(piece)
            database = reader.finish()
            assert reader.header is not None
            configuration = decode_configuration(reader.header.configuration)
        except (DamagedCheckpoint, ValueError) as error:
            raise CorruptionError(path, offset, str(error)) from error
        finally:
            file.close()
        if database.applied_index != index:
            raise CorruptionError(path, 0, "its name and its index differ")
        return database, configuration

    def _join(
        self, mark: SnapshotMark, recovered: Recovered, database: Database
    ) -> Opened:
        """Checkpoint and journal together: the log that follows the checkpoint."""
        if recovered.fresh:
            raise CorruptionError(
                self.journal_dir, 0, "there is a checkpoint but no journal"
            )
        hard_state = HardState(recovered.term, recovered.vote, recovered.commit_index)
        if recovered.base_index > mark.index:
            raise CorruptionError(
                self.checkpoints,
                0,
                f"the journal begins after index {recovered.base_index}, "
                f"the newest checkpoint is at {mark.index}",
            )
        entries = [
            Entry(e.index, e.term, e.kind, e.data)
            for e in recovered.entries
            if e.index > mark.index
        ]
        if _term_at(recovered, mark.index) != mark.term:
            # The checkpoint came from a leader: the log before and after it was not
            # part of that history (7 in the paper).
            entries = []
            self._reset(mark, hard_state, recovered.doubt)
        return Opened(mark, hard_state, entries, recovered.doubt, database)

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

    def checkpoint_path(self, index: int) -> str:
        return f"{self.checkpoints}/{index:016x}{_SUFFIX}"

    def begin_checkpoint(self, index: int, kind: str) -> CheckpointFile:
        """`kind` keeps a received checkpoint apart from a written one."""
        return CheckpointFile(self, index, kind)

    def open_checkpoint(self, index: int) -> File:
        """For sending; stays readable when the checkpoint is pruned meanwhile."""
        return self.env.open(self.checkpoint_path(index), read_only=True)

    def prune(self, newest: int) -> None:
        """Checkpoints older than the durable `newest` are not needed any more."""
        for index in self._indexes():
            if rules.may_prune(index, newest):
                self.env.remove(self.checkpoint_path(index))

    def discard(self, index: int) -> None:
        """A received checkpoint that was not needed: its log is here already."""
        self.env.remove(self.checkpoint_path(index))

    def close(self) -> None:
        if self.journal is not None:
            self.journal.close()
            self.journal = None


def checkpoint_pieces(
    cluster_id: int, configuration: Configuration, database: Database
) -> Iterator[bytes]:
    """The bytes of `database` as it is now."""
    header = header_of(
        cluster_id,
        encode_configuration(configuration),
        database.meta(),
        database.store.count(),
    )
    return write_checkpoint(header, database.store.view())


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


def _index_of(stem: str) -> int | None:
    if len(stem) != 16 or any(c not in "0123456789abcdef" for c in stem):
        return None
    return int(stem, 16)
