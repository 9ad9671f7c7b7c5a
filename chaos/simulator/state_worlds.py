"""Worlds with a name: states that are lost while everything runs.

Law: calm but for what the name says, which befalls a cluster that is written to. Every
journal stays whole, so that every node goes on to vote and to append.
"""

import errno
from collections.abc import Callable
from typing import Final

from ...storage.errors import CorruptionError, Unreadable
from .calm_worlds import calm_clusters
from .run import Cluster
from .world import SECOND

_TIMES: Final = 12
_BETWEEN_US: Final = 2 * SECOND
# A sync takes a second or so.
_SLOW: Final = 300
_TABLE: Final = "/data/engine/table"


def no_disk_reads(seed: int) -> str:
    """For a moment no disk reads, and each node gives its state up: all recover.

    Nobody has a state to send, so that only a start helps (decision 0038). Says what
    happened; raises Violation.
    """
    cluster = _written_to(seed)
    boots = [node.boots for node in cluster.nodes]
    for node in cluster.nodes:
        node.work.unread = True
        error = OSError(errno.EIO, "the disk does not read")
        node.work.found(Unreadable(_TABLE, 0, error))
    _recover(cluster)
    again = sum(node.boots > boots[n] + 1 for n, node in enumerate(cluster.nodes))
    return f"{again} of {len(cluster.nodes)} nodes ended to read again"


def slow_and_damaged(seed: int) -> str:
    """A node's state is damaged again and again while its journal is far behind.

    What is sent to it may be of entries that its disk has yet to write. Says what
    happened; raises Violation.
    """
    cluster = _written_to(seed)
    world = cluster.world
    others = [node for node in cluster.nodes if not node.raft.is_leader]
    node = world.random.choice(others)
    node.damaged, node.slow = True, _SLOW
    damaged = 0
    for _ in range(_TIMES):
        if node.replica is not None and node.replica.healing.damage is None:
            damaged += 1
            node.work.found(CorruptionError(_TABLE, 0, "it is damaged"))
        world.run_until(world.now_us + _BETWEEN_US)
    node.slow = 1
    _recover(cluster)
    return f"the state of {node.name} was damaged {damaged} times, and replaced"


STATE_WORLDS: Final[dict[str, Callable[[int], str]]] = {
    "no-disk-reads": no_disk_reads,
    "slow-and-damaged": slow_and_damaged,
}


def _written_to(seed: int) -> Cluster:
    """The first cluster that has a leader."""
    for cluster in calm_clusters(seed):
        if any(node.raft.is_leader for node in cluster.nodes):
            return cluster
    raise AssertionError(f"no leader in any world of seed {seed}")


def _recover(cluster: Cluster) -> None:
    recovery = cluster.recovery()
    recovery.heal_a_quorum(cluster.faults)
    recovery.heal_all()
    recovery.survive_power_loss()
    cluster.judge()
