"""Watches over a database: who is told what, and when one ends (I-58 to I-62)."""

from itertools import count

import pytest
from quorate.node.database import Database
from quorate.node.replica import watches as watches_module
from quorate.node.replica.requests import Request
from quorate.node.replica.watches import Watches
from quorate.storage.engine import View
from quorate.storage.errors import CorruptionError
from quorate.wire import (
    ErrorCode,
    RequestKind,
    Transaction,
    TxnDelete,
    TxnPut,
    WatchEvents,
    WatchRequest,
    encode_compact,
    encode_delete,
    encode_put,
    encode_transaction,
)

from ..database.support import BEGIN, command, new_database, sent_by
from .watching import (
    ALL,
    PLENTY,
    FakeSink,
    begin,
    cancel,
    deliver,
    turn,
    turns,
    watches_over,
)

NOW = WatchRequest(b"", b"")


def write(database: Database, *payloads: bytes) -> None:
    first = database.applied_index - BEGIN + 1
    database.apply([command(n, one) for n, one in zip(count(first), payloads)])


def put_many(database: Database, number: int, size: int = 1) -> None:
    write(database, *[encode_put(b"k", b"v" * size) for _ in range(number)])


def changed(key: bytes, revisions: range) -> list[tuple[int, bytes]]:
    return [(revision, key) for revision in revisions]


def keys_of(sink: FakeSink, request_id: int = 1) -> list[tuple[int, bytes]]:
    return [(revision, key) for revision, key, _ in sink.events(request_id)]


@pytest.fixture
def database() -> Database:
    return new_database()


@pytest.fixture
def watches(database: Database) -> Watches:
    return watches_over(database)


def test_what_was_and_what_comes_is_one_sequence(
    database: Database, watches: Watches
) -> None:
    put_many(database, 700)
    sink = FakeSink(1)
    begin(watches, sink, ALL)
    for _ in range(20):
        put_many(database, 10)
        turn(watches)
    turns(watches)
    assert keys_of(sink) == changed(b"k", range(2, 902))


def test_a_revision_of_many_keys_comes_whole_also_from_the_log(
    database: Database, watches: Watches
) -> None:
    keys = [b"%03d" % number for number in range(100)]
    puts = Transaction((), tuple(TxnPut(key, b"") for key in keys), ())
    deletes = Transaction((), tuple(TxnDelete(key) for key in keys), ())
    live, late = FakeSink(1), FakeSink(2)
    begin(watches, live, ALL)
    for _ in range(4):
        write(database, encode_transaction(puts), encode_transaction(deletes))
        turn(watches)
    begin(watches, late, ALL)
    turns(watches)
    assert live.events() == late.events()
    assert len(live.events()) == 800
    assert len(live.told[1]) == 1 + 8


def test_who_asks_for_deletes_or_for_puts_gets_no_others(
    database: Database, watches: Watches
) -> None:
    for wanted, number in (
        (WatchRequest(b"", b"", 1, deletes=False), 1),
        (WatchRequest(b"", b"", 1, puts=False), 2),
        (WatchRequest(b"", b"", 1, puts=False, deletes=False), 3),
    ):
        sink = FakeSink(number)
        begin(watches, sink, wanted)
        write(database, encode_put(b"k", b"v"), encode_delete(b"k"))
        turns(watches)
        values = [value for _, _, value in sink.events()]
        assert set(values) == [{b"v"}, {None}, set()][number - 1]
        assert len(values) == [1, 2, 0][number - 1]


def test_a_watch_of_the_future_is_told_nothing_before_it(
    database: Database, watches: Watches
) -> None:
    sink = FakeSink(1)
    begin(watches, sink, WatchRequest(b"", b"", 10))
    put_many(database, 8)
    turns(watches)
    watches.remind(1)
    turns(watches)
    assert (keys_of(sink), sink.progress()) == ([], [9])
    put_many(database, 3)
    turns(watches)
    assert keys_of(sink) == changed(b"k", range(10, 13))


def test_a_watch_of_the_future_waits_also_where_another_state_comes(
    database: Database, watches: Watches
) -> None:
    """It fell behind, caught up with what was there, and was told what came then."""
    sink = FakeSink(1)
    begin(watches, sink, WatchRequest(b"", b"", 10))
    leader = new_database()
    put_many(leader, 4)
    install(database, watches, sent_by(leader))
    turns(watches)
    put_many(database, 6)
    turns(watches)
    assert keys_of(sink) == changed(b"k", range(10, 12))


def install(database: Database, watches: Watches, state: bytes) -> None:
    before = database.revision
    incoming = database.store.receive("a test")
    incoming.feed(state)
    for _ in incoming.check():
        pass
    database.install(incoming)
    watches.installed(before)


def test_what_a_healed_state_has_again_is_not_told_again(
    database: Database, watches: Watches
) -> None:
    sink = FakeSink(1)
    begin(watches, sink, ALL)
    put_many(database, 5)
    leader = new_database()
    put_many(leader, 2)
    turns(watches)
    install(database, watches, sent_by(leader))
    turns(watches)
    put_many(database, 5)
    turns(watches)
    assert keys_of(sink) == changed(b"k", range(2, 9))


def test_what_was_applied_beside_the_damage_is_told_after_healing(
    database: Database, watches: Watches
) -> None:
    """It was counted as told, because the state had had it."""
    sink = FakeSink(1)
    begin(watches, sink, ALL)
    put_many(database, 2)
    turns(watches)
    put_many(database, 3)
    leader = new_database()
    put_many(leader, 1)
    install(database, watches, sent_by(leader))
    put_many(database, 6)
    turns(watches)
    assert keys_of(sink) == changed(b"k", range(2, 9))


def test_a_new_watch_begins_behind_what_the_state_had_before_it_was_replaced(
    database: Database, watches: Watches
) -> None:
    put_many(database, 5)
    install(database, watches, sent_by(new_database()))
    sink = FakeSink(1)
    begin(watches, sink, NOW)
    put_many(database, 7)
    turns(watches)
    assert sink.created() == 6
    assert keys_of(sink) == changed(b"k", range(7, 9))


def test_a_state_without_what_is_still_needed_ends_the_watch(
    database: Database, watches: Watches
) -> None:
    sink = FakeSink(1)
    begin(watches, sink, NOW)
    leader = new_database()
    put_many(leader, 9)
    write(leader, encode_compact(5))
    install(database, watches, sent_by(leader))
    turns(watches)
    assert sink.ended == {1: ErrorCode.COMPACTED}
    assert keys_of(sink) == []


def test_damage_in_the_middle_of_catching_up_repeats_nothing(
    database: Database, watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had been told before the damage was met was told once more after it."""
    for number in range(10):
        write(database, encode_put(b"%d" % number, b"v"))
    sink = FakeSink(1)
    begin(watches, sink, ALL)
    get = View.get

    def damaged(view: View, key: bytes) -> bytes | None:
        if key.endswith(b"5"):
            raise CorruptionError("a table", 0, "it is damaged")
        return get(view, key)

    with monkeypatch.context() as patch:
        patch.setattr(View, "get", damaged)
        with pytest.raises(CorruptionError):
            watches.catch_up()
        deliver(watches.take_pushes())
    assert keys_of(sink) == [(n + 2, b"%d" % n) for n in range(5)]
    turns(watches)
    assert keys_of(sink) == [(n + 2, b"%d" % n) for n in range(10)]


@pytest.mark.parametrize("back", [0, 1])
def test_what_is_still_kept_can_be_watched(
    database: Database, watches: Watches, back: int
) -> None:
    put_many(database, 9)
    write(database, encode_compact(6))
    sink = FakeSink(1)
    begin(watches, sink, WatchRequest(b"", b"", 6 - back))
    turns(watches)
    if back:
        assert sink.ended == {1: ErrorCode.COMPACTED}
    else:
        assert keys_of(sink) == changed(b"k", range(6, 11))


def test_what_was_there_before_is_told_after_the_compacted_revision_and_not_at_it(
    database: Database, watches: Watches
) -> None:
    """It was told at it as long as the tree had not thrown it away."""
    put_many(database, 9)
    write(database, encode_compact(6))
    sink = FakeSink(1)
    begin(watches, sink, WatchRequest(b"", b"", 6, previous=True))
    turns(watches)
    before = {
        told.revision: event.previous and event.previous.mod_revision
        for told in sink.told[1]
        if isinstance(told, WatchEvents)
        for event in told.events
    }
    assert before == {6: None, 7: 6, 8: 7, 9: 8, 10: 9}


def test_who_does_not_read_keeps_nothing_and_costs_nobody(
    database: Database, watches: Watches
) -> None:
    """I-62: nothing is kept for him, and others are told at once."""
    slow, quick = FakeSink(1, room=0), FakeSink(2)
    for sink in (slow, quick):
        begin(watches, sink, NOW)
    for _ in range(100):
        put_many(database, 1, size=10_000)
        assert len(turn(watches)) <= 3
        assert not watches.pushes
        assert not database.changes
    assert len(quick.events()) == 100
    assert keys_of(slow) == []
    slow.left = PLENTY
    turns(watches)
    assert slow.events() == quick.events()


def test_a_turn_tells_those_who_are_behind_a_slice_and_no_more(
    database: Database, watches: Watches
) -> None:
    put_many(database, 300, size=10_000)
    for number in range(1, 21):
        # No two of them ask for the same.
        wanted = WatchRequest(b"", b"z%d" % number, 1)
        begin(watches, FakeSink(number), wanted)
    while watches.open and (pushes := turn(watches)):
        told = sum(len(push.body) for push in pushes)
        assert told < (256 << 10) + 20 * 16 + 10_100
    assert {len(s.events()) for s in sinks_of(watches)} == {300}


def sinks_of(watches: Watches) -> list[FakeSink]:
    watching = [watch.sink for watch in watches._watches.values()]
    return [sink for sink in watching if isinstance(sink, FakeSink)]


def test_a_reader_without_room_is_asked_once_for_all_his_watches(
    database: Database, watches: Watches
) -> None:
    """Story: one who had stopped, with 2,048 watches, cost each turn milliseconds."""
    put_many(database, 3)
    asked: list[int] = []

    class Full(FakeSink):
        def room(self) -> int:
            asked.append(self.left)
            return self.left

    sink = Full(1, room=0)
    for number in range(1, 201):
        begin(watches, sink, ALL, number)
    turn(watches)
    asked.clear()
    assert not watches.could_catch_up()
    turn(watches)
    assert asked == [0, 0]
    sink.left = PLENTY
    assert watches.could_catch_up()
    turns(watches)
    for number in range(1, 201):
        assert keys_of(sink, number) == changed(b"k", range(2, 5))


def test_nobody_goes_on_from_what_was_told_of_a_state_that_differs(
    database: Database, watches: Watches
) -> None:
    """Story: its revisions were not those of the others. A watch went on behind the
    last one that it had been told, missed what had happened meanwhile, or had it twice.
    """
    state = b"".join(database.store.pin().pieces())
    put_many(database, 5)
    early, late = FakeSink(1), FakeSink(2)
    begin(watches, early, ALL)
    turns(watches)
    watches.disown("it differs")
    deliver(watches.take_pushes())
    assert early.ended == {1: ErrorCode.DAMAGED}
    before = database.revision
    install(database, watches, state)
    assert database.revision < before
    begin(watches, late, NOW)
    put_many(database, 1)
    turns(watches)
    assert keys_of(late) == [(database.revision, b"k")]


def test_a_slow_reader_is_told_as_much_as_he_takes(
    database: Database, watches: Watches
) -> None:
    put_many(database, 50, size=1000)
    sink = FakeSink(1, room=2500)
    begin(watches, sink, ALL)
    told = 0
    for _ in range(30):
        pushes = turn(watches)
        assert sum(len(push.body) for push in pushes) < 2500 + 1100
        told += len(pushes)
    assert keys_of(sink) == changed(b"k", range(2, 52))


def test_a_slow_reader_is_told_that_what_he_needs_is_gone(
    database: Database, watches: Watches
) -> None:
    sink = FakeSink(1, room=0)
    begin(watches, sink, NOW)
    put_many(database, 5)
    turns(watches)
    write(database, encode_compact(database.revision))
    turns(watches)
    assert sink.ended == {1: ErrorCode.COMPACTED}
    assert watches.open == 0
    assert not database.watched


def test_those_who_left_keep_nothing_alive(
    database: Database, watches: Watches
) -> None:
    stays = FakeSink(1)
    begin(watches, stays, NOW)
    for number in range(2, 50):
        sink = FakeSink(number)
        begin(watches, sink, NOW, 1)
        begin(watches, sink, NOW, 2)
        cancel(watches, sink, 3, 1)
        cancel(watches, sink, 4, 2)
        turn(watches)
        assert sink.ended == dict.fromkeys((1, 2, 3, 4))
        watches.gone(sink)
    assert sinks_of(watches) == [stays]
    assert list(watches._sinks) == [1]


def test_who_leaves_takes_all_his_watches_along(
    database: Database, watches: Watches
) -> None:
    sinks = [FakeSink(number) for number in (1, 2)]
    for sink in sinks:
        for request_id in (1, 2, 3):
            begin(watches, sink, ALL if request_id == 1 else NOW, request_id)
    turns(watches)
    watches.gone(sinks[0])
    put_many(database, 1)
    turns(watches)
    assert watches.open == 3
    assert sinks[0].events(2) == []
    assert [len(sinks[1].events(request)) for request in (1, 2, 3)] == [1, 1, 1]
    watches.gone(sinks[1])
    watches.gone(sinks[1])
    assert watches.open == 0
    put_many(database, 1)
    assert not database.changes, "nobody is told"


def test_the_last_one_that_ends_lets_go_of_what_was_not_told(
    database: Database, watches: Watches
) -> None:
    sink = FakeSink(1)
    begin(watches, sink, NOW)
    put_many(database, 3)
    assert len(database.changes) == 3
    watches.gone(sink)
    assert not database.changes
    begin(watches, FakeSink(2), NOW)
    put_many(database, 1)
    turns(watches)
    assert [keys_of(one) for one in sinks_of(watches)] == [[(5, b"k")]]


def test_a_number_that_is_free_again_is_another_watch(
    database: Database, watches: Watches
) -> None:
    sink = FakeSink(1)
    begin(watches, sink, WatchRequest(b"a", b"b"))
    cancel(watches, sink, 2, 1)
    turn(watches)
    sink.ended.clear()
    sink.told.clear()
    begin(watches, sink, WatchRequest(b"c", b"d"))
    write(database, encode_put(b"a", b""), encode_put(b"c", b""))
    turns(watches)
    assert keys_of(sink) == [(3, b"c")]


def test_a_cancel_of_nothing_is_answered(watches: Watches) -> None:
    sink = FakeSink(1)
    cancel(watches, sink, 5, 4)
    turn(watches)
    assert sink.ended == {5: None}


@pytest.mark.parametrize("kind", [RequestKind.WATCH, RequestKind.CANCEL])
def test_garbage_is_refused_as_what_it_was(watches: Watches, kind: RequestKind) -> None:
    """A cancel that was refused as a watch broke the loop of the node."""
    sink = FakeSink(1)
    take = watches.add if kind is RequestKind.WATCH else watches.cancel
    take(sink, Request(sink, 7, kind, b"?", 0))
    (push,) = turn(watches)
    assert (push.kind, push.request_id) == (kind, 7)
    assert sink.ended == {7: ErrorCode.INVALID_REQUEST}
    assert watches.open == 0


def test_there_is_a_last_watch(
    watches: Watches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches_module, "WATCHES_MAX", 3)
    sink = FakeSink(1)
    for request_id in range(1, 6):
        begin(watches, sink, NOW, request_id)
    turn(watches)
    assert sink.ended == dict.fromkeys((4, 5), ErrorCode.TOO_BUSY)
    assert watches.open == 3


def test_everybody_is_reminded_once_in_each_round(
    database: Database, watches: Watches
) -> None:
    sinks = [FakeSink(number) for number in range(1, 26)]
    for sink in sinks:
        begin(watches, sink, NOW)
    turn(watches)
    for revision in (2, 3):
        put_many(database, 1)
        turn(watches)
        for _ in range(10):
            watches.remind(10)
            assert len(turn(watches)) <= 3
        assert {tuple(sink.progress())[-1] for sink in sinks} == {revision}
        assert {len(sink.progress()) for sink in sinks} == {revision - 1}


def test_progress_is_not_ahead_of_what_is_told(
    database: Database, watches: Watches
) -> None:
    """etcd 15220: what was applied in this turn is told first."""
    sink = FakeSink(1)
    begin(watches, sink, NOW)
    turn(watches)
    put_many(database, 4)
    assert watches.progress(sink, 1)
    turn(watches)
    assert sink.progress() == [1]
    assert watches.progress(sink, 1)
    sink.left = 0
    put_many(database, 1)
    turn(watches)
    assert not watches.progress(sink, 1), "it is behind"
    assert not watches.progress(sink, 2), "there is none"
    assert sink.progress() == [1, 5]
