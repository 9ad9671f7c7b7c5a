"""The safety rules of storage, one small predicate each.

Law: called by name through this module, so that a mutant can replace exactly one
(chaos/simulator/mutants).
"""


def syncs_before_acknowledging() -> bool:
    """I-16: an append is durable before anybody hears of it."""
    return True


def rewrites_what_it_read() -> bool:
    """I-18, I-19: what a dead process had written may be in the page cache alone."""
    return True


def syncs_directory_after_rename() -> bool:
    """I-20: a new name is durable before anything depends on it."""
    return True


def failed_sync_is_final() -> bool:
    """I-19: after a failed sync nothing is known about the file: never retry."""
    return True


def proves_durability(later_batch: int, damaged_batch: int) -> bool:
    """I-22: a batch is only written once the one before it was durable."""
    return later_batch > damaged_batch


def identity_means_doubt(identified: bool) -> bool:
    """I-22, I-23: a damaged last batch with a readable identity may have counted."""
    return identified


def replaces_up_to(log_end: int, batch_end: int) -> int:
    """I-8: a batch drops all entries from its first on, however few it has itself."""
    del batch_end
    return log_end


def continues_state(log_term: int | None, state_term: int) -> bool:
    """I-51: a log goes on behind a state only if it came to that very state."""
    return log_term == state_term


def counts_what_it_carried() -> bool:
    """I-27: the term and the vote of a damaged batch may have been acted upon."""
    return True


def carries_doubt_on(doubt: tuple[int, int]) -> tuple[int, int]:
    """I-23: what was in doubt before a crash still is; (0, 0) is nothing."""
    return doubt


def may_reclaim(segment_last_index: int, durable_base_index: int) -> bool:
    """I-30: a segment goes only when the durable log starts behind it."""
    return segment_last_index <= durable_base_index


def is_of_this_file(found: int, segment: int) -> bool:
    """I-26: what stands in a file says of which one it is; spares are used again."""
    return found == segment


def checks_body(expected_crc: int, actual_crc: int) -> bool:
    """I-28: every stored byte is checked before use."""
    return expected_crc == actual_crc


def syncs_table_contents() -> bool:
    """I-20: a table's bytes are durable before the manifest names it."""
    return True


def syncs_what_it_received() -> bool:
    """I-51: a state that was sent is durable here before anything names its files."""
    return True


def flushed_index(frozen_index: int, newest_index: int) -> int:
    """I-31: a flush moves the applied index up to its own effects, and no further."""
    del newest_index
    return frozen_index


def may_drop_deletions(oldest: bool) -> bool:
    """A deletion goes when there is nothing below it that it hides."""
    return oldest


def checks_table_block(expected_crc: int, actual_crc: int) -> bool:
    """I-28: a block of a table is compared with its parent's checksum at each read."""
    return expected_crc == actual_crc


def forgets_what_is_written() -> bool:
    """What a get has kept in memory is not the newest record any more."""
    return True
