"""Replicas together whose states are damaged, compared and sent.

Law: as in `together`; a snapshot arrives whole and at once, or not at all.
"""

from collections.abc import Sequence

from quorate.node.database import Applied
from quorate.node.database.applied import LogEntry
from quorate.node.replica import PeerMessage, Replica, Request
from quorate.raft import Entry, InstallSnapshot
from quorate.wire import (
    DEFAULT_LIMITS,
    ErrorCode,
    GetRequest,
    Level,
    RequestKind,
    decode_error,
    decode_get_reply,
    encode_get,
    encode_put,
)

from .together import Together

KEY = b"key"


class Compared(Together):
    """Replicas together, whose snapshots arrive, or not."""

    def __init__(self, members: int = 3) -> None:
        self.transfers = True
        super().__init__(members)

    def deliver(self, message: PeerMessage) -> None:
        if not isinstance(message, InstallSnapshot):
            super().deliver(message)
            return
        sender, receiver = self.replicas[message.sender], self.replicas[message.to]
        if not self.transfers or message.to in self.cut:
            sender.snapshot_finished(message.to, False)
            return
        incoming = receiver.database.store.receive("a test")
        for piece in sender.database.store.pin().pieces():
            incoming.feed(piece)
        for _ in incoming.check():
            pass
        assert receiver.install(message, incoming)
        sender.snapshot_finished(message.to, True)

    def tick(self) -> None:
        super().tick()
        for replica in self.replicas.values():
            while replica.database.store.work(64 << 10):
                pass

    def write(self, value: bytes) -> None:
        self.done(encode_put(KEY, value))

    def flip_at(self, *members: int) -> None:
        """The last byte of the next entry is another one where these apply it."""
        for number, member in enumerate(members):
            flip(self.replicas[member], 1 << number)

    def damaged(self) -> list[int]:
        return [m for m, r in self.replicas.items() if r.healing.damage is not None]

    def values(self) -> set[bytes]:
        found = [r.database.get(KEY) for r in self.replicas.values()]
        return {record.value for record in found if record is not None}

    def read(self, member: int) -> bytes | ErrorCode:
        """What this member answers from its own state."""
        number = self.request_id = self.request_id + 1
        body = encode_get(GetRequest(Level.LOCAL, 0, 0, KEY))
        deadline = self.now_ms + 1000
        request = Request(self.caller, number, RequestKind.GET, body, deadline)
        self.replicas[member].submit(request)
        self.settle()
        _, status, reply = self.caller.replies[number]
        if status:
            return decode_error(reply, DEFAULT_LIMITS).code
        record = decode_get_reply(reply).record
        return b"" if record is None else record.value


def flip(replica: Replica, bit: int) -> None:
    """Once: what is applied next is not quite what the log says."""
    apply = replica.database.apply

    def flipped(entries: Sequence[LogEntry], most: int) -> list[Applied]:
        replica.database.apply = apply  # type: ignore[method-assign]
        first, *rest = entries
        data = first.data[:-1] + bytes([first.data[-1] ^ bit])
        return apply([Entry(first.index, first.term, first.kind, data), *rest], most)

    replica.database.apply = flipped  # type: ignore[method-assign]
