"""A leader appears, stays, or goes when it should: I-13, I-15."""

from collections.abc import Iterator
from itertools import combinations

import pytest

from .network import ELECTION_TICKS, Network

Link = tuple[int, int]


def test_a_leader_without_a_quorum_steps_down_within_an_election_timeout() -> None:
    """I-13."""
    network = Network()
    raft = network.elect(1)
    network.isolate(1)
    network.tick(2 * ELECTION_TICKS, only=[1])
    assert not raft.is_leader
    assert raft.leader_id == 0


def test_a_leader_that_sends_but_hears_nobody_steps_down() -> None:
    """I-13: an asymmetric partition; else nobody else would ever campaign."""
    network = Network()
    raft = network.elect(1)
    network.cut_one_way(2, 1)
    network.cut_one_way(3, 1)
    network.tick(2 * ELECTION_TICKS)
    assert not raft.is_leader
    network.tick(4 * ELECTION_TICKS)
    assert network.leader() in (2, 3)


def test_a_leader_that_hears_but_is_not_heard_is_replaced() -> None:
    network = Network()
    raft = network.elect(1)
    network.cut_one_way(1, 2)
    network.cut_one_way(1, 3)
    network.tick(6 * ELECTION_TICKS)
    assert network.leader() in (2, 3)
    assert not raft.is_leader


def test_a_leader_with_a_bare_quorum_stays() -> None:
    """I-13: the border."""
    network = Network((1, 2, 3, 4, 5))
    network.elect(1)
    network.crash(4)
    network.crash(5)
    network.tick(10 * ELECTION_TICKS)
    assert network.leaders == {1: 1}
    network.crash(3)
    network.tick(2 * ELECTION_TICKS)
    assert network.leader() == 0


def test_while_joint_a_leader_needs_to_hear_both_majorities() -> None:
    """I-13, 4.3."""
    network = Network((1, 2, 3), spares=(4, 5))
    raft = network.elect(1)
    network.loses = lambda message: message.sender in (4, 5)
    raft.change_configuration((1, 4, 5), ())
    network.settle()
    assert raft.configuration.joint
    network.tick(3 * ELECTION_TICKS)
    assert not raft.is_leader


def test_the_majority_side_of_a_partition_elects_and_the_other_does_not() -> None:
    network = Network((1, 2, 3, 4, 5))
    network.elect(1)
    for member in (1, 2):
        network.cut(member, 3, 4, 5)
    network.tick(5 * ELECTION_TICKS)
    assert network.leader() in (3, 4, 5)
    assert not network.raft(1).is_leader
    network.heal()
    network.tick(3 * ELECTION_TICKS)
    assert len({network.raft(m).leader_id for m in network.nodes}) == 1


def test_ten_changes_of_leader_in_a_row_lose_no_write() -> None:
    """I-73: crash and restart, always of the one that leads."""
    network = Network()
    network.tick(3 * ELECTION_TICKS)
    written: list[bytes] = []
    for number in range(10):
        leader = network.leader()
        written.append(b"%d" % number)
        network.write(leader, written[-1])
        network.crash(leader)
        network.tick(4 * ELECTION_TICKS)
        assert network.leader() not in (0, leader)
        network.restart(leader)
        network.tick(3)
    assert [node.commands for node in network.nodes.values()] == [written] * 3


def _shapes(size: int) -> Iterator[tuple[Link, ...]]:
    """Every way in which `size` nodes may be linked, once for each shape."""
    links = tuple(combinations(range(1, size + 1), 2))
    seen: set[tuple[tuple[int, ...], ...]] = set()
    for count in range(len(links) + 1):
        for chosen in combinations(links, count):
            shape = _shape(size, chosen)
            if shape not in seen:
                seen.add(shape)
                yield chosen


def _shape(size: int, links: tuple[Link, ...]) -> tuple[tuple[int, ...], ...]:
    """Degrees of each node's neighbours: tells all shapes up to 5 nodes apart."""
    near = {n: {a + b - n for a, b in links if n in (a, b)} for n in range(1, size + 1)}
    degrees = {n: len(near[n]) for n in near}
    return tuple(sorted(tuple(sorted(degrees[m] for m in near[n])) for n in near))


def _linked(size: int, links: tuple[Link, ...], leader: int) -> Network:
    network = Network(range(1, size + 1))
    if leader:
        network.elect(leader)
    for one, other in combinations(range(1, size + 1), 2):
        if (one, other) not in links:
            network.cut(one, other)
    return network


def _reaches_quorum(size: int, links: tuple[Link, ...]) -> bool:
    degrees = [sum(n in link for link in links) for n in range(1, size + 1)]
    return max(degrees) + 1 >= size // 2 + 1


@pytest.mark.parametrize("leader", [0, 1, 3])
def test_three_nodes_with_any_links_have_a_stable_leader_or_none(leader: int) -> None:
    """I-15: all eight ways, with and without a leader before."""
    links = ((1, 2), (1, 3), (2, 3))
    for count in range(4):
        for chosen in combinations(links, count):
            _expect_stable(3, chosen, leader)


@pytest.mark.slow
@pytest.mark.parametrize("leader", [0, 1, 5])
def test_five_nodes_with_any_links_have_a_stable_leader_or_none(leader: int) -> None:
    """I-15: quorum loss, star, chain, ring and the rest."""
    shapes = list(_shapes(5))
    assert len(shapes) == 34
    for chosen in shapes:
        _expect_stable(5, chosen, leader)


def _expect_stable(size: int, links: tuple[Link, ...], leader: int) -> None:
    """Within 12 election timeouts somebody leads, and no other in the next 6."""
    network = _linked(size, links, leader)
    network.tick(12 * ELECTION_TICKS)
    known = dict(network.leaders)
    if not _reaches_quorum(size, links):
        assert network.leader() == 0, links
        return
    assert network.leader() != 0, links
    network.tick(6 * ELECTION_TICKS)
    assert network.leaders == known, links
    index = network.write(network.leader(), b"x")
    assert network.raft(network.leader()).log.commit_index == index, links
