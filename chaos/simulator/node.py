"""A node without an operating system: the cores in a shell of virtual time.

Law: it carries out effects in the order that raft/ready.py prescribes and adds nothing
of its own; what it decides by chance, the world decides. Its real twin is node/loop.
"""

import errno
from collections.abc import Callable
from functools import partial

from ...node.database import CheckpointReader
from ...node.database.checkpoint import header_of, write_checkpoint
from ...node.replica import (
    CheckpointJob,
    Effects,
    PeerMessage,
    Replica,
    ReplicaOptions,
    Reply,
    Request,
)
from ...node.stable import Stable
from ...raft import (
    Configuration,
    InstallSnapshot,
    Options,
    Persisted,
    Raft,
    encode_configuration,
)
from ...storage.errors import JournalFailed, NoSpace
from ...storage.journal import JournalOptions
from ...storage.memory_env import MemoryEnv
from .checkers import Checkers
from .network import Network
from .world import MILLISECOND, World

CLUSTER_ID = 0xC1
_TURN_US = 50
_RESERVE_BYTES = 512 << 10


class Shape:
    """What a seed chose for all nodes: options of every layer."""

    def __init__(self, world: World) -> None:
        dice = world.random
        self.raft = {
            "append_entries_max": dice.choice([1, 4, 64, 4096]),
            "inflight_messages_max": dice.choice([1, 2, 8]),
            "apply_entries_max": dice.choice([1, 7, 4096]),
        }
        self.replica = ReplicaOptions(
            checkpoint_entries=dice.choice([10, 40, 300, 65536]),
            log_keep_entries=dice.choice([0, 5, 50]),
        )
        self.journal = JournalOptions(segment_bytes=dice.choice([16, 64]) * 4096)
        self.sync_us = (200, dice.choice([1, 5, 20]) * MILLISECOND)


class Node:
    """One member: its disk, its clock, and, while it is up, its replica."""

    def __init__(
        self,
        world: World,
        member: int,
        bootstrap: Configuration,
        shape: Shape,
        network: Network,
        checkers: Checkers,
        link_event: Callable[["Node"], None],
    ) -> None:
        self.world = world
        self.member = member
        self.name = f"n{member}"
        self.bootstrap = bootstrap
        self.shape = shape
        self.network = network
        self.checkers = checkers
        self.link_event = link_event
        self.env = MemoryEnv()
        self.env.make_directory("/data")
        self.env.sync_directory("/")
        self.boots = 0
        self.epoch = 0
        self.replica: Replica | None = None
        self.stable: Stable | None = None
        self.paused = False
        self.held: list[Callable[[], None]] = []
        self.rate = 1.0
        self.slow = 1
        self.turn_planned = False
        self.persisting = False
        self.waiting: list[Request] = []

    @property
    def up(self) -> bool:
        return self.replica is not None

    # -- life ----------------------------------------------------------------------

    def start(self) -> None:
        """Boot from the disk, as a new process would."""
        if self.up:
            return
        world = self.world
        self.boots += 1
        self.epoch += 1
        self.persisting = self.turn_planned = self.paused = False
        self.held.clear()
        stable = Stable(self.env, "/data", CLUSTER_ID, self.shape.journal)
        salt = self.member << 32 | self.boots
        try:
            opened = stable.open(self.bootstrap, salt)
        except (NoSpace, JournalFailed, OSError) as error:
            world.trace(self.name, f"cannot start: {type(error).__name__}")
            self.env.kill()
            return
        options = Options(
            id=self.member,
            jitter=world.random.randrange,
            boot=self.boots,
            **self.shape.raft,
        )
        raft = Raft(
            options, opened.snapshot, opened.hard_state, opened.entries, opened.doubt
        )
        self.stable = stable
        self.replica = Replica(
            self.shape.replica, raft, opened.database, world.random.randrange
        )
        world.trace(
            self.name,
            f"start boot={self.boots} term={raft.term} last={raft.log.last_index}"
            f" commit={raft.log.commit_index} doubt={raft.doubt}",
        )
        self.checkers.started(self)
        self._later(world.random.randrange(10 * MILLISECOND), self._tick)

    def stop(self, how: str) -> None:
        """End the process: `kill` keeps the page cache, `power` does not."""
        if not self.up:
            return
        self.world.trace(self.name, f"down ({how})")
        self.epoch += 1
        self.replica = None
        self.stable = None
        if how == "power":
            self.env.crash(self.world.random)
        else:
            self.env.kill()
        self.link_event(self)

    def pause(self, paused: bool) -> None:
        """SIGSTOP and SIGCONT: time goes on, nothing is done; then all at once."""
        if paused == self.paused or not self.up:
            return
        self.paused = paused
        self.world.trace(self.name, "paused" if paused else "resumed")
        if not paused:
            held, self.held = self.held, []
            for action in held:
                self.world.at(0, action)

    def _later(self, delay_us: int, action: Callable[[], None]) -> None:
        """Run `action` then, in this boot only, and not while paused."""
        epoch = self.epoch

        def run() -> None:
            if self.epoch != epoch or not self.up:
                return
            if self.paused:
                self.held.append(run)
            else:
                action()

        self.world.at(delay_us, run)

    # -- events --------------------------------------------------------------------

    def _now_ms(self) -> int:
        return int(self.world.now_us * self.rate) // MILLISECOND

    def _tick(self) -> None:
        assert self.replica is not None
        self.replica.advance(self._now_ms(), self._now_ms())
        self.replica.no_space = self.env.free_bytes("/") < _RESERVE_BYTES
        self.replica.tick()
        self._turn()
        self._later(int(10 * MILLISECOND / self.rate), self._tick)

    def deliver(self, message: PeerMessage) -> None:
        if self.up:
            self._later(0, partial(self._deliver, message))

    def _deliver(self, message: PeerMessage) -> None:
        assert self.replica is not None
        self.replica.advance(self._now_ms(), self._now_ms())
        self.replica.step(message)
        self._plan_turn()

    def submit(self, request: Request) -> None:
        self._later(0, partial(self._submit, request))

    def _submit(self, request: Request) -> None:
        assert self.replica is not None
        self.replica.advance(self._now_ms(), self._now_ms())
        request.deadline_ms += self.replica.now_ms
        self.replica.submit(request)
        self._plan_turn()

    def peer_down(self, member: int) -> None:
        """The link to a process that ended broke, and nobody listens there."""
        self._later(0, partial(self._peer_down, member))

    def _peer_down(self, member: int) -> None:
        assert self.replica is not None
        self.replica.peer_lost(member)
        self.replica.forwarding_ended(member, polite=False)
        self.replica.peer_refused(member)
        self._plan_turn()

    def _plan_turn(self) -> None:
        if not self.turn_planned:
            self.turn_planned = True
            self._later(_TURN_US, self._turn)

    # -- effects -------------------------------------------------------------------

    def _turn(self) -> None:
        replica = self.replica
        assert replica is not None
        self.turn_planned = False
        replica.advance(self._now_ms(), self._now_ms())
        effects = replica.turn(not self.persisting)
        for event in effects.events:
            self.world.trace(
                self.name,
                f"{event.role} term={event.term} leader={event.leader_id}"
                f" ({event.reason})",
            )
        self.checkers.turned(self, effects)
        for reply in effects.replies:
            self._reply(reply)
        self._send(effects.messages)
        if effects.batch is not None:
            self._persist(effects)
        if effects.checkpoint is not None and self.up:
            self._checkpoint(effects.checkpoint)
        if effects.again and self.up:
            self._plan_turn()

    def _reply(self, reply: Reply) -> None:
        reply.sink.reply(reply.request_id, reply.kind, reply.status, reply.body)

    def _send(self, messages: list[PeerMessage]) -> None:
        for message in messages:
            if isinstance(message, InstallSnapshot):
                self._send_snapshot(message)
            else:
                self.network.send(message)

    def _persist(self, effects: Effects) -> None:
        assert self.stable is not None
        assert self.stable.journal is not None
        assert effects.batch is not None
        self.persisting = True
        try:
            self.stable.journal.append(effects.batch)
        except NoSpace:
            self._later(100 * MILLISECOND, partial(self._persist, effects))
            return
        except (JournalFailed, OSError) as error:
            self._die(error)
            return
        delay = self.world.random.randint(*self.shape.sync_us) * self.slow
        self._later(delay, partial(self._synced, effects))

    def _synced(self, effects: Effects) -> None:
        assert self.stable is not None
        assert self.stable.journal is not None
        assert self.replica is not None
        assert effects.ack is not None
        try:
            self.stable.journal.sync()
        except (JournalFailed, OSError) as error:
            self._die(error)
            return
        self.checkers.synced(self, effects)
        self.persisting = False
        self._acknowledge(effects.ack)
        self._send(effects.messages_after)
        self._plan_turn()

    def _acknowledge(self, ack: Persisted) -> None:
        assert self.replica is not None
        self.replica.advance(self._now_ms(), self._now_ms())
        self.replica.persisted(ack)

    def _die(self, error: Exception) -> None:
        """The first failed sync is final: the process ends by itself."""
        self.world.trace(self.name, f"ends by itself: {type(error).__name__}")
        self.stop("kill")

    def _disk_error(self, error: OSError) -> None:
        """No space is waited out; anything else is final."""
        if error.errno != errno.ENOSPC:
            self._die(error)

    # -- checkpoints ---------------------------------------------------------------

    def _checkpoint(self, job: CheckpointJob) -> None:
        header = header_of(
            CLUSTER_ID,
            encode_configuration(job.mark.configuration),
            job.meta,
            job.count,
        )
        pieces = b"".join(write_checkpoint(header, job.view))
        delay = self.world.random.randint(*self.shape.sync_us) * self.slow * 2
        self._later(delay, partial(self._write_checkpoint, job, pieces))

    def _write_checkpoint(self, job: CheckpointJob, pieces: bytes) -> None:
        assert self.stable is not None
        assert self.replica is not None
        try:
            file = self.stable.begin_checkpoint(job.mark.index, "write")
            try:
                file.write(pieces)
                file.commit()
            except OSError:
                file.abandon()
                raise
        except OSError as error:
            replica = self.replica
            self._disk_error(error)
            replica.checkpoint_failed()
            return
        self.replica.checkpointed(job.mark)
        self.stable.prune(self.replica.raft.snapshot.index)
        self.world.trace(self.name, f"checkpoint index={job.mark.index}")

    def _send_snapshot(self, message: InstallSnapshot) -> None:
        """Transfer the checkpoint; it takes a while and may break on the way."""
        assert self.stable is not None
        try:
            file = self.stable.open_checkpoint(message.index)
            data = file.read_at(0, file.size())
            file.close()
        except OSError as error:
            self._die(error)
            return
        delay = self.world.random.randint(1, 50) * MILLISECOND
        self._later(delay, partial(self._finish_snapshot, message, data))

    def _finish_snapshot(self, message: InstallSnapshot, data: bytes) -> None:
        assert self.replica is not None
        pair, back = (message.sender, message.to), (message.to, message.sender)
        cut = self.network.cut
        ok = pair not in cut and back not in cut and not self.world.chance(0.1)
        if ok:
            self.checkers.transfer(message, data)
        self.replica.snapshot_finished(message.to, ok)
        self._plan_turn()

    def receive_snapshot(self, message: InstallSnapshot, data: bytes) -> None:
        if self.up:
            self._later(0, partial(self._receive_snapshot, message, data))

    def _receive_snapshot(self, message: InstallSnapshot, data: bytes) -> None:
        assert self.stable is not None
        assert self.replica is not None
        reader = CheckpointReader(CLUSTER_ID)
        try:
            file = self.stable.begin_checkpoint(message.index, "received")
            for offset in range(0, len(data), 4096):
                file.write(data[offset : offset + 4096])
                reader.feed(data[offset : offset + 4096])
            database = reader.finish()
            file.commit()
        except OSError as error:
            self._disk_error(error)
            return
        installed = self.replica.install(message, database)
        self.stable.prune(self.replica.raft.snapshot.index)
        self.world.trace(
            self.name, f"snapshot index={message.index} installed={installed}"
        )
        self.checkers.installed(self, message, installed)
        self._plan_turn()
