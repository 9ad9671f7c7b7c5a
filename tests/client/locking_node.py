"""A node that does transactions, and tells those who watch what they have changed."""

from quorate.wire import (
    DEFAULT_LIMITS,
    Record,
    RequestFrame,
    Transaction,
    decode_command,
    encode_event,
    encode_txn_reply,
)

from ..wire.transaction_model import Model, ModelRefused
from ..wire.watch_replies import encode_events
from .fake_node import Session
from .watching_node import Watching, WatchingNode


class LockingNode(WatchingNode):
    """A whole store for one client or two. Nothing ends here but by `end`."""

    def __init__(self) -> None:
        super().__init__()
        # What changed at each revision: whether it was a put, and the record.
        self.changes: dict[int, list[tuple[bool, Record]]] = {}

    def watched(self, session: Session, frame: RequestFrame) -> None:
        before = len(self.watches)
        super().watched(session, frame)
        for watching in self.watches[before:]:
            for revision in self.changes:
                self.tell(watching, revision)

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
        new = [
            (True, record)
            for key, record in self.keys.items()
            if before.get(key) != record
        ]
        new += [
            (False, Record(key, b"", 0, self.revision, 0, 0))
            for key in sorted(before.keys() - self.keys.keys())
        ]
        if not new:
            return
        self.changes[self.revision] = new
        for watching in self.watches:
            self.tell(watching, self.revision)

    def tell(self, watching: Watching, revision: int) -> None:
        """All of a revision that concerns a watch, at once."""
        wanted = watching.wanted
        if revision < wanted.revision or not watching.session.open:
            return
        told = [
            encode_event(put, record)
            for put, record in self.changes[revision]
            if wanted.start <= record.key < wanted.end
            and (wanted.puts if put else wanted.deletes)
        ]
        for body in encode_events(revision, told):
            watching.send(body)
