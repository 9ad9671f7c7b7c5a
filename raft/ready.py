"""What one turn of Raft asks of its shell, and in which order.

The order is a law (I-2, I-3, I-16 to I-18):

1. `snapshot`, when there is one, is made the state machine's durable state.
2. `messages` may leave at once, in parallel with the disk.
3. `persist` is appended to the journal and synced, as one batch.
4. `messages_after` leave only when that sync has returned (`Raft.persisted` is told).
5. `committed` entries are applied, in order; they are durable here and on a quorum.
   They may be applied while the persist is running.

The core never waits for a disk: the next turn may be taken meanwhile, but no second
persist is handed out before the first is acknowledged.
"""

import msgspec

from .configuration import Configuration
from .messages import Entry, Message


class HardState(msgspec.Struct, frozen=True, gc=False):
    """What must survive: term and vote. `commit_index` is a hint for restarts."""

    term: int
    vote: int
    commit_index: int


class SnapshotMark(msgspec.Struct, frozen=True):
    """A state machine's durable state: everything up to `index` is in it."""

    index: int
    term: int
    configuration: Configuration


class Persist(msgspec.Struct, frozen=True):
    """One journal batch: `entries` replace everything from `first_index` on.

    `reset` (index, term): the log starts anew after an installed snapshot.
    """

    sequence: int
    hard_state: HardState
    first_index: int
    entries: tuple[Entry, ...]
    reset: tuple[int, int] | None


class Persisted(msgspec.Struct, frozen=True, gc=False):
    """The storage's acknowledgement of a Persist, with what was written (I-10)."""

    sequence: int
    term: int
    last_index: int
    last_term: int


class RoleChanged(msgspec.Struct, frozen=True, gc=False):
    """An event for the node's log: who this replica is now, and whom it follows."""

    role: str
    term: int
    leader_id: int
    reason: str


class Ready(msgspec.Struct):
    """One turn's effects; see the module for their order."""

    snapshot: SnapshotMark | None = None
    persist: Persist | None = None
    messages: list[Message] = []
    messages_after: list[Message] = []
    committed: tuple[Entry, ...] = ()
    reads: list[tuple[int, int]] = []
    failed_reads: list[int] = []
    events: list[RoleChanged] = []


def acknowledge(persist: Persist) -> Persisted:
    """The acknowledgement that belongs to `persist`, once it is durable."""
    last = persist.entries[-1] if persist.entries else None
    return Persisted(
        sequence=persist.sequence,
        term=persist.hard_state.term,
        last_index=last.index if last else 0,
        last_term=last.term if last else 0,
    )
