"""One transaction against the state: what it compares, reads and would write.

Law: pure, and nothing is changed here: a transaction takes effect as a whole or not at
all, so its changes are handed back for `Database.apply` to make. All comparisons, those
of transactions inside it too, are with what was there before any of it.
"""

from collections.abc import Iterator
from typing import Protocol, TypeVar

import msgspec

from ...storage.engine import VALUE
from ...wire import (
    KEYS_MAX,
    MET_BYTES_MAX,
    READ_BYTES_MAX,
    Compare,
    ErrorCode,
    Record,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnDeleteRange,
    TxnGet,
    TxnGetRange,
    TxnOperation,
    TxnPut,
    TxnReply,
    TxnResult,
)
from .records import HEAD_BYTES, KeyRecord, as_record, decode_record, lease_of, put_over

Value = TypeVar("Value", bytes, int)


class State(Protocol):
    """What was there before: newest records, as the store keeps them."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(
        self, start: bytes, end: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]: ...

    def refusal(self, lease: int, had: int, gained: int) -> ErrorCode | None: ...


class Refused(Exception):
    """It does nothing; `code` is why, the same on every replica."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code)
        self.code = code


class Met:
    """A state, and how much of it may be met: `Refused` when it is more."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._left = MET_BYTES_MAX

    def get(self, key: bytes) -> bytes | None:
        record = self._state.get(key)
        if record is not None:
            self._count(key, record)
        return record

    def scan(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        for key, record in self._state.scan(start, end):
            self._count(key, record)
            yield key, record

    def refusal(self, lease: int, had: int, gained: int) -> ErrorCode | None:
        return self._state.refusal(lease, had, gained)

    def _count(self, key: bytes, record: bytes) -> None:
        self._left -= len(key) + len(record)
        if self.over:
            raise Refused(ErrorCode.REQUEST_TOO_LARGE)

    @property
    def over(self) -> bool:
        """Has somebody been refused?"""
        return self._left < 0


class Changes:
    """What a transaction does. `writes` are records by key, None for a deletion.

    `before` has what they take the place of, if anything was there. `digest` is what
    the sum of digests gains, `keys` the number of live keys.
    """

    def __init__(self, state: State, revision: int) -> None:
        self.state = state
        self.revision = revision
        self.writes: dict[bytes, bytes | None] = {}
        self.before: dict[bytes, bytes] = {}
        self.digest = 0
        self.keys = 0
        self.puts = 0
        self.deletes = 0
        self._read_bytes = 0
        self._met = 0
        # What it wrote by name, and the ranges that it deleted, in order, apart.
        self._named: dict[bytes, None] = {}
        self._deleted: list[tuple[bytes, bytes]] = []
        # How many keys more hang on a lease.
        self._leased: dict[int, int] = {}

    # -- operations --------------------------------------------------------------------

    def do(self, path: "Path") -> TxnReply:
        """Its reply; the revision in it is the one that its writes would have."""
        results = [self._operation(operation) for operation in path.operations]
        return TxnReply(path.succeeded, self.revision, tuple(results))

    def _operation(self, operation: "TxnOperation | Path") -> TxnResult:
        match operation:
            case TxnPut(key, value, lease):
                before = self._get(key)
                self._move(0 if before is None else lease_of(before), lease)
                self._put(key, value, lease, before)
                return TxnResult(before is not None)
            case TxnDelete(key):
                return TxnResult(self.delete(key))
            case TxnGet(key):
                record = self._get(key)
                if record is None:
                    return TxnResult(False)
                self._count_bytes(len(key) + len(record) - HEAD_BYTES)
                return TxnResult(True, as_record(key, record))
            case TxnGetRange():
                return self._get_range(operation)
            case TxnDeleteRange(start, end):
                found = list(self._scan(start, end))
                for key, before in found:
                    self._delete(key, before)
                if not end or start < end:
                    self._deleted = joined([*self._deleted, (start, end)])
                return TxnResult.of_range((), len(found))
            case Path():
                return TxnResult(operation.succeeded, reply=self.do(operation))
            case Transaction():
                raise AssertionError("its path was chosen before")

    def _get(self, key: bytes) -> bytes | None:
        return self.writes[key] if key in self.writes else self.state.get(key)

    def _scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """What a range holds now; not more than all ranges together may meet."""
        written = sorted(
            (key, self.writes[key])
            for key in self._named
            if start <= key and (not end or key < end)
        )
        for found in overlaid(self._there(start, end), written):
            self._met += 1
            if self._met > KEYS_MAX:
                raise Refused(ErrorCode.TOO_MANY_KEYS)
            yield found

    def _there(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """What was there of a range, but for the ranges that were deleted.

        Else each of a thousand reads would pass ten thousand keys that are gone, and
        count none of them.
        """
        for first, last in self._deleted:
            if end and first >= end:
                break
            if last and last <= start:
                continue
            if start < first:
                yield from self.state.scan(start, first)
            if not last:
                return
            start = last
        if not end or start < end:
            yield from self.state.scan(start, end or None)

    def _get_range(self, wanted: TxnGetRange) -> TxnResult:
        # All are counted, but only what is shown is held on to.
        records: list[Record] = []
        count = 0
        for key, data in self._scan(wanted.start, wanted.end):
            count += 1
            if not wanted.limit or count <= wanted.limit:
                record = as_record(key, data, wanted.keys_only)
                self._count_bytes(len(record.value) + len(record.key))
                records.append(record)
        return TxnResult.of_range(records, count)

    def _put(self, key: bytes, value: bytes, lease: int, before: bytes | None) -> None:
        self.keys += before is None
        old = None if before is None else VALUE + before
        record, gained = put_over(old, key, value, self.revision, lease)
        self.digest += gained
        if before is not None:
            self.before[key] = before
        self.writes[key] = record[len(VALUE) :]
        self._named[key] = None
        self.puts += 1

    def _move(self, had: int, lease: int) -> None:
        """A key that hung on `had` hangs on `lease` now; 0 is none."""
        leased = self._leased
        if lease:
            code = self.state.refusal(lease, had, leased.get(lease, 0))
            if code is not None:
                raise Refused(code)
        if had != lease:
            leased[had] = leased.get(had, 0) - 1
            leased[lease] = leased.get(lease, 0) + 1

    def delete(self, key: bytes) -> bool:
        """Take a key away; was it there?"""
        before = self._get(key)
        if before is not None:
            self._delete(key, before)
            self._named[key] = None
        return before is not None

    def _delete(self, key: bytes, before: bytes) -> None:
        self._move(lease_of(before), 0)
        self.digest -= decode_record(before).digest
        self.keys -= 1
        self.before[key] = before
        self.writes[key] = None
        self.deletes += 1

    def _count_bytes(self, count: int) -> None:
        self._read_bytes += count
        if self._read_bytes > READ_BYTES_MAX:
            raise Refused(ErrorCode.REQUEST_TOO_LARGE)


def at_revision(reply: TxnReply, revision: int) -> TxnReply:
    """The same, with those inside it, at another revision: that of nothing written."""
    results = [
        result
        if result.reply is None
        else TxnResult(result.found, reply=at_revision(result.reply, revision))
        for result in reply.results
    ]
    return TxnReply(reply.succeeded, revision, tuple(results))


def joined(ranges: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The same keys by ranges that lie apart, in order; an empty end is none."""
    apart: list[tuple[bytes, bytes]] = []
    for start, end in sorted(ranges):
        if not apart or (apart[-1][1] and apart[-1][1] < start):
            apart.append((start, end))
        elif apart[-1][1] and (not end or end > apart[-1][1]):
            apart[-1] = apart[-1][0], end
    return apart


def overlaid(
    there: Iterator[tuple[bytes, bytes]], written: list[tuple[bytes, bytes | None]]
) -> Iterator[tuple[bytes, bytes]]:
    """`there` with `written`, both in order of their keys; None is a deletion."""
    ahead = iter(written)
    new = next(ahead, None)
    for key, record in there:
        while new is not None and new[0] < key:
            if new[1] is not None:
                yield new[0], new[1]
            new = next(ahead, None)
        if new is None or new[0] != key:
            yield key, record
    while new is not None:
        if new[1] is not None:
            yield new[0], new[1]
        new = next(ahead, None)


# -- which way -------------------------------------------------------------------------


class Path(msgspec.Struct, frozen=True):
    """What is done of a transaction, now that its conditions are known."""

    succeeded: bool
    operations: "tuple[TxnOperation | Path, ...]"


def choose(transaction: Transaction, state: State) -> Path:
    """Compare everything, also inside. Raises Refused."""
    return _Chooser(state).choose(transaction)


class _Chooser:
    def __init__(self, state: State) -> None:
        self.state = state
        self.met = 0

    def choose(self, transaction: Transaction) -> Path:
        succeeded = all(self.holds(compare) for compare in transaction.compares)
        branch = transaction.then if succeeded else transaction.otherwise
        return Path(
            succeeded,
            tuple(
                [self.choose(o) if isinstance(o, Transaction) else o for o in branch]
            ),
        )

    def holds(self, compare: Compare) -> bool:
        if compare.end is None:
            return _holds(compare, self.state.get(compare.key))
        met = False
        for _, record in self.state.scan(compare.key, compare.end or None):
            met = True
            self.met += 1
            if self.met > KEYS_MAX:
                raise Refused(ErrorCode.TOO_MANY_KEYS)
            if not _holds(compare, record):
                return False
        return met or _holds(compare, None)


def _holds(compare: Compare, data: bytes | None) -> bool:
    record = None if data is None else decode_record(data)
    if compare.target is Target.VALUE:
        assert isinstance(compare.operand, bytes)
        # As in etcd: no comparison with the value of an absent key holds.
        return record is not None and _stands(
            compare.relation, record.value, compare.operand
        )
    assert isinstance(compare.operand, int)
    return _stands(compare.relation, _number(compare.target, record), compare.operand)


def _number(target: Target, record: KeyRecord | None) -> int:
    if record is None:
        return 0
    match target:
        case Target.VERSION:
            return record.version
        case Target.CREATE_REVISION:
            return record.create_revision
        case Target.LEASE:
            return record.lease
        case _:
            return record.mod_revision


def _stands(relation: Relation, one: Value, other: Value) -> bool:
    match relation:
        case Relation.EQUAL:
            return one == other
        case Relation.NOT_EQUAL:
            return one != other
        case Relation.GREATER:
            return one > other
        case Relation.LESS:
            return one < other
