"""Everything that a replica does to its disk: journal and engine together.

Law: the orders are those of the node. The engine flushes; then the log's base moves
with whatever batch comes next. A received state is made durable first; then the log
begins anew behind it, unless it has it all.
"""

from collections.abc import Sequence
from functools import cache
from hashlib import blake2b

from ....node.database import Database, begin
from ....node.stable import (
    BOOTSTRAP_INDEX,
    BOOTSTRAP_TERM,
    Stable,
    StableOptions,
)
from ....raft import Configuration, encode_configuration
from ....storage.engine import Engine, EngineOptions
from ....storage.journal import JournalOptions
from ....storage.journal_format import BLOCK_BYTES, JournalEntry
from ....storage.memory_env import MemoryEnv
from .crash_model import Answer, Checkpoint, Told, settled
from .crash_run import (
    DATA,
    LOCK,
    VOTED_FOR,
    Family,
    Process,
    Run,
    Step,
    first_sector,
    new_env,
    put,
)

CLUSTER_ID = 0xC1
VOTERS = Configuration((1, 2, 3))
STORE = f"{DATA}/stores/1"
DIRECTORIES = (
    DATA,
    f"{DATA}/stores",
    STORE,
    f"{STORE}/engine",
    f"{STORE}/journal",
)
# What an opening finds there it removes.
WORK = f"{STORE}/engine/work"
# Every second flush is followed by a merge; the larger values lie beside the tables.
OPTIONS = StableOptions(
    JournalOptions(segment_bytes=2 * BLOCK_BYTES, spares_max=1),
    EngineOptions(tier_ratio=2, blob_bytes=2_000),
)
FIRST = (BOOTSTRAP_INDEX, BOOTSTRAP_TERM)
BORN = Answer(BOOTSTRAP_TERM, 0, BOOTSTRAP_INDEX, FIRST)


def birth_family() -> Family:
    """From an empty directory: the first operation is the bootstrap."""
    return Family("birth", unborn, boot_replica, (BIRTH, *STEPS), DIRECTORIES, WORK)


def replica_family() -> Family:
    """From a disk that was bootstrapped and has a few entries."""
    return Family("replica", newborn, boot_replica, STEPS, DIRECTORIES[-2:], WORK)


def unborn(family: Family) -> Run:
    run = Run(family, new_env(), BORN)
    run.checkpoint = state_of(())[0]
    run.born = False
    return run


def newborn(family: Family) -> Run:
    run = unborn(family)
    bootstrap(run)
    puts(run)
    return run


def boot_replica(env: MemoryEnv, salt: int, born: bool) -> tuple[Process, Told]:
    lock = env.lock(LOCK)
    stable = Stable(env, DATA, CLUSTER_ID, OPTIONS)
    opened = stable.open(None if born else VOTERS, salt, Ids(salt))
    if opened.damage is not None:
        raise opened.damage
    # What an opening does not read is looked at as well.
    for _ in opened.database.store.verify():
        pass
    assert opened.snapshot.configuration == VOTERS
    assert stable.journal is not None
    hard_state, mark = opened.hard_state, opened.snapshot
    answer = Answer(
        hard_state.term,
        hard_state.vote,
        max(hard_state.commit_index, mark.index),
        (mark.index, mark.term),
        tuple(JournalEntry(e.index, e.term, e.kind, e.data) for e in opened.entries),
        opened.doubt,
        opened.database.state_hash(),
    )
    told = Told(settled(answer), stable.journal.abandons)
    return Process(stable.journal, lock, stable, opened.database), told


class Ids:
    """Names of files that depend on the boot alone, and are nobody else's."""

    def __init__(self, salt: object) -> None:
        self.salt = salt
        self.count = 0

    def __call__(self) -> bytes:
        self.count += 1
        return blake2b(f"{self.salt} {self.count}".encode(), digest_size=16).digest()


@cache
def state_of(history: tuple[int, ...]) -> tuple[Checkpoint, bytes]:
    """The state behind the entries of these terms, and the bytes a leader sends."""
    ids = Ids(history)
    engine = Engine(new_env(), f"{DATA}/engine", ids, OPTIONS.engine)
    voters = encode_configuration(VOTERS)
    database = begin(engine, CLUSTER_ID, BOOTSTRAP_INDEX, BOOTSTRAP_TERM, voters)
    database.apply(entries_of(history))
    engine.flush()
    checkpoint = Checkpoint(
        database.applied_index, database.applied_term, database.state_hash()
    )
    return checkpoint, b"".join(engine.pin().pieces())


def entries_of(history: tuple[int, ...]) -> list[JournalEntry]:
    return [entry(i, term) for i, term in enumerate(history, FIRST[0] + 1)]


def entry(index: int, term: int) -> JournalEntry:
    """Every third one is large, so that a batch of two outgrows a block."""
    return put(index, term, 700 if index % 3 else 3_500)


def exists(run: Run) -> bool:
    return run.born


def is_unborn(run: Run) -> bool:
    return not run.born


def has_tail(run: Run) -> bool:
    return run.born and run.told.last_index > run.commit


def bootstrap(run: Run) -> None:
    run.start()
    run.born = True


def persist(run: Run, entries: Sequence[JournalEntry]) -> None:
    """All but the last entry of the log are committed by now."""
    first = entries[0].index
    run.commit = max(run.commit, first - 1)
    run.persist(run.batch(first, entries))
    kept = run.history[: first - FIRST[0] - 1]
    run.history = kept + tuple(e.term for e in entries)
    run.commit = max(run.commit, run.told.last_index - 1)


def puts(run: Run) -> None:
    first = run.told.last_index + 1
    persist(run, [entry(first, run.term), entry(first + 1, run.term)])


def overwrite(run: Run) -> None:
    run.begin_term()
    persist(run, [entry(run.commit + 1, run.term)])


def vote(run: Run) -> None:
    run.begin_term(VOTED_FOR)
    run.persist(run.batch(run.told.last_index + 1))


def can_flush(run: Run) -> bool:
    """Something was committed since this process flushed last."""
    return run.born and run.commit > run.base[0]


def database_of(run: Run) -> Database:
    assert run.process is not None
    assert run.process.database is not None
    return run.process.database


def write(run: Run) -> None:
    """Apply what is committed, and flush."""
    database = database_of(run)
    history = run.history[: run.commit - FIRST[0]]
    run.tried = state_of(history)[0]
    database.apply(entries_of(history)[database.applied_index - FIRST[0] :])
    database.store.freeze()
    while database.store.applied_index < run.commit:
        database.store.work(1)
    run.checkpoint, run.tried = run.tried, None


def install(run: Run, index: int) -> None:
    """A leader's state of the history up to `index` arrives."""
    database = database_of(run)
    run.tried, data = state_of(run.history[: index - FIRST[0]])
    incoming = database.store.receive("the leader")
    incoming.feed(data)
    for _ in incoming.check():
        pass
    database.install(incoming)
    run.checkpoint, run.tried = run.tried, None


def take_base(run: Run) -> None:
    assert run.checkpoint is not None
    run.base = run.checkpoint.index, run.checkpoint.term


def flush(run: Run) -> None:
    """The base goes with a later batch; what should be merged is."""
    write(run)
    take_base(run)
    while database_of(run).store.owed:
        database_of(run).store.work(1)


def compact(run: Run) -> None:
    """The base goes with a batch at once."""
    write(run)
    take_base(run)
    puts(run)


def receive(run: Run) -> None:
    """A leader's snapshot far ahead; the log begins anew."""
    receive_ahead(run)
    begin_anew(run)


def receive_inside(run: Run) -> None:
    """A snapshot that contradicts the log's last entry."""
    run.begin_term()
    last = run.told.last_index
    run.history = (*run.history[: last - FIRST[0] - 1], run.term)
    install(run, last)
    begin_anew(run)


def receive_held(run: Run) -> None:
    """A snapshot of what the log has: only the commit index moves."""
    install(run, run.told.last_index)
    run.commit = run.told.last_index


def receive_killed(run: Run) -> None:
    """The process ends between a snapshot's manifest and the log's new beginning."""
    receive_ahead(run)
    run.env.kill()
    run.start()


def receive_ahead(run: Run) -> None:
    last = run.told.last_index
    run.history = (*run.history[: last - FIRST[0]], run.term, run.term)
    install(run, last + 2)
    run.commit = last + 2


def begin_anew(run: Run) -> None:
    take_base(run)
    run.commit = run.base[0]
    run.persist(run.batch(run.base[0] + 1, reset=run.base))


def tear(run: Run) -> None:
    """The power fails in an append; the replica starts with an entry in doubt."""
    first = run.told.last_index + 1
    run.tear(run.batch(first, [entry(first, run.term)]), first_sector)


BIRTH = Step("bootstrap", is_unborn, bootstrap)
STEPS = (
    Step("puts", exists, puts),
    Step("overwrite", has_tail, overwrite),
    Step("vote", exists, vote),
    Step("flush", can_flush, flush),
    Step("compact", can_flush, compact),
    Step("receive", exists, receive),
    Step("receive inside", has_tail, receive_inside),
    Step("receive held", has_tail, receive_held),
    Step("receive, killed", exists, receive_killed),
    Step("reopen", exists, Run.restart),
    Step("tear", exists, tear),
)
