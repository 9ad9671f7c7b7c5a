"""The safety rules of a replica's disk, one small predicate each (see stable)."""


def syncs_checkpoint_name() -> bool:
    """I-20: a checkpoint counts once its name is durable."""
    return True
