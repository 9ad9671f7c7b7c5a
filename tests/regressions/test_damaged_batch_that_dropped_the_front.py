"""Found by the world `one-good-copy`: a node whose peers could repair it refused.

The last batch of a journal also says from where on the log is needed (its base); its
sync reclaims the segments before that. When that very batch was damaged, recovery fell
back to the base of the batch before it, for which the front was missing, and called the
journal corrupt. The head of the damaged batch is whole, though, and what its base lets
go had been in a durable checkpoint before it was written: recovery takes it.
"""

from quorate.raft import COMMAND, Entry
from quorate.storage.journal import Batch, Journal, JournalOptions
from quorate.storage.journal_format import HEAD_BYTES
from quorate.storage.memory_env import MemoryEnv

OPTIONS = JournalOptions(segment_bytes=2 * 4096, spares_max=1)


def test_a_damaged_last_batch_that_let_the_front_go_is_in_doubt() -> None:
    disk = MemoryEnv()
    disk.make_directory("/j")
    journal, _ = Journal.open(disk, "/j", OPTIONS, 0xABCD)
    for index in range(1, 9):
        base = (5, 1) if index == 8 else None
        entry = Entry(index, 1, COMMAND, b"data")
        journal.append(
            Batch(
                term=1,
                vote=1,
                commit_index=0,
                first_index=index,
                entries=[entry],
                base=base,
            )
        )
        journal.sync()
    assert journal.segments[0].sequence > 1, "the front is gone"
    path = f"/j/{journal.segments[-1].sequence:016x}.seg"
    disk.kill()
    disk.flip_bit(path, 4096 + HEAD_BYTES, 0)
    _, recovered = Journal.open(disk, "/j", OPTIONS, 0xABCD)
    assert recovered.doubt == (1, 8)
    assert recovered.base_index == 5
    assert [entry.index for entry in recovered.entries] == [6, 7]
