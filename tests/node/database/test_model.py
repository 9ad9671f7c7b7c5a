"""The database beside a plain dict: every result, every read, every page of a range."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from quorate.node.database import Applied
from quorate.raft import NOOP, Entry
from quorate.wire import ErrorCode, Record

from .support import BEGIN, copy_of, delete, entry, new_database, put, range_of

KEYS = st.sampled_from([b"a", b"aa", b"a\0", b"b", b"\0", b"\xff", b"\xff\xff", b"m"])
VALUES = st.sampled_from([b"", b"x", b"y" * 50, b"z" * 300])
BOUNDS = st.binary(max_size=2)


@dataclass
class Model:
    """What the documentation says, in the plainest words."""

    revision: int = 1
    table: dict[bytes, Record] = field(default_factory=dict[bytes, Record])

    def refused(self, key: bytes, expected: int | None) -> Applied | None:
        there = self.table[key].mod_revision if key in self.table else 0
        if expected is None or expected == there:
            return None
        return Applied(ErrorCode.PRECONDITION_FAILED, there, 0)

    def put(self, key: bytes, value: bytes, expected: int | None) -> Applied:
        if refusal := self.refused(key, expected):
            return refusal
        self.revision += 1
        old = self.table.get(key)
        create = old.create_revision if old else self.revision
        version = old.version + 1 if old else 1
        self.table[key] = Record(key, value, create, self.revision, version, 0)
        return Applied(0, self.revision, 1)

    def delete(self, key: bytes, expected: int | None) -> Applied:
        if refusal := self.refused(key, expected):
            return refusal
        if key not in self.table:
            return Applied(0, self.revision, 0)
        self.revision += 1
        del self.table[key]
        return Applied(0, self.revision, 1)


class DatabaseMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.database = new_database()
        self.model = Model()
        self.index = 0
        self.batch: list[tuple[Entry, Applied]] = []

    def expectation(self, key: bytes, how: int) -> int | None:
        """None, absent, right, or wrong by one."""
        there = self.model.table.get(key)
        right = there.mod_revision if there else 0
        return (None, 0, right, right + 1)[how]

    @rule(key=KEYS, value=VALUES, how=st.integers(0, 3))
    def put(self, key: bytes, value: bytes, how: int) -> None:
        expected = self.expectation(key, how)
        self.index += 1
        entry = put(self.index, key, value, expected)
        self.batch.append((entry, self.model.put(key, value, expected)))

    @rule(key=KEYS, how=st.integers(0, 3))
    def delete(self, key: bytes, how: int) -> None:
        expected = self.expectation(key, how)
        self.index += 1
        entry = delete(self.index, key, expected)
        self.batch.append((entry, self.model.delete(key, expected)))

    @rule()
    def noop(self) -> None:
        self.index += 1
        self.batch.append((entry(self.index, 1, NOOP, b""), Applied(0, 0, 0)))

    @rule()
    def apply(self) -> None:
        entries = [entry for entry, _ in self.batch]
        assert self.database.apply(entries) == [wanted for _, wanted in self.batch]
        self.batch.clear()

    @rule()
    def go_on_with_what_was_sent(self) -> None:
        self.apply()
        read = copy_of(self.database)
        assert read.state_hash() == self.database.state_hash()
        self.database = read

    @rule(
        start=BOUNDS,
        end=st.none() | BOUNDS,
        records=st.integers(1, 4),
        size=st.sampled_from([1, 60, 10_000]),
        keys_only=st.booleans(),
    )
    def read_a_range_in_pages(
        self, start: bytes, end: bytes | None, records: int, size: int, keys_only: bool
    ) -> None:
        """Pages, each from the last key + a zero byte, are the range and no more."""
        self.apply()
        found: list[Record] = []
        more, cursor = True, start
        while more:
            page, more = range_of(
                self.database,
                cursor,
                end,
                records_max=records,
                bytes_max=size,
                keys_only=keys_only,
            )
            assert len(page) <= records
            assert page or not more, "a page that says more brings something"
            found += page
            cursor = found[-1].key + b"\0" if found else cursor
        wanted = [
            record
            for key, record in sorted(self.model.table.items())
            if key >= start and (end is None or key < end)
        ]
        assert [r.key for r in found] == [r.key for r in wanted]
        if keys_only:
            assert all(record.value == b"" for record in found)
        else:
            assert found == wanted

    @invariant()
    def what_was_applied_is_what_the_model_says(self) -> None:
        if self.batch:
            return
        assert self.database.revision == self.model.revision
        assert self.database.applied_index == BEGIN + self.index
        assert self.database.keys == len(self.model.table)
        for key in (b"a", b"aa", b"a\0", b"b", b"\0", b"\xff", b"\xff\xff", b"m"):
            assert self.database.get(key) == self.model.table.get(key)


DatabaseMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestDatabase = pytest.mark.slow(DatabaseMachine.TestCase)
