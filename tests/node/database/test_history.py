"""Revisions that were: read from the past, until it is compacted."""

from collections.abc import Callable, Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from quorate.node.database import Applied, history, layout
from quorate.node.database.records import as_record
from quorate.raft import Entry
from quorate.storage.engine import View
from quorate.wire import (
    ErrorCode,
    Record,
    Transaction,
    TxnDelete,
    TxnPut,
    encode_compact,
)

from .support import command, copy_of, delete, new_database, put, range_of, transact

KEYS = st.sampled_from([b"a", b"a\0", b"a\0\xff", b"aa", b"b", b"\0", b"\xff", b"\0\1"])
VALUES = st.binary(max_size=3)
BOUNDS = st.binary(max_size=2) | KEYS


def compact(index: int, revision: int) -> Entry:
    return command(index, encode_compact(revision))


@given(st.lists(KEYS | st.binary(min_size=1, max_size=4), max_size=20), BOUNDS, BOUNDS)
def test_old_versions_are_in_the_order_of_their_keys(
    keys: list[bytes], start: bytes, end: bytes
) -> None:
    places = sorted((layout.old(key, n, n + 1), key) for n, key in enumerate(keys))
    assert [key for _, key in places] == sorted(keys)
    assert [layout.old_key(at) for at, _ in places] == sorted(keys)
    first, last = layout.old_bounds(start, end)
    for at, key in places:
        assert (first <= at < last) == (start <= key < end)
        assert (at >= layout.old_bounds(start, None)[0]) == (key >= start)
        assert at < layout.old_bounds(start, None)[1]


@given(KEYS, KEYS, st.integers(1, 9), st.integers(1, 9))
def test_the_versions_of_one_key_are_found_between_their_bounds(
    key: bytes, other: bytes, mod_revision: int, revision: int
) -> None:
    at = layout.old(other, mod_revision, 10)
    first, last = layout.old_bounds_at(key, revision)
    assert (first <= at < last) == (key == other and mod_revision <= revision)
    assert layout.life(at) == (mod_revision, 10)


def test_the_longest_keys_have_room() -> None:
    database = new_database()
    for n, key in enumerate((b"\0" * 4096, b"\xff" * 4096), 1):
        database.apply([put(2 * n - 1, key, b"1"), put(2 * n, key, b"2")])
        found = database.get(key, database.revision - 1)
        assert found is not None
        assert found.value == b"1"


class HistoryMachine(RuleBasedStateMachine):
    """Against a copy of the whole key space for each revision."""

    def __init__(self) -> None:
        super().__init__()
        self.database = new_database()
        self.index = 0
        self.states: list[dict[bytes, Record]] = [{}, {}]
        self.compacted = 0

    def apply(self, make: Callable[[int], Entry]) -> Applied:
        self.index += 1
        (result,) = self.database.apply([make(self.index)])
        return result

    def change(self, writes: dict[bytes, bytes | None]) -> None:
        before, revision = self.states[-1], len(self.states)
        after = dict(before)
        for key, value in writes.items():
            old = before.get(key)
            if value is None:
                after.pop(key, None)
            elif old is None:
                after[key] = Record(key, value, revision, revision, 1, 0)
            else:
                created, version = old.create_revision, old.version + 1
                after[key] = Record(key, value, created, revision, version, 0)
        self.states.append(after)

    @rule(key=KEYS, value=VALUES)
    def put(self, key: bytes, value: bytes) -> None:
        result = self.apply(lambda index: put(index, key, value))
        assert result.revision == len(self.states)
        self.change({key: value})

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        if self.apply(lambda index: delete(index, key)).count:
            self.change({key: None})

    @rule(writes=st.dictionaries(KEYS, st.none() | VALUES, max_size=4))
    def transact(self, writes: dict[bytes, bytes | None]) -> None:
        operations = tuple(
            TxnDelete(key) if value is None else TxnPut(key, value)
            for key, value in writes.items()
        )
        transaction = Transaction((), operations, ())
        result = self.apply(lambda index: transact(index, transaction))
        if result.count:
            self.change(writes)
        assert result.revision == len(self.states) - 1

    @rule(back=st.integers(-2, 6))
    def compact(self, back: int) -> None:
        revision = len(self.states) - 1 - back
        if revision < 0:
            return
        result = self.apply(lambda index: compact(index, revision))
        if revision >= len(self.states):
            assert result.code == ErrorCode.FUTURE_REVISION
        elif revision <= self.compacted:
            assert result == Applied(ErrorCode.COMPACTED, self.compacted, 0)
        else:
            assert result.code == 0
            self.compacted = revision

    @rule()
    def flush(self) -> None:
        self.database.store.flush()

    @rule()
    def merge(self) -> None:
        self.database.store.compact()

    @precondition(lambda self: self.index > 3)
    @rule()
    def go_on_from_a_copy(self) -> None:
        self.database = copy_of(self.database)

    @rule(back=st.integers(0, 8), key=KEYS)
    def get(self, back: int, key: bytes) -> None:
        revision = len(self.states) - 1 - back
        if revision >= max(1, self.compacted):
            wanted = self.states[revision].get(key)
            assert self.database.get(key, revision) == wanted

    @rule(back=st.integers(0, 8), start=BOUNDS, end=st.none() | BOUNDS)
    def range(self, back: int, start: bytes, end: bytes | None) -> None:
        revision = len(self.states) - 1 - back
        if revision < max(1, self.compacted):
            return
        wanted = [
            record
            for key, record in sorted(self.states[revision].items())
            if start <= key and (end is None or key < end)
        ]
        found, more = range_of(
            self.database, start, end, records_max=3, bytes_max=1000, revision=revision
        )
        assert found == wanted[:3]
        assert more == (len(wanted) > 3)

    @invariant()
    def says_what_can_be_read(self) -> None:
        readable, newest = self.database.readable, len(self.states) - 1
        assert self.database.revision == newest
        assert readable(newest + 1) == ErrorCode.FUTURE_REVISION
        assert readable(0) is None
        assert readable(newest) is None
        for revision in range(1, newest):
            kept = revision >= self.compacted
            assert readable(revision) == (None if kept else ErrorCode.COMPACTED)


TestHistory = HistoryMachine.TestCase


class FewWalked(HistoryMachine):
    """The same where hardly a version is walked along, and all others looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.walked_max = history._WALKED_MAX
        history._WALKED_MAX = 1  # type: ignore[misc]

    def teardown(self) -> None:
        history._WALKED_MAX = self.walked_max  # type: ignore[misc]


TestHistoryByLookups = FewWalked.TestCase


class Counting:
    """A view, and how many records were read of it."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.read = 0

    def scan(
        self, start: bytes = b"", end: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        for found in self.view.scan(start, end, reverse=reverse):
            self.read += 1
            yield found


@pytest.mark.parametrize("revision", [4, 2000, 3999])
def test_a_key_that_was_written_all_the_time_is_passed_over(revision: int) -> None:
    """Story: each page of a range at an old revision read all versions of each key in
    it; with a million of one, the node stood still for longer than an election takes.
    """
    database = new_database()
    database.apply([put(1, b"a", b"1"), put(2, b"hot", b"2"), put(3, b"z", b"3")])
    database.apply([put(n, b"hot", b"%d" % n) for n in range(4, 4000)])
    database.apply([put(4000, b"z", b"4000")])
    database.store.flush()
    view = Counting(database.store.view())
    entries = history.records_at(cast(View, view), b"", None, revision)
    found = dict(entry for entry in entries if entry is not None)
    assert set(found) == {b"a", b"hot", b"z"}
    for key, record in found.items():
        there = database.get(key, revision)
        assert there is not None
        assert as_record(key, record) == there
    assert view.read < 3 * (history._WALKED_MAX + 3)


def test_what_was_not_there_at_a_revision_is_passed_by_in_steps() -> None:
    """Story: a page at an old revision passed by all keys that had come since, and all
    versions, in one step: with 200,000 of them the loop stood still for 400 ms.
    """
    database = new_database()
    database.apply([put(1, b"a", b"1"), put(2, b"z", b"2")])
    since = range(3, 3 + 4 * history._PASSED_AT_ONCE)
    database.apply([put(n, b"b%06d" % n, b"") for n in since])
    database.apply([put(since.stop, b"z", b"3"), delete(since.stop + 1, b"a")])
    end = since.stop + 2
    database.apply([put(end + n, b"c%06d" % (n // 40), b"") for n in range(4000)])
    page = database.page(b"", None, records_max=9, bytes_max=99, revision=3)
    steps = 1
    while not page.read(1):
        steps += 1
    assert [(r.key, r.value) for r in page.records] == [(b"a", b"1"), (b"z", b"2")]
    # Of a hundred keys with forty versions each is looked up.
    assert steps > 4 + 100
    assert page.passes == steps - 1


def test_a_merge_leaves_out_what_was_compacted_and_nothing_else() -> None:
    database = new_database()
    for n in range(1, 11):
        database.apply([put(n, b"a", b"%d" % n)])
    database.apply([delete(11, b"a"), compact(12, 8)])
    database.store.flush()
    assert len(list(database.store.scan(b"h", b"i"))) == 10
    database.store.compact()
    lives = [layout.life(at) for at, _ in database.store.scan(b"h", b"i")]
    assert lives == [(8, 9), (9, 10), (10, 11), (11, 12)]
    changes = [layout.changed_at(at) for at, _ in database.store.scan(b"r", b"s")]
    assert changes == [8, 9, 10, 11, 12]
    assert database.get(b"a", 8) is not None
    assert database.get(b"a", 12) is None


def test_what_is_not_durable_lets_nothing_go() -> None:
    """Story: told before it happened. A merge that went by the newest compaction would
    take versions that the state a crash comes back to still promises to answer from.
    """
    database = new_database()
    database.apply([put(1, b"a", b"1"), put(2, b"a", b"2")])
    database.store.flush()
    database.apply([put(3, b"b", b"1"), compact(4, 4)])
    assert database.store.droppable(database.store.meta) == ()
    database.store.flush()
    assert database.store.droppable(database.store.meta) == layout.droppable(4)


@pytest.mark.parametrize("tail", [[compact(3, 2)], [compact(3, 3)], []])
def test_what_was_compacted_is_in_the_state_hash(tail: list[Entry]) -> None:
    entries = [put(1, b"a", b"1"), put(2, b"a", b"2")]
    one, other = new_database(), new_database()
    one.apply([*entries, *tail])
    other.apply([*entries, compact(3, 1)])
    assert one.state_hash() != other.state_hash()
