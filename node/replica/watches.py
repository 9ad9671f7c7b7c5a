"""Watches: each change once, in order, to everybody who asked for its key.

Law: pure. A watch is live, and then it is told of what is applied as it is applied; or
it is behind, and then it is told from the log of changes, a slice a turn, until it has
caught up. It falls behind when whoever reads it has no room, or when all together were
told enough for one turn; then nothing is kept for it alone, and so a slow reader costs
nobody anything. When what it still needs has been compacted it ends, and is told so:
nothing is ever skipped (I-59). A revision is told whole, in several replies if it is
large. What a live watch was told once is not told again, also after another state was
installed (I-61).
"""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from ...storage.engine import View
from ...wire import (
    REFUSED,
    ErrorCode,
    Outcome,
    ProtocolError,
    RequestKind,
    decode_cancel,
    decode_watch,
    encode_created,
    encode_error,
    encode_progress,
    error_reply,
)
from ...wire.limits import Limits
from ..database import Database
from ..database.feed import Change
from . import rules
from .effects import Push, WatchSink
from .requests import Request
from .watch_index import Group, Name, Watch, WatchIndex
from .watch_pieces import Piece, Pieces, Place, Step, event_of, piece_of, steps_of

WATCHES_MAX: Final = 100_000
# What is read in one turn for those that are behind, all together. Each change costs a
# look at the tree: a turn of many would hold up heartbeats (I-62).
_SLICE_BYTES: Final = 256 << 10
_SLICE_CHANGES: Final = 32
# What everybody together is told in one turn, where each reply counts some bytes beside
# its own for the time that it takes; and how many that are behind are asked.
_TURN_BYTES: Final = 16 << 20
_REPLY_BYTES: Final = 2 << 10
_TURN_LOOKS: Final = 1000
_REVISION: Final = attrgetter("revision")


class Lagging:
    """The watches of one sink that are behind; none is told anything before `least`."""

    __slots__ = ("least", "sink", "watches")

    def __init__(self, sink: WatchSink, least: int) -> None:
        self.sink = sink
        self.watches: dict[Name, Watch] = {}
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
        self._watches: dict[Name, Watch] = {}
        # What each sink watches, by the numbers of its requests.
        self._sinks: dict[int, dict[int, None]] = {}
        self._index = WatchIndex()
        self._pieces = Pieces()
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
        self._round: list[Name] = []
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
        watch = Watch(sink, request.request_id, self._index.join(wanted), first)
        name = (sink.number, request.request_id)
        self._watches[name] = watch
        self._sinks.setdefault(sink.number, {})[request.request_id] = None
        database.watched = True
        self._push(watch, encode_created(now))
        if first <= now:
            self._falls_behind(name, watch, (first, 0))
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

    def _remove(self, name: Name) -> None:
        watch = self._watches.pop(name)
        self._is_no_more_behind(name)
        self._index.leave(name, watch)
        those = self._sinks[name[0]]
        del those[name[1]]
        if not those:
            del self._sinks[name[0]]
        if not self._watches:
            self.database.watched = False
            self.database.changes.clear()

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

    def _tell(self, revision: int, changed: list[Change]) -> None:
        told: dict[Group, list[bytes]] = {}
        for change in changed:
            plain = full = b""
            for group in self._index.wanting(change.key, change.after is not None):
                if group.previous:
                    full = full or event_of(change, previous=True)
                    told.setdefault(group, []).append(full)
                else:
                    plain = plain or event_of(change, previous=False)
                    told.setdefault(group, []).append(plain)
        for group, events in told.items():
            steps = list(steps_of(revision, events))
            for name, watch in list(group.live.items()):
                if not rules.has_begun(revision, watch.next):
                    continue
                left = self._deliver(watch, steps)
                if left:
                    place = (
                        (revision, 0) if left == len(steps) else steps[-left - 1].then
                    )
                    rest = Piece(steps[-left:], steps[-1].then)
                    self._pieces.keep(group, place, rest)
                    first = rules.goes_on_at(revision, self.database.revision)
                    self._falls_behind(name, watch, (first, place[1]))

    def _deliver(self, watch: Watch, steps: Sequence[Step]) -> int:
        """Tell a watch what there is room for; how many of the steps are left."""
        for number, step in enumerate(steps):
            has_room = rules.takes_more(self._room(watch.sink))
            if not has_room or self._told_bytes >= _TURN_BYTES:
                return len(steps) - number
            self._told_bytes += _REPLY_BYTES + len(step.body)
            self._push(watch, step.body)
        return 0

    def installed(self, before: int) -> None:
        """Another state took this one's place; `before` is the revision it had."""
        self.database.changes.clear()
        self._pieces.clear()
        # What was applied and not told yet is read from the state that came.
        for name, watch in list(self._watches.items()):
            if not self._is_behind(name):
                first = rules.told_from(watch.next, self.told)
                self._falls_behind(name, watch, (first, 0))
        self.told = self.database.revision if self.disowned else max(self.told, before)
        self.disowned = False

    def disown(self, reason: str) -> None:
        """What was told here may not be what happened: all watches end."""
        self.end_all(ErrorCode.DAMAGED, reason)
        self.disowned = True

    # -- behind ------------------------------------------------------------------------

    def _falls_behind(self, name: Name, watch: Watch, place: Place) -> None:
        self._index.is_not_live(name, watch)
        watch.next, watch.told = place
        lagging = self._behind.get(name[0])
        if lagging is None:
            lagging = self._behind[name[0]] = Lagging(watch.sink, watch.next)
        lagging.watches[name] = watch
        lagging.least = min(lagging.least, watch.next)

    def _is_behind(self, name: Name) -> bool:
        return name[0] in self._behind and name in self._behind[name[0]].watches

    def _is_no_more_behind(self, name: Name) -> None:
        if self._is_behind(name):
            lagging = self._behind[name[0]]
            del lagging.watches[name]
            if not lagging.watches:
                del self._behind[name[0]]

    def _goes_live(self, name: Name, watch: Watch) -> None:
        self._is_no_more_behind(name)
        self._index.is_live(name, watch)

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
        turn = _Turn(self.database, max(self.told, self.database.revision))
        for number, lagging in list(self._behind.items()):
            # Of what a state that heals does not have again yet.
            waits = self.database.revision < lagging.least <= turn.newest
            if waits or not rules.takes_more(self._room(lagging.sink)):
                continue
            if self._is_over(turn):
                break
            # Who comes last this time comes first the next.
            del self._behind[number]
            self._behind[number] = lagging
            for name, watch in list(lagging.watches.items()):
                if self._is_over(turn) or not rules.takes_more(self._room(watch.sink)):
                    break
                turn.looks_left -= 1
                if self._go_on(watch, turn):
                    del lagging.watches[name]
                    lagging.watches[name] = watch
                if watch.next > turn.newest:
                    self._goes_live(name, watch)
            if lagging.watches:
                lagging.look()
        if not self._behind:
            self._pieces.clear()
        return self._is_over(turn) or turn.bytes_left <= 0 or turn.changes_left <= 0

    def _is_over(self, turn: "_Turn") -> bool:
        return turn.looks_left <= 0 or self._told_bytes >= _TURN_BYTES

    def _go_on(self, watch: Watch, turn: "_Turn") -> bool:
        """Tell one watch what comes next, as far as it goes in this turn; anything?"""
        begun = watch.next, watch.told
        while watch.next <= self.database.revision:
            place = watch.next, watch.told
            piece = self._pieces.get(watch.group, place)
            if piece is None:
                if turn.bytes_left <= 0 or turn.changes_left <= 0:
                    break
                piece = turn.read(watch.group, place)
                if piece.damage is None:
                    self._pieces.keep(watch.group, place, piece)
            left = self._deliver(watch, piece.steps)
            if left:
                # The rest is read again when there is room, if nobody else wants it.
                if left < len(piece.steps):
                    watch.next, watch.told = piece.steps[-left - 1].then
                break
            watch.next, watch.told = piece.end
            if piece.damage is not None:
                raise piece.damage
        return (watch.next, watch.told) != begun

    def _end_compacted(self) -> None:
        """Those end that need what was compacted since the last time."""
        if self.database.compacted == self._compacted:
            return
        self._compacted = self.database.compacted
        # What was there before may not be told any more.
        self._pieces.clear()
        for lagging in list(self._behind.values()):
            for name, watch in list(lagging.watches.items()):
                if not rules.can_be_served(watch.next, self._compacted):
                    self._remove(name)
                    self._refuse_compacted(watch.sink, watch.request_id, watch.next)

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


class _Turn:
    """What one turn may still read, over one view of the state."""

    def __init__(self, database: Database, newest: int) -> None:
        self.newest = newest
        self.bytes_left = _SLICE_BYTES
        self.changes_left = _SLICE_CHANGES
        self.looks_left = _TURN_LOOKS
        self._database = database
        self._view: View | None = None

    def read(self, group: Group, place: Place) -> Piece:
        """What comes next there; raises `CorruptionError` when nothing does."""
        database = self._database
        self._view = view = self._view or database.store.view()
        newest, kept = database.revision, database.compacted
        left = self.bytes_left, self.changes_left
        piece = piece_of(view, kept, group, place, newest, *left)
        self.bytes_left -= piece.size_bytes()
        self.changes_left -= piece.read
        return piece
