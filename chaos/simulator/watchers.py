"""Readers that watch through any node, and go on at another one when that breaks.

Law: a reader believes what it is told and nothing else: it counts by the revisions that
came whole, as client/watching does, and asks the next node from behind the last one. A
connection takes only what it has room for; some are read slowly. What all of them were
told is judged in chaos/histories, beside the agreed log.
"""

from collections.abc import Sequence
from typing import Final

from ...node.replica import Request
from ...wire import (
    DEFAULT_LIMITS,
    OK,
    ErrorCode,
    Record,
    RequestKind,
    WatchCreated,
    WatchEvents,
    WatchRequest,
    decode_error,
    decode_watch_reply,
    encode_cancel,
    encode_watch,
)
from ..histories import (
    Before,
    Created,
    Ended,
    Event,
    Events,
    Progress,
    Told,
    Watch,
)
from .checkers.model import LEASED, PAIR, Model
from .checkers.watches import is_not_ahead, takes_what_it_has_room_for
from .node import Node
from .shape import Shape
from .world import MILLISECOND, SECOND, World

_WATCH: Final = 1
_CANCEL: Final = 2
_PING: Final = 3
_AGAIN_US: Final = 300 * MILLISECOND
# So often the node is asked whether it is there, and so long it may think.
_PING_US: Final = 5 * SECOND
_PATIENCE_US: Final = 3 * SECOND
# Some leave by themselves after a while, others stay until something breaks.
_STAYS: Final = 0.4
_VISIT_US: Final = 5 * SECOND
# Who comes to another node may as well want something else.
_BEGINS_ANEW: Final = 0.2
# So many revisions before and behind the newest one that is known.
_BACK: Final = 40
_AHEAD: Final = 15
# How many bytes a connection takes unread, and how long a slow reader leaves it so.
_ROOMS: Final = (150, 600, 4096, 1 << 20)
_PLENTY: Final = 1 << 16
_SLOW_US: Final = (0, 0, 50 * MILLISECOND, 500 * MILLISECOND, 3 * SECOND)
_GO_ON: Final = frozenset({"no_leader", "stopping", "too_busy", "damaged"})


class Connection:
    """To one node; `unread` is what came over it and was not taken yet."""

    __slots__ = ("answered", "limit", "node", "number", "size", "unread", "watcher")

    def __init__(self, watcher: "Watcher", number: int, node: Node) -> None:
        self.watcher = watcher
        self.number = number
        self.node = node
        self.limit = watcher.limit
        self.unread: list[Told] = []
        self.size = 0
        # Did the node answer since it was asked whether it is there?
        self.answered = True

    def room(self) -> int:
        return self.limit - self.size

    def push(self, request_id: int, kind: int, body: bytes) -> None:
        assert (request_id, kind) == (_WATCH, RequestKind.WATCH)
        told = _decoded(body, self.watcher.model.compacted)
        self.watcher.looks_at(self, told)
        self._came(told, len(body))

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        del kind
        self.answered = True
        if status != OK:
            error = decode_error(body, DEFAULT_LIMITS)
            reason = ErrorCode(error.code).name.lower()
            self._came(Ended(reason, error.revision), len(body))
        elif request_id != _PING:
            # Of the watch, at its own wish, and of the wish itself.
            self._came(Ended("cancelled" if request_id == _WATCH else "gone"), 0)

    def _came(self, told: Told, size: int) -> None:
        if self.watcher.connection is self:
            self.unread.append(told)
            self.size += size
            self.watcher.came()


class Watcher:
    """One reader: one watch at a time, at some node, for the whole life of a world."""

    def __init__(
        self, world: World, number: int, nodes: list[Node], shape: Shape, model: Model
    ) -> None:
        self.world = world
        self.number = number
        self.name = f"w{number}"
        self.nodes = nodes
        self.keys = shape.keys
        self.model = model
        self.limit = world.random.choice(_ROOMS)
        self.slow_us = world.random.choice(_SLOW_US)
        # At the end all read as fast as they can, and stay where they are.
        self.steady = False
        self.connections = 0
        self.connection: Connection | None = None
        self.reading = False
        self.newest = 0
        self.watches: list[Watch] = []
        self.events = 0
        # What is wanted, and the first revision that was not told whole; 0: not known.
        self.wish = Watch(b"", b"")
        self.next = 0
        # How much of the log was looked through, and the newest change for this one.
        self.looked_at = 0
        self.wanted = 0

    def start(self) -> None:
        self._wish_anew()
        self._begin_later()

    # -- what it wants -----------------------------------------------------------------

    def _wish_anew(self) -> None:
        dice = self.world.random
        wish = self.wish = Watch(*self._bounds())
        wish.previous = dice.random() < 0.5
        wish.puts, wish.deletes = dice.choice(
            [(True, True)] * 6 + [(True, False), (False, True)]
        )
        self.next = self._first()
        self.looked_at = self.wanted = 0

    def _bounds(self) -> tuple[bytes, bytes]:
        key = b"k%d" % self.world.below(self.keys)
        match self.world.below(7):
            case 0:
                return key, key + b"\0"
            case 1:
                return key, b"l"
            case 2:
                return PAIR, PAIR + b"\xff"
            case 3:
                return LEASED, LEASED + b"\xff"
            case _:
                return b"", b""

    def _first(self) -> int:
        """An old revision, perhaps a compacted one, a later one, or 0: the next."""
        world, newest = self.world, self.newest
        match world.below(6):
            case 0:
                return max(1, newest - world.below(_BACK))
            case 1:
                return 1 + world.below(max(1, newest))
            case 2:
                return newest + 1 + world.below(_AHEAD)
            case _:
                return 0

    # -- connections -------------------------------------------------------------------

    def _begin_later(self) -> None:
        self.world.at(1 + self.world.below(_AGAIN_US), self._begin)

    def _begin(self) -> None:
        """Watch at some node that listens."""
        world = self.world
        up = [node for node in self.nodes if node.up]
        if not up:
            self._begin_later()
            return
        if not self.steady and world.chance(_BEGINS_ANEW):
            self._wish_anew()
        node = world.random.choice(up)
        self.connections += 1
        number = self.number << 32 | self.connections
        connection = self.connection = Connection(self, number, node)
        wish = self.wish
        watch = Watch(wish.start, wish.end, self.next, wish.previous)
        watch.puts, watch.deletes = wish.puts, wish.deletes
        self.watches.append(watch)
        world.trace(self.name, "watches", f"{node.name} from {self.next}")
        self._ask(connection, _WATCH, RequestKind.WATCH, encode_watch(_request(watch)))
        world.at(_PING_US, self._ping, connection)
        if not self.steady and not world.chance(_STAYS):
            world.at(1 + world.below(_VISIT_US), self._leave, connection)

    def _ask(
        self, connection: Connection, number: int, kind: RequestKind, body: bytes
    ) -> None:
        timeout_ms = _PATIENCE_US // MILLISECOND
        connection.node.submit(Request(connection, number, kind, body, timeout_ms))

    def _ping(self, connection: Connection) -> None:
        if connection is self.connection:
            connection.answered = False
            self._ask(connection, _PING, RequestKind.PING, b"")
            self.world.at(_PATIENCE_US, self._pinged, connection)

    def _pinged(self, connection: Connection) -> None:
        if connection is not self.connection:
            return
        if connection.answered:
            self.world.at(_PING_US, self._ping, connection)
        else:
            self._hang_up("no answer")

    def _leave(self, connection: Connection) -> None:
        """Its own wish: it says so, or is just gone."""
        if connection is not self.connection or self.steady:
            return
        if self.world.chance(0.5):
            self._ask(connection, _CANCEL, RequestKind.CANCEL, encode_cancel(_WATCH))
        else:
            self._hang_up("leaves")

    def leave(self) -> None:
        """It has heard that its node is no good."""
        if self.connection is not None:
            self._hang_up("is sent away")

    def went_down(self, node: Node) -> None:
        """The connection to the node broke; what came last may be lost with it."""
        connection = self.connection
        if connection is None or connection.node is not node:
            return
        if self.world.chance(0.5):
            self._read(connection)
        if self.connection is connection:
            self._hang_up("broken")

    def _hang_up(self, why: str) -> None:
        connection = self.connection
        assert connection is not None
        self.world.trace(self.name, why, f"told up to {self.next - 1}")
        self.connection = None
        connection.node.gone(connection)
        self._begin_later()

    def mend(self) -> None:
        """From now on it reads at once, and stays."""
        self.steady, self.slow_us, self.limit = True, 0, _PLENTY
        if self.connection is not None:
            self.connection.limit = _PLENTY
            self._read(self.connection)

    # -- what comes --------------------------------------------------------------------

    def looks_at(self, connection: Connection, told: Told) -> None:
        """Before it is taken: may it be told that now?"""
        takes_what_it_has_room_for(self.world, self.name, connection.room(), told)
        is_not_ahead(self.world, self.name, self.model.revision, told)

    def came(self) -> None:
        """Something is to be read, now or some time later."""
        connection = self.connection
        assert connection is not None
        if not self.slow_us:
            self._read(connection)
        elif not self.reading:
            self.reading = True
            self.world.at(self.world.below(self.slow_us), self._read_later, connection)

    def _read_later(self, connection: Connection) -> None:
        self.reading = False
        self._read(connection)
        current = self.connection
        if current is not None and current is not connection and current.unread:
            # It came while the one before was to be read.
            self.came()

    def _read(self, connection: Connection) -> None:
        unread, connection.unread = connection.unread, []
        connection.size = 0
        for told in unread:
            if self.connection is connection:
                self._take(told)

    def _take(self, told: Told) -> None:
        if told == Ended("gone"):
            self._hang_up("cancelled")
            return
        self.watches[-1].told.append(told)
        match told:
            case Created(revision):
                self.next = self.next or revision + 1
                self.newest = max(self.newest, revision)
            case Events(revision, events, more):
                self.events += len(events)
                self.next = self.next if more else revision + 1
                self.newest = max(self.newest, revision)
            case Progress(revision):
                self.next = max(self.next, revision + 1)
            case Ended(reason):
                self._ended(reason)

    def _ended(self, reason: str) -> None:
        if reason == "cancelled":
            return  # the answer to its wish comes next
        if reason == "compacted":
            self._wish_anew()
        elif reason not in _GO_ON:
            self.world.fail("I-59", f"{self.name} can't go on: {reason}")
        self._hang_up(reason)

    # -- at the end --------------------------------------------------------------------

    def settled(self) -> bool:
        """Is it being told, and was it told everything that there is for it?"""
        connection = self.connection
        if connection is None or not self.watches[-1].told:
            return False
        changes = self.model.every
        for change in changes[self.looked_at :]:
            if self.wish.wants(change.key, change.value):
                self.wanted = change.revision
        self.looked_at = len(changes)
        return self.wanted < self.next


def _request(watch: Watch) -> WatchRequest:
    return WatchRequest(
        *(watch.start, watch.end, watch.first),
        *(watch.previous, watch.puts, watch.deletes),
    )


def _decoded(body: bytes, compacted: int) -> Told:
    """What came, as chaos/histories has it; so much is compacted now."""
    told = decode_watch_reply(body)
    if isinstance(told, WatchEvents):
        events: list[Event] = []
        for event in told.events:
            assert event.record.mod_revision == told.revision, "of this revision"
            record, before = event.record, _before(event.previous)
            value = record.value if event.put else None
            created, version = record.create_revision, record.version
            events.append(Event(record.key, value, created, version, before))
        return Events(told.revision, tuple(events), told.more, compacted)
    if isinstance(told, WatchCreated):
        return Created(told.revision)
    return Progress(told.revision)


def _before(record: Record | None) -> Before | None:
    if record is None:
        return None
    return Before(
        *(record.value, record.create_revision, record.mod_revision, record.version)
    )


def all_settled(watchers: Sequence[Watcher]) -> bool:
    """Has everybody been told everything?"""
    return all(watcher.settled() for watcher in watchers)
