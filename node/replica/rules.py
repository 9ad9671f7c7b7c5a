"""The safety rules of the replica, one small predicate each.

Law: called by name through this module, so that a mutant can replace exactly one.
"""


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
