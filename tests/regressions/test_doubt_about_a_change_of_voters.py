"""A damaged batch that had changed the voters: whom to ask is in there, too.

Found by thinking about damage in worlds whose members change, not by a seed. Voters
1, 2, 3 become 3, 4, 5. Member 3 was away; it gets the change and a write in one batch,
and with 4 it commits the write. Then its last batch is damaged, and 4 is away. All that
3 knows of voters are 1, 2 and 3: of these nobody holds the write, so it was discarded,
and with 3 the new voter 5 could lead without it.

Now who knows other voters than the node in doubt says nothing, unless it holds the
entry (decision 0004).
"""

from quorate.raft import Configuration, Raft, Refused

from ..raft.network import ELECTION_TICKS, Network


def _leads_with_the_vote_of_3(network: Network) -> Raft:
    """Member 4, elected before 3 has got anything."""
    network.tick(2 * ELECTION_TICKS, only=[3])
    raft = network.raft(4)
    raft.campaign()
    for _ in range(4):
        for member, other in ((4, 3), (3, 4)):
            network.turn(member)
            for message in list(network.waiting(member, other)):
                network.deliver(message)
            if raft.is_leader:
                return raft
    raise AssertionError("4 was not elected")


def test_a_write_behind_a_change_of_voters_is_not_discarded() -> None:
    network = Network((1, 2, 3), spares=(4, 5))
    raft = network.elect(1)
    network.isolate(3)
    assert not isinstance(raft.change_configuration((3, 4, 5), ()), Refused)
    network.settle()
    network.heal()
    network.isolate(5)
    raft = _leads_with_the_vote_of_3(network)
    # All that 3 lacks comes in one batch: the change and the write.
    raft.propose([b"x"])
    network.settle()
    network.tick(3)
    network.settle()
    assert network.nodes[3].commands == [b"x"]
    network.crash(3, damaged=True)
    network.crash(4)
    network.heal()
    doubter = network.restart(3)
    assert doubter.doubt is not None
    assert doubter.configuration == Configuration((1, 2, 3))
    network.tick(6 * ELECTION_TICKS)
    assert doubter.doubt is not None
    assert not network.raft(5).is_leader
    network.restart(4)
    network.tick(6 * ELECTION_TICKS)
    assert network.nodes[3].commands == [b"x"]
    assert network.nodes[5].commands == [b"x"]
