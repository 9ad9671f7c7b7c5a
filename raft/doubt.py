"""A damaged last batch: repaired from any peer, or discarded by a written rule.

Law: an entry in doubt is unknown, never absent (I-23). While in doubt a node compares
logs as if it held the entry, never campaigns, and asks all voters for exactly that
entry, needing no leader. It is discarded only when, by the voters' answers, no quorum
can ever have held it durably: copies held + voters unheard + at most f of the copies in
doubt < majority (docs/decisions/0004). An entry appended under a newer term, or the
entry itself, ends the doubt too.
"""

from typing import TYPE_CHECKING

from . import quorum
from .messages import ABSENT, DOUBTED, HELD, EntriesReply, RequestEntries

if TYPE_CHECKING:
    from .core import Raft


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
                    raft.term,
                    raft.doubt_next or raft.log.commit_index + 1,
                    last_index,
                    last_term,
                )
            )
    _judge(raft)


def on_request_entries(raft: "Raft", message: RequestEntries) -> None:
    """Say truthfully what this disk holds; only durable entries count as held."""
    log = raft.log
    held = (
        log.term(message.last_index) == message.last_term
        and message.last_index <= log.stable_index
    )
    previous = message.next_index - 1
    previous_term = log.term(previous)
    if held:
        state = HELD
    elif raft.doubt is not None and raft.doubt >= (
        message.last_term,
        message.last_index,
    ):
        state = DOUBTED
    elif message.last_index <= log.base_index:
        # Compacted: it is in this replica's checkpoint, or something newer is.
        state = HELD
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
    raft.doubt_answers[message.sender] = message.state
    if message.state == HELD and message.entries:
        _take(raft, message)
    _judge(raft)


def _take(raft: "Raft", message: EntriesReply) -> None:
    """The peer holds the entry in doubt, so its log up to there was ours, too.

    The damaged batch may have overwritten a tail that recovery brought back: what
    disagrees goes again. It was never committed, else it would not have been dropped.
    """
    log = raft.log
    if log.term(message.previous_index) != message.previous_term:
        raft.doubt_next = 0
        return
    conflict = log.find_conflict(message.entries)
    if conflict is None:
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
    voters = raft.configuration.all_voters()
    answers = [raft.doubt_answers.get(v) for v in voters if v != raft.id]
    doubted = answers.count(DOUBTED) + (1 if raft.id in voters else 0)
    unheard = answers.count(None)
    if not quorum.may_be_durable(
        raft.configuration, answers.count(HELD), unheard, doubted
    ):
        raft.doubt = None
        raft.doubt_answers.clear()
        raft.log.truncated = True  # the journal writes down that the log ends here
        raft.report("discarded an entry in doubt: no quorum can hold it")
