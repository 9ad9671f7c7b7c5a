"""A node that does transactions, and tells those who watch what they have changed."""

from quorate.wire import (
    DEFAULT_LIMITS,
    Record,
    RequestFrame,
    Transaction,
    decode_command,
    encode_event,
    encode_events,
    encode_txn_reply,
)

from ..wire.transaction_model import Model, ModelRefused
from .fake_node import Session
from .watching_node import Watching, WatchingNode


class LockingNode(WatchingNode):
    """A whole store for one client or two. Nothing ends here but by `end`."""

    def __init__(self) -> None:
        super().__init__()
        # Each change: its revision, whether it was a put, and the record.
        self.changes: list[tuple[int, bool, Record]] = []

    def watched(self, session: Session, frame: RequestFrame) -> None:
        before = len(self.watches)
        super().watched(session, frame)
        for watching in self.watches[before:]:
            for change in self.changes:
                self.tell(watching, change)

    def write(self, session: Session, frame: RequestFrame) -> None:
        before = dict(self.keys)
        command = decode_command(frame.body, DEFAULT_LIMITS)
        if isinstance(command, Transaction):
            self.transact(session, frame, command)
        else:
            super().write(session, frame)
        self.compare(before)

    def transact(
        self, session: Session, frame: RequestFrame, command: Transaction
    ) -> None:
        model = Model(self.revision, self.keys, set(self.leases))
        try:
            done = model.do(command)
        except ModelRefused as refused:
            session.refuse(frame, refused.code)
            return
        self.revision = model.revision
        self.past[self.revision] = dict(self.keys)
        session.reply(
            frame, encode_txn_reply(done.succeeded, done.revision, done.results)
        )

    def end_lease(self, lease: int) -> None:
        """As if its time were over."""
        before = dict(self.keys)
        self.end(lease)
        self.compare(before)

    def compare(self, before: dict[bytes, Record]) -> None:
        """Tell what has changed."""
        new: list[tuple[int, bool, Record]] = [
            (self.revision, True, record)
            for key, record in self.keys.items()
            if before.get(key) != record
        ]
        new += [
            (self.revision, False, Record(key, b"", 0, self.revision, 0, 0))
            for key in before.keys() - self.keys.keys()
        ]
        self.changes += new
        for watching in self.watches:
            for change in new:
                self.tell(watching, change)

    def tell(self, watching: Watching, change: tuple[int, bool, Record]) -> None:
        revision, put, record = change
        wanted = watching.wanted
        if revision < wanted.revision or not watching.session.open:
            return
        inside = wanted.start <= record.key < wanted.end
        if inside and (wanted.puts if put else wanted.deletes):
            (body,) = encode_events(revision, [encode_event(put, record)])
            watching.send(body)
