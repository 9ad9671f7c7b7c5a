"""One replica: consensus, state machine and the requests between them.

Law: pure. Events in, one Effects a turn out; time comes as milliseconds of the shell's
monotonic clock, wall time as an argument, chance as a function. The same code runs
under node/loop and under chaos/simulator.
"""

from collections.abc import Callable

from ...raft import (
    AppendEntries,
    InstallSnapshot,
    Persisted,
    Raft,
    Ready,
    acknowledge,
)
from ...storage.engine import Incoming
from ...storage.errors import CorruptionError
from ...wire import (
    EnvelopeKind,
    ErrorCode,
    InSession,
    LeaseQuestion,
    ProtocolError,
    RequestKind,
    decode_command,
    encode_compact,
    encode_envelope_head,
)
from ...wire.plain import is_plain_put
from ..database import Database
from ..database.versions import may_be_written
from . import rules
from .comparing import Comparing
from .effects import Effects, Reply, batch_of
from .forwarder import Forwarder
from .full_disk import needs_room
from .healing import Healing
from .hints import Hints
from .lease_keeper import LeaseKeeper
from .messages import (
    ForwardReply,
    ForwardRequest,
    PeerMessage,
    StateHash,
    StateRequest,
)
from .options import ReplicaOptions
from .reads import Reads
from .requests import Request, answer, refuse
from .retention import Retention
from .steward import Steward
from .watching import Watching
from .writes import Writes

_EXPIRE_TICKS = 5
# Plain numbers: an enum's member costs more than the comparison.
_WRITE = int(RequestKind.WRITE)
_READS = (int(RequestKind.GET), int(RequestKind.RANGE))
_WALL_MS_MAX = (1 << 63) - 1


class Replica:
    """See the module. `jitter(n)` gives a number from 0 to n-1.

    `damage`: what was found wrong with the database's store when it was opened.
    """

    def __init__(
        self,
        options: ReplicaOptions,
        raft: Raft,
        database: Database,
        jitter: Callable[[int], int],
        damage: CorruptionError | None = None,
    ) -> None:
        assert database.applied_index == raft.snapshot.index
        self.options = options
        self.raft = raft
        self.database = database
        self.jitter = jitter
        self.writes = Writes(raft, options)
        self.reads = Reads(raft, database, options)
        self.now_ms = 0
        self.wall_ms = 0
        self.ticks = 0
        self.no_space = False
        self.spent = False  # with no room for what gives something up, either
        self.stopping = False
        self.leading = False
        self.leader_since_ms = 0
        self.leader_time_base_ms = 0
        # What the log may end behind: the engine has it durably.
        self.checkpoint_index = raft.snapshot.index
        self.checkpoints = 0
        # What the engine was last told to flush up to.
        self.frozen_index = raft.snapshot.index
        self.unfrozen_bytes = 0
        self.replies: list[Reply] = []
        # Of healing and comparing, to peers.
        self.messages: list[PeerMessage] = []
        self.forward_replies: list[ForwardReply] = []
        self.forwarders: dict[int, Forwarder] = {}
        self.elections = 0
        self.leader_changes = 0
        self.seen_leader: int = 0
        self.snapshots_installed = 0
        self.watching = Watching(self)
        self.lease_keeper = LeaseKeeper(self)
        self.reads.keeper = self.lease_keeper
        self.retention = Retention(options.history_revisions, options.history_ms)
        self.steward = Steward(self)
        self.hints = Hints(self)
        self.healing = Healing(self)
        self.comparing = Comparing(self)
        if damage is not None:
            self.healing.found(damage)

    # -- events in -----------------------------------------------------------------

    def advance(self, now_ms: int, wall_ms: int) -> None:
        """The clocks now. The monotonic one only moves forward.

        The wall clock may say anything; what the envelope has no room for is unknown.
        """
        if now_ms > self.now_ms:
            self.now_ms = now_ms
        self.wall_ms = wall_ms if 0 <= wall_ms <= _WALL_MS_MAX else 0

    def tick(self) -> None:
        """One tick of `options.tick_ms` has passed."""
        self.ticks += 1
        self.lease_keeper.leases.tick()
        self.raft.tick()
        self.raft.log.let_go()
        self.writes.retry()
        if self.ticks % _EXPIRE_TICKS == 0:
            self.writes.expire(self.now_ms)
            self.reads.expire(self.now_ms)
            self.lease_keeper.tick()
            self.watching.tick(_EXPIRE_TICKS)
            if self.leading:
                self._compact_history()
                self.steward.tick()
                self.comparing.tick()
        if self.healing.damage is not None:
            self.healing.tick()
        self.hints.tick()

    def _compact_history(self) -> None:
        database = self.database
        newest, kept = database.revision, database.compacted
        if revision := self.retention.due(self.now_ms, newest, kept):
            self.propose(encode_compact(revision))

    def propose(
        self, payload: bytes, kind: EnvelopeKind = EnvelopeKind.CLIENT_COMMAND
    ) -> bool:
        """The leader's own entry, for which nobody waits; False: it was not taken."""
        head = encode_envelope_head(kind, self.cluster_time_ms(), self.wall_ms)
        return isinstance(self.raft.propose([head + payload]), tuple)

    def step(self, message: PeerMessage) -> None:
        """Take one message of a peer."""
        if isinstance(message, ForwardRequest):
            self._step_forward(message)
        elif isinstance(message, ForwardReply):
            self.writes.forward_reply(message)
        elif isinstance(message, StateRequest):
            self.healing.asked(message)
        elif isinstance(message, StateHash):
            self.comparing.heard(message)
        else:
            if isinstance(message, AppendEntries):
                # What can't be applied is not taken, lest it fill the memory.
                self.raft.full = self._is_full()
            self.raft.step(message)

    def _step_forward(self, message: ForwardRequest) -> None:
        sink = self.forwarders.setdefault(message.sender, Forwarder(message.sender))
        deadline = self.now_ms + message.timeout_ms
        request = Request(sink, message.id, _WRITE, message.body, deadline, own=True)
        raft = self.raft
        if raft.is_leader and not (raft.transferee or raft.barred):
            self._admit_write(request)
        else:
            # Never handed on twice: the sender finds out who leads by itself.
            self._refuse(request, ErrorCode.NO_LEADER, "this node does not lead")

    def submit(self, request: Request) -> None:
        """Take one request of a client."""
        kind = request.kind
        if self.stopping:
            self._refuse(request, ErrorCode.STOPPING, "this node is shutting down")
        elif kind == _WRITE:
            self._admit_write(request)
        elif kind in _READS:
            self.reads.add(request, self.now_ms)
        elif kind in (RequestKind.WATCH, RequestKind.CANCEL):
            self.watching.take(request)
        elif kind == RequestKind.PING:
            self.replies.append(answer(request, b""))
        else:
            self._refuse(request, ErrorCode.INVALID_REQUEST, "unknown request type")

    def _admit_write(self, request: Request) -> None:
        """Everything that can be refused is refused here, before it is in any log."""
        if (
            is_plain_put(request.body, self.options.limits)
            and not self.no_space
            and (self.raft.is_leader or not self.stopping)
        ):
            self.writes.add(request, self.now_ms)
            return
        try:
            command = decode_command(request.body, self.options.limits)
        except ProtocolError as error:
            self._refuse(request, error.code, error.reason)
            return
        if isinstance(command, LeaseQuestion):
            request.question = command
        if isinstance(command, InSession):
            command = command.command
        version = self.database.version
        if not may_be_written(command, version):
            reason = f"the cluster has version {version}, which does not have this yet"
            self._refuse(request, ErrorCode.UNSUPPORTED, reason)
        elif no := self.steward.refusal(command, own=request.own):
            self._refuse(request, *no)
        elif self.no_space and needs_room(command, request, self.spent):
            self._refuse(request, ErrorCode.NO_SPACE, "the disk is full")
        elif self.stopping and not self.raft.is_leader:
            self._refuse(request, ErrorCode.STOPPING, "this node is shutting down")
        else:
            self.writes.add(request, self.now_ms)

    def _refuse(self, request: Request, code: ErrorCode, message: str) -> None:
        self.replies.append(refuse(request, code, message))

    def persisted(self, ack: Persisted) -> None:
        """The turn's batch is durable."""
        self.raft.persisted(ack)

    def peer_lost(self, member: int) -> None:
        """The link to or from `member` broke: what was on it may be lost."""
        self.raft.peer_unreachable(member)

    def forwarding_ended(self, member: int, polite: bool) -> None:
        """The link by which writes were handed to `member` ended.

        After a goodbye what it did not answer was not taken either, and is handed to
        the next leader; otherwise nobody knows.
        """
        if polite:
            self.writes.link_left(member)
        else:
            self.writes.link_lost(member)

    def install(self, message: InstallSnapshot, incoming: Incoming) -> bool:
        """A leader's state has arrived and was checked; it is not durable yet.

        True when it became this replica's state, durably; False when it was old news.
        An `OSError` out of here is final: the replica must end.
        """
        assert incoming.manifest is not None
        assert incoming.manifest.applied_index == message.index
        before, revision = self.raft.snapshot, self.database.revision
        self.raft.step(message)
        if self.raft.snapshot is not before:
            assert message.index > self.database.applied_index, "never back (I-52)"
        elif not self.healing.wants(message):
            return False
        # Before anything that this step has to say can leave.
        self.database.install(incoming)
        self.checkpoint_index = self.frozen_index = message.index
        self.healing.installed(message.index)
        if self.leading:  # elected for its log alone, it knew of no leases
            self.lease_keeper.leases.lead()
        self.watching.watches.installed(revision)
        self.snapshots_installed += 1
        return True

    def snapshot_finished(self, member: int, ok: bool) -> None:
        """The shell's transfer of a snapshot to `member` ended."""
        self.healing.sent(member)
        self.raft.snapshot_finished(member, ok)

    def _follow_store(self) -> None:
        """What the engine has flushed, the log may forget; so it flushes in time."""
        log, store = self.raft.log, self.database.store
        index = rules.forgets_up_to(store.applied_index, log.applied_index)
        if index > self.checkpoint_index and self.healing.damage is None:
            self._checkpointed(index)
        options, behind = self.options, log.applied_index - self.frozen_index
        if (
            behind >= options.checkpoint_entries
            or self.unfrozen_bytes >= options.checkpoint_bytes
        ):
            self.frozen_index, self.unfrozen_bytes = log.applied_index, 0
            if self.healing.damage is None:
                store.freeze()

    def _checkpointed(self, index: int) -> None:
        keep = self.options.log_keep_entries
        if self.raft.log.size_bytes > self.options.log_bytes_max:
            keep = 0
        else:
            needed = [each.keeps_from() for each in self.raft.progress.values()]
            keep = max([keep, *[index - n for n in needed if n is not None]])
        self.checkpoints += 1
        self.checkpoint_index = index
        self.raft.checkpointed(self.raft.mark(index), keep)

    def prepare_stop(self) -> int:
        """Refuse new requests; hand leadership on. The member it goes to, or 0."""
        self.stopping = True
        self.watching.stop()
        raft = self.raft
        if not raft.is_leader:
            return 0
        candidates = [
            (progress.match_index, member)
            for member, progress in raft.progress.items()
            if raft.configuration.is_voter(member) and progress.active
        ]
        if not candidates:
            return 0
        _, member = max(candidates)
        return 0 if raft.transfer_leadership(member) else member

    def end(self) -> tuple[list[Reply], list[ForwardReply]]:
        """The node ends now: every request that still waits gets its answer.

        The answers to peers must leave before a goodbye does: whoever hears that one
        sends again what was not answered (I-56).
        """
        self.stopping = True
        self.writes.refuse_waiting(ErrorCode.STOPPING, "this node is shutting down")
        self.writes.leadership_lost(0)
        for member in sorted({to for to, _ in self.writes.forwarded.values()}):
            self.writes.link_lost(member)
        self.reads.refuse_all(ErrorCode.STOPPING, "this node is shutting down")
        self.watching.stop()
        replies = self._take_replies() + self.watching.last_replies()
        answers, self.forward_replies = self.forward_replies, []
        return replies, answers

    # -- effects out -----------------------------------------------------------------

    def turn(self, can_persist: bool) -> Effects:
        """This turn's effects; see effects for the order to carry them out in."""
        writes = self.writes
        if writes.waiting or writes.queued:
            writes.send(self.now_ms, self.cluster_time_ms(), self.wall_ms)
        if writes.questions:
            self.lease_keeper.ask()
        if self.reads.waiting:
            self.reads.send(self.now_ms)
        self._follow_store()
        raft = self.raft
        log = raft.log
        may_apply = log.commit_index > log.applied_index and self._may_apply()
        ready = raft.ready(can_persist, may_apply)
        try:
            self._apply(ready)
        except CorruptionError as error:
            self.healing.found(error)
        if self.reads.damage is not None:
            error, self.reads.damage = self.reads.damage, None
            self.healing.found(error)
        if ready.events or raft.is_leader != self.leading:
            self._follow_leadership(ready)
        effects = Effects(events=ready.events, messages=[*ready.messages])
        if ready.persist is not None:
            effects.messages_after += ready.messages_after
            effects.batch = batch_of(raft, ready.persist)
            effects.ack = acknowledge(ready.persist)
        effects.replies = self._take_replies()
        if writes.forwards:
            effects.messages += writes.forwards
            writes.forwards = []
        if self.forward_replies:
            effects.messages += self.forward_replies
            self.forward_replies = []
        if self.messages:
            effects.messages += self.messages
            self.messages = []
        more = writes.has_room() or self.reads.left
        effects.again = more or (log.can_apply() and self._may_apply())
        if self.watching.open:
            self.watching.turn(effects)
        return effects

    def has_work(self, can_persist: bool) -> bool:
        """Could a turn now have any effect? A shell may leave out one that can't."""
        writes, reads, log = self.writes, self.reads, self.raft.log
        return bool(
            self.replies
            or writes.replies
            or reads.due()
            or self.forward_replies
            or (writes.waiting and self.raft.leader_id)
            or writes.has_room()
            or (reads.waiting and reads.can_send())
            or self.database.store.applied_index > self.checkpoint_index
            or self.messages
            or self.watching.due()
            or self.raft.has_work(
                can_persist, log.commit_index > log.applied_index and self._may_apply()
            )
        )

    def _may_apply(self) -> bool:
        """May what is committed be applied now?"""
        return self.healing.damage is None and not self._stalled()

    def _is_full(self) -> bool:
        """What can't be applied, or written, for now fills the memory."""
        log, most = self.raft.log, self.options.unstable_bytes_max
        full = log.size_bytes > most and log.unstable_bytes() > most
        if self.healing.damage is not None:
            full = full or log.size_bytes > self.options.log_bytes_max
        return full or self._stalled()

    def _stalled(self) -> bool:
        """Flushes have fallen so far behind that nothing more may be applied (I-78).

        Else memory and journal would grow for as long as the disk is slow.
        """
        store, options = self.database.store, self.options
        behind = self.raft.log.applied_index - store.applied_index
        return (
            behind >= options.stalled_times * options.checkpoint_entries
            or store.stalled
        )

    def _apply(self, ready: Ready) -> None:
        if ready.committed:
            most = self.options.step_read_bytes
            results = self.database.apply(ready.committed, most)
            done = ready.committed[: len(results)]
            self.raft.log.hand_back(len(ready.committed) - len(done))
            self.unfrozen_bytes += sum([len(e.data) for e in done])
            self.writes.applied(done, results)
            if self.database.checked:
                states, self.database.checked = self.database.checked, []
                self.comparing.applied(states)
        for read_id, index in ready.reads:
            self.reads.confirm(read_id, index)
        for read_id in ready.failed_reads:
            self.reads.fail(read_id)
        if self.reads.barred:
            self.healing.applied()
        if self.reads.confirmed or self.reads.behind or self.reads.begun:
            self.reads.applied(self.now_ms)

    def _follow_leadership(self, ready: Ready) -> None:
        raft = self.raft
        for event in ready.events:
            self.elections += event.role == "candidate"
        if raft.leader_id and raft.leader_id != self.seen_leader:
            self.seen_leader = raft.leader_id
            self.leader_changes += 1
            self.hints.led_by(raft.leader_id)
            self.writes.led_by(raft.leader_id, self.now_ms)
        if raft.is_leader and not self.leading:
            self.leader_since_ms = self.now_ms
            self.leader_time_base_ms = self.database.cluster_time_ms
            self.retention.forget()
            self.lease_keeper.leases.lead()
        elif self.leading and not raft.is_leader:
            self.writes.leadership_lost(raft.log.commit_index)
            self.lease_keeper.leases.resign()
            self.steward.waits_for = ""
        self.leading = raft.is_leader

    def cluster_time_ms(self) -> int:
        """Advanced by this leader's own clock since its election, never jumping."""
        if not self.leading:
            # Elected in this very turn: nothing of its own time has passed.
            return self.database.cluster_time_ms
        return rules.cluster_time_ms(
            self.leader_time_base_ms, self.now_ms - self.leader_since_ms, self.wall_ms
        )

    def _take_replies(self) -> list[Reply]:
        """All replies of this turn; those to peers become messages."""
        if not (self.replies or self.writes.replies or self.reads.due()):
            return []
        replies = self.replies + self.writes.replies + self.reads.take_replies()
        self.replies, self.writes.replies = [], []
        mine: list[Reply] = []
        for reply in replies:
            if isinstance(reply.sink, Forwarder):
                self.forward_replies.append(reply.sink.message(self.raft.id, reply))
            else:
                mine.append(reply)
        return mine
