"""A replica's disk to hurt: small segments, one cluster, commands by the handful."""

from quorate.node.stable import Opened, Stable, checkpoint_pieces
from quorate.raft import COMMAND, Configuration, Entry
from quorate.storage.env import read_file
from quorate.storage.journal import Batch, JournalOptions
from quorate.storage.journal_format import BLOCK_BYTES
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import EnvelopeKind, encode_envelope_head, encode_put

CLUSTER = 0xC1
VOTERS = Configuration((1, 2, 3))
OPTIONS = JournalOptions(segment_bytes=4 * BLOCK_BYTES)
SALT = 0xABCD_EF01
CHECKPOINTS = "/data/stores/1/checkpoints"
JOURNAL = "/data/stores/1/journal"


def new_disk() -> MemoryEnv:
    env = MemoryEnv()
    env.make_directory("/data")
    env.sync_directory("/")
    return env


def start(
    env: MemoryEnv, bootstrap: Configuration | None = VOTERS
) -> tuple[Stable, Opened]:
    stable = Stable(env, "/data", CLUSTER, OPTIONS)
    return stable, stable.open(bootstrap, SALT)


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


def checkpoint(stable: Stable, opened: Opened, kind: str = "write") -> int:
    """Write the database as it is now; its index."""
    index = opened.database.applied_index
    file = stable.begin_checkpoint(index, kind)
    for piece in checkpoint_pieces(CLUSTER, VOTERS, opened.database):
        file.write(piece)
    file.commit()
    return index


def name_of(index: int) -> str:
    return f"{CHECKPOINTS}/{index:016x}.qck"


def files_of(env: MemoryEnv) -> dict[str, bytes]:
    """All files of the replica with their bytes."""
    return {
        f"{folder}/{name}": read_file(env, f"{folder}/{name}")
        for folder in (CHECKPOINTS, JOURNAL)
        for name in env.list(folder)
    }
