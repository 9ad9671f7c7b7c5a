"""Members come and go in simulated worlds; what may be lost, and what is looked for."""

from typing import TYPE_CHECKING, cast

import pytest
from quorate.chaos.simulator.checkers import members
from quorate.chaos.simulator.checkers.book import Book, quorum
from quorate.chaos.simulator.faults import MEMBER_KINDS, Fault
from quorate.chaos.simulator.membership import LOST
from quorate.chaos.simulator.mutants import MUTANTS, planted
from quorate.chaos.simulator.run import Cluster, RunOptions
from quorate.chaos.simulator.shape import Shape
from quorate.chaos.simulator.world import MILLISECOND, SECOND, Violation, World
from quorate.raft import Configuration
from quorate.raft.configuration import enter, leave

if TYPE_CHECKING:
    from quorate.chaos.simulator.node import Node

CALM = RunOptions(only=frozenset(), members=True)


def world(seed: int = 5) -> Cluster:
    """A calm one, whose members have all said where they are."""
    cluster = Cluster(seed, CALM)
    cluster.start()
    cluster.world.run_until(3 * SECOND)
    return cluster


def strike(cluster: Cluster, kind: str, strength: int = 2) -> None:
    for number, target in enumerate(MEMBER_KINDS[kind]):
        now_us = cluster.world.now_us
        fault = Fault(number, now_us, kind, target, strength, SECOND, 7)
        cluster.faults.schedule([fault])


@pytest.mark.slow
def test_an_operator_s_wishes_come_true() -> None:
    cluster = world()
    for kind in ("grow", "add_replica", "replace", "demote"):
        strike(cluster, kind)
        cluster.world.run_until(cluster.world.now_us + 2 * SECOND)
    membership = cluster.membership
    assert membership is not None
    assert cluster.faults.fired["grow"]
    assert len(membership.book.configurations) > 4
    cluster.faults.end_all()
    recovery = cluster.recovery()
    recovery.heal_a_quorum(cluster.faults)
    assert membership.as_wished()
    recovery.heal_all()
    recovery.survive_power_loss()
    cluster.judge()


@pytest.mark.slow
def test_who_lost_its_disk_is_refused_and_another_one_comes() -> None:
    cluster = next(w for w in map(world, range(1, 40)) if can_lose(w))
    strike(cluster, "wipe")
    cluster.world.run_until(cluster.world.now_us + 15 * SECOND)
    membership = cluster.membership
    assert membership is not None
    assert membership.wiped
    assert membership.operators.answers["admit: lost its data"]
    for member in membership.wiped:
        assert cluster.by_member[member].kept_out == LOST
        assert member not in membership.book.voters


def can_lose(cluster: Cluster) -> bool:
    membership = cluster.membership
    assert membership is not None
    leader = next((n for n in cluster.nodes if n.up and n.raft.is_leader), None)
    return leader is not None and membership.may_be_lost(leader)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MEMBER_KINDS)
def test_a_wish_that_is_cut_short_leaves_nobody_locked_out(kind: str) -> None:
    cluster = world(3)
    strike(cluster, kind)
    cluster.world.run_until(cluster.world.now_us + 5 * MILLISECOND)
    before = [node.kept_out for node in cluster.nodes]
    cluster.faults.end_all()
    assert all("being lost" not in node.kept_out for node in cluster.nodes), before


@pytest.mark.slow
def test_a_leader_that_was_removed_and_stays_is_noticed() -> None:
    cluster = world(13)
    now_us = cluster.world.now_us
    cluster.faults.schedule([Fault(1, now_us, "hasty", "leader", 0, SECOND, 7)])
    with planted("removed-leader-stays"), pytest.raises(Violation, match="I-50"):
        cluster.world.run_until(now_us + SECOND)


# -- checkers ----------------------------------------------------------------------


def test_a_quorum_of_a_joint_configuration_is_one_of_the_old_and_one_of_the_new() -> (
    None
):
    joint = Configuration((3, 4, 5), (1, 2, 3))
    assert quorum(joint, {1, 3, 4})
    assert not quorum(joint, {3, 4, 5})
    assert not quorum(joint, {1, 2, 3})
    assert not quorum(joint, {1, 2, 4})


def overlap(before: Configuration, after: Configuration) -> None:
    place = World(1)
    book = Book(place, before, Shape(place), changes=True)

    class Somebody:
        name = "n1"

    members.quorums_overlap(book, cast("Node", Somebody()), before, after)


def test_steps_of_joint_consensus_overlap_and_the_single_step_does_not() -> None:
    old = Configuration((1, 2, 3))
    joint = enter(old, (3, 4, 5), ())
    overlap(old, joint)
    overlap(joint, leave(joint))
    overlap(old, Configuration((1, 2, 3), (), (4,)))
    with pytest.raises(Violation, match="could decide alone"):
        overlap(old, Configuration((3, 4, 5)))
    # One more, one less: this is why two of them at once are one too many (I-45).
    overlap(old, Configuration((1, 2, 3, 4)))
    with pytest.raises(Violation, match="could decide alone"):
        overlap(old, Configuration((1, 2, 3, 4, 5)))


def test_mutants_of_members_are_looked_for_where_members_change() -> None:
    found = {name for name, mutant in MUTANTS.items() if mutant.members}
    assert len(found) >= 12
    assert "amnesia" in found
