"""The safety rules of Raft, one small predicate each.

Law: each rule is called by its name through this module and nowhere written out, so
that a mutant can replace exactly one of them (chaos/simulator/mutants). Numbers are
those of the invariants in docs/testing.md.
"""

from .configuration import Configuration
from .messages import Message


def grants_vote(
    own_last: tuple[int, int], candidate_last: tuple[int, int], vote: int, sender: int
) -> bool:
    """I-1: one vote a term, for a log at least as up to date (5.4.1).

    `own_last` and `candidate_last` are (last term, last index).
    """
    return vote in (0, sender) and log_up_to_date(own_last, candidate_last)


def log_up_to_date(own_last: tuple[int, int], candidate_last: tuple[int, int]) -> bool:
    """5.4.1, for votes and for pre-votes, which bind nobody."""
    return candidate_last >= own_last


def sticks_to_leader(leader_id: int, elapsed_ticks: int, timeout_ticks: int) -> bool:
    """I-11b, I-12: who hears a leader does not help to depose it (4.2.3)."""
    return leader_id != 0 and elapsed_ticks < timeout_ticks


def must_wait_for_disk(hard_state_durable: bool) -> bool:
    """I-2: nothing leaves before the term and the vote that it speaks for."""
    return not hard_state_durable


def persisted_vote(vote: int) -> int:
    """I-2: the vote is written down with its term."""
    return vote


def acknowledges_up_to(acknowledged: int, stable_index: int) -> bool:
    """I-16: an append is acknowledged only once it is durable here."""
    return acknowledged <= stable_index


def counts_itself(stable_index: int, last_index: int) -> int:
    """I-3: the leader's own match index is what its own disk holds."""
    del last_index
    return stable_index


def counting_voters(
    voters: tuple[int, ...], learners: tuple[int, ...]
) -> tuple[int, ...]:
    """I-47: learners count in no majority."""
    del learners
    return voters


def commit_to_tell(commit_index: int, match_index: int) -> int:
    """Without an append, nothing is said of what the receiver has not matched."""
    return min(commit_index, match_index)


def heard_quorum(heard: bool) -> bool:
    """I-13: a leader that hears no majority for a timeout leads no more."""
    return heard


def disk_stalled(ticks: int, ticks_max: int) -> bool:
    """I-74: a sync that takes so long that another should lead."""
    return ticks > ticks_max


def may_commit(entry_term: int | None, current_term: int) -> bool:
    """I-4: only entries of the current term commit by counting (5.4.2)."""
    return entry_term == current_term


def applies_up_to(commit_index: int, stable_index: int) -> int:
    """I-18: only what is committed and durable here is applied."""
    return min(commit_index, stable_index)


def continues(own_term: int | None, previous_term: int) -> bool:
    """I-6: entries are taken only behind the very entry that they were sent behind."""
    return own_term == previous_term


def truncates_at(conflict_index: int | None, previous_index: int) -> int | None:
    """I-7: drop entries only from a real conflict on, never for a stale append."""
    del previous_index
    return conflict_index


def storage_ack_is_current(own_term: int | None, written_term: int) -> bool:
    """I-10: an acknowledgement counts for the very entry that was written."""
    return own_term == written_term


def may_serve_reads(commit_term: int | None, current_term: int) -> bool:
    """I-5, I-40: a new leader first commits an entry of its own term."""
    return commit_term == current_term


def read_confirmed(agreed_round: int, needed_round: int) -> bool:
    """I-40: a round that started after the request was answered by a quorum."""
    return agreed_round >= needed_round


def read_id(boot: int, counter: int) -> int:
    """I-40: ids are unique over all boots of this member."""
    return boot << 32 | counter


def may_change_configuration(
    pending_index: int, applied_index: int, commit_term: int | None, term: int
) -> bool:
    """I-45: one change at a time, and only after an own entry has committed."""
    return pending_index <= applied_index and commit_term == term


def deciding_groups(
    voters: tuple[int, ...], outgoing: tuple[int, ...], learners: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """4.3: while joint, a majority of the old and one of the new voters is needed."""
    del learners
    return voters, outgoing


def goes_with_its_entry(at_index: int, dropped_from: int) -> bool:
    """I-46: a configuration is rolled back when its entry is dropped."""
    return at_index >= dropped_from


def configuration_of_state(
    own: Configuration, received: Configuration
) -> Configuration:
    """I-46, I-51: a state comes with the configuration in force where it ends."""
    del own
    return received


def may_be_undone(at_index: int, commit_index: int) -> bool:
    """4.2.2: a configuration that is committed is in force for good."""
    return at_index > commit_index


def removed_leader_resigns(voter: bool) -> bool:
    """I-50: who has committed its own removal leads no more."""
    return not voter


def may_campaign(voter: bool, doubtful: bool) -> bool:
    """I-23, I-47: learners and nodes that doubt their log never campaign."""
    return voter and not doubtful


def own_last(last: tuple[int, int], doubt: tuple[int, int] | None) -> tuple[int, int]:
    """I-23: a doubtful node compares logs as if it held the entry in doubt."""
    return last if doubt is None else max(last, doubt)


def may_be_counted_absent(own_members: int, asker_s_members: int) -> bool:
    """I-23: an absent copy counts among the voters that could have held it alone."""
    return own_members == asker_s_members


def doubt_begins_in(term: int) -> int:
    """I-23: in a term in which no leader has counted the damaged copy."""
    return term + 1


def answer_stays_true(term: int, floor: int) -> bool:
    """I-23: who is below the floor may yet be given the entry by an older leader."""
    return term >= floor


def durable_among(doubting: int, faults: int) -> int:
    """I-23: of copies in doubt as many were durable as damage may hit at most."""
    return min(doubting, faults)


def may_have_decided(
    groups: tuple[tuple[int, ...], ...],
) -> tuple[tuple[int, ...], ...]:
    """I-23: each set of voters by itself; what is damaged may have left the old one."""
    return groups


def may_be_overwritten(conflict: int, matched: int) -> bool:
    """I-23: a peer's answer takes nothing away that a leader may have counted."""
    return conflict > matched


def accepts_snapshot(snapshot_index: int, commit_index: int) -> bool:
    """I-52: never install what is older than the own commit."""
    return snapshot_index > commit_index


def counts_for_nothing(message: Message) -> bool:
    """5.1, I-9: what was said in an older term, of whatever kind it is.

    An acknowledgement of then may be of an entry that was replaced since.
    """
    del message
    return True


def match_may_advance(sent_index: int, acknowledged: int) -> bool:
    """I-9: nobody matches what was never sent."""
    return acknowledged <= sent_index
