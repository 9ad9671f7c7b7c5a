"""Replicas in one thread: no disk, no delay, and nothing by chance.

Law: the test decides everything. What is sent is delivered before the tick is over,
unless it is lost, or its receiver is paused and gets it later. Nobody may have a
question about leases in its log: apply would stop there.
"""

from collections import deque
from collections.abc import Callable

from quorate.node.database import begin
from quorate.node.replica import (
    Effects,
    ForwardReply,
    ForwardRequest,
    PeerMessage,
    Replica,
    ReplicaOptions,
    Request,
)
from quorate.raft import (
    COMMAND,
    Configuration,
    HardState,
    InstallSnapshot,
    Options,
    Raft,
    SnapshotMark,
    encode_configuration,
)
from quorate.storage.engine import Engine
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import (
    DEFAULT_LIMITS,
    FORMAT_LIMITS,
    OK,
    EnvelopeKind,
    ErrorCode,
    Grant,
    LeaseAnswer,
    LeaseCommand,
    LeaseQuestion,
    RequestKind,
    decode_command,
    decode_envelope,
    decode_error,
    decode_lease_answer,
    encode_lease_command,
    encode_put,
)

TICK_MS = 10
TTL_MS = 2000
ELECTION_TICKS = 20
TICKS_MAX = 400
ROUNDS_MAX = 20
CLUSTER = 0xC1


class Caller:
    """Whoever asks: `replies` by the request's number, with the tick it came at."""

    def __init__(self, together: "Together") -> None:
        self.together = together
        self.replies: dict[int, tuple[int, int, bytes]] = {}

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        del kind
        assert request_id not in self.replies, "each request is answered once"
        self.replies[request_id] = (self.together.ticks, status, body)


def _replica(member: int, members: tuple[int, ...], options: ReplicaOptions) -> Replica:
    configuration = Configuration(members)

    def jitter(bound: int) -> int:
        return 5 * (member - 1) % bound

    raft = Raft(
        Options(
            id=member,
            jitter=jitter,
            election_timeout_ticks=ELECTION_TICKS,
            heartbeat_ticks=2,
        ),
        SnapshotMark(1, 1, configuration),
        HardState(1, 0, 1),
    )
    ids = iter(range(1, 10_000))
    engine = Engine(MemoryEnv(), "/engine", lambda: next(ids).to_bytes(16, "big"))
    database = begin(engine, CLUSTER, 1, 1, encode_configuration(configuration))
    return Replica(options, raft, database, lambda bound: 0)


class Together:
    """`loses` tells of a message whether it is lost; `paused` members do nothing."""

    def __init__(
        self,
        members: int = 3,
        requests_max: int = 16384,
        up_ticks: int = 0,
        step_read_bytes: int = 16 << 20,
    ) -> None:
        # Machines may have been up for long when it begins.
        self.ticks = up_ticks
        everybody = tuple(range(1, members + 1))
        chosen = ReplicaOptions(
            tick_ms=TICK_MS,
            requests_max=requests_max,
            queued_max=4 * requests_max,
            step_read_bytes=step_read_bytes,
        )
        self.options = chosen
        self.replicas = {m: _replica(m, everybody, chosen) for m in everybody}
        self.caller = Caller(self)
        self.request_id = 0
        self.paused: set[int] = set()
        self.cut: set[int] = set()
        self.held: list[PeerMessage] = []
        self.sent: deque[PeerMessage] = deque()
        self.loses: Callable[[PeerMessage], bool] = lambda message: False
        # Of some members: how far their wall clock is off.
        self.wall_ms: dict[int, int] = {}
        self.wait_for(lambda: bool(self.leaders()))
        self.run(2)

    # -- time --------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        return self.ticks * TICK_MS

    def tick(self) -> None:
        self.ticks += 1
        for member, replica in self.replicas.items():
            if member not in self.paused:
                self.advance(member)
                replica.tick()
        self.settle()

    def advance(self, member: int) -> None:
        wall_ms = 1_000_000 + self.now_ms + self.wall_ms.get(member, 0)
        self.replicas[member].advance(self.now_ms, wall_ms)

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tick()

    def run_ms(self, milliseconds: int) -> None:
        self.run(milliseconds // TICK_MS)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        for _ in range(TICKS_MAX):
            if condition():
                return
            self.tick()
        raise AssertionError("it does not come to that")

    def joins(self, member: int) -> None:
        """A new replica: of the same cluster, and not in its configuration."""
        first = self.replicas[1].raft.configurations[0][1].voters
        self.replicas[member] = _replica(member, first, self.options)

    # -- messages ----------------------------------------------------------------------

    def settle(self) -> None:
        """Turns and deliveries until nobody has anything to do, or it goes in circles.

        A read that fails is asked again at once: here that takes no time at all.
        """
        for _ in range(ROUNDS_MAX):
            busy = False
            for member, replica in self.replicas.items():
                if member not in self.paused and replica.has_work(True):
                    busy = True
                    self.carry_out(replica, replica.turn(True))
            while self.sent:
                busy = True
                self.deliver(self.sent.popleft())
            if not busy:
                owing = [
                    replica.raft
                    for member, replica in self.replicas.items()
                    if replica.raft.commit_owed and member not in self.paused
                ]
                if not owing:
                    break
                for raft in owing:
                    raft.tell_commits()
        self.look_at_logs()

    def carry_out(self, replica: Replica, effects: Effects) -> None:
        self.sent += effects.messages
        if effects.ack is not None:
            replica.persisted(effects.ack)
        self.sent += effects.messages_after
        for reply in effects.replies:
            reply.sink.reply(reply.request_id, reply.kind, reply.status, reply.body)

    def deliver(self, message: PeerMessage) -> None:
        assert not isinstance(message, InstallSnapshot), "nobody falls so far behind"
        if self.loses(message) or self.cut & {message.sender, message.to}:
            if isinstance(message, ForwardRequest | ForwardReply):
                # Their stream waits for as long as the link is cut.
                self.held.append(message)
        elif message.to in self.paused:
            self.held.append(message)
        elif message.to in self.replicas:
            self.replicas[message.to].step(message)

    def heal(self) -> None:
        """Nobody is paused or cut off any more; what was held arrives."""
        self.loses = lambda message: False
        self.paused.clear()
        self.cut.clear()
        self.sent += self.held
        self.held.clear()
        self.settle()

    def look_at_logs(self) -> None:
        for replica in self.replicas.values():
            for entry in replica.raft.log.entries:
                if entry.kind != COMMAND:
                    continue
                envelope = decode_envelope(entry.data)
                if envelope.kind == EnvelopeKind.CLIENT_COMMAND:
                    command = decode_command(envelope.payload, FORMAT_LIMITS)
                    assert not isinstance(command, LeaseQuestion), "never in a log"

    # -- who leads ---------------------------------------------------------------------

    def leaders(self) -> list[int]:
        """Those that lead, may be heard, and have applied that they do."""
        return [
            member
            for member, replica in self.replicas.items()
            if replica.leading and member not in self.paused | self.cut
        ]

    @property
    def leader(self) -> int:
        (leader,) = self.leaders()
        return leader

    @property
    def follower(self) -> int:
        """One that is not paused or cut off."""
        gone = self.paused | self.cut | {self.leader}
        return next(member for member in self.replicas if member not in gone)

    def other_leader(self, was: int) -> None:
        """Wait until somebody else leads."""
        self.wait_for(lambda: any(leader != was for leader in self.leaders()))
        self.run(2)

    # -- requests ----------------------------------------------------------------------

    def ask(
        self,
        command: LeaseCommand | bytes,
        at: int = 0,
        timeout_ms: int = 10_000,
        *,
        own: bool = True,
    ) -> int:
        """Ask the leader, or `at` a member; the request's number.

        In the member's own name, or as its client.
        """
        if not isinstance(command, bytes):
            command = encode_lease_command(command)
        self.request_id += 1
        replica = self.replicas[at or self.leader]
        deadline = self.now_ms + timeout_ms
        kind = RequestKind.WRITE
        number = self.request_id
        request = Request(self.caller, number, kind, command, deadline, own=own)
        if replica.raft.id not in self.paused:
            self.advance(replica.raft.id)
        replica.submit(request)
        self.settle()
        return self.request_id

    def answered(self, number: int) -> bool:
        return number in self.caller.replies

    def code(self, number: int) -> ErrorCode | None:
        """The error that a request ended with; None: it was done."""
        _, status, body = self.caller.replies[number]
        return None if status == OK else decode_error(body, DEFAULT_LIMITS).code

    def answer(self, number: int) -> LeaseAnswer:
        assert self.code(number) is None
        return decode_lease_answer(self.caller.replies[number][2])

    def done(self, command: LeaseCommand | bytes, at: int = 0) -> None:
        number = self.ask(command, at)
        assert self.code(number) is None

    def put(self, key: bytes, lease: int) -> None:
        self.done(encode_put(key, b"", None, lease))

    def has(self, lease: int) -> list[bool]:
        """Does each replica have it?"""
        return [lease in r.database.lease_table.leases for r in self.replicas.values()]

    def lives_until(self, lease: int) -> int:
        """Run until some replica has it no more; the milliseconds that it took."""
        began = self.now_ms
        self.wait_for(lambda: not all(self.has(lease)))
        return self.now_ms - began

    def nothing_is_left(self) -> None:
        """No request waits anywhere, and none is counted."""
        for replica in self.replicas.values():
            assert replica.writes.count() == replica.writes.bytes == 0
            assert not replica.writes.queued
            assert replica.reads.count() == 0
            assert not replica.writes.questions
        assert len(self.caller.replies) == self.request_id


def granted(requests_max: int = 16384) -> Together:
    """Three replicas, and lease 7 with a key."""
    together = Together(requests_max=requests_max)
    together.done(Grant(7, TTL_MS))
    together.put(b"a", 7)
    return together
