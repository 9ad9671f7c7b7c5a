"""Worlds with a name: so much damage at one place that no seed would draw it.

Law: calm but for what the name says. Each begins with a cluster that has been written
to and agrees, and is then ended and damaged in every voter but those that the name
leaves.
"""

from collections.abc import Callable
from typing import Final

from .calm_worlds import calm_clusters
from .caretaker_worlds import CARETAKER_WORLDS
from .doubt_worlds import DOUBT_WORLDS
from .faults.disk import damage_batch, entries_at, segments_of
from .gossip import GOSSIP_WORLDS
from .log_worlds import LOG_WORLDS
from .recovery import Recovery
from .run import Cluster
from .state_worlds import STATE_WORLDS
from .world import Violation


def one_good_copy(seed: int) -> str:
    """The last batch is damaged everywhere but on one voter: all are repaired from it.

    It was acknowledged, so it has to be there afterwards. Says what happened; raises
    Violation.
    """
    cluster, recovery = _quiet_cluster(seed)
    good = cluster.world.random.choice(recovery.voters)
    for node in recovery.voters:
        if node is not good:
            damage_batch(node, -1, cluster.world.random)
    for node in cluster.nodes:
        node.start()
    doubting = [n.name for n in recovery.voters if n.up and n.raft.doubt is not None]
    if len(doubting) != len(recovery.voters) - 1:
        cluster.world.fail("I-22", f"only {doubting} doubt what is damaged")
    recovery.heal_all()
    recovery.survive_power_loss()
    cluster.judge()
    return f"{len(doubting)} of {len(recovery.voters)} voters repaired from {good.name}"


def no_good_copy(seed: int) -> str:
    """A batch in the middle is damaged on every voter: they halt, and keep it all.

    Says what happened; raises Violation.
    """
    cluster, recovery = _quiet_cluster(seed)
    world = cluster.world
    for node in recovery.voters:
        damage_batch(node, -2, world.random)
    before = [segments_of(node) for node in recovery.voters]
    for node in cluster.nodes:
        node.start()
    world.run_until(world.now_us + recovery.bound_us)
    started = [node.name for node in recovery.voters if node.up]
    if started:
        world.fail("I-22", f"{started} start from a hole")
    if [segments_of(node) for node in recovery.voters] != before:
        world.fail("I-24", "what is damaged was changed")
    return f"all {len(recovery.voters)} voters refuse: {recovery.voters[0].broken}"


WORLDS: Final[dict[str, Callable[[int], str]]] = {
    "one-good-copy": one_good_copy,
    "no-good-copy": no_good_copy,
    **DOUBT_WORLDS,
    **LOG_WORLDS,
    **CARETAKER_WORLDS,
    **STATE_WORLDS,
    **GOSSIP_WORLDS,
}


def _quiet_cluster(seed: int) -> tuple[Cluster, Recovery]:
    """A cluster of three or more that was written to, agrees, and is not running.

    It is the first whose journals have the batches that it takes, and need them.
    """
    for cluster in calm_clusters(seed):
        recovery = cluster.recovery()
        recovery.stop_clients()
        # One that reads a message each three seconds is not told all in time.
        for watcher in cluster.watchers:
            watcher.mend()
        recovery.heal_all()
        # What a checkpoint holds as well is in no doubt when it is damaged here.
        needed = all(
            node.raft.snapshot.index < node.raft.log.last_index
            for node in recovery.voters
        )
        for node in cluster.nodes:
            node.stop("kill")
        found = all(entries_at(n, -1) and entries_at(n, -2) for n in recovery.voters)
        if needed and found:
            return cluster, recovery
    raise Violation("world", 0, f"no seed from {seed} on is large enough")
