"""A replica's disk to hurt: small segments, one cluster, commands by the handful."""

import itertools

from quorate.node.stable import Opened, Stable, StableOptions
from quorate.raft import COMMAND, Configuration, Entry
from quorate.storage.journal import Batch, JournalOptions
from quorate.storage.journal_format import BLOCK_BYTES
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import EnvelopeKind, encode_envelope_head, encode_put

CLUSTER = 0xC1
VOTERS = Configuration((1, 2, 3))
OPTIONS = StableOptions(JournalOptions(segment_bytes=4 * BLOCK_BYTES))
SALT = 0xABCD_EF01
ENGINE = "/data/stores/1/engine"
MANIFEST = f"{ENGINE}/MANIFEST"
JOURNAL = "/data/stores/1/journal"
# Of all disks: files of engines travel between them.
_ids = itertools.count(1)


def new_id() -> bytes:
    return next(_ids).to_bytes(16, "big")


def new_disk() -> MemoryEnv:
    env = MemoryEnv()
    env.make_directory("/data")
    env.sync_directory("/")
    return env


def start(
    env: MemoryEnv, bootstrap: Configuration | None = VOTERS
) -> tuple[Stable, Opened]:
    stable = Stable(env, "/data", CLUSTER, OPTIONS)
    return stable, stable.open(bootstrap, SALT, new_id)


def put(index: int, term: int = 1) -> Entry:
    """A command that writes the key of its own index."""
    head = encode_envelope_head(EnvelopeKind.CLIENT_COMMAND, index * 10, 0)
    return Entry(index, term, COMMAND, head + encode_put(b"k%d" % index, b"v" * 9))


def puts(first: int, last: int, term: int = 1) -> list[Entry]:
    return [put(index, term) for index in range(first, last + 1)]


def persist(
    stable: Stable,
    entries: list[Entry],
    *,
    vote: int = 0,
    commit: int = 0,
    base: tuple[int, int] | None = None,
) -> None:
    """One batch; its term is that of its last entry."""
    stable.persist(
        Batch(
            term=entries[-1].term,
            vote=vote,
            commit_index=commit,
            first_index=entries[0].index,
            entries=entries,
            base=base,
        )
    )


def flush(opened: Opened) -> int:
    """Make everything that was applied durable; its index."""
    opened.database.store.flush()
    return opened.database.store.applied_index


def receive(opened: Opened, last: int, term: int) -> None:
    """A leader's state arrives: entries up to `last`, all of `term`."""
    _, leader = start(new_disk())
    leader.database.apply(puts(2, last, term))
    flush(leader)
    store = opened.database.store
    incoming = store.receive("the leader")
    for piece in leader.database.store.pin().pieces():
        incoming.feed(piece)
    for _ in incoming.check():
        pass
    opened.database.install(incoming)


def files_of(env: MemoryEnv) -> dict[str, bytes]:
    """All files of the replica with their bytes."""
    return {
        f"{folder}/{name}": data
        for folder in (ENGINE, JOURNAL)
        for name, data in env.peek(folder).items()
    }


def tables_of(env: MemoryEnv) -> list[str]:
    return [path for path in files_of(env) if path.endswith(".sst")]
