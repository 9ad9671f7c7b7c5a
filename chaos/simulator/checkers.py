"""What must hold in a simulated cluster, looked at as it happens.

Law: one method an invariant, named by its number in docs/testing.md. Checkers look at
everything and change nothing. The model of the data is a few plain lines of its own and
shares no code with the database.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from ...node.replica import Effects
from ...raft import COMMAND, Entry, InstallSnapshot
from ...storage.journal_format import EntryLike
from ...wire import Put, decode_command, decode_envelope
from ...wire.limits import Limits
from .world import World

if TYPE_CHECKING:
    from .node import Node

_LIMITS = Limits()


class Change:
    """What one revision did: `value` None is a delete."""

    __slots__ = ("key", "revision", "value")

    def __init__(self, revision: int, key: bytes, value: bytes | None) -> None:
        self.revision = revision
        self.key = key
        self.value = value


class Model:
    """The key space as the agreed log makes it, revision by revision."""

    def __init__(self) -> None:
        self.revision = 1
        self.changes: list[Change] = []
        self.by_key: dict[bytes, list[Change]] = {}

    def apply(self, data: bytes) -> None:
        command = decode_command(decode_envelope(data).payload, _LIMITS)
        history = self.by_key.setdefault(command.key, [])
        newest = history[-1] if history else None
        exists = newest is not None and newest.value is not None
        if command.expected is not None:
            current = newest.revision if newest is not None and exists else 0
            if current != command.expected:
                return
        value = command.value if isinstance(command, Put) else None
        if value is None and not exists:
            return
        self.revision += 1
        change = Change(self.revision, command.key, value)
        self.changes.append(change)
        history.append(change)

    def at(self, key: bytes, revision: int) -> Change | None:
        """The change of `key` in force at `revision`; None: never put, or deleted."""
        found = None
        for change in self.by_key.get(key, ()):
            if change.revision > revision:
                break
            found = change
        return None if found is None or found.value is None else found


class Checkers:
    """All invariants over one world."""

    def __init__(self, world: World, voters: tuple[int, ...]) -> None:
        self.world = world
        self.voters = voters
        self.leaders: dict[int, int] = {}
        self.terms: dict[int, int] = {}
        self.agreed: list[tuple[int, bytes]] = []
        self.hashes: dict[int, str] = {}
        self.entries: dict[tuple[int, int], tuple[int, bytes]] = {}
        self.durable: dict[int, dict[int, int]] = {}
        self.applied: dict[int, int] = {}
        self.committed = 1
        self.model = Model()
        self.deliver_snapshot: Callable[[InstallSnapshot, bytes], None] | None = None
        self.snapshots = 0
        self.checkpoints = 0

    # -- hooks of the nodes ----------------------------------------------------------

    def started(self, node: "Node") -> None:
        assert node.replica is not None
        raft = node.replica.raft
        before = self.terms.get(node.member, 0)
        if raft.term < before:
            self.world.fail("I-1", f"{node.name} forgot term {before}: {raft.term}")
        self.applied[node.member] = raft.snapshot.index
        durable = {entry.index: entry.term for entry in raft.log.entries}
        durable[raft.log.base_index] = raft.log.base_term
        self.durable[node.member] = durable
        self._check_state(node)

    def turned(self, node: "Node", effects: Effects) -> None:
        replica = node.replica
        assert replica is not None
        raft = replica.raft
        for event in effects.events:
            if event.role == "leader":
                self._one_leader(node, event.term)
        if effects.batch is not None and effects.batch.entries:
            self._log_matching(node, effects.batch.first_index, effects.batch.entries)
        applied = self.applied[node.member]
        if raft.log.applied_index > applied:
            base = raft.log.base_index
            fresh = raft.log.entries[applied - base : raft.log.applied_index - base]
            for entry in fresh:
                self._agree(node, entry)
            self.applied[node.member] = raft.log.applied_index
            self._check_state(node)
        if raft.log.commit_index > self.committed:
            self._committed_is_durable(node, raft.log.commit_index)

    def synced(self, node: "Node", effects: Effects) -> None:
        """The node's journal has this batch for good: remember what a disk holds."""
        batch = effects.batch
        assert batch is not None
        self.terms[node.member] = max(self.terms.get(node.member, 0), batch.term)
        durable = self.durable[node.member]
        if batch.reset is not None:
            durable.clear()
            durable[batch.reset[0]] = batch.reset[1]
        if durable and max(durable) >= batch.first_index:
            for index in [i for i in durable if i >= batch.first_index]:
                del durable[index]
        for position, entry in enumerate(batch.entries):
            durable[batch.first_index + position] = entry.term

    def installed(
        self, node: "Node", message: InstallSnapshot, installed: bool
    ) -> None:
        if not installed:
            return
        self.snapshots += 1
        self.applied[node.member] = message.index
        durable = self.durable[node.member]
        durable.clear()
        durable[message.index] = message.snapshot_term
        self._check_state(node)

    def transfer(self, message: InstallSnapshot, data: bytes) -> None:
        assert self.deliver_snapshot is not None
        self.deliver_snapshot(message, data)

    # -- invariants ------------------------------------------------------------------

    def _one_leader(self, node: "Node", term: int) -> None:
        """I-1, and leader completeness (5.4.3): it has all that is committed."""
        assert node.replica is not None
        other = self.leaders.setdefault(term, node.member)
        if other != node.member:
            self.world.fail("I-1", f"n{other} and {node.name} both lead term {term}")
        log = node.replica.raft.log
        for index in range(len(self.agreed) + 1, max(log.base_index, 1), -1):
            if log.term(index) != self.agreed[index - 2][0]:
                self.world.fail(
                    "leader completeness",
                    f"{node.name} leads term {term} without committed index {index}",
                )

    def _log_matching(
        self, node: "Node", first: int, entries: Sequence[EntryLike]
    ) -> None:
        """I-6: the same index and term mean the same entry and the same before it."""
        assert node.replica is not None
        log = node.replica.raft.log
        previous = log.term(first - 1) or 0
        for position, entry in enumerate(entries):
            place = (first + position, entry.term)
            seen = (previous, entry.data)
            if self.entries.setdefault(place, seen) != seen:
                self.world.fail("I-6", f"{node.name} has another entry at {place}")
            previous = entry.term

    def _agree(self, node: "Node", entry: Entry) -> None:
        """Applied sequences are equal, and committed entries never change."""
        position = entry.index - 2
        seen = (entry.term, entry.data)
        if position < len(self.agreed):
            if self.agreed[position] != seen:
                self.world.fail(
                    "state machine safety",
                    f"{node.name} applied another entry at index {entry.index}",
                )
            return
        if position != len(self.agreed):
            self.world.fail("I-31", f"{node.name} skipped to index {entry.index}")
        self.agreed.append(seen)
        if entry.kind == COMMAND:
            self.model.apply(entry.data)

    def _check_state(self, node: "Node") -> None:
        """I-38: equal state at equal index; I-35: equal revisions."""
        assert node.replica is not None
        database = node.replica.database
        index, digest = database.applied_index, database.state_hash()
        if self.hashes.setdefault(index, digest) != digest:
            self.world.fail("I-38", f"{node.name} differs at index {index}")
        if index == len(self.agreed) + 1 and database.revision != self.model.revision:
            self.world.fail(
                "I-35", f"{node.name} is at revision {database.revision} at {index}"
            )

    def _committed_is_durable(self, node: "Node", index: int) -> None:
        """I-16: when anybody calls an index committed, a quorum's disks have it."""
        assert node.replica is not None
        term = node.replica.raft.log.term(index)
        holders = [
            member
            for member in self.voters
            if (durable := self.durable.get(member)) is not None
            and (durable.get(index) == term or min(durable, default=0) > index)
        ]
        if 2 * len(holders) <= len(self.voters):
            self.world.fail(
                "I-16",
                f"{node.name} committed index {index}; only {holders} have it on disk",
            )
        self.committed = index

    # -- at the end ------------------------------------------------------------------

    def digest(self) -> str:
        state = blake2b(digest_size=8)
        for term, data in self.agreed:
            state.update(term.to_bytes(8, "little"))
            state.update(data)
        return state.hexdigest()
