"""Connections between simulated processes end as those of real ones do."""

from functools import partial

from quorate.chaos.simulator.run import Cluster
from quorate.chaos.simulator.world import SECOND


def test_what_is_sent_before_a_goodbye_is_heard_is_lost() -> None:
    """Seed 70899: a write was handed on by a connection whose other end had gone.

    It lay there until the next process came up; by then the goodbye had been heard, and
    the write had been handed on once more.
    """
    cluster = Cluster(5)
    cluster.start()
    world, network = cluster.world, cluster.network
    world.run_until(2 * SECOND)
    ends, hears = cluster.nodes[0], cluster.nodes[1]
    there, back = (hears.member, ends.member), (ends.member, hears.member)
    opened = network.close([there, back])
    cluster.went_down(ends, polite=True)
    arrived: list[str] = []
    network.stream(there, partial(arrived.append, "unheard"))
    world.run_until(world.now_us + SECOND)
    opened()
    world.run_until(world.now_us + SECOND)
    network.stream(there, partial(arrived.append, "heard"))
    world.run_until(world.now_us + SECOND)
    assert arrived == ["heard"]
