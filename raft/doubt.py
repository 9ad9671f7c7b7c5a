"""A damaged last batch: repaired from any peer, or discarded by a written rule.

Law: an entry in doubt is unknown, never absent (I-23). While in doubt a node compares
logs as if it held the entry, never campaigns, and asks all voters for exactly that
entry, needing no leader.

It begins its doubt in a new term, the floor: a leader of an older term may have counted
what is now damaged, and must not count this node again. The entry is discarded only
when no quorum can hold it now or ever come to: nobody has it, and copies that may have
been durable (at most f of those in doubt) + voters that have not answered from the
floor on < majority, of each set of voters while there are two. Whoever answers from the
floor on takes no entry of an older leader any more. What is damaged may have changed
the voters: who knows others than the asker says nothing, unless it holds the entry. An
entry appended under a newer term, or the entry itself, ends the doubt too. See
docs/decisions/0004.
"""

from typing import TYPE_CHECKING

from . import quorum, rules
from .configuration import digest_of
from .messages import ABSENT, DOUBTED, HELD, EntriesReply, RequestEntries

if TYPE_CHECKING:
    from .core import Raft


def begin(raft: "Raft") -> None:
    """Start in a term in which nobody has counted this node for anything."""
    raft.term = rules.doubt_begins_in(raft.term)
    raft.vote = 0
    raft.hard_dirty = True
    raft.doubt_floor = raft.term


def tick(raft: "Raft") -> None:
    """Ask all voters now and then; a single voter only has itself to ask."""
    raft.doubt_ticks += 1
    if raft.doubt_ticks % (raft.options.heartbeat_ticks * 2) != 1:
        return
    assert raft.doubt is not None
    last_term, last_index = raft.doubt
    for voter in raft.configuration.all_voters():
        if voter != raft.id:
            raft.send(
                RequestEntries(
                    raft.id,
                    voter,
                    raft.doubt_floor,
                    raft.doubt_next or raft.log.commit_index + 1,
                    last_index,
                    last_term,
                    digest_of(raft.configuration),
                )
            )
    _judge(raft)


def on_request_entries(raft: "Raft", message: RequestEntries) -> None:
    """Say truthfully what this disk holds; only durable entries count as held.

    A node that hears no leader goes to the asker's term first, so that its answer stays
    true: no older leader can give it the entry afterwards.
    """
    if message.term > raft.term and not raft.hears_leader():
        reason = f"member {message.sender:016x} is in doubt"
        raft.become_follower(message.term, 0, reason)
    log = raft.log
    asked = (message.last_term, message.last_index)
    previous = message.next_index - 1
    previous_term = log.term(previous)
    held = log.term(message.last_index) == message.last_term
    if held and message.last_index > log.stable_index:
        return  # still being written: neither held nor absent
    if held or message.last_index <= log.base_index:
        # Compacted: it is in this replica's checkpoint, or something newer is.
        state = HELD
    elif not rules.may_be_counted_absent(
        digest_of(raft.configuration), message.configuration
    ):
        return  # those who may hold it are others than the asker knows
    elif raft.doubt is not None and raft.doubt >= asked:
        state = DOUBTED
    else:
        state = ABSENT
    entries = ()
    if held and previous_term is not None:
        entries = log.slice(
            message.next_index, message.last_index, raft.options.append_bytes_max
        )
    raft.send(
        EntriesReply(
            raft.id,
            message.sender,
            raft.term,
            state,
            message.last_index,
            message.last_term,
            previous,
            previous_term or 0,
            entries,
        )
    )


def on_entries_reply(raft: "Raft", message: EntriesReply) -> None:
    if raft.doubt != (message.last_term, message.last_index):
        return
    if message.state == HELD or rules.answer_stays_true(message.term, raft.doubt_floor):
        raft.doubt_answers[message.sender] = message.state
    if message.state == HELD and message.entries:
        _take(raft, message)
    _judge(raft)


def _take(raft: "Raft", message: EntriesReply) -> None:
    """The peer holds the entry in doubt, so its log up to there was ours, too.

    The damaged batch may have overwritten a tail that recovery brought back: what
    disagrees goes again. It was never committed, else it would not have been dropped.

    But what a leader has given since is that leader's log, of a term from the floor on,
    and may be counted already. What disagrees with that is on its way out, with the
    entry in doubt; an answer may be as late as that.
    """
    log = raft.log
    if log.term(message.previous_index) != message.previous_term:
        raft.doubt_next = 0
        return
    conflict = log.find_conflict(message.entries)
    if conflict is not None and not rules.may_be_overwritten(
        conflict, raft.doubt_matched
    ):
        raft.doubt_next = 0
        return
    if conflict is None:
        raft.doubt_next = message.entries[-1].index + 1
        return
    if conflict <= log.last_index:
        raft.truncate_log(conflict)
    raft.append_to_log(message.entries[conflict - message.entries[0].index :])
    raft.doubt_next = log.last_index + 1
    settle(raft)


def settle(raft: "Raft") -> None:
    """The doubt ends when the own log reaches what was in doubt, or passes it."""
    if raft.doubt is not None and raft.last() >= raft.doubt:
        raft.doubt = None
        raft.doubt_answers.clear()


def _judge(raft: "Raft") -> None:
    """The rule that discards: nobody can have counted the entry."""
    if raft.doubt is None:
        return
    answers = {
        voter: raft.doubt_answers.get(voter)
        for voter in raft.configuration.all_voters()
        if voter != raft.id
    }
    if HELD in answers.values():
        return
    unheard = [voter for voter, answer in answers.items() if answer is None]
    doubted = [voter for voter, answer in answers.items() if answer == DOUBTED]
    doubted.append(raft.id)
    if not quorum.may_be_durable(raft.configuration, unheard, doubted):
        raft.doubt = None
        raft.doubt_answers.clear()
        raft.log.truncated = True  # the journal writes down that the log ends here
        raft.report("discarded an entry in doubt: no quorum can hold it")
