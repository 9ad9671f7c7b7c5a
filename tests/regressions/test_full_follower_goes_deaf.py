"""Found by the simulator (I-12): a follower under load helped to depose its leader.

Whose flushes fall behind takes no more entries, as if they were lost. It threw the
whole message away, and with it the news that its leader is alive: with heartbeats lost
as well it called for an election while appends arrived all the time.
"""

from quorate.raft import AppendEntriesReply, Role

from ..raft.alone import alone, append, command


def test_a_full_follower_hears_its_leader_and_takes_nothing() -> None:
    raft = alone(2, 1)
    raft.step(append((1, 1), term=1))
    raft.ready(can_persist=True)
    raft.full = True
    for _ in range(5 * raft.options.election_timeout_ticks):
        raft.step(append((1, 1), command(2, 1), term=1))
        raft.tick()
    assert raft.role is Role.FOLLOWER
    assert raft.leader_id == 1
    assert raft.log.last_index == 1
    assert not [m for m in raft.outbox if isinstance(m, AppendEntriesReply)]
