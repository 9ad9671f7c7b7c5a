"""A node that takes watches and tells what a test wants told."""

from collections.abc import Iterable
from typing import NamedTuple

from quorate.wire import (
    DEFAULT_LIMITS,
    ErrorCode,
    Outcome,
    Record,
    RequestFrame,
    RequestKind,
    WatchRequest,
    decode_watch,
    encode_created,
    encode_event,
    encode_progress,
)

from ..wire.watch_replies import encode_events
from .fake_node import FakeNode, Session


class Watching(NamedTuple):
    """One watch that a node was asked for."""

    session: Session
    frame: RequestFrame

    @property
    def wanted(self) -> WatchRequest:
        return decode_watch(self.frame.body, DEFAULT_LIMITS)

    def send(self, body: bytes) -> None:
        self.session.reply(self.frame, body)

    def put(self, revision: int, *keys: bytes, value: bytes = b"v") -> None:
        """One revision in one reply."""
        for body in put_bodies(revision, keys or (b"k",), value):
            self.send(body)

    def delete(self, revision: int, key: bytes, before: bytes) -> None:
        record = Record(key, b"", 0, revision, 0, 0)
        old = Record(key, before, 1, 1, 1, 0)
        (body,) = encode_events(revision, [encode_event(False, record, old)])
        self.send(body)

    def progress(self, revision: int) -> None:
        self.send(encode_progress(revision))

    def end(self, code: ErrorCode, revision: int = 0) -> None:
        self.session.refuse(self.frame, code, Outcome.NONE, revision)

    def cut(self) -> None:
        """Break the connection."""
        self.session.transport.abort()


def put_bodies(revision: int, keys: Iterable[bytes], value: bytes) -> list[bytes]:
    records = [Record(key, value, revision, revision, 1, 0) for key in keys]
    return encode_events(revision, [encode_event(True, record) for record in records])


class WatchingNode(FakeNode):
    """Takes watches at `revision`, or refuses them with `refusal`."""

    def __init__(self) -> None:
        super().__init__()
        self.watches: list[Watching] = []
        self.pings = 0
        self.refusal: ErrorCode | None = None
        self.deaf = False
        self.answer = self.watched

    def watched(self, session: Session, frame: RequestFrame) -> None:
        if self.deaf:
            return
        self.pings += frame.kind == RequestKind.PING
        if frame.kind != RequestKind.WATCH:
            self.serve(session, frame)
            return
        watching = Watching(session, frame)
        self.watches.append(watching)
        if self.refusal is not None:
            watching.end(self.refusal)
        else:
            watching.send(encode_created(self.revision))

    async def watch(self, number: int = 0) -> Watching:
        """The watch with this number, once it was asked for."""
        await self.wait_for(lambda: len(self.watches) > number)
        return self.watches[number]


async def break_watch(node: WatchingNode, how: str) -> None:
    """The watch that is open comes to its end."""
    watching = await node.watch(len(node.watches) - 1 if node.watches else 0)
    if how == "compacted":
        watching.end(ErrorCode.COMPACTED, 9)
    else:
        count = len(node.watches)
        node.refusal = ErrorCode.NO_LEADER
        watching.cut()
        await node.watch(count)
