"""A process at work on a disk in memory, and the model of what it has acknowledged.

Law: the disk is written by the real code alone; the model moves when a call of it has
returned. What is legal is decided here as Raft would: nothing committed is replaced,
terms only grow, what is in doubt is written into each batch until the log passes it.
"""

import copy
from collections.abc import Callable, Sequence
from functools import cache

import msgspec
from msgspec.structs import replace

from ....node.database import Database
from ....node.stable import NotBootstrapped, Stable
from ....storage.env import Lock
from ....storage.errors import StorageError
from ....storage.journal import Batch, Journal
from ....storage.journal_format import JournalEntry
from ....storage.memory_env import MemoryEnv
from ....wire import EnvelopeKind, encode_envelope_head, encode_put
from .crash_model import (
    Answer,
    Checkpoint,
    Pair,
    Told,
    Wanted,
    complaints_about,
    join,
    torn_logs,
    written,
)

# What the code under test may raise where it must not; a bug's assertion as well.
FAILURES = (StorageError, NotBootstrapped, OSError, AssertionError)

DATA = "/data"
LOCK = f"{DATA}/lock"
# No two boots have the same salt: the one that is on the disk counts.
SALT = 0x5A17_0000
SALT_AFTER_CRASH = 0x5A18_0000
SALT_AFTER_KILL = 0x5A19_0000
VOTED_FOR = 7
COMMAND = 1


class Process(msgspec.Struct):
    """What dies with a boot."""

    journal: Journal
    lock: Lock
    stable: Stable | None = None
    database: Database | None = None

    def close(self) -> None:
        self.journal.close()
        if self.stable is not None:
            self.stable.close()
        self.lock.release()


class Family(msgspec.Struct, frozen=True):
    """One alphabet of operations on one kind of disk.

    `boot` opens the disk as a new process with a salt; `born` says that the cluster has
    begun, so that nobody tells the process how. All files are in `directories`, those
    of the journal in the last one. What is in `unread` no process looks at.
    """

    name: str
    begin: Callable[["Family"], "Run"]
    boot: Callable[[MemoryEnv, int, bool], tuple[Process, Told]]
    steps: tuple["Step", ...]
    directories: tuple[str, ...]
    unread: str = ""


class Step(msgspec.Struct, frozen=True):
    """One operation, with the word that names it in a sequence."""

    name: str
    legal: Callable[["Run"], bool]
    act: Callable[["Run"], None]


class Tearing:
    """The dice of a power loss that keeps everything and tears each write alike.

    `sectors` makes the bits of the sectors that are left, from their number.
    """

    def __init__(self, sectors: Callable[[int], int]) -> None:
        self.sectors = sectors
        self.tore = False

    def randrange(self, stop: int, /) -> int:
        return stop - 1  # all names; torn; the file's whole length

    def getrandbits(self, k: int, /) -> int:
        self.tore = self.tore or k > 1
        return self.sectors(k)


def first_sector(count: int) -> int:
    """A batch's head, and not its foot."""
    del count
    return 1


def last_sector(count: int) -> int:
    """A batch's foot, and not its head."""
    return 1 << (count - 1)


class Run:
    """`told` is the journal's acknowledged state, `checkpoint` the newest that counts.

    `tried` is what is on its way. `term`, `vote`, `commit` and `base` are Raft's, in
    memory; `history` has the terms of the cluster's entries, from index 2 on.
    """

    def __init__(self, family: Family, env: MemoryEnv, told: Answer) -> None:
        self.family = family
        self.env = env
        self.process: Process | None = None
        self.boots = 0
        self.born = True
        self.told = told
        self.checkpoint: Checkpoint | None = None
        self.tried: Batch | Checkpoint | None = None
        self.torn = False
        self.term = 1
        self.vote = 0
        self.commit = told.commit_index
        self.base = told.base
        self.history: tuple[int, ...] = ()

    def clone(self) -> "Run":
        """The same process on the same disk, once more."""
        twin = copy.copy(self)
        twin.env, twin.process = copy.deepcopy((self.env, self.process))
        return twin

    def wanted(self) -> Wanted:
        """What a recovery may tell now."""
        before = join(self.told, self.checkpoint)
        tried = self.tried
        if tried is None:
            return Wanted(before, before, known_torn=self.torn)
        if isinstance(tried, Checkpoint):
            return Wanted(before, join(self.told, tried), known_torn=self.torn)
        logs = [self.told.after(tried), *torn_logs(self.told, tried)]
        after, *torn = (join(log, self.checkpoint) for log in logs)
        return Wanted(
            before,
            after,
            tuple(torn),
            (tried.term, tried.vote),
            written(tried),
            known_torn=self.torn,
        )

    # -- what Raft would do ----------------------------------------------------------

    def begin_term(self, vote: int = 0) -> None:
        self.term += 1
        self.vote = vote

    def batch(
        self,
        first_index: int,
        entries: Sequence[JournalEntry] = (),
        *,
        reset: Pair | None = None,
        base: Pair | None = None,
    ) -> Batch:
        batch = Batch(
            term=self.term,
            vote=self.vote,
            commit_index=self.commit,
            first_index=first_index,
            entries=entries,
            reset=reset,
            base=base or self.base,
            doubt=self.told.doubt,
        )
        return replace(batch, doubt=self.told.after(batch).doubt)

    def persist(self, batch: Batch) -> None:
        """Append and sync: then it is acknowledged."""
        assert self.process is not None
        self.tried = batch
        self.process.journal.append(batch)
        self.process.journal.sync()
        self.told = self.told.after(batch)
        self.tried, self.torn = None, False

    def tear(self, batch: Batch, sectors: Callable[[int], int]) -> None:
        """The power fails while `batch` is written; these sectors are left of it."""
        assert self.process is not None
        self.tried = batch
        self.process.journal.append(batch)
        self.env.crash(Tearing(sectors))
        self.start()

    # -- processes -------------------------------------------------------------------

    def restart(self) -> None:
        assert self.process is not None
        self.process.close()
        self.start()

    def start(self) -> None:
        """A new process; what it is told is acknowledged from here on."""
        self.boots += 1
        self.process, told = self.family.boot(self.env, SALT + self.boots, self.born)
        wrong = complaints_about(told, self.wanted())
        assert not wrong, "; ".join(wrong)
        self.told = self._log_behind(told.answer)
        self.tried, self.torn = None, told.torn
        self.term, self.vote = self.told.term, self.told.vote
        if self.told.doubt is not None:
            self.begin_term()  # one in which nobody has counted this replica
        if self.checkpoint is not None:
            self.base = self.checkpoint.index, self.checkpoint.term

    def _log_behind(self, answer: Answer) -> Answer:
        """The journal's state that was told as `answer`."""
        logs = [self.told]
        if isinstance(self.tried, Batch):
            logs += [self.told.after(self.tried), *torn_logs(self.told, self.tried)]
        log = next(log for log in logs if join(log, self.checkpoint) == answer)
        mark = self.checkpoint
        if mark is None or log.term_at(mark.index) == mark.term:
            return log
        return answer  # the log was not of the checkpoint's history, and began anew


@cache
def put(index: int, term: int, size: int) -> JournalEntry:
    """A command whose value of `size` bytes says everywhere whose it is."""
    word = b"%d/%d " % (term, index)
    value = (word * (size // len(word) + 1))[:size]
    head = encode_envelope_head(EnvelopeKind.CLIENT_COMMAND, index * 10, 0)
    return JournalEntry(index, term, COMMAND, head + encode_put(b"k%d" % index, value))


def new_env(*directories: str) -> MemoryEnv:
    """A disk with a lock file in DATA, and these folders in there; all is durable."""
    env = MemoryEnv()
    for directory in (DATA, *directories):
        env.make_directory(directory)
    env.lock(LOCK).release()
    for directory in ("/", DATA):
        env.sync_directory(directory)
    return env
