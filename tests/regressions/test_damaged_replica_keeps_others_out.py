"""Found by the simulator (I-73): nobody could lead, with a quorum of whole logs alive.

A replica whose tables were damaged did not campaign, and a leader resigned when it met
damage. But it may be the only one alive that has the end of the log: then its votes go
to nobody else, and no quorum is without it. Now it leads, takes no proposals, brings a
whole voter up to date and hands over to it.
"""

import pytest

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
