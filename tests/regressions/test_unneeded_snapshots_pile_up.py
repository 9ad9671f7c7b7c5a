"""Found by the simulator's bound on files (I-76): received checkpoints stayed for ever.

A snapshot that arrives when the log has caught up already is not installed. Its file,
however, was durable under its own index, which is newer than the replica's snapshot, so
pruning ("older than the snapshot in use") left it, and each further one as well: as
many copies of the whole state as the leader had sent. Now the shell discards it.

Seed 5696 found the rest: while the replica wrote a checkpoint of its own, on a slow
disk, nothing was discarded, because both might have one name. Only one that has the
running job's own index is left alone now.
"""

from quorate.node.stable import Stable
from quorate.raft import Configuration
from quorate.storage.journal import JournalOptions
from quorate.storage.memory_env import MemoryEnv

from .lone_replica import leading_replica


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


def test_an_own_checkpoint_that_is_being_written_protects_its_own_name_alone() -> None:
    replica = leading_replica()
    assert replica.unneeded(100)
    assert not replica.unneeded(replica.raft.snapshot.index)
    job = replica.force_checkpoint()
    assert job is not None
    assert not replica.unneeded(job.mark.index)
    assert replica.unneeded(job.mark.index + 1)
    replica.checkpoint_failed()
    assert replica.unneeded(job.mark.index)
