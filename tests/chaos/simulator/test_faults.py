"""Faults end when they are told to, whatever step they had reached."""

import pytest
from quorate.chaos.simulator.faults import KINDS, Fault
from quorate.chaos.simulator.run import Cluster
from quorate.chaos.simulator.world import MILLISECOND, SECOND


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after_us", [0, 5 * MILLISECOND, 300 * MILLISECOND])
def test_a_fault_that_is_cut_short_leaves_nothing_behind(
    kind: str, after_us: int
) -> None:
    """Seed 3445: `heirs` closed a leader's links for 80 ms, and was cut short there.

    The links stayed closed after everything had healed, and a quorum that was whole by
    all accounts never agreed.
    """
    cluster = Cluster(5)
    cluster.start()
    cluster.world.run_until(2 * SECOND)
    for number, target in enumerate(KINDS[kind]):
        fault = Fault(number, cluster.world.now_us, kind, target, 2, 6 * SECOND, 7)
        cluster.faults.schedule([fault])
    cluster.world.run_until(cluster.world.now_us + after_us)
    cluster.faults.end_all()
    network = cluster.network
    assert (dict(network.cut), dict(network.mute)) == ({}, {})
    assert (network.loss, network.repeat, network.late) == (0, 0, 0)
    for node in cluster.nodes:
        assert (node.slow, node.env.capacity_bytes) == (1, None)
