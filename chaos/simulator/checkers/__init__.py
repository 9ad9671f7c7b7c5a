"""What must hold in a simulated cluster, looked at as it happens.

Law: one function an invariant, in the module of its subject; this one shows them what
happens and decides nothing. Checkers look at everything and change nothing but their
own book; the model of the data shares no code with the database.
"""

from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING

from ....node.replica import Effects, PeerMessage
from ....node.stable import Opened
from ....raft import (
    AppendEntries,
    AppendEntriesReply,
    Commit,
    Configuration,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    PreVoteReply,
    ReadIndex,
    ReadIndexReply,
    RequestPreVote,
    RequestVote,
    RequestVoteReply,
)
from ....storage.errors import CorruptionError
from ....storage.journal import Batch
from ..shape import Shape
from ..world import World
from . import configurations, durability, election, limits, members, rounds, state
from .book import Book, Disk, Member

if TYPE_CHECKING:
    from ..node import Node

# What a member answers for (its term, its vote, its log), and what it asks.
_PROMISES = (AppendEntriesReply, RequestVote, RequestVoteReply, ReadIndex)
_VOTES = (PreVoteReply, RequestVoteReply)
_LEADS = (AppendEntries, Commit, Heartbeat, InstallSnapshot)
# Some things need not be looked at in every turn.
_NOW_AND_THEN_TURNS = 7
_SELDOM_TURNS = 64


class Checkers:
    """All invariants over one world."""

    def __init__(
        self, world: World, bootstrap: Configuration, shape: Shape, changes: bool
    ) -> None:
        self.book = Book(world, bootstrap, shape, changes)
        self.snapshots = 0
        self.flushes = 0
        self.compactions = 0
        self.heals = 0
        self.failpoints: Counter[str] = Counter()
        self.turns = 0

    # -- boots -----------------------------------------------------------------------

    def started(self, node: "Node", opened: Opened) -> None:
        book, member = self.book, self.book.members[node.member]
        durability.remembers_its_term(book, node, opened)
        durability.remembers_its_log(book, node, opened)
        durability.finds_nothing_dropped(book, node, opened)
        member.boot()
        member.appended = None
        if opened.doubt is not None:
            term, index = opened.doubt
            # A doubt that outlived a boot is still about what the disk held before it.
            if member.doubted is None or member.disk.holds(index, term):
                member.doubted = member.disk
            member.disk = Disk()
        member.disk.term = opened.hard_state.term
        member.disk.vote = opened.hard_state.vote
        mark = opened.snapshot
        member.disk.read((mark.index, mark.term), opened.entries)
        member.applied = mark.index
        member.commit = node.raft.log.commit_index
        state.equal_states(book, node)
        if book.changes:
            configurations.follow(book, node)

    def joined(self, member: int) -> None:
        """There is one more, with an empty disk."""
        self.book.members[member] = Member(member)

    def refused(self, node: "Node", error: CorruptionError) -> None:
        durability.refuses_only_damage(self.book, node, error)

    def reached(self, failpoint: str) -> None:
        self.failpoints[failpoint] += 1

    # -- events in -------------------------------------------------------------------

    def stepped(self, node: "Node", message: PeerMessage) -> None:
        """A message is about to be taken by the node."""
        member, replica = self.book.members[node.member], node.replica
        assert replica is not None
        member.heard[message.sender] = replica.ticks
        if isinstance(message, HeartbeatReply):
            if message.term == replica.raft.term:
                answered = member.rounds.get(message.sender, 0)
                member.rounds[message.sender] = max(answered, message.round)
            return
        if isinstance(message, ReadIndexReply):
            rounds.index_is_new_enough(self.book, node, message)
            return
        if isinstance(message, _LEADS) and message.term >= replica.raft.term:
            member.heard_leader = (message.term, replica.ticks)

    def answered(
        self, node: "Node", message: RequestPreVote | RequestVote, waiting: int
    ) -> None:
        """A vote was asked for; the answer may wait for the disk before it leaves.

        So may `waiting` messages before it, which are no answers to this.
        """
        replies = node.raft.outbox[waiting:]
        reply = replies[-1] if replies else None
        if not isinstance(reply, _VOTES):
            return
        if reply.to == message.sender and reply.granted:
            election.compares_with_its_doubt(self.book, node, message)
            if isinstance(reply, PreVoteReply):
                election.sticks_to_its_leader(self.book, node, reply)

    def hinted(self, node: "Node", peer: int) -> None:
        """The node is told that the peer's process is gone."""
        if node.raft.leader_id == peer:
            self.book.members[node.member].heard_leader = None

    # -- effects out -----------------------------------------------------------------

    def turned(self, node: "Node", effects: Effects) -> None:
        book, member, raft = self.book, self.book.members[node.member], node.raft
        if book.changes:
            members.turned(book, node)
        for event in effects.events:
            election.learners_stay_learners(book, node, event.role)
            election.doubters_wait(book, node, event.role)
            if event.leader_id != node.member:
                member.leads_since = None
            elif event.role == "leader":
                self._leads(node, event.term)
            if event.leader_id == 0:
                # It has given its leader up, or learnt of a newer term.
                member.heard_leader = None
        if effects.batch is not None:
            state.logs_match(book, node, effects.batch)
        if raft.log.applied_index > member.applied:
            self._applied(node)
            state.reads_never_go_back(book, node)
        commit = raft.log.commit_index
        if commit != member.commit:
            state.commits_never_go_back(book, node, commit)
            state.commits_what_is_agreed(book, node, commit)
            if election.leads(node):
                state.commits_by_counting_its_own_term(book, node, commit)
            assert node.replica is not None
            member.committed(node.replica.ticks, commit)
            if commit > book.committed:
                durability.committed_is_durable(book, node, commit)
                book.committed = commit
        if raft.round > member.confirmed_round and election.leads(node):
            rounds.round_is_answered(book, node)
        self.turns += 1
        if self.turns % _NOW_AND_THEN_TURNS == 0 and election.leads(node):
            election.leads_with_a_quorum(book, node)
            election.stalled_disk_resigns(book, node)
        if self.turns % _SELDOM_TURNS == 0:
            limits.queues_are_bounded(book, node)
            limits.the_log_is_bounded(book, node)

    def _leads(self, node: "Node", term: int) -> None:
        book, member = self.book, self.book.members[node.member]
        assert node.replica is not None
        election.one_leader_a_term(book, node, term)
        election.has_everything_committed(book, node, term)
        election.is_elected_by_a_quorum(book, node, term)
        book.led_since.setdefault(term, book.world.now_us)
        member.leads_since = node.raft.log.commit_index
        voters = configurations.in_force(book, node).all_voters()
        member.heard = dict.fromkeys(voters, node.replica.ticks)
        member.rounds, member.confirmed_round = {}, 0

    def _applied(self, node: "Node") -> None:
        book, member, log = self.book, self.book.members[node.member], node.raft.log
        durability.applies_what_is_durable(book, node, log.applied_index)
        base = log.base_index
        for entry in log.entries[member.applied - base : log.applied_index - base]:
            state.one_sequence(book, node, entry)
        member.applied = log.applied_index
        assert node.replica is not None
        if node.replica.healing.damage is None:
            state.equal_states(book, node)

    def sending(self, node: "Node", message: PeerMessage) -> None:
        if not isinstance(message, _PROMISES):
            return
        book = self.book
        match message:
            case ReadIndex():
                book.members[node.member].asked[message.id] = book.committed
            case AppendEntriesReply():
                durability.append_is_durable(book, node, message)
            case RequestVote() | RequestVoteReply():
                election.vote_is_durable(book, node, message)
                if isinstance(message, RequestVote):
                    candidate = node.member
                    election.one_vote_a_term(book, node, message.term, candidate)
                elif message.granted:
                    election.one_vote_a_term(book, node, message.term, message.to)

    # -- disks -----------------------------------------------------------------------

    def appending(self, node: "Node", batch: Batch) -> None:
        durability.overwrites_nothing_applied(self.book, node, batch)
        self.book.members[node.member].appended = batch

    def synced(self, node: "Node", effects: Effects) -> None:
        """The node's journal has this batch for good."""
        member = self.book.members[node.member]
        assert effects.batch is not None
        member.disk.take(effects.batch)
        if node.raft.doubt is None:
            member.doubted = None
        member.appended = None

    def healed(self) -> None:
        self.heals += 1

    def flushed(self) -> None:
        self.flushes += 1

    def compacted(self) -> None:
        self.compactions += 1

    def edited(self, node: "Node") -> None:
        """The engine has another manifest."""
        limits.files_are_bounded(self.book, node)

    def installed(
        self, node: "Node", message: InstallSnapshot, installed: bool
    ) -> None:
        if not installed:
            return
        self.snapshots += 1
        member = self.book.members[node.member]
        if node.raft.installing is None:
            # A damaged state was replaced, and the log goes on from there.
            member.applied = message.index
            state.equal_states(self.book, node)
            return
        state.installs_news(self.book, node, message.index)
        member.applied = message.index
        # Its log begins anew with the next batch; the state is durable now.
        member.disk.base_index, member.disk.base_term = (
            message.index,
            message.snapshot_term,
        )
        member.disk.terms = []
        member.commit = max(member.commit, message.index)
        state.equal_states(self.book, node)
        if self.book.changes:
            members.state_has_its_configuration(self.book, node, message)

    # -- at the end ------------------------------------------------------------------

    def digest(self) -> str:
        """Of the agreed log: equal seeds, equal digests."""
        digest = blake2b(digest_size=8)
        for term, data in self.book.agreed:
            digest.update(term.to_bytes(8, "little"))
            digest.update(data)
        return digest.hexdigest()
