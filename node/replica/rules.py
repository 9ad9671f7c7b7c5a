"""The safety rules of the replica, one small predicate each.

Law: called by name through this module, so that a mutant can replace exactly one.
"""

from ...wire import Level

_LOCAL = Level.LOCAL


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
    return level is _LOCAL


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


def goes_on_at(missed: int, newest: int) -> int:
    """I-59: who had no room is told later of what he missed, from there on."""
    del newest
    return missed


def can_be_served(first: int, compacted: int) -> bool:
    """I-59: a watch that needs what was compacted ends; it is not moved forward."""
    return first >= compacted


def tells_before(revision: int, compacted: int) -> bool:
    """Is what was there before this revision kept, and so told from the log?

    At the compacted revision itself it may be there still, or not, as the tree's
    compaction goes; nobody is told what others are not.
    """
    return revision > compacted


def told_from(first: int, told: int) -> int:
    """I-61: what was told once is not told again from a state that took the place."""
    return max(first, told + 1)


def may_bookmark(behind: bool, first: int, told: int) -> bool:
    """I-58: only who was told all of it is told that this was all."""
    return not behind and first <= told + 1


def has_begun(revision: int, first: int) -> bool:
    """I-60: a watch on a later revision is told of nothing before it."""
    return revision >= first


def takes_more(room: int) -> bool:
    """I-62: a reader that does not read is sent nothing more."""
    return room > 0


def alone_too_long(alone_ms: int, patience_ms: int) -> bool:
    """I-59: who hears of nothing new for long says so to those who watch."""
    return alone_ms >= patience_ms


def questions_are_confirmed() -> bool:
    """I-64: a lease is kept alive only by who has just been confirmed to lead."""
    return True


def inherited_from_ms(now_ms: int) -> int:
    """I-64: a new leader gives every lease its whole time."""
    return now_ms


def renewed_from_ms(asked_ms: int, leading_since_ms: int) -> int:
    """I-64: a keep-alive begins the lease's time anew; others may have led before."""
    return max(asked_ms, leading_since_ms)


def is_over(deadline_ms: int, now_ms: int) -> bool:
    """I-63: a lease has all of its time."""
    return deadline_ms < now_ms


def ending_leases_are_gone() -> bool:
    """I-64: a lease whose end is in the log is not kept alive any more."""
    return True


def cluster_time_ms(base_ms: int, elapsed_ms: int, wall_ms: int) -> int:
    """Cluster time goes by the leader's monotonic clock since its election alone."""
    del wall_ms
    return base_ms + elapsed_ms


def is_another_state(own: object, agreed: object) -> bool:
    """I-38: a replica whose state is not that of the majority is damaged."""
    return own != agreed


def may_be_promoted(replicates: bool, match_index: int, needed_index: int) -> bool:
    """I-48: only a learner that has caught up becomes a voter."""
    return replicates and match_index >= needed_index


def quorum_is_heard(alive: int, voters: int) -> bool:
    """I-48: the voters never become a set of whom no majority is there."""
    return 2 * alive > voters


def silent_too_long(silent_ms: int, patience_ms: int) -> bool:
    """Nobody is replaced whom this leader has heard within the whole patience."""
    return silent_ms >= patience_ms


def stable_for_long(steady_ms: int, needed_ms: int) -> bool:
    """Who comes and goes gets no vote."""
    return steady_ms >= needed_ms


def more_are_wanted(voters: int, wanted: int) -> bool:
    """Nobody becomes a voter beside as many as are wanted."""
    return voters < wanted


def bears_more_losses(voters: int, spares: int) -> bool:
    """One voter more helps only an even number; else it takes two."""
    return voters % 2 == 0 or spares >= 2


def others_go_on(heard: int, others: int) -> bool:
    """I-48: no vote is taken but when a majority of those that stay is heard."""
    return 2 * heard > others


def one_at_a_time(under_way: str) -> bool:
    """The caretaker wishes for nothing while another wish is on its way."""
    return not under_way


def has_settled(led_ms: int, least_ms: int) -> bool:
    """Who has just been elected has not heard everybody yet."""
    return led_ms >= least_ms


def leads_for_sure(commit_term: int | None, term: int) -> bool:
    """I-45: who has committed nothing of its term may know old members."""
    return commit_term == term


def voters_are_settled(joint: bool, index: int, applied_index: int) -> bool:
    """I-45: no wish on top of a change that may yet be undone."""
    return not joint and index <= applied_index


def loop_is_late(late_ms: int, bound_ms: int) -> bool:
    """I-75: 0 is never."""
    return 0 < bound_ms <= late_ms


def late_for_long(late_seconds: int, seconds: int) -> bool:
    """A single hold is no reason to move the leadership."""
    return late_seconds >= seconds


def may_move_again(moved_ms: int | None, rest_ms: int) -> bool:
    """The leadership is not sent round when all are late."""
    return moved_ms is None or moved_ms >= rest_ms


def has_lost_its_data(was_here: bool) -> bool:
    """I-25: a member that was linked up once and asks to be let in again."""
    return was_here


def waits_in_vain(waited_ticks: int, patience_ticks: int) -> bool:
    """I-73: for a state that nobody sends; a start may find that the disk reads."""
    return waited_ticks >= patience_ticks


def leads_to(index: int, commit_index: int, stable_index: int) -> bool:
    """I-18: a state is taken in where this disk has the entries up to its index."""
    return index <= min(commit_index, stable_index)
