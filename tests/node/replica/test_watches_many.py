"""Many who watch the same, and revisions that are large: what a turn costs (I-62).

Stories: each revision was encoded anew for everybody who watched it, all of them in one
turn: a thousand watches of one key, and a value of 4 MiB, were 4 GiB. Whoever read
nothing was given the whole of a revision, 128 MiB of it, where there had been room for
its first byte.
"""

import pytest
from quorate.node.database import feed
from quorate.node.replica import watches as watches_module
from quorate.wire import (
    ErrorCode,
    Transaction,
    TxnDeleteRange,
    TxnPut,
    WatchEvents,
    WatchRequest,
    encode_compact,
    encode_put,
    encode_transaction,
)
from quorate.wire import watches as wire_watches

from ..database.support import command, new_database
from .watching import FakeSink, begin, deliver, turn, turns, watches_over

NOW = WatchRequest(b"k", b"l")
BEFORE = WatchRequest(b"k", b"l", previous=True)
PART = 10_000


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_watches, "PART_BYTES", PART)


def test_what_many_watch_is_encoded_once() -> None:
    database = new_database()
    watches = watches_over(database)
    sinks = [FakeSink(number) for number in range(1, 21)]
    for sink in sinks:
        begin(watches, sink, BEFORE if sink.number % 2 else NOW)
    turn(watches)
    database.apply([command(1, encode_put(b"k", b"1"))])
    database.apply([command(2, encode_put(b"k", b"2"))])
    watches.applied()
    pushes = watches.take_pushes()
    assert len(pushes) == 2 * len(sinks)
    # Two revisions, with what was there before and without.
    assert len({id(push.body) for push in pushes}) == 4
    deliver(pushes)
    assert {len(sink.events()) for sink in sinks} == {2}


def test_a_turn_tells_all_together_no_more_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = 100_000
    monkeypatch.setattr(watches_module, "_TURN_BYTES", most)
    monkeypatch.setattr(watches_module, "_REPLY_BYTES", 0)
    database = new_database()
    watches = watches_over(database)
    sinks = [FakeSink(number) for number in range(1, 51)]
    for sink in sinks:
        begin(watches, sink, NOW)
    turn(watches)
    entries = [command(n, encode_put(b"k%d" % n, b"v" * 5000)) for n in range(1, 11)]
    for at in range(0, 10, 5):
        database.apply(entries[at : at + 5])
        told = sum(len(push.body) for push in turn(watches))
        assert told <= most + 5100
    turns(watches)
    everything = [(e.index, b"k%d" % n) for n, e in enumerate(entries, start=1)]
    for sink in sinks:
        assert [(revision, key) for revision, key, _ in sink.events()] == everything
    # And those that were behind are told at once again.
    database.apply([command(11, encode_put(b"k", b"new"))])
    watches.applied()
    assert len(watches.take_pushes()) == len(sinks)


@pytest.mark.parametrize("late", [False, True])
def test_a_large_revision_is_read_once_for_all_who_could_not_be_told_at_once(
    monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Story: it was read again for each of them, and took a turn for each."""
    monkeypatch.setattr(watches_module, "_TURN_BYTES", 100_000)
    monkeypatch.setattr(watches_module, "_REPLY_BYTES", 0)
    database = new_database()
    watches = watches_over(database)
    sinks = [FakeSink(number) for number in range(1, 51)]
    if not late:
        for sink in sinks:
            begin(watches, sink, NOW)
        turn(watches)
    database.apply(
        [command(n, encode_put(b"k%d" % n, b"v")) for n in range(1, 401)]
        + [command(401, encode_transaction(DELETED))]
    )
    looked: list[bytes] = []
    change = feed.Slice.change

    def counted(part: feed.Slice, revision: int, put: int, key: bytes) -> feed.Change:
        if not put:
            looked.append(key)
        return change(part, revision, put, key)

    monkeypatch.setattr(feed.Slice, "change", counted)
    if late:
        for sink in sinks:
            begin(watches, sink, WatchRequest(b"k", b"l", database.revision))
    told = 0
    watches.applied()
    for _ in range(200):
        more = watches.catch_up()
        pushes = watches.take_pushes()
        told += sum(len(push.body) for push in pushes)
        deliver(pushes)
        if not more:
            break
    assert {len([e for e in s.events() if e[0] == 402]) for s in sinks} == {400}
    assert told > 5 * 100_000
    # The deletes, once, unless who was live was told all the same.
    assert len(looked) <= 400


def test_small_changes_for_many_take_several_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Story: five hundred puts that three hundred watched were one turn of 0.6 s."""
    monkeypatch.setattr(watches_module, "_TURN_BYTES", 100 << 10)
    database = new_database()
    watches = watches_over(database)
    sinks = [FakeSink(number) for number in range(1, 31)]
    for sink in sinks:
        begin(watches, sink, NOW)
    turn(watches)
    database.apply([command(n, encode_put(b"k", b"")) for n in range(1, 41)])
    watches.applied()
    sizes: list[int] = []
    more = True
    while more:
        more = watches.catch_up()
        pushes = watches.take_pushes()
        deliver(pushes)
        sizes.append(len(pushes))
    assert max(sizes) <= 51
    assert sum(sizes) == len(sinks) * 40
    assert {len(sink.events()) for sink in sinks} == {40}


DELETED = Transaction((), (TxnDeleteRange(b"k", b"l"),), ())


def written(count: int, size: int) -> bytes:
    puts = tuple(TxnPut(b"k%03d" % n, b"v" * size) for n in range(count))
    return encode_transaction(Transaction((), puts, ()))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("late", [False, True])
def test_a_slow_reader_is_told_a_large_revision_part_by_part(late: bool) -> None:
    database = new_database()
    watches = watches_over(database)
    slow, wanted = FakeSink(1, room=0), WatchRequest(b"k", b"l", 2)
    if not late:
        begin(watches, slow, wanted)
    database.apply([command(1, written(100, 1000))])
    database.apply([command(2, encode_put(b"k", b"next"))])
    if late:
        begin(watches, slow, wanted)
    assert not any(push.body for push in turn(watches)[1:])
    parts = 0
    while len(slow.events()) < 101:
        slow.left = 1
        pushes = turn(watches)
        # Where there is room for a byte, one part comes and no more.
        assert len(pushes) == 1
        assert len(pushes[0].body) <= PART + 2000
        parts += 1
    assert parts >= 11
    events = slow.events()
    assert [key for _, key, _ in events[:100]] == [b"k%03d" % n for n in range(100)]
    assert events[100] == (3, b"k", b"next")
    replies = [told for told in slow.told[1] if isinstance(told, WatchEvents)]
    assert [told.more for told in replies] == [True] * (parts - 2) + [False] * 2


@pytest.mark.usefixtures("small_parts")
def test_what_is_compacted_in_the_middle_of_a_revision_ends_the_watch() -> None:
    database = new_database()
    watches = watches_over(database)
    slow = FakeSink(1, room=1)
    begin(watches, slow, WatchRequest(b"k", b"l", 2))
    turn(watches)
    database.apply([command(1, written(100, 1000))])
    turn(watches)
    told = len(slow.events())
    assert 0 < told < 100
    database.apply([command(2, encode_put(b"k", b"next"))])
    database.apply([command(3, encode_compact(3))])
    turn(watches)
    assert len(slow.events()) == told
    assert slow.ended == {1: ErrorCode.COMPACTED}
