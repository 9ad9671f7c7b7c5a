"""What of its log a leader keeps for a peer that has just got its state."""

import msgspec
from quorate.wire import encode_put

from .together import Together

VALUE = b"v" * 100


def test_a_checkpoint_takes_nothing_that_follows_a_state_on_its_way_or_there() -> None:
    """Story: once a state had arrived, the next checkpoint took what had been written
    while it went, and the peer needed another one.
    """
    together = Together()
    leader = together.replicas[together.leader]
    leader.options = msgspec.structs.replace(leader.options, log_keep_entries=0)
    progress = leader.raft.progress[together.follower]
    sent = leader.raft.log.applied_index
    progress.become_snapshot(sent)

    def write(count: int) -> None:
        for number in range(count):
            together.done(encode_put(b"%d" % number, VALUE))
        leader.database.store.flush()
        leader._follow_store()

    write(10)
    assert leader.raft.log.base_index == sent
    leader.snapshot_finished(together.follower, True)
    # It has not said yet what it has.
    leader._checkpointed(leader.raft.log.applied_index)
    assert leader.raft.log.base_index == sent
    together.run(3)
    assert progress.match_index == leader.raft.log.last_index
    write(1)
    assert leader.raft.log.base_index == leader.raft.log.applied_index
