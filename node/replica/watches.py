"""Watches: each change once, in order, to everybody who asked for its key.

Law: pure. A watch is live, and then it is told of what is applied as it is applied; or
it is behind, and then it is told from the log of changes, a slice a turn, until it has
caught up. It falls behind when whoever reads it has no room; then nothing is kept for
it, and so a slow reader costs nobody anything. When what it still needs has been
compacted it ends, and is told so: nothing is ever skipped (I-59). A revision is told
whole. What a live watch was told once is not told again, also after another state was
installed (I-61).
"""

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Final

from ...storage.engine import View
from ...wire import (
    REFUSED,
    ErrorCode,
    Outcome,
    ProtocolError,
    Record,
    RequestKind,
    WatchRequest,
    decode_cancel,
    decode_watch,
    encode_created,
    encode_error,
    encode_event,
    encode_events,
    encode_progress,
    error_reply,
)
from ...wire.limits import Limits
from ..database import Database
from ..database.feed import Change, Slice, changes
from ..database.records import as_record
from . import rules
from .effects import Push, WatchSink
from .requests import Request

WATCHES_MAX: Final = 100_000
# What those that are behind are told in one turn, all together; and looked at. Each
# change costs a look at the tree: a turn of many would hold up heartbeats (I-62).
_SLICE_BYTES: Final = 256 << 10
_SLICE_CHANGES: Final = 32
# What all live ones are told in one turn; whoever comes after that falls behind.
_TURN_BYTES: Final = 64 << 20
_REVISION: Final = attrgetter("revision")


class Watch:
    """One watch; `next` is the first revision that it was not told of, while behind."""

    __slots__ = ("end", "next", "request", "request_id", "sink", "start")

    def __init__(
        self, sink: WatchSink, request_id: int, request: WatchRequest, next_: int
    ) -> None:
        self.sink = sink
        self.request_id = request_id
        self.request = request
        self.start = request.start
        self.end = request.end
        self.next = next_

    def wants(self, key: bytes, put: bool) -> bool:
        if not (self.request.puts if put else self.request.deletes):
            return False
        return self.start <= key and (not self.end or key < self.end)


class Lagging:
    """The watches of one sink that are behind; none is told anything before `least`."""

    __slots__ = ("least", "sink", "watches")

    def __init__(self, sink: WatchSink, least: int) -> None:
        self.sink = sink
        self.watches: dict[tuple[int, int], Watch] = {}
        self.least = least

    def look(self) -> None:
        self.least = min(watch.next for watch in self.watches.values())


class Watches:
    """All watches of one replica."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self.database = database
        self.limits = limits
        self.pushes: list[Push] = []
        # What live watches were told of; a healed state may tell it again.
        self.told = database.revision
        self._watches: dict[tuple[int, int], Watch] = {}
        # What each sink watches, by the numbers of its requests.
        self._sinks: dict[int, dict[int, None]] = {}
        # Live ones: by their one key, and the others.
        self._keys: dict[bytes, dict[tuple[int, int], Watch]] = {}
        self._ranges: dict[tuple[int, int], Watch] = {}
        # Those that are behind, by the number of their sink; which revisions were
        # compacted when all of them were looked at.
        self._behind: dict[int, Lagging] = {}
        self._compacted = 0
        # Nobody goes on from what was told here, until another state comes.
        self.disowned = False
        # Bytes for each sink in this turn, and for all of them.
        self._spent: dict[int, int] = {}
        self._told_bytes = 0
        # Who is still to be told how far he is, and how many of them at a time.
        self._round: list[tuple[int, int]] = []
        self._reminders = 0

    @property
    def open(self) -> int:
        """How many there are."""
        return len(self._watches)

    def take_pushes(self) -> list[Push]:
        pushes, self.pushes = self.pushes, []
        self._spent.clear()
        self._told_bytes = 0
        return pushes

    # -- begin and end -----------------------------------------------------------------

    def add(self, sink: WatchSink, request: Request) -> None:
        """Begin a watch, or say why not."""
        try:
            wanted = decode_watch(request.body, self.limits)
        except ProtocolError as error:
            self._refuse(sink, request.request_id, error.code, error.reason)
            return
        database = self.database
        if len(self._watches) >= WATCHES_MAX:
            reason = f"{WATCHES_MAX} watches are open on this node"
            self._refuse(sink, request.request_id, ErrorCode.TOO_BUSY, reason)
            return
        # A state that heals may be behind what was told of it (I-61).
        now = max(database.revision, self.told)
        first = wanted.revision or now + 1
        if not rules.can_be_served(first, database.compacted):
            self._refuse_compacted(sink, request.request_id, first)
            return
        watch = Watch(sink, request.request_id, wanted, first)
        name = (sink.number, request.request_id)
        self._watches[name] = watch
        self._sinks.setdefault(sink.number, {})[request.request_id] = None
        database.watched = True
        self._push(watch, encode_created(now))
        if first <= now:
            self._falls_behind(name, watch, first)
        else:
            self._goes_live(name, watch)

    def cancel(self, sink: WatchSink, request: Request) -> None:
        """End one watch of this sink, at its own wish; the wish is answered, too."""
        try:
            number = decode_cancel(request.body)
        except ProtocolError as error:
            self._refuse(
                sink,
                request.request_id,
                error.code,
                error.reason,
                kind=RequestKind.CANCEL,
            )
            return
        name = (sink.number, number)
        if name in self._watches:
            self._remove(name)
            self._end(sink, number, RequestKind.WATCH, 0, b"")
        self._end(sink, request.request_id, RequestKind.CANCEL, 0, b"")

    def gone(self, sink: WatchSink) -> None:
        """Nobody reads this sink any more."""
        for request_id in list(self._sinks.get(sink.number, ())):
            self._remove((sink.number, request_id))

    def end_all(self, code: ErrorCode, reason: str) -> None:
        for name, watch in list(self._watches.items()):
            self._remove(name)
            self._refuse(watch.sink, watch.request_id, code, reason)

    def _remove(self, name: tuple[int, int]) -> None:
        watch = self._watches.pop(name)
        self._is_no_more_behind(name)
        self._leave(name, watch)
        those = self._sinks[name[0]]
        del those[name[1]]
        if not those:
            del self._sinks[name[0]]
        if not self._watches:
            self.database.watched = False
            self.database.changes.clear()

    def _leave(self, name: tuple[int, int], watch: Watch) -> None:
        """Not live any more."""
        if self._ranges.pop(name, None) is None:
            those = self._keys.get(watch.start)
            if those is not None and those.pop(name, None) is not None and not those:
                del self._keys[watch.start]

    # -- live --------------------------------------------------------------------------

    def applied(self) -> None:
        """Tell the live ones of what was applied in this turn."""
        database = self.database
        if not database.changes:
            self.told = max(self.told, database.revision)
            return
        found, database.changes = database.changes, []
        for revision, group in groupby(found, _REVISION):
            if revision > self.told:
                self._tell(revision, list(group))
        self.told = max(self.told, database.revision)

    def _tell(self, revision: int, group: list[Change]) -> None:
        told: dict[tuple[int, int], list[bytes]] = {}
        for change in group:
            put = change.after is not None
            plain = full = b""
            for name, watch in self._watching(change.key):
                begun = rules.has_begun(revision, watch.next)
                if not (begun and watch.wants(change.key, put)):
                    continue
                if watch.request.previous:
                    full = full or event_of(change, previous=True)
                    told.setdefault(name, []).append(full)
                else:
                    plain = plain or event_of(change, previous=False)
                    told.setdefault(name, []).append(plain)
        # Many watch the same: that is encoded once.
        bodies: dict[tuple[int, ...], list[bytes]] = {}
        for name, events in told.items():
            watch = self._watches[name]
            has_room = rules.takes_more(self._room(watch.sink))
            if not has_room or self._told_bytes >= _TURN_BYTES:
                first = rules.goes_on_at(revision, self.database.revision)
                self._falls_behind(name, watch, first)
                continue
            same = tuple(map(id, events))
            if same not in bodies:
                bodies[same] = encode_events(revision, events)
            for body in bodies[same]:
                self._told_bytes += len(body)
                self._push(watch, body)

    def _watching(self, key: bytes) -> Iterable[tuple[tuple[int, int], Watch]]:
        those = self._keys.get(key)
        if those is None:
            return self._ranges.items()
        if not self._ranges:
            return those.items()
        return [*those.items(), *self._ranges.items()]

    def installed(self, before: int) -> None:
        """Another state took this one's place; `before` is the revision it had."""
        self.database.changes.clear()
        # What was applied and not told yet is read from the state that came.
        for name, watch in list(self._watches.items()):
            if not self._is_behind(name):
                first = rules.told_from(watch.next, self.told)
                self._falls_behind(name, watch, first)
        self.told = self.database.revision if self.disowned else max(self.told, before)
        self.disowned = False

    def disown(self, reason: str) -> None:
        """What was told here may not be what happened: all watches end."""
        self.end_all(ErrorCode.DAMAGED, reason)
        self.disowned = True

    # -- behind ------------------------------------------------------------------------

    def _falls_behind(self, name: tuple[int, int], watch: Watch, next_: int) -> None:
        self._leave(name, watch)
        watch.next = next_
        lagging = self._behind.get(name[0])
        if lagging is None:
            lagging = self._behind[name[0]] = Lagging(watch.sink, next_)
        lagging.watches[name] = watch
        lagging.least = min(lagging.least, next_)

    def _is_behind(self, name: tuple[int, int]) -> bool:
        return name[0] in self._behind and name in self._behind[name[0]].watches

    def _is_no_more_behind(self, name: tuple[int, int]) -> None:
        if self._is_behind(name):
            lagging = self._behind[name[0]]
            del lagging.watches[name]
            if not lagging.watches:
                del self._behind[name[0]]

    def _goes_live(self, name: tuple[int, int], watch: Watch) -> None:
        self._is_no_more_behind(name)
        if watch.end == watch.start + b"\0":
            self._keys.setdefault(watch.start, {})[name] = watch
        else:
            self._ranges[name] = watch

    def could_catch_up(self) -> bool:
        """Is there one that is behind, and could be told of something, or ended?"""
        if not self._behind:
            return False
        return self.database.compacted != self._compacted or any(
            map(self._could_tell, self._behind.values())
        )

    def _could_tell(self, lagging: Lagging) -> bool:
        # By sink: one that does not read may have thousands, and is asked every turn.
        return lagging.least <= self.database.revision and rules.takes_more(
            self._room(lagging.sink)
        )

    def catch_up(self) -> bool:
        """Tell those that are behind of a slice; could more be told at once?

        Raises `CorruptionError`.
        """
        self._end_compacted()
        bytes_left, changes_left = _SLICE_BYTES, _SLICE_CHANGES
        view: View | None = None
        newest = max(self.told, self.database.revision)
        for number, lagging in list(self._behind.items()):
            # Of what a state that heals does not have again yet.
            waits = self.database.revision < lagging.least <= newest
            if waits or not rules.takes_more(self._room(lagging.sink)):
                continue
            if bytes_left <= 0 or changes_left <= 0:
                return True
            view = view or self.database.store.view()
            # Who comes last this time comes first the next.
            del self._behind[number]
            self._behind[number] = lagging
            for name, watch in list(lagging.watches.items()):
                if bytes_left <= 0 or changes_left <= 0:
                    break
                if not rules.takes_more(self._room(watch.sink)):
                    break
                del lagging.watches[name]
                lagging.watches[name] = watch
                bytes_used, changes_used = self._read(
                    view, watch, bytes_left, changes_left
                )
                bytes_left -= bytes_used
                changes_left -= changes_used
                if watch.next > newest:
                    self._goes_live(name, watch)
            if lagging.watches:
                lagging.look()
        return bytes_left <= 0 or changes_left <= 0

    def _end_compacted(self) -> None:
        """Those end that need what was compacted since the last time."""
        if self.database.compacted == self._compacted:
            return
        self._compacted = self.database.compacted
        for lagging in list(self._behind.values()):
            for name, watch in list(lagging.watches.items()):
                if not rules.can_be_served(watch.next, self._compacted):
                    self._remove(name)
                    self._refuse_compacted(watch.sink, watch.request_id, watch.next)

    def _read(
        self, view: View, watch: Watch, bytes_max: int, changes_max: int
    ) -> tuple[int, int]:
        """Tell one watch of what comes next; the bytes told and the changes seen."""
        first, newest = watch.next, self.database.revision
        if first > newest:
            # Of the future, or of what a state that heals does not have again yet.
            return 0, 0
        found, last = changes(view, first, newest, changes_max)
        lookup, kept = Slice(view, first, last), self.database.compacted
        room = min(bytes_max, self._room(watch.sink))
        told = seen = 0
        for revision, group in groupby(found, itemgetter(0)):
            if told >= room:
                # The rest was read in vain, and is read again when there is room.
                watch.next = revision
                return told, seen
            events: list[bytes] = []
            previous = watch.request.previous and rules.tells_before(revision, kept)
            for _, put, key in group:
                seen += 1
                if watch.wants(key, bool(put)):
                    change = lookup.change(revision, put, key)
                    events.append(event_of(change, previous=previous))
            for body in encode_events(revision, events):
                told += len(body)
                self._push(watch, body)
            # At once: damage may be met before the next one, and this one was told.
            watch.next = revision + 1
        watch.next = last + 1
        return told, seen

    # -- out ---------------------------------------------------------------------------

    def progress(self, sink: WatchSink, request_id: int) -> bool:
        """Say how far a watch is, when it is live; False when it is not.

        Nothing is said of what was applied and not told yet, nor to a watch that waits
        for its first revision (I-60).
        """
        name = (sink.number, request_id)
        watch = self._watches.get(name)
        if watch is None:
            return False
        if not rules.may_bookmark(self._is_behind(name), watch.next, self.told):
            return False
        self._push(watch, encode_progress(self.told))
        return True

    def remind(self, share: int) -> None:
        """Say how far they are to a part of those who watch; to all in `share` calls.

        Else one whose keys are quiet would ask, after its connection broke, for what
        was compacted long ago.
        """
        if self._reminders % share == 0:
            self._round = list(self._watches)
        self._reminders += 1
        for _ in range(min(len(self._round), 1 + len(self._watches) // share)):
            name = self._round.pop()
            watch = self._watches.get(name)
            if watch is not None and rules.takes_more(self._room(watch.sink)):
                self.progress(watch.sink, watch.request_id)

    def _room(self, sink: WatchSink) -> int:
        return sink.room() - self._spent.get(sink.number, 0)

    def _push(self, watch: Watch, body: bytes) -> None:
        spent = self._spent
        sink = watch.sink
        spent[sink.number] = spent.get(sink.number, 0) + len(body)
        self.pushes.append(Push(sink, watch.request_id, RequestKind.WATCH, body))

    def _end(
        self, sink: WatchSink, request_id: int, kind: int, status: int, body: bytes
    ) -> None:
        self.pushes.append(Push(sink, request_id, kind, body, status, last=True))

    def _refuse(
        self,
        sink: WatchSink,
        request_id: int,
        code: ErrorCode,
        reason: str,
        at: int = 0,
        kind: int = RequestKind.WATCH,
    ) -> None:
        error = error_reply(code, Outcome.NONE, reason, at)
        body = encode_error(error, self.limits)
        self._end(sink, request_id, kind, REFUSED, body)

    def _refuse_compacted(self, sink: WatchSink, request_id: int, wanted: int) -> None:
        kept = self.database.compacted
        reason = f"revision {wanted} was compacted; {kept} is kept"
        self._refuse(sink, request_id, ErrorCode.COMPACTED, reason, kept)


def event_of(change: Change, *, previous: bool) -> bytes:
    """An event's bytes."""
    key, before = change.key, change.before
    if change.after is None:
        record = Record(key, b"", 0, change.revision, 0, 0)
    else:
        record = as_record(key, change.after)
    old = as_record(key, before) if previous and before is not None else None
    return encode_event(change.after is not None, record, old)
