"""Raft as a value machine: events in, one Ready a turn out.

Law: no I/O, no clock, no dice, no asyncio. Time is `tick()`, chance is
`options.jitter`, the disk answers by `persisted()`, logs are event values. Roles are
modules of free functions (follower, candidate, leader, doubt); terms are handled once,
here, before dispatch. Safety rules live in `rules`, where mutants replace them.

Sources: Ongaro & Ousterhout 2014; Ongaro's dissertation (2014) sections 3, 4, 6, 9.6;
the async storage writes of etcd's raft.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from . import any_term, candidate, doubt, follower, leader, rules
from .configuration import Configuration, decode_configuration
from .log import Log
from .messages import (
    CONFIGURATION,
    AppendEntries,
    AppendEntriesReply,
    Commit,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Message,
    ReadIndex,
    ReadIndexReply,
    RequestVote,
    RequestVoteReply,
    TimeoutNow,
)
from .options import Options
from .progress import SNAPSHOT, Progress
from .ready import (
    HardState,
    Persist,
    Persisted,
    Ready,
    RoleChanged,
    SnapshotMark,
)
from .roles import Refused, Role


class Raft:
    """One replica's consensus state, built from what its disk holds:

    the newest snapshot (at least the bootstrap one), the hard state, the entries after
    the snapshot; `doubtful`: (last term, last index) of a damaged but identified batch.
    """

    def __init__(
        self,
        options: Options,
        snapshot: SnapshotMark,
        hard_state: HardState,
        entries: Sequence[Entry] = (),
        doubtful: tuple[int, int] | None = None,
    ) -> None:
        self.options = options
        self.id = options.id
        self.snapshot = snapshot
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.log = Log(snapshot.index, snapshot.term)
        self.configurations = [(snapshot.index, snapshot.configuration)]
        self.append_to_log(entries)
        self.log.stable_index = self.log.last_index
        self.log.commit_index = max(
            snapshot.index, min(hard_state.commit_index, self.log.last_index)
        )
        self.role = Role.FOLLOWER
        self.leader_id = 0
        # Its state machine is damaged: it leads only to hand its log over.
        self.barred = False
        self.doubt: tuple[int, int] | None = None
        self.doubt_answers: dict[int, int] = {}
        self.doubt_floor = self.doubt_ticks = self.doubt_next = self.doubt_matched = 0
        if doubtful is not None and doubtful > self.last():
            self.doubt = doubtful
        # follower
        self.election_elapsed = self.election_timeout = 0
        self.full = False  # it takes no entries now; who leads, it does hear
        self.acknowledged: int | None = None
        self.waiting_reads: dict[int, int] = {}
        self.read_counter = self.reads_failed = 0
        # candidate
        self.votes: dict[int, bool] = {}
        self.transfer_election = False
        # leader
        self.progress: dict[int, Progress] = {}
        self.heartbeat_elapsed = 0
        self.heartbeat_due = self.voters_due = False
        # A commit that no append has told of yet is told now, or is to be told soon.
        self.commit_due = self.commit_owed = False
        self.quorum_elapsed = 0
        self.round = self.late_round = self.asked_round = 0
        self.new_reads: list[tuple[int, int]] = []
        self.pending_reads: deque[tuple[int, int, list[tuple[int, int]]]] = deque()
        self.uncommitted: deque[tuple[int, int]] = deque()
        self.uncommitted_bytes = 0
        self.pending_configuration = 0
        self.transferee = self.transfer_elapsed = 0
        self.offered: set[int] = set()  # to whom a barred leader offered the lead
        # storage
        self.sequence = 0
        self.hard_dirty = False
        self.hard_in_flight = False
        self.in_flight: Persist | None = None
        self.in_flight_ticks = 0
        self.reset_to: tuple[int, int] | None = None
        self.stall_ticks = options.election_timeout_ticks * 3
        # effects of this turn
        self.outbox: list[Message] = []
        self.installing: SnapshotMark | None = None
        self.reads: list[tuple[int, int]] = []
        self.failed_reads: list[int] = []
        self.events: list[RoleChanged] = []
        self.reset_election_timer()
        if self.doubt is not None:
            doubt.begin(self)

    # -- what others may look at -------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The effective configuration: the last one in the log, committed or not."""
        return self.configurations[-1][1]

    def configuration_at(self, index: int) -> Configuration:
        """The configuration in force at `index`, which is not yet compacted."""
        return next(c for at, c in reversed(self.configurations) if at <= index)

    def mark(self, index: int) -> SnapshotMark:
        """Describes a state machine that has applied everything up to `index`."""
        term = self.log.term(index)
        assert term is not None
        return SnapshotMark(index, term, self.configuration_at(index))

    def last(self) -> tuple[int, int]:
        return self.log.last_term, self.log.last_index

    @property
    def is_leader(self) -> bool:
        return self.role is Role.LEADER

    # -- events in ---------------------------------------------------------------

    def tick(self) -> None:
        """One unit of time has passed."""
        if self.in_flight is not None:
            self.in_flight_ticks += 1
        if self.role is Role.LEADER:
            leader.tick(self)
        else:
            follower.tick(self)
        if self.doubt is not None:
            doubt.tick(self)

    def step(self, message: Message) -> None:
        """Take one message from a peer. Anything may arrive, late or twice."""
        if message.to != self.id:
            return
        if type(message) in any_term.OF_ANY_TERM and any_term.step(self, message):
            return
        if message.term > self.term:
            sender_leads = isinstance(
                message, AppendEntries | Commit | Heartbeat | InstallSnapshot
            )
            reason = f"saw term {message.term} of member {message.sender:016x}"
            self.become_follower(
                message.term, message.sender if sender_leads else 0, reason
            )
        elif message.term < self.term and rules.counts_for_nothing(message):
            follower.answer_older_term(self, message)
            return
        self._dispatch(message)

    def disk_stalled(self) -> bool:
        """I-74: the persist in flight takes so long that another should lead.

        Three election timeouts: a disk that is slow for once is left alone.
        """
        return self.in_flight is not None and rules.disk_stalled(
            self.in_flight_ticks, self.stall_ticks
        )

    def hears_leader(self) -> bool:
        leader_id = self.id if self.is_leader else self.leader_id
        elapsed = 0 if self.is_leader else self.election_elapsed
        return rules.sticks_to_leader(
            leader_id, elapsed, self.options.election_timeout_ticks
        )

    def _dispatch(self, message: Message) -> None:
        take = (_LEADERS if self.is_leader else _OTHERS).get(type(message))
        if take is not None:
            take(self, message)

    def persisted(self, ack: Persisted) -> None:
        """The storage made a Persist durable. Acknowledgements come in order."""
        flight = self.in_flight
        if flight is None or ack.sequence != flight.sequence:
            return
        self.in_flight = None
        self.hard_in_flight = False
        # A log that starts anew after a snapshot keeps nothing of what was on its way.
        if (
            self.reset_to is None
            and ack.last_index
            and rules.storage_ack_is_current(
                self.log.term(ack.last_index), ack.last_term
            )
        ):
            self.log.stable_index = max(self.log.stable_index, ack.last_index)
        if self.role is Role.CANDIDATE and self._hard_state_durable():
            candidate.count_own_vote(self)
        if self.is_leader:
            leader.on_own_disk(self)

    def propose(self, commands: Sequence[bytes]) -> tuple[int, int] | Refused:
        """Append `commands`, in order; (index of the first, term) or why not."""
        if not self.is_leader:
            return Refused.NOT_LEADER
        return leader.propose(self, commands)

    def tell_commits(self) -> None:
        """Tell of commits that no append told of: a moment after `commit_owed`."""
        self.commit_due = True

    def read_index(self) -> int | None:
        """Ask for a read index for all reads that wait now; its id, or None.

        The answer comes as (id, index) in `Ready.reads`, or the id in
        `Ready.failed_reads`; a retry takes a new id. None: no leader is known.
        """
        self.read_counter += 1
        read_id = rules.read_id(self.options.boot, self.read_counter)
        if self.is_leader:
            self.new_reads.append((self.id, read_id))
        elif self.leader_id:
            self.waiting_reads[read_id] = 0
            self.send(ReadIndex(self.id, self.leader_id, self.term, read_id))
        else:
            return None
        return read_id

    def campaign(self, reason: str = "asked to") -> None:
        """Start an election now, with a pre-vote, if this replica may."""
        if self.role is not Role.LEADER:
            candidate.start_pre_vote(self, reason)

    def leader_unreachable(self, member: int) -> None:
        """The link to `member` broke and could not be made again.

        A hint about time, not about safety: this replica counts as one that no longer
        hears the leader, so it may grant votes and campaign.
        """
        if member == self.leader_id and not self.is_leader:
            timeout = self.options.election_timeout_ticks
            self.election_elapsed = max(self.election_elapsed, timeout)

    def peer_unreachable(self, member: int) -> None:
        """Messages to `member` may have been lost: stop being optimistic."""
        progress = self.progress.get(member)
        if progress is not None:
            progress.lost()

    def snapshot_finished(self, member: int, ok: bool) -> None:
        """The shell's transfer to `member` ended."""
        progress = self.progress.get(member)
        if progress is not None and progress.state == SNAPSHOT:
            progress.transferred(ok, self.log.last_index)

    def transfer_leadership(self, member: int) -> Refused | None:
        """Hand leadership to `member`, a voter (3.10); given up after a timeout."""
        if not self.is_leader:
            return Refused.NOT_LEADER
        return leader.transfer(self, member)

    def change_configuration(
        self, voters: Sequence[int], learners: Sequence[int]
    ) -> int | Refused:
        """Go to these voters and learners, by joint consensus (4.3); the index."""
        if not self.is_leader:
            return Refused.NOT_LEADER
        return leader.change_configuration(self, voters, learners)

    def checkpointed(self, mark: SnapshotMark, keep_entries: int = 0) -> None:
        """The state machine is durable up to `mark`: snapshots are cut there.

        Entries up to `mark.index - keep_entries` are forgotten, all of them at most.
        """
        assert mark.index <= self.log.applied_index
        if mark.index > self.snapshot.index:
            self.snapshot = mark
        self.log.compact(min(self.snapshot.index, mark.index - keep_entries))
        base = self.log.base_index
        while len(self.configurations) > 1 and self.configurations[1][0] <= base:
            del self.configurations[0]

    def state_replaced(self, index: int) -> None:
        """The state machine is that of `index` now, and goes on from there."""
        assert self.log.base_index <= index <= self.log.commit_index
        self.snapshot = self.mark(index)
        self.log.applied_index = index

    # -- effects out -------------------------------------------------------------

    def ready(self, can_persist: bool, can_apply: bool = True) -> Ready:
        """This turn's effects. `can_persist`: no earlier persist is running;
        `can_apply`: the state machine has room for more.
        """
        if self.is_leader:
            leader.prepare_turn(self)
        persist = self._take_persist() if can_persist else None
        if self.acknowledged is not None:
            self._acknowledge_append(self.acknowledged)
        result = Ready(
            snapshot=self.installing,
            persist=persist,
            reads=self.reads,
            failed_reads=self.failed_reads,
        )
        self.installing = None
        self.reads, self.failed_reads = [], []
        if self.outbox and not rules.must_wait_for_disk(self._hard_state_durable()):
            result.messages, self.outbox = self.outbox, []
        elif persist is not None:
            result.messages_after, self.outbox = self.outbox, []
        if persist is not None and self.acknowledged is not None:
            result.messages_after.append(self._append_reply(self.acknowledged))
            self.acknowledged = None
        if can_apply:
            result.committed = self._take_committed()
        if self.events:
            result.events, self.events = self.events, []
        return result

    def has_work(self, can_persist: bool, can_apply: bool = True) -> bool:
        """Could `ready` have anything to say? Everything else needs an event first."""
        return bool(
            self.outbox
            or self.acknowledged is not None
            or (self.heartbeat_due or self.voters_due)
            or (can_persist and self._unsaved())
            or (can_apply and self.log.can_apply())
            or self.new_reads
            or self.events
            or self.reads
            or self.failed_reads
            or self.installing is not None
            or (self.is_leader and leader.wants_to_send(self))
        )

    def _unsaved(self) -> bool:
        """Is there anything that the disk does not have yet, nor is given?"""
        log = self.log
        return (
            self.hard_dirty
            or log.last_index > log.stable_index
            or log.truncated
            or self.reset_to is not None
        )

    def _hard_state_durable(self) -> bool:
        return not (self.hard_dirty or self.hard_in_flight)

    def _take_persist(self) -> Persist | None:
        assert self.in_flight is None, "one persist at a time"
        if not self._unsaved():
            return None
        log = self.log
        self.sequence += 1
        first = log.stable_index + 1
        persist = Persist(
            sequence=self.sequence,
            hard_state=HardState(
                self.term, rules.persisted_vote(self.vote), log.commit_index
            ),
            first_index=first,
            entries=tuple(log.entries[first - log.base_index - 1 :]),
            reset=self.reset_to,
        )
        self.in_flight = persist
        self.in_flight_ticks = 0
        self.hard_in_flight = self.hard_dirty
        self.hard_dirty = False
        self.reset_to = None
        log.truncated = False
        return persist

    def _acknowledge_append(self, index: int) -> None:
        """One reply for all appends of this turn, if the disk already has them."""
        if self._hard_state_durable() and rules.acknowledges_up_to(
            index, self.log.stable_index
        ):
            self.outbox.append(self._append_reply(index))
            self.acknowledged = None

    def _append_reply(self, index: int) -> AppendEntriesReply:
        return AppendEntriesReply(self.id, self.leader_id, self.term, True, index, 0, 0)

    def _take_committed(self) -> tuple[Entry, ...]:
        log = self.log
        limit = rules.applies_up_to(log.commit_index, log.stable_index)
        limit = min(limit, log.applied_index + self.options.apply_entries_max)
        if limit <= log.applied_index:
            return ()
        base = log.base_index
        entries = tuple(log.entries[log.applied_index - base : limit - base])
        log.applied_index = limit
        if self.is_leader:
            leader.after_apply(self)
        return entries

    # -- shared by the roles -----------------------------------------------------

    def send(self, message: Message) -> None:
        self.outbox.append(message)

    def append_to_log(self, entries: Sequence[Entry]) -> None:
        """Append, taking configurations into effect at once (4.1)."""
        self.log.append(entries)
        for entry in entries:
            if entry.kind == CONFIGURATION:
                configuration = decode_configuration(entry.data)
                self.configurations.append((entry.index, configuration))

    def truncate_log(self, index: int) -> None:
        """Drop `index` and after it, and the configurations in there (I-46)."""
        self.log.truncate_from(index)
        while rules.goes_with_its_entry(self.configurations[-1][0], index):
            del self.configurations[-1]
        assert self.configurations

    def commit_to(self, index: int) -> None:
        if index > self.log.commit_index:
            assert index <= self.log.last_index
            self.log.commit_index = index

    def reset_election_timer(self) -> None:
        self.election_elapsed = 0
        timeout = self.options.election_timeout_ticks
        self.election_timeout = timeout + self.options.jitter(timeout)
        if self.barred:
            self.election_timeout += 3 * timeout  # whole replicas come first

    def become_follower(self, term: int, leader_id: int, reason: str) -> None:
        assert term >= self.term, "terms never go back"
        was, knew = self.role, self.leader_id
        if term > self.term:
            self.term, self.vote = term, 0
            self.hard_dirty = True
            self.acknowledged = None
        self.role = Role.FOLLOWER
        self.leader_id = leader_id
        self.votes = {}
        self.reset_election_timer()
        if was is Role.LEADER:
            leader.resign(self)
        if knew != leader_id:
            self.fail_waiting_reads()
        if was is not Role.FOLLOWER or knew != leader_id:
            self.report(reason)

    def fail_waiting_reads(self) -> None:
        self.failed_reads.extend(self.waiting_reads)
        self.waiting_reads.clear()

    def report(self, reason: str) -> None:
        self.events.append(
            RoleChanged(self.role.value, self.term, self.leader_id, reason)
        )


# Who takes what; what is missing says nothing to them but its term.
_Takes: TypeAlias = dict[type[Any], Callable[[Raft, Any], None]]
_OTHERS: Final[_Takes] = {
    AppendEntries: follower.on_append_entries,
    Commit: follower.on_commit,
    Heartbeat: follower.on_heartbeat,
    InstallSnapshot: follower.on_install_snapshot,
    TimeoutNow: follower.on_timeout_now,
    ReadIndexReply: follower.on_read_index_reply,
    RequestVote: candidate.on_request_vote,
    RequestVoteReply: candidate.on_vote_reply,
}
_LEADERS: Final[_Takes] = _OTHERS | {
    AppendEntriesReply: leader.on_append_reply,
    HeartbeatReply: leader.on_heartbeat_reply,
    ReadIndex: leader.on_read_index,
}
