"""Everything that a journal can be asked to do, in small segments.

Law: each append is followed by its sync. Segments have so few blocks that rolling over,
recycling and reclaiming happen within a handful of operations.
"""

from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from ....storage.journal import Journal, JournalOptions
from ....storage.journal_format import BLOCK_BYTES
from ....storage.journal_recovery import Recovered
from ....storage.memory_env import MemoryEnv
from .crash_model import Answer, Told
from .crash_run import (
    DATA,
    LOCK,
    VOTED_FOR,
    Family,
    Process,
    Run,
    Step,
    first_sector,
    last_sector,
    new_env,
    put,
)

DIRECTORY = f"{DATA}/journal"
SMALL = 700  # bytes of a value: two sectors with its head
HALF = 2_600  # two of them take two blocks


def journal_family(name: str, blocks: int, spares_max: int) -> Family:
    """The journal with segments of so many blocks."""
    options = JournalOptions(segment_bytes=blocks * BLOCK_BYTES, spares_max=spares_max)
    boot = partial(boot_journal, options)
    return Family(name, begin, boot, STEPS, (DATA, DIRECTORY))


def begin(family: Family) -> Run:
    """An empty journal, open."""
    run = Run(family, new_env(DIRECTORY), Answer())
    run.start()
    run.term = 1
    return run


def boot_journal(
    options: JournalOptions, env: MemoryEnv, salt: int, born: bool
) -> tuple[Process, Told]:
    del born
    lock = env.lock(LOCK)
    journal, recovered = Journal.open(env, DIRECTORY, options, salt)
    return Process(journal, lock), told_by(recovered)


def told_by(recovered: Recovered) -> Told:
    answer = Answer(
        recovered.term,
        recovered.vote,
        recovered.commit_index,
        (recovered.base_index, recovered.base_term),
        tuple(recovered.entries),
        recovered.doubt,
    )
    return Told(answer, recovered.torn)


def always(run: Run) -> bool:
    del run
    return True


def has_tail(run: Run) -> bool:
    """The log's end is not committed, as far as this replica knows."""
    return run.told.last_index > run.commit


def append(run: Run, sizes: tuple[int, ...]) -> None:
    """Entries behind the last one, which is committed by now."""
    first = run.told.last_index + 1
    run.commit = max(run.commit, first - 1)
    entries = [put(first + n, run.term, size) for n, size in enumerate(sizes)]
    run.persist(run.batch(first, entries))


def overwrite(run: Run) -> None:
    """A newer leader's entries over what is not committed."""
    run.begin_term()
    first = run.commit + 1
    run.persist(run.batch(first, [put(first + n, run.term, SMALL) for n in range(2)]))


def truncate(run: Run) -> None:
    """What is not committed goes, and nothing comes."""
    run.begin_term()
    run.persist(run.batch(run.commit + 1))


def doubts(run: Run) -> bool:
    return run.told.doubt is not None


def discard(run: Run) -> None:
    """No quorum can hold what is in doubt."""
    run.persist(replace(run.batch(run.told.last_index + 1), doubt=None))


def vote(run: Run) -> None:
    run.begin_term(VOTED_FOR)
    run.persist(run.batch(run.told.last_index + 1))


def can_advance(run: Run) -> bool:
    return run.told.last_index > run.told.base[0]


def advance(run: Run) -> None:
    """A checkpoint holds what is committed, or everything: the front may go."""
    told = run.told
    if run.commit <= told.base[0]:
        run.commit = told.last_index
    term = told.term_at(run.commit)
    assert term is not None
    run.base = run.commit, term
    run.persist(run.batch(told.last_index + 1))


def reset(run: Run) -> None:
    """A snapshot far ahead was installed."""
    start_anew(run, run.told.last_index + 3)


def reset_inside(run: Run) -> None:
    """A snapshot was installed that contradicts the log's last entry."""
    run.begin_term()
    start_anew(run, run.told.last_index)


def start_anew(run: Run, index: int) -> None:
    run.commit, run.base = index, (index, run.term)
    run.persist(run.batch(index + 1, reset=run.base))


def wants_spare(run: Run) -> bool:
    assert run.process is not None
    return run.process.journal.wants_spare()


def prepare_spare(run: Run) -> None:
    assert run.process is not None
    run.process.journal.prepare_spare()


def tear_to_the_head(run: Run) -> None:
    """The power fails in an append; the journal is opened with an entry in doubt."""
    index = run.told.last_index + 1
    batch = run.batch(index, [put(index, run.term, SMALL)])
    run.tear(batch, first_sector)


def tear_to_the_foot(run: Run) -> None:
    """So it does in a newer leader's append; a tail that it replaced is back."""
    run.begin_term()
    index = run.commit + 1
    batch = run.batch(index, [put(index, run.term, SMALL)])
    run.tear(batch, last_sector)


def appending(*sizes: int) -> Callable[[Run], None]:
    return partial(append, sizes=sizes)


STEPS = (
    Step("append", always, appending(SMALL)),
    Step("append two blocks", always, appending(HALF, HALF)),
    Step("append four blocks", always, appending(HALF, HALF, HALF, HALF, HALF)),
    Step("overwrite", has_tail, overwrite),
    Step("truncate", has_tail, truncate),
    Step("discard", doubts, discard),
    Step("vote", always, vote),
    Step("advance the base", can_advance, advance),
    Step("reset", always, reset),
    Step("reset inside", has_tail, reset_inside),
    Step("prepare a spare", wants_spare, prepare_spare),
    Step("reopen", always, Run.restart),
    Step("tear to the head", always, tear_to_the_head),
    Step("tear to the foot", always, tear_to_the_foot),
)
