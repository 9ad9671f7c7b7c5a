"""The replica in real time: one turn of the event loop at a time.

Law: a shell, which adds nothing to what the replica decides. A turn: everything that
has arrived was stepped → effects → messages to peers, one batch to the journal thread,
in parallel → replies, one write per connection. A batch is whatever came while the last
sync ran: no timers, no artificial delay. Its twin is chaos/simulator/node.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from ..raft import InstallSnapshot, RoleChanged
from ..storage.engine import Incoming
from ..storage.errors import (
    CorruptionError,
    NoSpace,
    StorageError,
    WorkerFailed,
    is_no_space,
)
from ..storage.journal import Batch
from ..wire import OK
from .database import NotUnderstood
from .disk_room import DiskRoom
from .journal_writer import JournalWriter
from .replica import Effects, PeerMessage, Replica
from .stable import Stable
from .timings import Histogram, NodeTimings

TICK_S: Final = 0.01
TICKS_AT_ONCE_MAX: Final = 3
# So long followers wait for what the next append might have told them: a message for
# each commit would wake all of them twice for each write.
TELL_COMMIT_S: Final = 0.002
NO_SPACE_RETRY_S: Final = 0.2
LAG_WARNING_S: Final = 0.05
SPACE_CHECK_TICKS: Final = 50
# Of flushing and compacting in one tick; most of it is the worker process's.
WORK_BYTES: Final = 512 << 10
WORKER_RETRY_S: Final = 1.0
# Linux's monotonic clock stands still while the machine is suspended; one that slept
# must not take what it knew before for fresh (I-42's trap, for bounded reads).
CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

logger = logging.getLogger("quorate.replica")
T = TypeVar("T")


class ReplicaLoop:
    """Drives one replica; made and used inside a running event loop.

    `send` takes a turn's messages and returns the members that were not reached;
    `fail` is told the error that ends the node; `ticked` is called in each tick.
    """

    def __init__(
        self,
        replica: Replica,
        stable: Stable,
        send: Callable[[list[PeerMessage]], list[int]],
        fail: Callable[[BaseException], None],
        reserve_bytes: int,
        ticked: Callable[[], None],
    ) -> None:
        self.replica = replica
        self.stable = stable
        self.send = send
        self.fail = fail
        self.reserve_bytes = reserve_bytes
        self.ticked = ticked
        self.loop = asyncio.get_running_loop()
        self.journal = JournalWriter(stable, self.loop)
        self.planned = False
        self.telling = False
        self.persisting = False
        self.stopped = False
        self.full = False
        self.room = DiskRoom()
        # The engine's own lack of space, and when it tries again after a failure.
        self.work_full = False
        self.work_at_s = 0.0
        self.merge_waits = False
        self.damage: CorruptionError | None = None
        self.preparing = False
        self.ticked_s = 0.0
        self.ticker: asyncio.TimerHandle | None = None
        self.ticks = 0
        # By how much a harness says that the wall clock is wrong.
        self.wall_offset_ms = 0
        self.sync_seconds = 0.0
        self.sync_seconds_max = 0.0
        self.lag_seconds_max = 0.0
        self.timings = NodeTimings(Histogram(), Histogram())
        self.free_bytes = 0
        self.requests_failed = 0
        self.waiters: list[asyncio.Future[None]] = []
        self.idle = asyncio.Event()
        self.idle.set()

    # -- time ------------------------------------------------------------------------

    def start(self) -> None:
        self.ticked_s = self.loop.time()
        self._check_space()
        self.ticker = self.loop.call_later(TICK_S, self._tick)

    def advance(self) -> None:
        """Tell the replica the time; before anything is stepped."""
        elapsed_ms = time.clock_gettime_ns(CLOCK) // 1_000_000
        wall_ms = time.time_ns() // 1_000_000 + self.wall_offset_ms
        self.replica.advance(elapsed_ms, wall_ms)

    def _guarded(self, step: Callable[..., T], *arguments: object) -> T:
        """What nobody expected ends the node.

        The event loop alone would log it, and a replica go on that has lost its ticks,
        or has done half of something.
        """
        try:
            return step(*arguments)
        except Exception as error:
            self.fail(error)
            raise

    def _tick(self) -> None:
        if not self.stopped:
            self._guarded(self._make_up)
        if not self.stopped:
            delay = max(0.001, self.ticked_s + TICK_S - self.loop.time())
            self.ticker = self.loop.call_later(delay, self._tick)

    def _make_up(self) -> None:
        """Ticks that were missed are made up for, but a long pause is not.

        After a stall the peers' messages still wait in the sockets: ticking through
        the pause at once would call an election before they are read.
        """
        now = self.loop.time()
        late = now - self.ticked_s - TICK_S
        self.lag_seconds_max = max(self.lag_seconds_max, late)
        self.timings.loop_lag.observe(max(late, 0.0))
        if late > LAG_WARNING_S:
            logger.warning("the event loop was held for %.0f ms", late * 1000)
        count = min(int((now - self.ticked_s) / TICK_S), TICKS_AT_ONCE_MAX)
        self.ticked_s = (
            now if count == TICKS_AT_ONCE_MAX else (self.ticked_s + count * TICK_S)
        )
        self.advance()
        self.replica.steward.caretaker.late(max(0, int(late * 1000)))
        for _ in range(count):
            self.replica.tick()
            self.ticks += 1
            if (error := self.replica.healing.given_up) is not None:
                self.fail(error)
                return
            if self.ticks % SPACE_CHECK_TICKS == 0:
                self._check_space()
        self._turn_if_any()
        self._work()
        self.ticked()

    def step(self, message: PeerMessage) -> None:
        """A peer's message has come."""
        self.advance()
        self._guarded(self.replica.step, message)
        self.plan_turn()

    def install(self, message: InstallSnapshot, incoming: Incoming) -> bool:
        """A state has come, and takes the place of this one, or is not needed.

        What fails here ends the node at once: Raft has it already, and one more turn
        would write a log that begins behind a state which is not there.
        """
        self.advance()
        return self._guarded(self.replica.install, message, incoming)

    def _check_space(self) -> None:
        """Refuse writes while there is still room for what must go on (I-29)."""
        try:
            self.free_bytes = self.stable.env.free_bytes(self.stable.data_dir)
        except OSError as error:
            self.fail(error)
            return
        full = self.full or self.work_full
        self.replica.spent = full or self.free_bytes < self.reserve_bytes // 2
        self._set_no_space(full or self.free_bytes < self.reserve_bytes)
        journal = self.stable.journal
        if journal is None or self.preparing or not journal.wants_spare():
            return
        # A file that does not fit would be begun again and again, and take meanwhile
        # what is kept for those that must be written.
        if self.free_bytes >= self.reserve_bytes + journal.options.segment_bytes:
            self.preparing = True
            done = self.loop.run_in_executor(None, journal.prepare_spare)
            done.add_done_callback(self._prepared)

    def _prepared(self, done: "asyncio.Future[None]") -> None:
        self.preparing = False
        if not done.cancelled() and (error := done.exception()) is not None:
            self.fail(error)

    def _failed_for_space(self) -> None:
        self.replica.spent = True
        self._set_no_space(True)

    def _set_no_space(self, full: bool) -> None:
        full = self.room.look(full, self.loop.time())
        if full != self.replica.no_space:
            if full:
                logger.error(
                    "the disk is full: writes are refused until there is space at %s",
                    self.stable.data_dir,
                )
            else:
                logger.info("there is space again: writes are taken")
        self.replica.no_space = full

    # -- turns -----------------------------------------------------------------------

    def plan_turn(self) -> None:
        """Take a turn once everything that has arrived in this loop turn is stepped."""
        if not self.planned:
            self.planned = True
            self.loop.call_soon(self._planned_turn)

    def _planned_turn(self) -> None:
        self.planned = False
        self._guarded(self._turn_if_any)

    def _turn_if_any(self) -> None:
        """Most ticks, and every second answer of a follower, leave nothing to do."""
        if not self.stopped and self.replica.has_work(not self.persisting):
            self.turn()
        if self.waiters:
            self._wake()

    def turn(self) -> None:
        if self.stopped:
            return
        self.advance()
        try:
            effects = self.replica.turn(not self.persisting)
        except (StorageError, OSError, NotUnderstood) as error:
            # The engine's disk does not hold what was written, or nobody here knows
            # what to make of it: nothing is answered.
            self.fail(error)
            return
        for event in effects.events:
            self._log(event)
        self._log_damage()
        self._send(effects.messages)
        if effects.batch is not None:
            self.persisting = True
            self.idle.clear()
            self._persist(effects.batch, effects)
        for reply in effects.replies:
            self.requests_failed += reply.status != OK
            reply.sink.reply(reply.request_id, reply.kind, reply.status, reply.body)
        for push in effects.pushes:
            if push.last:
                self.requests_failed += push.status != OK
                sink = push.sink
                sink.reply(push.request_id, push.kind, push.status, push.body)
            else:
                push.sink.push(push.request_id, push.kind, push.body)
        if effects.again:
            self.plan_turn()
        if self.replica.raft.commit_owed and not self.telling:
            self.telling = True
            self.loop.call_later(TELL_COMMIT_S, self._tell_commits)

    def _tell_commits(self) -> None:
        self.telling = False
        if self.replica.raft.commit_owed:
            self.replica.raft.tell_commits()
            self._guarded(self._turn_if_any)

    def _wake(self) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            # Whoever waited may have given up.
            if not waiter.done():
                waiter.set_result(None)

    def _work(self) -> None:
        """A slice of what the engine owes: flushes and compactions."""
        store = self.replica.database.store
        if not store.owed:
            # What had no room is owed no more: a state has come in its place, or will.
            self.work_full = False
            return
        if self.stopped or self.loop.time() < self.work_at_s:
            return
        try:
            store.work(WORK_BYTES)
        except WorkerFailed as error:
            logger.warning("%s; another one does its work again", error)
            self.work_at_s = self.loop.time() + WORKER_RETRY_S
        except CorruptionError as error:
            self.rotten(error)
            self.work_at_s = self.loop.time() + WORKER_RETRY_S
        except (StorageError, OSError) as error:
            if not is_no_space(error):
                self.fail(error)
                return
            self.work_full = True
            self._failed_for_space()
            self.work_at_s = self.loop.time() + NO_SPACE_RETRY_S
        else:
            self.work_full = False
        self._log_room(store.awaited_bytes)
        self.plan_turn()

    def _log_room(self, awaited_bytes: int) -> None:
        """Once each time: reads become slower, and nothing else says why."""
        waits = awaited_bytes > 0
        if waits == self.merge_waits:
            return
        self.merge_waits = waits
        if waits:
            mebibytes = -(-awaited_bytes // (1 << 20))
            place = self.stable.data_dir
            logger.info("a merge waits until %d MiB are free at %s", mebibytes, place)
        else:
            logger.info("no merge waits for room on the disk any more")

    def rotten(self, damage: CorruptionError) -> None:
        """Nobody has asked for it: a node alone serves what is left, as it is."""
        if len(self.replica.raft.configuration.members()) == 1:
            logger.error("%s; there is no other copy", damage)
        else:
            self.found(damage)

    def found(self, damage: CorruptionError) -> None:
        """Damage was met beside a turn: the state is replaced, or the node ends."""
        try:
            self.replica.healing.found(damage)
        except (StorageError, OSError) as error:
            # Also when its mark can't be written, or its worker dies meanwhile.
            self.fail(error)

    def _log_damage(self) -> None:
        damage = self.replica.healing.damage
        if damage is not self.damage:
            self.damage = damage
            if damage is not None:
                logger.error("%s; another copy is fetched from the leader", damage)
            else:
                logger.warning("the damaged state was replaced by the leader's")

    async def turned(self) -> None:
        """Wait for the end of the next turn, or of a tick that needed none."""
        waiter = self.loop.create_future()
        self.waiters.append(waiter)
        await waiter

    def _send(self, messages: list[PeerMessage]) -> None:
        if messages:
            for member in self.send(messages):
                self.replica.raft.peer_unreachable(member)

    def _persist(self, batch: Batch, effects: Effects) -> None:
        def done(error: BaseException | None, seconds: float) -> None:
            self._guarded(self._persisted, batch, effects, error, seconds)

        self.journal.submit(batch, done)

    def _persisted(
        self,
        batch: Batch,
        effects: Effects,
        error: BaseException | None,
        seconds: float,
    ) -> None:
        if isinstance(error, NoSpace):
            # Nothing was written: the same batch is tried until there is room.
            self.full = True
            self._failed_for_space()
            self.loop.call_later(NO_SPACE_RETRY_S, self._retry, batch, effects)
            return
        if error is not None:
            # Whoever waits for this batch to end the node in good order goes on.
            self.idle.set()
            self.fail(error)
            return
        self.full = False
        self.sync_seconds += seconds
        self.sync_seconds_max = max(self.sync_seconds_max, seconds)
        self.timings.journal_sync.observe(seconds)
        self.persisting = False
        self.idle.set()
        if self.stopped:
            return
        assert effects.ack is not None
        self.advance()
        self.replica.persisted(effects.ack)
        self._send(effects.messages_after)
        self._turn_if_any()

    def _retry(self, batch: Batch, effects: Effects) -> None:
        if self.stopped:
            self.idle.set()
        else:
            self._persist(batch, effects)

    def _log(self, event: RoleChanged) -> None:
        leader = f"{event.leader_id:016x}" if event.leader_id else "nobody"
        logger.info(
            "%s in term %d, following %s: %s",
            event.role,
            event.term,
            leader,
            event.reason,
            extra={
                "event": {
                    "event": "role",
                    "role": event.role,
                    "term": event.term,
                    "leader": leader,
                    "reason": event.reason,
                }
            },
        )

    async def close(self) -> None:
        """End: the batch that is on its way is finished, nothing new begins."""
        self._stop()
        await self.idle.wait()
        await self.loop.run_in_executor(None, self.journal.close)

    async def give_up(self, patience_s: float) -> None:
        """End after a fatal error: a disk that hangs is not waited for longer."""
        self._stop()
        await self.loop.run_in_executor(None, self.journal.close, patience_s)

    def _stop(self) -> None:
        self.stopped = True
        if self.ticker is not None:
            self.ticker.cancel()
