"""Many who watch the same: what they are told in one turn has an end (I-62).

Story: each revision was encoded anew for everybody who watched it, all of them in one
turn: a thousand watches of one key, and a value of 4 MiB, were 4 GiB.
"""

import pytest
from quorate.node.replica import watches as watches_module
from quorate.wire import WatchRequest, encode_put

from ..database.support import command, new_database
from .watching import FakeSink, begin, deliver, turn, turns, watches_over

NOW = WatchRequest(b"k", b"l")
BEFORE = WatchRequest(b"k", b"l", previous=True)


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
    monkeypatch.setattr(watches_module, "_SLICE_BYTES", 20_000)
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
        # One more of either kind may be begun before the end.
        assert told <= most + 20_000 + 2 * 5100
    turns(watches)
    everything = [(e.index, b"k%d" % n) for n, e in enumerate(entries, start=1)]
    for sink in sinks:
        assert [(revision, key) for revision, key, _ in sink.events()] == everything
    # And those that were behind are told at once again.
    database.apply([command(11, encode_put(b"k", b"new"))])
    watches.applied()
    assert len(watches.take_pushes()) == len(sinks)
