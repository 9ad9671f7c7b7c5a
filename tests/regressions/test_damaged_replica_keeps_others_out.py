"""Found by the simulator (I-73): nobody could lead, with a quorum of whole logs alive.

A replica whose tables were damaged did not campaign, and a leader resigned when it met
damage. But it may be the only one alive that has the end of the log: then its votes go
to nobody else, and no quorum is without it. Now it leads, takes no proposals, brings a
whole voter up to date and hands over to it.
"""

import pytest
from quorate.raft import Role

from ..raft.network import ELECTION_TICKS, Network


@pytest.mark.parametrize("late", [2, 3])
def test_the_only_one_with_the_newest_entry_leads_until_another_has_it(
    late: int,
) -> None:
    network = Network()
    raft = network.elect(1)
    network.cut(1, 2)
    network.cut(1, 3)
    network.write(1, b"x")
    network.crash(5 - late)
    raft.become_follower(raft.term, 0, "as after a restart")
    raft.barred = True
    network.heal()
    network.tick(20 * ELECTION_TICKS)
    assert network.leader() == late
    assert network.nodes[late].commands == [b"x"]


def test_it_does_not_wait_for_a_commit_that_needs_its_state() -> None:
    """Seed 3097: the third of the quorum needed a state, and only the leader's was bad.

    So its last entry could not be committed, and it waited for that to hand over.
    """
    network = Network(range(1, 6))
    raft = network.elect(1)
    network.crash(4)
    network.crash(5)
    network.hold_disk(3)
    network.propose(1, b"x")
    network.settle()
    assert raft.log.commit_index < raft.log.last_index
    raft.barred = True
    network.tick(3 * ELECTION_TICKS)
    assert raft.role is not Role.LEADER
    network.free_disk(3)
    network.tick(5 * ELECTION_TICKS)
    assert network.leader() == 2
    assert network.nodes[3].commands == [b"x"]
