"""A replica that is its whole cluster, driven by hand."""

from random import Random

from quorate.node.database import begin
from quorate.node.replica import Effects, Replica, ReplicaOptions
from quorate.raft import (
    Configuration,
    HardState,
    Options,
    Raft,
    SnapshotMark,
    encode_configuration,
)
from quorate.storage.engine import Engine
from quorate.storage.memory_env import MemoryEnv

TICKS_MAX = 200


def lone_replica() -> Replica:
    """A follower in a cluster of one, as a bootstrap leaves it."""
    configuration = Configuration((1,))
    mark = SnapshotMark(1, 1, configuration)
    raft = Raft(Options(id=1, jitter=lambda n: 0), mark, HardState(1, 0, 1))
    engine = Engine(MemoryEnv(), "/engine", lambda: Random().randbytes(16))
    database = begin(engine, 0xC1, 1, 1, encode_configuration(configuration))
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
