"""Everything that a replica does to its disk: journal and checkpoints together.

Law: the orders are those of the node. A checkpoint is written and named; then the log's
base moves with whatever batch comes next, and older checkpoints go before or after it.
A received one is named first; then the log begins anew behind it, unless it has it all.
"""

from collections.abc import Sequence
from functools import cache

from ....node.database import Database, Meta
from ....node.database.core import FIRST_REVISION
from ....node.stable import (
    BOOTSTRAP_INDEX,
    BOOTSTRAP_TERM,
    Stable,
    checkpoint_pieces,
)
from ....raft import Configuration
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
    f"{STORE}/checkpoints",
    f"{STORE}/journal",
)
OPTIONS = JournalOptions(segment_bytes=2 * BLOCK_BYTES, spares_max=1)
FIRST = (BOOTSTRAP_INDEX, BOOTSTRAP_TERM)
BORN = Answer(BOOTSTRAP_TERM, 0, BOOTSTRAP_INDEX, FIRST)


def birth_family() -> Family:
    """From an empty directory: the first operation is the bootstrap."""
    return Family("birth", unborn, boot_replica, (BIRTH, *STEPS), DIRECTORIES)


def replica_family() -> Family:
    """From a disk that was bootstrapped and has a few entries."""
    return Family("replica", newborn, boot_replica, STEPS, DIRECTORIES[-2:])


def unborn(family: Family) -> Run:
    run = Run(family, new_env(), BORN)
    run.checkpoint = checkpoint_of(())[0]
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
    opened = stable.open(None if born else VOTERS, salt)
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
    return Process(stable.journal, lock, stable), told


@cache
def checkpoint_of(history: tuple[int, ...]) -> tuple[Checkpoint, tuple[bytes, ...]]:
    """The state behind the entries of these terms, and its bytes in two pieces."""
    meta = Meta(BOOTSTRAP_INDEX, BOOTSTRAP_TERM, FIRST_REVISION, 0, 0, 0)
    database = Database(meta=meta)
    database.apply([entry(i, term) for i, term in enumerate(history, FIRST[0] + 1)])
    first, *rest = checkpoint_pieces(CLUSTER_ID, VOTERS, database)
    index, term = database.applied_index, database.applied_term
    return Checkpoint(index, term, database.state_hash()), (first, b"".join(rest))


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


def can_checkpoint(run: Run) -> bool:
    """Something was applied since the newest checkpoint of this process."""
    return run.born and run.commit > run.base[0]


def write(run: Run, index: int, kind: str) -> None:
    """A checkpoint of the history up to `index`."""
    assert run.process is not None
    assert run.process.stable is not None
    checkpoint, pieces = checkpoint_of(run.history[: index - FIRST[0]])
    run.tried = checkpoint
    file = run.process.stable.begin_checkpoint(index, kind)
    for piece in pieces:
        file.write(piece)
    file.commit()
    run.checkpoint, run.tried = checkpoint, None


def prune(run: Run) -> None:
    assert run.process is not None
    assert run.process.stable is not None
    run.process.stable.prune(run.base[0])


def take_base(run: Run) -> None:
    assert run.checkpoint is not None
    run.base = run.checkpoint.index, run.checkpoint.term


def checkpoint(run: Run) -> None:
    """Written; the base goes with a later batch."""
    write(run, run.commit, "write")
    take_base(run)
    prune(run)


def compact(run: Run) -> None:
    """Written; the base goes with a batch before older checkpoints do."""
    write(run, run.commit, "write")
    take_base(run)
    puts(run)
    prune(run)


def receive(run: Run) -> None:
    """A leader's snapshot far ahead; the log begins anew, then older ones go."""
    receive_ahead(run)
    begin_anew(run)
    prune(run)


def receive_inside(run: Run) -> None:
    """A snapshot that contradicts the log's last entry; older ones go first."""
    run.begin_term()
    last = run.told.last_index
    run.history = (*run.history[: last - FIRST[0] - 1], run.term)
    write(run, last, "received")
    take_base(run)
    prune(run)
    begin_anew(run)


def receive_held(run: Run) -> None:
    """A snapshot of what the log has: only the commit index moves."""
    write(run, run.told.last_index, "received")
    run.commit = run.told.last_index
    prune(run)


def receive_killed(run: Run) -> None:
    """The process ends between a snapshot's name and the log's new beginning."""
    receive_ahead(run)
    run.env.kill()
    run.start()


def receive_ahead(run: Run) -> None:
    last = run.told.last_index
    run.history = (*run.history[: last - FIRST[0]], run.term, run.term)
    write(run, last + 2, "received")
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
    Step("checkpoint", can_checkpoint, checkpoint),
    Step("compact", can_checkpoint, compact),
    Step("receive", exists, receive),
    Step("receive inside", has_tail, receive_inside),
    Step("receive held", has_tail, receive_held),
    Step("receive, killed", exists, receive_killed),
    Step("reopen", exists, Run.restart),
    Step("tear", exists, tear),
)
