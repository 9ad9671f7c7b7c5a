"""The safety rules of the replica, one small predicate each.

Law: called by name through this module, so that a mutant can replace exactly one.
"""

from ...wire import Level


def serves_read(applied_index: int, read_index: int) -> bool:
    """I-40: a read waits until the state machine has reached its read index."""
    return applied_index >= read_index


def fate_is_known(entry_term: int, proposed_term: int) -> bool:
    """I-54: what was applied at this index is what was proposed there."""
    return entry_term == proposed_term


def outcome_unknown_after_proposal() -> bool:
    """I-54: once proposed, a write without an answer may have happened."""
    return True


def fresh_enough(staleness_ms: int, max_staleness_ms: int) -> bool:
    """A bounded read is at most as old as its caller allows."""
    return staleness_ms <= max_staleness_ms


def answers_alone(level: Level) -> bool:
    """I-41: only a local read is answered from whatever this node happens to have."""
    return level is Level.LOCAL


def far_enough(revision: int, min_revision: int) -> bool:
    """I-43: who has seen a revision is never shown an older one."""
    return revision >= min_revision


def lost_forward_is_unknown() -> bool:
    """I-56: a write that was handed on and not answered is not sent again."""
    return True


def forgets_up_to(flushed_index: int, applied_index: int) -> int:
    """I-30: the log goes up to what the engine has durably, and no further."""
    del applied_index
    return flushed_index


def caught_up(applied_index: int, until_index: int) -> bool:
    """I-43: a healed state is read once it has what was readable here before."""
    return applied_index >= until_index


def ending_leases_are_gone() -> bool:
    """I-64: a lease whose end is in the log is not kept alive any more."""
    return True


def cluster_time_ms(base_ms: int, elapsed_ms: int, wall_ms: int) -> int:
    """Cluster time goes by the leader's monotonic clock since its election alone."""
    del wall_ms
    return base_ms + elapsed_ms


def may_be_promoted(replicates: bool, lag: int, lag_max: int) -> bool:
    """I-48: only a learner that has caught up becomes a voter."""
    return replicates and lag <= lag_max


def quorum_is_heard(alive: int, voters: int) -> bool:
    """I-48: the voters never become a set of whom no majority is there."""
    return 2 * alive > voters
