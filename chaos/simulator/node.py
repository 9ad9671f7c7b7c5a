"""A node without an operating system: the cores in a shell of virtual time.

Law: it carries out effects in the order that raft/ready.py prescribes and adds nothing
of its own; what it decides by chance, the world decides. Its real twin is node/loop. A
turn that could have no effect is left out: that is where the speed comes from.
"""

import errno
from typing import TYPE_CHECKING

from ...node.replica import (
    Effects,
    ForwardRequest,
    PeerMessage,
    Replica,
    Request,
)
from ...node.replica.effects import WatchSink
from ...node.stable import Opened, Stable
from ...raft import (
    Configuration,
    InstallSnapshot,
    Options,
    Raft,
    RequestPreVote,
    RequestVote,
)
from ...storage.errors import CorruptionError, JournalFailed, NoSpace
from ...storage.memory_env import Crashed, MemoryEnv, Operation
from .clock import Clock
from .engine_work import EngineWork
from .failpoints import place_of
from .network import Network
from .roster import Roster
from .shape import CLUSTER_ID, RESERVE_BYTES, TICK_MS, Shape
from .snapshots import Snapshots
from .surroundings import Cluster
from .world import MILLISECOND, Action, World

if TYPE_CHECKING:
    from .checkers import Checkers

_TICK_US = TICK_MS * MILLISECOND
_RESTART_US = 300 * MILLISECOND
_RETRY_US = 100 * MILLISECOND
_TELL_US = 2 * MILLISECOND  # as in node/loop
_ASKS = (RequestPreVote, RequestVote)
# A peer that stops politely is given up after so many ticks.
_HAND_OVER_TICKS = 15


class Node:
    """One member: its disk, its clocks, and, while it is up, its replica."""

    def __init__(
        self,
        world: World,
        member: int,
        bootstrap: Configuration,
        shape: Shape,
        network: Network,
        checkers: "Checkers",
        cluster: Cluster,
    ) -> None:
        self.world = world
        self.member = member
        self.name = f"n{member}"
        self.bootstrap = bootstrap
        self.shape = shape
        self.network = network
        self.checkers = checkers
        self.cluster = cluster
        self.env = MemoryEnv()
        self.env.make_directory("/data")
        self.env.sync_directory("/")
        self.clock = Clock()
        self.boots = self.epoch = 0
        self.replica: Replica | None = None
        self.stable: Stable | None = None
        self.paused = False
        self.held: list[tuple[int, Action, tuple[object, ...]]] = []
        self.slow = 1
        self.turn_planned = self.telling = self.persisting = False
        # Held down by a fault: nobody starts it until the fault is over.
        self.wanted = True
        # Its disk was damaged on purpose; then, and only then, it may refuse to start.
        self.damaged = False
        self.broken: str | None = None
        self.failpoint: tuple[str, str] | None = None
        self.stopping_ticks = 0
        # Why nobody starts it: it was not let in, it was sent away, its disk is lost.
        self.kept_out = ""
        # In worlds where members come and go.
        self.roster: Roster | None = None
        self.snapshots = Snapshots(self)
        self.work = EngineWork(self)

    @property
    def up(self) -> bool:
        return self.replica is not None

    @property
    def raft(self) -> Raft:
        """The consensus core of a node that is up."""
        assert self.replica is not None
        return self.replica.raft

    # -- life ----------------------------------------------------------------------

    def start(self) -> None:
        """Boot from the disk, as a new process would."""
        if self.up or not self.wanted or self.broken is not None or self.kept_out:
            return
        self.cluster.starts(self)
        self.boots += 1
        self.epoch += 1
        self.persisting = self.turn_planned = self.telling = self.paused = False
        self.stopping_ticks = 0
        self.held.clear()
        self.snapshots.forget()
        self.work.forget()
        opened = self._open()
        if opened is None:
            return
        options = Options(
            id=self.member,
            jitter=self.world.below,
            boot=self.boots,
            **self.shape.raft,
        )
        raft = Raft(
            options, opened.snapshot, opened.hard_state, opened.entries, opened.doubt
        )
        try:
            self.replica = Replica(
                *(self.shape.replica, raft, opened.database, self.world.below),
                opened.damage,
            )
        except OSError:
            self._cannot_start("it is alone, and its disk does not read")
            return
        self.trace(
            "start",
            f"boot={self.boots} term={raft.term} last={raft.log.last_index}"
            f" commit={raft.log.commit_index} doubt={raft.doubt}",
        )
        self.checkers.started(self, opened)
        if self.roster is not None:
            self.roster.started()
        self.later(self.world.below(_TICK_US), self._tick)

    def _open(self) -> Opened | None:
        stable = Stable(self.env, "/data", CLUSTER_ID, self.shape.stable)
        salt, dice = self.member << 32 | self.boots, self.world.random
        try:
            opened = stable.open(self.bootstrap, salt, lambda: dice.randbytes(16))
        except CorruptionError as error:
            self.env.kill()
            self._refuse(error)
        except (NoSpace, JournalFailed, OSError) as error:
            self._cannot_start(type(error).__name__)
        except Crashed:
            assert self.failpoint is not None
            if self._reached() == "power":
                self._lose_power()
            self._cannot_start("died at a failpoint")
        else:
            self.stable = stable
            return opened
        return None

    def _refuse(self, error: CorruptionError) -> None:
        """Its disk does not hold what was written: it is no use starting it again."""
        self.broken = str(error)
        self.trace("refuses", self.broken)
        self.checkers.refused(self, error)

    def _cannot_start(self, reason: str) -> None:
        self.trace("cannot start", reason)
        self.env.kill()
        self.world.at(_RESTART_US, self.start)

    def stop(self, how: str) -> None:
        """End the process: `kill` keeps the page cache, `power` does not."""
        if self.up:
            self.trace("down", how)
            self._end(how, polite=False)
        elif how == "power":
            self._lose_power()

    def _end(self, how: str, polite: bool) -> None:
        self.epoch += 1
        self.replica = self.stable = None
        if how == "power":
            self._lose_power()
        else:
            self.env.kill()
        self.cluster.went_down(self, polite)

    def _lose_power(self) -> None:
        self.env.crash(self.world.random, tear=self.cluster.may_tear())

    def leave(self, reason: str) -> None:
        """It is no member any more: the process ends, and starts no more."""
        self.kept_out = reason
        self.trace("leaves", reason)
        self._end("kill", polite=False)

    def stop_politely(self) -> None:
        """SIGTERM: hand leadership over, answer who waits, say goodbye, end."""
        if self.up and not self.paused and not self.stopping_ticks:
            assert self.replica is not None
            self.trace("stopping", "asked to end")
            self.replica.prepare_stop()
            self.wanted = False
            self.stopping_ticks = _HAND_OVER_TICKS
            self.plan_turn()

    def _go_on_stopping(self) -> None:
        replica = self.replica
        assert replica is not None
        self.stopping_ticks -= 1
        waiting = replica.raft.is_leader or replica.writes.count() > 0
        if self.stopping_ticks and (waiting or self.persisting):
            return
        replies, answers = replica.end()
        self._send(list(answers))
        for reply in replies:
            reply.sink.reply(reply.request_id, reply.kind, reply.status, reply.body)
        self.trace("down", "stopped politely")
        self._end("kill", polite=True)
        # Where it was wanted again before it had ended.
        self.world.at(_RESTART_US, self.start)

    def pause(self, paused: bool) -> None:
        """SIGSTOP and SIGCONT: time goes on, nothing is done; then all at once."""
        if paused == self.paused or not self.up:
            return
        self.paused = paused
        self.trace("paused" if paused else "resumed", "")
        if not paused:
            held, self.held = self.held, []
            for epoch, action, arguments in held:
                self.world.at(0, self._run, epoch, action, arguments)

    def later(self, delay_us: int, action: Action, *arguments: object) -> None:
        """Run `action` then, in this boot only, and not while paused."""
        self.world.at(delay_us, self._run, self.epoch, action, arguments)

    def _run(self, epoch: int, action: Action, arguments: tuple[object, ...]) -> None:
        if epoch != self.epoch or self.replica is None:
            return
        if self.paused:
            self.held.append((epoch, action, arguments))
            return
        try:
            action(*arguments)
        except Crashed:
            self.stop(self._reached())
            self.world.at(_RESTART_US, self.start)
        except CorruptionError as error:
            self._refuse(error)
            self._end("kill", polite=False)
        except OSError as error:
            self.die(error)

    def trace(self, event: str, detail: str) -> None:
        self.world.trace(self.name, event, detail)

    # -- failpoints ------------------------------------------------------------------

    def arm(self, failpoint: str | None, how: str = "kill") -> None:
        """Let the process die when it next comes to `failpoint`; None: never mind."""
        self.failpoint = None if failpoint is None else (failpoint, how)
        self.env.on_operation = None if failpoint is None else self._before_operation

    def _before_operation(self, operation: Operation) -> None:
        if self.failpoint is not None and self.failpoint[0] == place_of(operation):
            raise Crashed

    def _reached(self) -> str:
        """The process dies at its failpoint; how."""
        assert self.failpoint is not None
        name, how = self.failpoint
        self.arm(None)
        self.trace("failpoint", name)
        self.checkers.reached(name)
        return how

    def point(self, name: str) -> None:
        if self.failpoint is not None and self.failpoint[0] == name:
            raise Crashed

    # -- events --------------------------------------------------------------------

    def _advance(self) -> None:
        assert self.replica is not None
        clock = self.clock
        now_ms = clock.monotonic_ms(self.world.now_us)
        self.replica.advance(now_ms, now_ms + clock.wall_offset_ms)

    def _tick(self) -> None:
        replica = self.replica
        assert replica is not None
        self._advance()
        endless, kept = self.env.capacity_bytes is None, RESERVE_BYTES
        free = kept if endless else self.env.free_bytes("/")
        replica.no_space, replica.spent = free < kept, free < kept // 2
        replica.tick()
        self.work.tick()
        self._turn_if_any()
        if self.stopping_ticks and self.up:
            self._go_on_stopping()
        if self.roster is not None and self.up:
            self.roster.tick()
        self.later(int(_TICK_US / self.clock.rate), self._tick)

    def deliver(self, message: PeerMessage) -> None:
        """A message has come over the network."""
        replica = self.replica
        if replica is None:
            return
        if self.paused:
            self.held.append((self.epoch, self._step, (message,)))
        else:
            self._step(message)

    def _step(self, message: PeerMessage) -> None:
        assert self.replica is not None
        if isinstance(message, ForwardRequest):
            self._advance()
        self.checkers.stepped(self, message)
        if isinstance(message, _ASKS):
            waiting = len(self.raft.outbox)
            self.replica.step(message)
            self.checkers.answered(self, message, waiting)
        else:
            self.replica.step(message)
        self.plan_turn()

    def submit(self, request: Request) -> None:
        """A client's request has come; its deadline is relative yet."""
        self.later(0, self._submit, request)

    def _submit(self, request: Request) -> None:
        assert self.replica is not None
        self._advance()
        request.deadline_ms += self.replica.now_ms
        self.replica.submit(request)
        self.plan_turn()

    def gone(self, sink: WatchSink) -> None:
        """A client's connection ended; nobody reads what is pushed to it."""
        if self.replica is not None:
            self.later(0, self.replica.watching.watches.gone, sink)

    def link_broke(self, member: int, polite: bool, refused: bool) -> None:
        """The connection to a peer ended; `refused`: nobody listens there any more."""
        self.later(0, self._link_broke, member, polite, refused)

    def _link_broke(self, member: int, polite: bool, refused: bool) -> None:
        assert self.replica is not None
        self._advance()
        self.snapshots.peer_gone(member)
        self.replica.peer_lost(member)
        self.replica.forwarding_ended(member, polite=polite)
        if refused and not polite:
            self.checkers.hinted(self, member)
            self.replica.hints.refused(member)
        self.plan_turn()

    def transfer_leadership(self, member: int) -> None:
        """An operator moves the leadership."""
        if self.up and not self.paused:
            self.raft.transfer_leadership(member)
            self.plan_turn()

    def plan_turn(self) -> None:
        replica = self.replica
        assert replica is not None
        if not self.turn_planned and replica.has_work(not self.persisting):
            self.turn_planned = True
            self.later(self.shape.turn_us, self._planned_turn)

    def _planned_turn(self) -> None:
        self.turn_planned = False
        self._advance()
        self._turn()

    # -- effects -------------------------------------------------------------------

    def _turn_if_any(self) -> None:
        # None: what was sent last was a state that could not be read.
        replica = self.replica
        if replica is not None and replica.has_work(not self.persisting):
            self._turn()

    def _turn(self) -> None:
        replica = self.replica
        assert replica is not None
        effects = replica.turn(not self.persisting)
        for event in effects.events:
            self.trace(
                event.role,
                f"term={event.term} leader={event.leader_id} ({event.reason})",
            )
        if replica.healing.damage is not self.work.damage:
            self.work.look_at_damage(replica.healing.damage)
        self.checkers.turned(self, effects)
        self.point("entries-applied")
        if effects.messages:
            self._send(effects.messages)
            self.point("messages-sent")
        if self.replica is not replica:
            return  # a state to be sent could not be read: that was its end
        if effects.batch is not None:
            self.persisting = True
            # Once: while a full disk is waited out, a snapshot may be installed.
            self.checkers.appending(self, effects.batch)
            self._persist(effects)
        for reply in effects.replies:
            reply.sink.reply(reply.request_id, reply.kind, reply.status, reply.body)
        for push in effects.pushes:
            sink = push.sink
            if push.last:
                sink.reply(push.request_id, push.kind, push.status, push.body)
            else:
                sink.push(push.request_id, push.kind, push.body)
        if self.up:
            if not self.work.planned and replica.database.store.owed:
                self.work.plan()
            if effects.again:
                self.plan_turn()
            if replica.raft.commit_owed and not self.telling:
                self.telling = True
                self.later(_TELL_US, self._tell_commits)

    def _tell_commits(self) -> None:
        self.telling = False
        self.raft.tell_commits()
        self._turn_if_any()

    def _send(self, messages: list[PeerMessage]) -> None:
        for message in messages:
            self.checkers.sending(self, message)
            if isinstance(message, InstallSnapshot):
                self.snapshots.send(message)
                if self.replica is None:
                    return  # its disk failed: the node has ended
            else:
                self.network.send(message)

    def _persist(self, effects: Effects) -> None:
        stable, batch = self.stable, effects.batch
        assert stable is not None
        assert stable.journal is not None
        assert batch is not None
        try:
            stable.journal.append(batch)
        except NoSpace:
            self.later(_RETRY_US, self._persist, effects)
            return
        except (JournalFailed, OSError) as error:
            self.die(error)
            return
        self.point("batch-appended")
        low, high = self.shape.sync_us
        delay = (low + self.world.below(high - low)) * self.slow
        self.later(delay, self._synced, effects)

    def _synced(self, effects: Effects) -> None:
        stable, replica = self.stable, self.replica
        assert stable is not None
        assert stable.journal is not None
        assert replica is not None
        assert effects.ack is not None
        try:
            stable.journal.sync()
        except (JournalFailed, OSError) as error:
            self.die(error)
            return
        self.point("batch-synced")
        self.checkers.synced(self, effects)
        self.persisting = False
        self._advance()
        replica.persisted(effects.ack)
        self.point("batch-acknowledged")
        self._send(effects.messages_after)
        self._turn_if_any()

    def die(self, error: Exception) -> None:
        """The first failed write or sync is final; a supervisor starts it again."""
        self.trace("ends", f"by itself: {type(error).__name__}")
        self.stop("kill")
        self.world.at(_RESTART_US, self.start)

    def disk_error(self, error: OSError) -> None:
        """No space is waited out; anything else is final."""
        if error.errno != errno.ENOSPC:
            self.die(error)
