"""A cluster of Rafts in one thread: queues, links, disks, and nothing by chance.

Law: the test decides everything. A message waits until it is delivered or dropped, a
held disk until it is released, time until it is ticked; election timeouts differ by a
fixed number for each node. The network keeps the witness: it stops at the first sign
of two leaders in a term, or of two replicas that applied different entries.
"""

from collections.abc import Callable, Iterable

import msgspec
from quorate.raft import (
    COMMAND,
    Configuration,
    Entry,
    HardState,
    InstallSnapshot,
    Message,
    Options,
    Persist,
    Raft,
    Ready,
    Refused,
    RoleChanged,
    SnapshotMark,
    acknowledge,
)

from .disk import Disk

ELECTION_TICKS = 10
HEARTBEAT_TICKS = 2
ROUNDS_MAX = 1000

SMALL = Options(
    id=1,
    jitter=lambda _: 0,
    election_timeout_ticks=ELECTION_TICKS,
    heartbeat_ticks=HEARTBEAT_TICKS,
)


def _late(member: int) -> Callable[[int], int]:
    """Not chance at all: a higher id waits longer."""

    def jitter(bound: int) -> int:
        return (member - 1) % bound

    return jitter


def _busy(ready: Ready) -> bool:
    """Did this turn change anything?"""
    return ready != Ready()


class Flight(msgspec.Struct):
    """A batch on its way to the disk, and the messages that wait for it."""

    persist: Persist
    doubt: tuple[int, int] | None
    messages_after: list[Message]


class Node:
    """One replica with its shell: disk, state machine (a list), answers to reads."""

    def __init__(self, options: Options, disk: Disk) -> None:
        self.options = options
        self.disk = disk
        self.alive = True
        self.flight: Flight | None = None
        self.applied: list[Entry] = []
        self.reads: dict[int, int] = {}
        self.failed_reads: list[int] = []
        self.events: list[RoleChanged] = []
        self.raft = self._boot()

    def _boot(self) -> Raft:
        found = self.disk.recover()
        return Raft(
            self.options,
            self.disk.snapshot,
            found.hard_state,
            found.entries,
            found.doubtful,
        )

    @property
    def commands(self) -> list[bytes]:
        """What clients would see applied here."""
        return [entry.data for entry in self.applied if entry.kind == COMMAND]

    def log(self) -> list[tuple[int, int]]:
        """The log in memory, as (index, term)."""
        return [(entry.index, entry.term) for entry in self.raft.log.entries]

    def crash(self) -> None:
        """Everything that was not synced is gone."""
        self.alive = False
        self.flight = None
        del self.applied[self.disk.snapshot.index :]
        self.reads.clear()
        self.failed_reads.clear()

    def restart(self) -> None:
        assert not self.alive
        boot = self.options.boot + 1
        self.options = msgspec.structs.replace(self.options, boot=boot)
        self.alive = True
        self.raft = self._boot()


class Network:
    """`sent` is every message that waits, in the order in which it was sent."""

    def __init__(
        self,
        voters: Iterable[int] = (1, 2, 3),
        learners: Iterable[int] = (),
        spares: Iterable[int] = (),
        options: Options = SMALL,
    ) -> None:
        configuration = Configuration(tuple(voters), (), tuple(learners))
        self.options = options
        self.nodes: dict[int, Node] = {}
        self.sent: list[Message] = []
        self.cut_links: set[tuple[int, int]] = set()
        self.leaders: dict[int, int] = {}
        self.history: list[Entry] = []
        self.loses: Callable[[Message], bool] = lambda message: False
        self.on_message: Callable[[str, Message], None] = lambda what, message: None
        self.on_turn: Callable[[int, Ready], None] = lambda member, ready: None
        for member in (*configuration.members(), *spares):
            self.add(member, SnapshotMark(0, 0, configuration), HardState(0, 0, 0))

    def add(
        self,
        member: int,
        snapshot: SnapshotMark,
        hard_state: HardState,
        entries: tuple[Entry, ...] = (),
    ) -> Node:
        """A node whose disk holds this."""
        disk = Disk(snapshot, hard_state)
        disk.entries = entries
        options = msgspec.structs.replace(self.options, id=member, jitter=_late(member))
        self.nodes[member] = Node(options, disk)
        return self.nodes[member]

    def raft(self, member: int) -> Raft:
        return self.nodes[member].raft

    # -- one node's turn ---------------------------------------------------------

    def turn(self, member: int) -> Ready:
        """Take one Ready and carry it out in the order that it asks for."""
        node = self.nodes[member]
        ready = node.raft.ready(can_persist=node.flight is None)
        if ready.snapshot is not None:
            self._install(node, ready.snapshot)
        self._send(ready.messages)
        if ready.persist is not None:
            doubt = node.raft.doubt
            node.flight = Flight(ready.persist, doubt, ready.messages_after)
        else:
            assert not ready.messages_after, "nothing to wait for"
        self._apply(node, ready.committed)
        node.reads.update(ready.reads)
        node.failed_reads.extend(ready.failed_reads)
        node.events.extend(ready.events)
        if node.raft.is_leader:
            known = self.leaders.setdefault(node.raft.term, member)
            assert known == member, f"two leaders in term {node.raft.term} (I-1)"
        self.on_turn(member, ready)
        if node.flight is not None and not node.disk.held:
            self.release(member)
        return ready

    def release(self, member: int) -> None:
        """The disk finishes the batch in flight; its node hears of it."""
        node = self.nodes[member]
        flight = node.flight
        assert flight is not None, "no batch is in flight"
        node.disk.write(flight.persist, flight.doubt)
        node.flight = None
        self._send(flight.messages_after)
        node.raft.persisted(acknowledge(flight.persist))

    def hold_disk(self, member: int) -> None:
        self.nodes[member].disk.held = True

    def free_disk(self, member: int) -> None:
        """The disk works again, and has done what waited."""
        node = self.nodes[member]
        node.disk.held = False
        if node.flight is not None:
            self.release(member)

    def _install(self, node: Node, mark: SnapshotMark) -> None:
        assert self.history[mark.index - 1].term == mark.term, "a snapshot of nothing"
        node.disk.snapshot = mark
        node.applied = self.history[: mark.index]

    def _apply(self, node: Node, entries: tuple[Entry, ...]) -> None:
        """Apply in order; every replica must apply the same (I-6, state machine)."""
        for entry in entries:
            assert entry.index == len(node.applied) + 1, "applied out of order"
            if entry.index > len(self.history):
                self.history.append(entry)
            known = self.history[entry.index - 1]
            assert known == entry, f"applied {entry} where another applied {known}"
            node.applied.append(entry)

    def _send(self, messages: list[Message]) -> None:
        for message in messages:
            self.on_message("send", message)
            self.sent.append(message)

    # -- messages ----------------------------------------------------------------

    def cut(self, one: int, *others: int) -> None:
        """Cut the links between `one` and `others`, in both directions."""
        for other in others:
            self.cut_links |= {(one, other), (other, one)}

    def cut_one_way(self, sender: int, to: int) -> None:
        self.cut_links.add((sender, to))

    def isolate(self, member: int) -> None:
        self.cut(member, *(other for other in self.nodes if other != member))

    def heal(self) -> None:
        """All links work again, and no message is lost for what it says."""
        self.cut_links.clear()
        self.loses = lambda message: False

    def waiting(self, sender: int, to: int) -> list[Message]:
        return [m for m in self.sent if (m.sender, m.to) == (sender, to)]

    def take(self, kind: type[Message], to: int | None = None) -> Message:
        """Take the oldest waiting message of a kind out of the network."""
        for message in self.sent:
            if isinstance(message, kind) and to in (None, message.to):
                self.sent.remove(message)
                return message
        raise AssertionError(f"no {kind.__name__} waits")

    def drop_all(self) -> None:
        """Everything on its way is lost."""
        lost, self.sent = self.sent, []
        for message in lost:
            self._lose(message)

    def deliver(self, message: Message) -> None:
        """Hand over one message, which the caller took from `sent` or kept."""
        receiver = self.nodes.get(message.to)
        link = (message.sender, message.to)
        cut = link in self.cut_links or self.loses(message)
        if cut or receiver is None or not receiver.alive:
            self._lose(message)
            return
        self.on_message("deliver", message)
        receiver.raft.step(message)
        if isinstance(message, InstallSnapshot):
            self._end_transfer(message, ok=True)

    def _lose(self, message: Message) -> None:
        self.on_message("lose", message)
        if isinstance(message, InstallSnapshot):
            self._end_transfer(message, ok=False)

    def _end_transfer(self, message: InstallSnapshot, ok: bool) -> None:
        sender = self.nodes[message.sender]
        if sender.alive:
            sender.raft.snapshot_finished(message.to, ok)

    def settle(self) -> None:
        """Turns and deliveries until nothing moves without time or a held disk."""
        for _ in range(ROUNDS_MAX):
            turns = [self.turn(member) for member in self.living()]
            if not self.sent and not any(map(_busy, turns)):
                owing = [m for m in self.living() if self.raft(m).commit_owed]
                if not owing:
                    return
                for member in owing:
                    self.raft(member).tell_commits()
                continue
            sent, self.sent = self.sent, []
            for message in sent:
                self.deliver(message)
        raise AssertionError("the network does not come to rest")

    def living(self) -> list[int]:
        return [member for member, node in self.nodes.items() if node.alive]

    # -- time, crashes, and short words --------------------------------------------

    def tick(self, times: int = 1, only: Iterable[int] | None = None) -> None:
        """Time passes, for all or some; the network settles after each tick."""
        for _ in range(times):
            for member in self.living() if only is None else only:
                self.raft(member).tick()
            self.settle()

    def crash(self, member: int, damaged: bool = False) -> None:
        """Power loss of one node; `damaged`: its last batch can't be read again."""
        node = self.nodes[member]
        if damaged:
            node.disk.damage_last_batch()
        node.crash()

    def restart(self, member: int) -> Raft:
        self.nodes[member].restart()
        return self.raft(member)

    def elect(self, member: int) -> Raft:
        """Make `member` the leader; its first campaign may only teach it the term."""
        for _ in range(2):
            for other in self.living():
                self.raft(other).leader_unreachable(self.raft(other).leader_id)
            self.raft(member).campaign()
            self.settle()
            if self.raft(member).is_leader:
                return self.raft(member)
        raise AssertionError(f"{member} is not elected")

    def leader(self) -> int:
        """The one that leads in the highest term, 0 when nobody does."""
        leading = [m for m in self.living() if self.raft(m).is_leader]
        return max(leading, key=lambda m: self.raft(m).term, default=0)

    def propose(self, member: int, *commands: bytes) -> int:
        """Propose without settling; the index of the last command."""
        answer = self.raft(member).propose(commands)
        assert not isinstance(answer, Refused), answer
        return answer[0] + len(commands) - 1

    def write(self, member: int, *commands: bytes) -> int:
        """Propose and settle."""
        index = self.propose(member, *commands)
        self.settle()
        return index

    def checkpoint(self, member: int, keep_entries: int = 0) -> SnapshotMark:
        """The state machine of `member` becomes durable as far as it has applied."""
        node = self.nodes[member]
        mark = node.raft.mark(node.raft.log.applied_index)
        node.disk.snapshot = mark
        node.raft.checkpointed(mark, keep_entries)
        return mark
