"""What a replica does that does not lead: it waits, appends, acknowledges, asks.

Law: free functions over a Raft. Nothing is acknowledged here: the core sends one
acknowledgement a turn, once the disk has what it speaks of (I-16).
"""

from typing import TYPE_CHECKING, Final

import msgspec

from . import candidate, doubt, rules
from .messages import (
    AppendEntries,
    AppendEntriesReply,
    Commit,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadIndexReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from .ready import SnapshotMark
from .roles import Role

if TYPE_CHECKING:
    from .core import Raft

# The answer to a read is waited for twice as long for each that failed, so often.
_READS_FAILED_MAX: Final = 3


def tick(raft: "Raft") -> None:
    raft.election_elapsed += 1
    if raft.waiting_reads:
        _age_reads(raft)
    if raft.election_elapsed >= raft.election_timeout:
        candidate.start_pre_vote(raft, "heard no leader for an election timeout")


def _age_reads(raft: "Raft") -> None:
    """A request or its answer may be lost: the replica asks again, by a new id.

    Each time it waits twice as long: the answer may be slower than it was thought, and
    asked for ever more often it would never be in time.
    """
    limit = raft.options.heartbeat_ticks * 4 << raft.reads_failed
    before = len(raft.failed_reads)
    for read_id in list(raft.waiting_reads):
        raft.waiting_reads[read_id] += 1
        if raft.waiting_reads[read_id] > limit:
            del raft.waiting_reads[read_id]
            raft.failed_reads.append(read_id)
    if len(raft.failed_reads) > before:
        raft.reads_failed = min(raft.reads_failed + 1, _READS_FAILED_MAX)


def _hear_leader(raft: "Raft", sender: int) -> None:
    """A message of this term's leader arrived."""
    assert raft.role is not Role.LEADER, "two leaders in one term (I-1)"
    if raft.role is not Role.FOLLOWER or raft.leader_id != sender:
        raft.become_follower(raft.term, sender, "heard the leader")
        raft.reads_failed = 0
    raft.election_elapsed = 0


def answer_older_term(raft: "Raft", message: Message) -> None:
    """I-11d: a leader of an older term, or a late candidate, learns ours."""
    match message:
        case AppendEntries() | Commit() | Heartbeat() | InstallSnapshot():
            raft.send(
                AppendEntriesReply(raft.id, message.sender, raft.term, False, 0, 0, 0)
            )
        case RequestVote():
            raft.send(RequestVoteReply(raft.id, message.sender, raft.term, False))
        case _:
            pass


def on_append_entries(raft: "Raft", message: AppendEntries) -> None:
    """Figure 2 of the paper, with conflict hints (end of 3.5)."""
    _hear_leader(raft, message.sender)
    if raft.full:
        return  # to the leader it is as if the message were lost
    log = raft.log
    if message.previous_index < log.commit_index:
        # Late or repeated: what is committed here matches any leader of this term.
        known = log.commit_index - message.previous_index
        if known >= len(message.entries):
            _acknowledge(raft, log.commit_index)
            return
        message = msgspec.structs.replace(
            message,
            previous_index=log.commit_index,
            previous_term=message.entries[known - 1].term,
            entries=message.entries[known:],
        )
    own_term = log.term(message.previous_index)
    if not rules.continues(own_term, message.previous_term):
        hint_index, hint_term = log.last_possible_match(
            message.previous_index, message.previous_term
        )
        raft.send(
            AppendEntriesReply(
                raft.id,
                message.sender,
                raft.term,
                False,
                message.previous_index,
                hint_index,
                hint_term,
            )
        )
        return
    _append(raft, message)
    last_new = message.previous_index + len(message.entries)
    raft.commit_to(min(message.commit_index, last_new))
    _acknowledge(raft, last_new)
    if raft.doubt is not None:
        raft.doubt_matched = max(min(raft.doubt_matched, log.last_index), last_new)
        doubt.settle(raft)


def _append(raft: "Raft", message: AppendEntries) -> None:
    log = raft.log
    conflict = log.find_conflict(message.entries)
    if conflict is not None and conflict > log.last_index:
        conflict = None
    cut = rules.truncates_at(conflict, message.previous_index)
    if cut is not None and cut <= log.last_index:
        raft.truncate_log(cut)
    if message.entries:
        raft.append_to_log(message.entries[log.last_index - message.previous_index :])


def _acknowledge(raft: "Raft", index: int) -> None:
    if raft.acknowledged is None or index > raft.acknowledged:
        raft.acknowledged = index


def on_commit(raft: "Raft", message: Commit | Heartbeat) -> None:
    """The leader sends no commit index that this replica has not matched."""
    _hear_leader(raft, message.sender)
    raft.commit_to(min(message.commit_index, raft.log.last_index))


def on_heartbeat(raft: "Raft", message: Heartbeat) -> None:
    """As `on_commit`, and the leader is told that it was heard."""
    on_commit(raft, message)
    raft.send(HeartbeatReply(raft.id, message.sender, raft.term, message.round))


def on_install_snapshot(raft: "Raft", message: InstallSnapshot) -> None:
    """The transfer is complete and verified (I-51); take it if it is news (I-52)."""
    _hear_leader(raft, message.sender)
    log = raft.log
    if not rules.accepts_snapshot(message.index, log.commit_index):
        _acknowledge(raft, log.commit_index)
        return
    if log.term(message.index) == message.snapshot_term:
        # The log already holds all of it: only the commit index was behind.
        raft.commit_to(message.index)
        _acknowledge(raft, message.index)
        return
    configuration = rules.configuration_of_state(
        raft.configuration, message.configuration
    )
    mark = SnapshotMark(message.index, message.snapshot_term, configuration)
    log.restore(mark.index, mark.term)
    raft.configurations = [(mark.index, mark.configuration)]
    raft.snapshot = mark
    raft.installing = mark
    raft.reset_to = (mark.index, mark.term)
    raft.acknowledged = None
    _acknowledge(raft, mark.index)
    doubt.settle(raft)


def on_timeout_now(raft: "Raft", message: TimeoutNow) -> None:
    """The leader hands over: no pre-vote, and voters set stickiness aside (3.10)."""
    if message.sender == raft.leader_id and not raft.barred:
        candidate.start_election(raft, transfer=True)


def on_read_index_reply(raft: "Raft", message: ReadIndexReply) -> None:
    if raft.waiting_reads.pop(message.id, None) is not None:
        raft.reads_failed = max(0, raft.reads_failed - 1)
        raft.reads.append((message.id, message.index))
