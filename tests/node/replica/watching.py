"""Watches over a database, and sinks that take as much as they are told to."""

from collections.abc import Sequence

from quorate.node.database import Database
from quorate.node.replica.effects import Push
from quorate.node.replica.requests import Request
from quorate.node.replica.watches import Watches
from quorate.wire import (
    DEFAULT_LIMITS,
    ErrorCode,
    RequestKind,
    WatchCreated,
    WatchEvents,
    WatchProgress,
    WatchReply,
    WatchRequest,
    decode_error,
    decode_watch_reply,
    encode_cancel,
    encode_watch,
)

PLENTY = 1 << 40
ALL = WatchRequest(b"", b"", 1)


class FakeSink:
    """Keeps what it is told, by request."""

    def __init__(self, number: int, room: int = PLENTY) -> None:
        self.number = number
        self.left = room
        self.told: dict[int, list[WatchReply]] = {}
        self.ended: dict[int, ErrorCode | None] = {}

    def room(self) -> int:
        return self.left

    def push(self, request_id: int, kind: int, body: bytes) -> None:
        assert kind == RequestKind.WATCH
        assert request_id not in self.ended, "nothing comes behind the end"
        self.told.setdefault(request_id, []).append(decode_watch_reply(body))

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        del kind
        assert request_id not in self.ended, "it ends once"
        code = decode_error(body, DEFAULT_LIMITS).code if status else None
        self.ended[request_id] = None if code is None else ErrorCode(code)

    def events(self, request_id: int = 1) -> list[tuple[int, bytes, bytes | None]]:
        """(revision, key, value or None) of all that it was told."""
        return [
            (told.revision, event.record.key, event.record.value if event.put else None)
            for told in self.told.get(request_id, [])
            if isinstance(told, WatchEvents)
            for event in told.events
        ]

    def created(self, request_id: int = 1) -> int:
        """The revision that it was told at first."""
        first = self.told[request_id][0]
        assert isinstance(first, WatchCreated)
        return first.revision

    def progress(self, request_id: int = 1) -> list[int]:
        return [
            told.revision
            for told in self.told.get(request_id, [])
            if isinstance(told, WatchProgress)
        ]


def watches_over(database: Database) -> Watches:
    return Watches(database, DEFAULT_LIMITS)


def begin(
    watches: Watches, sink: FakeSink, wanted: WatchRequest, request_id: int = 1
) -> None:
    body = encode_watch(wanted)
    watches.add(sink, Request(sink, request_id, RequestKind.WATCH, body, 0))


def cancel(
    watches: Watches, sink: FakeSink, request_id: int, of_request: int = 1
) -> None:
    body = encode_cancel(of_request)
    watches.cancel(sink, Request(sink, request_id, RequestKind.CANCEL, body, 0))


def deliver(pushes: Sequence[Push]) -> None:
    """As the shell does."""
    for push in pushes:
        if push.last:
            push.sink.reply(push.request_id, push.kind, push.status, push.body)
        else:
            push.sink.push(push.request_id, push.kind, push.body)


def turn(watches: Watches) -> list[Push]:
    """One turn; what was pushed in it."""
    watches.applied()
    watches.catch_up()
    pushes = watches.take_pushes()
    deliver(pushes)
    return pushes


def turns(watches: Watches) -> None:
    """As many as there is something to tell in."""
    watches.applied()
    while watches.catch_up():
        deliver(watches.take_pushes())
    deliver(watches.take_pushes())
