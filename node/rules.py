"""The safety rules of a replica's disk, one small predicate each (see stable)."""


def syncs_checkpoint_name() -> bool:
    """I-20: a checkpoint counts once its name is durable."""
    return True


def syncs_checkpoint_contents() -> bool:
    """I-20: a checkpoint's bytes are durable before its name is."""
    return True


def may_prune(index: int, newest: int) -> bool:
    """I-30: a checkpoint goes only when a newer one is durable."""
    return index < newest
