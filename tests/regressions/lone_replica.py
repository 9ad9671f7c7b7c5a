"""A replica that is its whole cluster, driven by hand."""

from quorate.node.database import Database, Meta
from quorate.node.replica import Effects, Replica, ReplicaOptions
from quorate.raft import Configuration, HardState, Options, Raft, SnapshotMark

TICKS_MAX = 200


def lone_replica() -> Replica:
    """A follower in a cluster of one, as a bootstrap leaves it."""
    mark = SnapshotMark(1, 1, Configuration((1,)))
    raft = Raft(Options(id=1, jitter=lambda n: 0), mark, HardState(1, 0, 1))
    database = Database(meta=Meta(1, 1, 1, 0, 0, 0))
    return Replica(ReplicaOptions(), raft, database, lambda n: 0)


def turn_durably(replica: Replica) -> Effects:
    """One turn, whose batch is durable at once."""
    effects = replica.turn(True)
    if effects.ack is not None:
        replica.persisted(effects.ack)
    return effects


def leading_replica() -> Replica:
    """The same, once it leads and its first entry is applied."""
    replica = lone_replica()
    for _ in range(TICKS_MAX):
        replica.tick()
        turn_durably(replica)
        if replica.raft.is_leader and replica.raft.log.applied_index > 1:
            return replica
    raise AssertionError("nobody leads")
