"""Found by the simulator's bound on files (I-76): received checkpoints stayed for ever.

A snapshot that arrives when the log has caught up already is not installed. Its file,
however, was durable under its own index, which is newer than the replica's snapshot, so
pruning ("older than the snapshot in use") left it, and each further one as well: as
many copies of the whole state as the leader had sent. Seed 5696 found the rest: while
the replica wrote a checkpoint of its own, nothing was discarded.

With the engine a received state lies in its folder of work until it is installed.
Seed 306 found the like there: tables that had their names already, when there was no
room left for the manifest, stayed until the next start, and each further try added
some, to a disk that was full.
"""

import pytest
from quorate.storage.engine import Engine, EngineOptions
from quorate.storage.errors import is_no_space
from quorate.storage.memory_env import MemoryEnv

from .lone_replica import leading_replica


def test_a_received_state_that_is_not_needed_goes() -> None:
    store = leading_replica().database.store
    other = leading_replica().database.store
    other.flush()
    env = store._env
    for _ in range(2):
        incoming = store.receive("a leader")
        for piece in other.pin().pieces():
            incoming.feed(piece)
        incoming.close()
    (nonce,) = env.list("/engine/work")
    assert env.list(f"/engine/work/{nonce}") == []


def test_tables_go_when_there_is_no_room_for_the_manifest() -> None:
    env = MemoryEnv()
    names = iter(range(1, 1000))
    engine = Engine(env, "/e", lambda: next(names).to_bytes(16, "big"), EngineOptions())
    engine.write({b"k": b"v" * 5000}, 1, b"m" * 5000)
    endless = 1 << 50
    env.capacity_bytes = endless
    used = endless - env.free_bytes("/")
    # Enough for the table, and not for the manifest behind it.
    env.capacity_bytes = used + 10_000
    for _ in range(3):
        with pytest.raises(OSError) as caught:
            engine.flush()
        assert is_no_space(caught.value)
        assert not [n for n in env.list("/e") if n.endswith(".sst")]
    env.capacity_bytes = None
    engine.flush()
    assert engine.applied_index == 1
