"""What the leader does: replicate, commit, confirm reads, change the voters, resign.

Law: free functions over a Raft. One send per peer and turn, made in `prepare_turn`;
the events before it only move numbers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import quorum, rules
from .configuration import encode_configuration, enter, leave
from .log import ENTRY_OVERHEAD_BYTES
from .messages import (
    COMMAND,
    CONFIGURATION,
    NOOP,
    AppendEntries,
    AppendEntriesReply,
    Commit,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    ReadIndex,
    ReadIndexReply,
    TimeoutNow,
)
from .progress import PROBE, REPLICATE, SNAPSHOT, Progress
from .roles import Refused, Role

if TYPE_CHECKING:
    from .core import Raft


def become_leader(raft: "Raft") -> None:
    assert raft.doubt is None, "a doubtful node never leads (I-23)"
    raft.role = Role.LEADER
    raft.leader_id = raft.id
    raft.votes = {}
    raft.acknowledged = None
    raft.round = raft.late_round = raft.asked_round = 0
    raft.new_reads.clear()
    raft.pending_reads.clear()
    raft.uncommitted.clear()
    raft.uncommitted_bytes = 0
    raft.transferee = 0
    raft.heartbeat_elapsed = 0
    raft.heartbeat_due = True
    raft.quorum_elapsed = 0
    # Any configuration in the log may be uncommitted: none is changed before it is.
    raft.pending_configuration = raft.log.last_index
    raft.progress = {}
    _follow_configuration(raft)
    raft.report("won the election")
    # I-5: commits of earlier terms, reads and changes wait for this one.
    _append(raft, ((NOOP, b""),))


def resign(raft: "Raft") -> None:
    """Forget what only a leader has; reads in progress fail (I-13)."""
    waiting = [read_id for member, read_id in raft.new_reads if member == raft.id]
    for _, _, requests in raft.pending_reads:
        waiting += [read_id for member, read_id in requests if member == raft.id]
    raft.failed_reads.extend(waiting)
    raft.new_reads.clear()
    raft.pending_reads.clear()
    raft.progress = {}
    raft.transferee = 0
    raft.heartbeat_due = raft.voters_due = False
    raft.commit_due = raft.commit_owed = False


def _follow_configuration(raft: "Raft") -> None:
    """One progress for each other member of the effective configuration."""
    members = raft.configuration.members()
    for member in list(raft.progress):
        if member not in members:
            del raft.progress[member]
    for member in members:
        if member != raft.id and member not in raft.progress:
            progress = Progress(raft.log.last_index + 1)
            # A new peer is given time to be heard before it counts as silent.
            progress.active = True
            raft.progress[member] = progress


# -- time ------------------------------------------------------------------------


def tick(raft: "Raft") -> None:
    raft.commit_due = True
    raft.heartbeat_elapsed += 1
    if raft.heartbeat_elapsed >= raft.options.heartbeat_ticks:
        raft.heartbeat_elapsed = 0
        raft.heartbeat_due = True
    # A round that waits since the tick before: somebody who was asked is silent, or far
    # away. All are asked once, and then with everybody's heartbeats.
    if (
        raft.pending_reads
        and raft.asked_round < raft.pending_reads[0][0] <= raft.late_round
    ):
        raft.voters_due = True
    raft.late_round = raft.round
    raft.quorum_elapsed += 1
    if raft.quorum_elapsed >= raft.options.election_timeout_ticks:
        raft.quorum_elapsed = 0
        if not _check_quorum(raft):
            raft.become_follower(raft.term, 0, "heard no quorum for a timeout")
            return
    if raft.disk_stalled():
        # I-74: a leader whose disk hangs commits nothing and must not look healthy.
        raft.become_follower(raft.term, 0, "the disk has stalled")
        return
    if raft.transferee:
        raft.transfer_elapsed += 1
        if raft.transfer_elapsed >= raft.options.election_timeout_ticks:
            raft.transferee = 0
    elif raft.barred:
        _hand_over(raft)


def _hand_over(raft: "Raft") -> None:
    """One voter after the other: who is damaged as well declines in silence."""
    candidates = [
        (member not in raft.offered, progress.match_index, member)
        for member, progress in raft.progress.items()
        if progress.active and raft.configuration.is_voter(member)
    ]
    if candidates:
        fresh, _, member = max(candidates)
        if not fresh:
            raft.offered.clear()
        raft.offered.add(member)
        transfer(raft, member)


def _check_quorum(raft: "Raft") -> bool:
    """I-13: has a majority been heard since the last check?"""
    heard = {member: progress.active for member, progress in raft.progress.items()}
    if raft.configuration.is_voter(raft.id):
        heard[raft.id] = True
    for progress in raft.progress.values():
        progress.active = False
    return rules.heard_quorum(quorum.active(raft.configuration, heard))


# -- proposals ---------------------------------------------------------------------


def propose(raft: "Raft", commands: Sequence[bytes]) -> tuple[int, int] | Refused:
    options = raft.options
    if raft.transferee or raft.barred:
        return Refused.TRANSFERRING
    pending = raft.log.last_index - raft.log.commit_index
    if (
        pending + len(commands) > options.uncommitted_entries_max
        or raft.uncommitted_bytes > options.uncommitted_bytes_max
    ):
        return Refused.FULL
    first = raft.log.last_index + 1
    _append(raft, [(COMMAND, command) for command in commands])
    return first, raft.term


def _append(raft: "Raft", items: Sequence[tuple[int, bytes]]) -> None:
    first, term = raft.log.last_index + 1, raft.term
    raft.append_to_log(
        [
            Entry(first + position, term, kind, data)
            for position, (kind, data) in enumerate(items)
        ]
    )
    size = sum(len(data) + ENTRY_OVERHEAD_BYTES for _, data in items)
    raft.uncommitted.append((raft.log.last_index, size))
    raft.uncommitted_bytes += size


# -- replication -------------------------------------------------------------------


def on_append_reply(raft: "Raft", message: AppendEntriesReply) -> None:
    progress = raft.progress.get(message.sender)
    if progress is None:
        return
    progress.active = progress.heard = True
    if not message.accepted:
        hint = _hint(raft, message)
        progress.rejected(message.index, hint)
        return
    if not rules.match_may_advance(raft.log.last_index, message.index):
        return
    if progress.accepted(message.index) or progress.state == PROBE:
        reached = progress.match_index + 1 > raft.log.base_index
        if progress.state == PROBE or (progress.state == SNAPSHOT and reached):
            progress.become_replicate()
        _maybe_commit(raft)
    if raft.transferee == message.sender:
        _maybe_timeout_now(raft)


def _hint(raft: "Raft", message: AppendEntriesReply) -> int:
    """Skip a whole term of ours at a time, beside the follower's own hint."""
    index, _ = raft.log.last_possible_match(message.hint_index, message.hint_term)
    return index


def on_heartbeat_reply(raft: "Raft", message: HeartbeatReply) -> None:
    progress = raft.progress.get(message.sender)
    if progress is None or message.round > raft.round:
        return
    progress.active = progress.heard = True
    progress.paused = False
    progress.acked_round = max(progress.acked_round, message.round)
    if (
        progress.state == REPLICATE
        and progress.inflight
        and progress.match_index < raft.log.last_index
        and len(progress.inflight) >= raft.options.inflight_messages_max
    ):
        progress.inflight.popleft()  # lost messages must not close the window for ever
    if progress.match_index < raft.log.last_index:
        progress.unsure = True
    _confirm_reads(raft)


def on_own_disk(raft: "Raft") -> None:
    """The leader's own log grew on its own disk: it counts itself (I-3)."""
    _maybe_commit(raft)


def _maybe_commit(raft: "Raft") -> None:
    log = raft.log
    reached = {member: p.match_index for member, p in raft.progress.items()}
    reached[raft.id] = rules.counts_itself(log.stable_index, log.last_index)
    index = quorum.agreed(raft.configuration, reached)
    if index <= log.commit_index or not rules.may_commit(log.term(index), raft.term):
        return
    if raft.log.commit_index < raft.pending_configuration <= index:
        # A leader that it removes is about to go, and could not tell it later.
        raft.commit_due = True
    raft.commit_to(index)
    while raft.uncommitted and raft.uncommitted[0][0] <= index:
        raft.uncommitted_bytes -= raft.uncommitted.popleft()[1]
    if raft.transferee:
        _maybe_timeout_now(raft)


def prepare_turn(raft: "Raft") -> None:
    """This turn's messages: one round of heartbeats if due, one append per peer.

    A round for reads alone goes to as few voters as can confirm it: the more are asked,
    the more a read costs their leader.
    """
    asked = bool(raft.new_reads) and _start_read_round(raft)
    if asked or raft.heartbeat_due or raft.voters_due:
        for member in _heartbeats_go_to(raft):
            progress = raft.progress[member]
            commit = rules.commit_to_tell(raft.log.commit_index, progress.match_index)
            progress.sent_commit = max(progress.sent_commit, commit)
            raft.send(Heartbeat(raft.id, member, raft.term, commit, raft.round))
    tells, raft.commit_due = raft.commit_due, False
    raft.commit_owed = False
    for member, progress in raft.progress.items():
        _maybe_send(raft, member, progress)
        if tells:
            _tell_commit(raft, member, progress)
        elif progress.commit_to_send(raft.log.commit_index):
            raft.commit_owed = True
    if raft.pending_reads:
        _confirm_reads(raft)


def wants_to_send(raft: "Raft") -> bool:
    """Is there a peer that something new may be sent to now?"""
    last, commit = raft.log.last_index, raft.log.commit_index
    inflight_max = raft.options.inflight_messages_max
    for progress in raft.progress.values():
        if progress.has_news(last) and progress.can_send(inflight_max):
            return True
        if raft.commit_due and progress.commit_to_send(commit):
            return True
    return False


def _tell_commit(raft: "Raft", member: int, progress: Progress) -> None:
    """Beside any append. It is not done at once: under load the next append tells."""
    commit = progress.commit_to_send(raft.log.commit_index)
    if commit:
        progress.sent_commit = commit
        raft.send(Commit(raft.id, member, raft.term, commit))


def _maybe_send(raft: "Raft", member: int, progress: Progress) -> None:
    log, options = raft.log, raft.options
    while progress.has_news(log.last_index) and progress.can_send(
        options.inflight_messages_max
    ):
        previous = progress.next_index - 1
        previous_term = log.term(previous)
        if previous_term is None:
            _send_snapshot(raft, member, progress)
            return
        last = min(log.last_index, previous + options.append_entries_max)
        entries = log.slice(progress.next_index, last, options.append_bytes_max)
        raft.send(
            AppendEntries(
                raft.id,
                member,
                raft.term,
                previous,
                previous_term,
                log.commit_index,
                entries,
            )
        )
        progress.sent(previous + len(entries), log.commit_index)


def _send_snapshot(raft: "Raft", member: int, progress: Progress) -> None:
    """The entries it needs are gone here: the shell sends a checkpoint instead."""
    mark = raft.snapshot
    if not (progress.active and progress.heard):
        return
    progress.become_snapshot(mark.index)
    raft.send(
        InstallSnapshot(
            raft.id, member, raft.term, mark.index, mark.term, mark.configuration
        )
    )


# -- reads -------------------------------------------------------------------------


def on_read_index(raft: "Raft", message: ReadIndex) -> None:
    if len(raft.new_reads) < raft.options.reads_pending_max:
        raft.new_reads.append((message.sender, message.id))


def _start_read_round(raft: "Raft") -> bool:
    """All reads that wait share one round, which starts after they came (I-40).

    False: not yet. The next heartbeat comes when it would have come without.
    """
    log = raft.log
    if not rules.may_serve_reads(log.term(log.commit_index), raft.term):
        return False
    raft.round += 1
    raft.pending_reads.append((raft.round, log.commit_index, raft.new_reads))
    raft.new_reads = []
    return True


def _heartbeats_go_to(raft: "Raft") -> list[int]:
    """Everybody, if it is time; all voters, if a round is late; enough for a round.

    Enough are as many as make a quorum, of those whose links have not broken and that
    have confirmed the latest rounds. If one of them is silent all the same, the round
    is late at the second tick.
    """
    configuration, progress = raft.configuration, raft.progress
    everybody = raft.heartbeat_due
    voters = raft.voters_due or bool(configuration.outgoing)
    raft.heartbeat_due = raft.voters_due = False
    if everybody or voters:
        raft.asked_round = raft.round
    if everybody:
        return list(progress)
    asked = [member for member in progress if configuration.is_voter(member)]
    if voters:
        return asked
    asked.sort(key=lambda member: _hears(progress[member]), reverse=True)
    own = configuration.is_voter(raft.id)
    return asked[: quorum.majority(len(configuration.voters)) - own]


def _hears(progress: Progress) -> tuple[bool, int]:
    """The larger, the likelier that it answers."""
    return progress.heard, progress.acked_round


def _confirm_reads(raft: "Raft") -> None:
    acked = {member: p.acked_round for member, p in raft.progress.items()}
    acked[raft.id] = raft.round
    agreed = quorum.agreed(raft.configuration, acked)
    while raft.pending_reads and rules.read_confirmed(agreed, raft.pending_reads[0][0]):
        _, index, requests = raft.pending_reads.popleft()
        for member, read_id in requests:
            if member == raft.id:
                raft.reads.append((read_id, index))
            else:
                progress = raft.progress.get(member)
                if progress is not None:
                    # It waits for all up to there, and should not for a tick.
                    _tell_commit(raft, member, progress)
                raft.send(ReadIndexReply(raft.id, member, raft.term, read_id, index))


# -- transfer and configuration ------------------------------------------------------


def transfer(raft: "Raft", member: int) -> Refused | None:
    """I-14: proposals stop; the target takes over once it has everything."""
    if member == raft.id or not raft.configuration.is_voter(member):
        return Refused.NOT_A_VOTER
    raft.transferee = member
    raft.transfer_elapsed = 0
    _maybe_timeout_now(raft)
    return None


def _maybe_timeout_now(raft: "Raft") -> None:
    progress = raft.progress.get(raft.transferee)
    last_index = raft.log.last_index
    if progress is None:
        raft.transferee = 0
    elif progress.match_index == last_index and (
        # Everything is committed, so that every proposal gets its answer here. Who is
        # barred may wait for that in vain: another may need its state to go on.
        raft.log.commit_index == last_index or raft.barred
    ):
        raft.send(TimeoutNow(raft.id, raft.transferee, raft.term))


def change_configuration(
    raft: "Raft", voters: Sequence[int], learners: Sequence[int]
) -> int | Refused:
    log, current = raft.log, raft.configuration
    if raft.transferee or raft.barred:
        return Refused.TRANSFERRING
    if current.joint or not rules.may_change_configuration(
        raft.pending_configuration,
        log.applied_index,
        log.term(log.commit_index),
        raft.term,
    ):
        return Refused.PENDING_CHANGE
    target = enter(current, tuple(sorted(set(voters))), tuple(sorted(set(learners))))
    if target == current:
        return Refused.NO_CHANGE
    return _append_configuration(raft, encode_configuration(target))


def _append_configuration(raft: "Raft", data: bytes) -> int:
    _append(raft, ((CONFIGURATION, data),))
    raft.pending_configuration = raft.log.last_index
    _follow_configuration(raft)
    return raft.log.last_index


def after_apply(raft: "Raft") -> None:
    """A joint configuration is left as soon as it is applied, by any leader (4.3)."""
    index, configuration = raft.configurations[-1]
    if index > raft.log.applied_index:
        return
    if configuration.joint:
        _append_configuration(raft, encode_configuration(leave(configuration)))
    elif rules.removed_leader_resigns(configuration.is_voter(raft.id)):
        # I-50: it led the change that removed it, without counting itself.
        raft.become_follower(raft.term, 0, "removed from the voters")
