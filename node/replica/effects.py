"""What one turn of a replica asks of its shell.

Law: values; the order in which they are carried out is raft/ready.py's:
`messages` at once; `batch` to the journal, synced; then `messages_after` and
`Replica.persisted(ack)`; replies whenever.
"""

from typing import Protocol

import msgspec

from ...raft import Persist, Persisted, Raft, RoleChanged
from ...storage.journal import Batch
from .messages import PeerMessage


class Sink(Protocol):
    """Who waits for replies (the same as the client port's)."""

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None: ...


class WatchSink(Sink, Protocol):
    """Who watches. `room` is how many bytes it takes now without keeping them long.

    `number` is another one for each sink of a process.
    """

    number: int

    def room(self) -> int: ...

    def push(self, request_id: int, kind: int, body: bytes) -> None: ...


class Reply(msgspec.Struct, frozen=True, gc=False):
    sink: Sink
    request_id: int
    kind: int
    status: int
    body: bytes


class Push(msgspec.Struct, frozen=True, gc=False):
    """One more answer to a watch; `last`: it ends with this, as other requests do."""

    sink: WatchSink
    request_id: int
    kind: int
    body: bytes
    status: int = 0
    last: bool = False


class Effects(msgspec.Struct):
    """`again`: more could be done at once, take another turn."""

    batch: Batch | None = None
    ack: Persisted | None = None
    messages: list[PeerMessage] = []
    messages_after: list[PeerMessage] = []
    replies: list[Reply] = []
    pushes: list[Push] = []
    events: list[RoleChanged] = []
    again: bool = False


def batch_of(raft: Raft, persist: Persist) -> Batch:
    """What the journal is to make durable of this turn."""
    log = raft.log
    return Batch(
        term=persist.hard_state.term,
        vote=persist.hard_state.vote,
        commit_index=persist.hard_state.commit_index,
        first_index=persist.first_index,
        entries=persist.entries,
        reset=persist.reset,
        base=(log.base_index, log.base_term),
        doubt=raft.doubt,
    )
