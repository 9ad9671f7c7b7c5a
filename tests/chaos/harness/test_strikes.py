"""Whom a fault meets, in clusters that are never started."""

from pathlib import Path

import pytest
from quorate.chaos.harness.cluster import Cluster
from quorate.chaos.harness.faults import Fault, Kind
from quorate.chaos.harness.history import History
from quorate.chaos.harness.ledger import Ledger
from quorate.chaos.harness.strikes import Striker
from quorate.chaos.harness.workload import Clock


def fault(kind: Kind, order: tuple[int, ...], *, at_leader: bool) -> Fault:
    away_s = (0.0,) * len(order)
    return Fault(kind, 0.0, 1.0, at_leader, order, away_s, silent=True, strength=0.5)


@pytest.mark.parametrize("at_leader", [False, True])
async def test_links_of_a_node_that_is_being_removed_are_not_what_is_cut(
    tmp_path: Path, at_leader: bool
) -> None:
    """A run of `mixed` was void: the leader had gone before its links were cut."""
    cluster = Cluster.create(
        *(tmp_path / "nodes", ["n1", "n2", "n3", "n4"]),
        command=None,
        power_loss=False,
        connections=1,
        network=None,
    )
    n1, n2, n3, n4 = cluster.nodes
    with History(tmp_path / "history.jsonl") as history:
        striker = Striker(cluster, history, Clock(), Ledger(64))
        one_way = fault("one-way-in", (1, 3, 0, 2), at_leader=at_leader)
        assert striker.targets(one_way, leader=n2) == [n2]
        cluster.leaving = n2
        assert striker.targets(one_way, leader=n2) == [n1 if at_leader else n3]
        # One process is hurt at a time: who is killed is never just leaving.
        kill = fault("kill-one", (1, 3, 0, 2), at_leader=False)
        assert striker.targets(kill, leader=n4) == [n2]
    await cluster.close()
