"""Found by the simulator's bound on files (I-76): received checkpoints stayed for ever.

A snapshot that arrives when the log has caught up already is not installed. Its file,
however, was durable under its own index, which is newer than the replica's snapshot, so
pruning ("older than the snapshot in use") left it, and each further one as well: as
many copies of the whole state as the leader had sent. Now the shell discards it.
"""

from quorate.node.stable import Stable
from quorate.raft import Configuration
from quorate.storage.journal import JournalOptions
from quorate.storage.memory_env import MemoryEnv


def test_a_received_checkpoint_that_is_not_needed_goes() -> None:
    disk = MemoryEnv()
    disk.make_directory("/data")
    stable = Stable(disk, "/data", 0xC1, JournalOptions(segment_bytes=4 * 4096))
    opened = stable.open(Configuration((1, 2, 3)), 0xABCD)
    own = disk.list(stable.checkpoints)
    for index in (5, 7):
        file = stable.begin_checkpoint(index, "received")
        file.write(b"whatever the leader sent")
        file.commit()
        assert len(disk.list(stable.checkpoints)) == 2
        stable.discard(index)
        stable.prune(opened.snapshot.index)
        assert disk.list(stable.checkpoints) == own
