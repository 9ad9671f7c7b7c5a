"""Watches under everything at once: I-58 to I-61.

A follower applies what a leader wrote, a few entries at a time, and sometimes gets a
state that is newer or older than its own; whoever watches it is told each change of his
keys once, in order, each revision whole, or that what he needs was compacted.
"""

from collections.abc import Iterator
from typing import NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)
from quorate.node.replica import watches
from quorate.node.replica.effects import Push
from quorate.raft import Entry
from quorate.wire import (
    ErrorCode,
    Record,
    Transaction,
    TxnDelete,
    TxnPut,
    WatchCreated,
    WatchEvents,
    WatchRequest,
    encode_compact,
    encode_delete,
    encode_put,
    encode_transaction,
)
from quorate.wire import watches as wire_watches
from quorate.wire.watches import decode_watch_reply

from ..database.support import BEGIN, command, new_database, sent_by
from .watching import PLENTY, FakeSink, begin, cancel, deliver, watches_over

KEYS = [b"a", b"a\0", b"ab", b"b", b"c"]
# The last one is larger than a slice of those that are behind.
SIZES = [0, 1, 1, 30, 2000, 300_000]
BOUNDS = [
    (b"", b""),
    (b"a", b"a\0"),
    (b"b", b"b\0"),
    (b"a", b"b"),
    (b"ab", b""),
    (b"x", b"y"),
]
ROOMS = [0, 0, 1, 3000, PLENTY]


class Changed(NamedTuple):
    """One change, as it has to be told."""

    key: bytes
    after: Record | None
    before: Record | None


class Told(NamedTuple):
    put: bool
    record: Record
    previous: Record | None


class Expected:
    """One watch, and how far it is."""

    def __init__(self, sink: FakeSink, request_id: int, wanted: WatchRequest) -> None:
        self.sink = sink
        self.request_id = request_id
        self.wanted = wanted
        # The first revision that it wants; None until it was created.
        self.first: int | None = None
        # All up to here was told.
        self.until = 0
        self.parts: list[Told] = []
        # Whether there was ever a reason not to tell it at once.
        self.hindered = False
        self.ended = False

    def wants(self, change: Changed) -> bool:
        wanted = self.wanted
        if not (wanted.deletes if change.after is None else wanted.puts):
            return False
        start, end = wanted.start, wanted.end
        return start <= change.key and (not end or change.key < end)


class WatchesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.leader = new_database()
        self.database = new_database()
        self.entries: list[Entry] = []
        # By revision.
        self.history: dict[int, list[Changed]] = {}
        self.states: list[bytes] = []
        self.watches = watches_over(self.database)
        self.sinks: dict[int, FakeSink] = {}
        self.expected: dict[tuple[int, int], Expected] = {}
        self.sink_numbers = 0
        self.reached = self.database.revision

    # -- the leader ----------------------------------------------------------------

    def write(self, payload: bytes) -> None:
        entry = command(len(self.entries) + 1, payload)
        revision = self.leader.revision
        before = {key: self.leader.get(key) for key in KEYS}
        self.leader.apply([entry])
        self.entries.append(entry)
        if self.leader.revision > revision:
            self.history[revision + 1] = [
                Changed(key, after, before[key])
                for key in KEYS
                if (after := self.leader.get(key)) != before[key]
            ]

    @rule(key=st.sampled_from(KEYS), size=st.sampled_from(SIZES))
    def put(self, key: bytes, size: int) -> None:
        self.write(encode_put(key, b"v" * size))

    @rule(key=st.sampled_from(KEYS), count=st.integers(20, 120))
    def put_often(self, key: bytes, count: int) -> None:
        for number in range(count):
            self.write(encode_put(key, b"%d" % number))

    @rule(key=st.sampled_from(KEYS))
    def delete(self, key: bytes) -> None:
        self.write(encode_delete(key))

    @rule(
        keys=st.sets(st.sampled_from(KEYS), min_size=2),
        size=st.sampled_from(SIZES),
        deleted=st.booleans(),
    )
    def transact(self, keys: set[bytes], size: int, deleted: bool) -> None:
        operations: list[TxnPut | TxnDelete] = [
            TxnDelete(key) if deleted and number % 2 else TxnPut(key, b"t" * size)
            for number, key in enumerate(sorted(keys))
        ]
        self.write(encode_transaction(Transaction((), tuple(operations), ())))

    @rule(back=st.integers(0, 10))
    def compact(self, back: int) -> None:
        self.write(encode_compact(max(1, self.leader.revision - back)))

    @rule()
    def keep_a_state(self) -> None:
        self.states = [*self.states[-2:], sent_by(self.leader)]

    # -- the follower --------------------------------------------------------------

    @property
    def applied(self) -> int:
        """How many of the entries."""
        return self.database.applied_index - BEGIN

    def follow(self, count: int) -> None:
        self.database.apply(self.entries[self.applied : self.applied + count])

    @rule(count=st.integers(1, 400), again=st.booleans())
    def apply(self, count: int, again: bool) -> None:
        self.follow(count)
        self.turn(again)

    @rule(again=st.booleans())
    def turn(self, again: bool) -> None:
        self.watches.applied()
        more = self.watches.catch_up()
        self.take(self.watches.take_pushes())
        while again and more:
            more = self.watches.catch_up()
            self.take(self.watches.take_pushes())
        if more:
            self.hinder()

    @rule()
    def flush(self) -> None:
        self.database.store.flush()

    @rule()
    def merge(self) -> None:
        self.database.store.freeze()
        for _ in range(200):
            if not self.database.store.work():
                break

    @precondition(lambda self: self.states)
    @rule(data=st.data(), untold=st.integers(0, 3), further=st.integers(0, 3))
    def install(self, data: st.DataObject, untold: int, further: int) -> None:
        """Damage is met beside an apply; another state comes, and all is done again."""
        self.follow(untold)
        reached, before = self.applied, self.database.revision
        incoming = self.database.store.receive("a test")
        incoming.feed(data.draw(st.sampled_from(self.states)))
        for _ in incoming.check():
            pass
        self.hinder()
        self.database.install(incoming)
        self.watches.installed(before)
        self.follow(max(0, reached - self.applied) + further)
        self.turn(True)

    # -- who watches ---------------------------------------------------------------

    @rule(room=st.sampled_from(ROOMS))
    def new_sink(self, room: int) -> None:
        if len(self.sinks) < 4:
            self.sink_numbers += 1
            self.sinks[self.sink_numbers] = FakeSink(self.sink_numbers, room)

    @precondition(lambda self: self.sinks)
    @rule(data=st.data(), room=st.sampled_from(ROOMS))
    def read_more_or_less(self, data: st.DataObject, room: int) -> None:
        data.draw(st.sampled_from(list(self.sinks.values()))).left = room

    @precondition(lambda self: self.sinks)
    @rule(
        data=st.data(),
        bounds=st.sampled_from(BOUNDS),
        previous=st.booleans(),
        kinds=st.sampled_from([(True, True), (True, False), (False, True)]),
        ahead=st.sampled_from([None, -1000, -20, -3, 0, 1, 2, 7]),
        request_id=st.integers(1, 3),
    )
    def watch(
        self,
        data: st.DataObject,
        bounds: tuple[bytes, bytes],
        previous: bool,
        kinds: tuple[bool, bool],
        ahead: int | None,
        request_id: int,
    ) -> None:
        sink = data.draw(st.sampled_from(list(self.sinks.values())))
        name = sink.number, request_id
        if name in self.expected:
            return
        sink.told.pop(request_id, None)
        sink.ended.pop(request_id, None)
        revision = 0 if ahead is None else max(1, self.database.revision + ahead)
        wanted = WatchRequest(*bounds, revision, previous, *kinds)
        expected = self.expected[name] = Expected(sink, request_id, wanted)
        # One of the past has to catch up first.
        past = 0 < revision <= self.database.revision
        expected.hindered = past or sink.left < PLENTY
        begin(self.watches, sink, wanted, request_id)

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        expected = data.draw(st.sampled_from(list(self.expected.values())))
        cancel(self.watches, expected.sink, 100, expected.request_id)
        self.take(self.watches.take_pushes())
        assert expected.sink.ended.pop(100) is None
        assert expected.ended
        del self.expected[expected.sink.number, expected.request_id]

    @precondition(lambda self: self.sinks)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(list(self.sinks)))
        self.watches.gone(self.sinks.pop(number))
        for name in [name for name in self.expected if name[0] == number]:
            del self.expected[name]
        self.watches.pushes = [
            push for push in self.watches.pushes if push.sink.number != number
        ]

    @rule()
    def remind(self) -> None:
        self.watches.remind(1)

    # -- what is told --------------------------------------------------------------

    def hinder(self) -> None:
        for expected in self.expected.values():
            expected.hindered = True

    def take(self, pushes: list[Push]) -> None:
        for expected in self.expected.values():
            expected.hindered |= expected.sink.left < PLENTY
        room = {number: sink.left for number, sink in self.sinks.items()}
        for push in pushes:
            number = push.sink.number
            expected = self.expected.get((number, push.request_id))
            if push.last:
                if expected is not None:
                    self.end(expected, push)
                deliver([push])
                continue
            assert expected is not None, "nobody who has gone is told anything"
            told = decode_watch_reply(push.body)
            assert not isinstance(told, WatchEvents) or room[number] > 0, "nor a part"
            room[number] -= len(push.body)
            deliver([push])
            self.told(expected, push)

    def told(self, expected: Expected, push: Push) -> None:
        told = decode_watch_reply(push.body)
        if isinstance(told, WatchCreated):
            assert expected.first is None
            expected.first = expected.wanted.revision or told.revision + 1
            expected.until = expected.first - 1
            return
        assert expected.first is not None
        assert told.revision <= self.database.revision, "not there yet"
        assert not expected.parts or isinstance(told, WatchEvents)
        if isinstance(told, WatchEvents):
            assert told.revision > expected.until, "it is told once, and in order"
            events = [Told(e.put, e.record, e.previous) for e in told.events]
            expected.parts += events
            if told.more:
                return
            self.skipped(expected, told.revision - 1)
            self.check(expected, told.revision, expected.parts)
            expected.parts = []
        else:
            assert told.revision >= expected.until, "progress does not go back"
            self.skipped(expected, told.revision)
        expected.until = told.revision

    def skipped(self, expected: Expected, last: int) -> None:
        """Nothing up to `last` concerned it, behind what it was told of."""
        for revision in range(expected.until + 1, last + 1):
            for change in self.history.get(revision, ()):
                assert not expected.wants(change), "nothing is left out (I-59)"

    def check(self, expected: Expected, revision: int, events: list[Told]) -> None:
        changes = [c for c in self.history[revision] if expected.wants(c)]
        assert len(events) == len(changes), "a revision is whole (I-58)"
        for change, event in zip(
            changes, sorted(events, key=lambda e: e.record.key), strict=True
        ):
            assert event.put == (change.after is not None)
            gone = Record(change.key, b"", 0, revision, 0, 0)
            assert event.record == (change.after or gone)
            if not expected.wanted.previous:
                assert event.previous is None
            elif event.previous is None and change.before is not None:
                assert revision <= self.database.compacted, "it is still kept"
            else:
                assert event.previous == change.before

    def end(self, expected: Expected, push: Push) -> None:
        # Of a revision that was not told whole nobody knows anything.
        expected.parts = []
        expected.ended = True
        if push.status:
            assert expected.until < self.database.compacted, "only then"
            assert expected.hindered or expected.first is None, "only then"

    @invariant()
    def those_that_ended_were_cancelled_or_compacted(self) -> None:
        for name, expected in list(self.expected.items()):
            if expected.ended:
                code = expected.sink.ended[expected.request_id]
                assert code is ErrorCode.COMPACTED
                del self.expected[name]

    @invariant()
    def as_many_are_open_as_are_expected(self) -> None:
        pending = {
            (push.sink.number, push.request_id)
            for push in self.watches.pushes
            if push.last
        }
        going_on = {name for name, watch in self.expected.items() if not watch.ended}
        assert self.watches.open == len(going_on - pending)
        assert self.database.watched == bool(self.watches.open)
        if not self.database.watched:
            assert not self.database.changes, "nobody asked for it"

    def teardown(self) -> None:
        """Once everybody reads, everybody has been told of everything."""
        for sink in self.sinks.values():
            sink.left = PLENTY
        self.follow(len(self.entries))
        self.turn(True)
        self.those_that_ended_were_cancelled_or_compacted()
        for expected in self.expected.values():
            assert not expected.parts
            self.skipped(expected, self.database.revision)


@pytest.fixture(autouse=True, scope="module")
def _small_parts() -> Iterator[None]:
    """So that a revision often comes in several, and a turn often ends before all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire_watches, "PART_BYTES", 2500)
        patch.setattr(watches, "_TURN_BYTES", 20_000)
        patch.setattr(watches, "_TURN_LOOKS", 5)
        yield


WatchesMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestWatches = WatchesMachine.TestCase
