"""Transactions against a dict and a handful of plain lines: I-36."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.database import Applied, Database
from quorate.node.database.before import Before
from quorate.node.database.transactions import Changes, choose, joined
from quorate.wire import (
    DEFAULT_LIMITS,
    KEYS_MAX,
    READ_BYTES_MAX,
    Compare,
    ErrorCode,
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
    decode_txn_reply,
)
from quorate.wire.records import RECORD_HEAD_BYTES
from quorate.wire.transactions import PARTS_MAX

from ...wire.branches import transactions
from ...wire.transaction_model import Model, ModelRefused
from .support import apply_all, copy_of, digests_of, grant, new_database, put, transact

KEYS = st.sampled_from([b"a", b"b", b"ba", b"c", b"d"])
VALUES = st.sampled_from([b"", b"x", b"xy", b"y"])
# Not only what is likely to be there.
NUMBERS = st.integers(0, 12)
# 9 is none.
LEASES = st.sampled_from([0, 0, 0, 7, 7, 8, 8, 9])
TRANSACTIONS = transactions(KEYS, VALUES, NUMBERS, LEASES, limits=st.integers(0, 3))


def do(database: Database, index: int, transaction: Transaction) -> TxnReply:
    (result,) = database.apply([transact(index, transaction)])
    assert result.code == 0
    reply = decode_txn_reply(result.reply)
    assert result.revision == reply.revision
    return reply


@given(st.lists(TRANSACTIONS, max_size=12), st.booleans())
def test_transactions_do_what_a_few_plain_lines_do(
    many: list[Transaction], together: bool
) -> None:
    database, model = new_database(), Model(leases={7, 8})
    database.apply([grant(1, 7), grant(2, 8)])
    wanted = [answer_of(model, transaction) for transaction in many]
    # As one batch each sees what those before it have done.
    entries = [transact(n, t) for n, t in enumerate(many, 3)]
    batches = [entries] if together else [[entry] for entry in entries]
    found = [answer for batch in batches for answer in database.apply(batch)]
    assert [r.code or decode_txn_reply(r.reply) for r in found] == wanted
    assert database.revision == model.revision
    assert database.keys == len(model.table)
    assert [database.get(k) for k in sorted(model.table)] == model.within(b"", b"")
    for lease in (7, 8):
        assert database.lease_table.keys_of(lease) == model.keys_of(lease)
        assert database.lease_table.leases[lease].keys == len(model.keys_of(lease))
    # The state hash is that of the same records written in any other way.
    assert database.digest_sum == digests_of(database)
    assert copy_of(database).state_hash() == database.state_hash()


def answer_of(model: Model, transaction: Transaction) -> TxnReply | ErrorCode:
    try:
        return model.do(transaction)
    except ModelRefused as refused:
        return refused.code


def test_one_revision_for_all_that_is_written() -> None:
    database = new_database()
    database.apply([put(1, b"old", b"1")])
    writes = (TxnPut(b"a", b"1"), TxnDelete(b"old"), TxnPut(b"b", b"2"))
    reply = do(database, 2, Transaction((), writes, ()))
    assert reply.revision == database.revision == 3
    for key in (b"a", b"b"):
        record = database.get(key)
        assert record is not None
        assert (record.mod_revision, record.create_revision) == (3, 3)
    assert database.get(b"old") is None


def test_what_writes_nothing_has_no_revision() -> None:
    database = new_database()
    idle = Transaction((), (TxnGet(b"a"), TxnDelete(b"a")), ())
    assert do(database, 1, idle).revision == database.revision == 1


def test_one_that_reads_too_much_does_nothing_at_all() -> None:
    """Decided in apply, so that all replicas decide alike."""
    database = new_database()
    half = b"x" * (READ_BYTES_MAX // 2 - 1)
    database.apply([put(1, b"a", half), put(2, b"b", half + b"x")])
    before = database.digest_sum, database.keys
    reads = (TxnPut(b"new", b"1"), TxnGet(b"a"), TxnGet(b"b"))
    (result,) = database.apply([transact(3, Transaction((), reads, ()))])
    assert result == Applied(ErrorCode.REQUEST_TOO_LARGE, 3, 0)
    assert (database.digest_sum, database.keys) == before
    assert database.get(b"new") is None
    reads = (TxnGet(b"a"), TxnGet(b"a"))
    assert len(do(database, 4, Transaction((), reads, ())).results) == 2


def test_no_reply_is_larger_than_a_frame() -> None:
    """Story: a thousand gets of long keys had one, which ended the connection of a
    client whose writes were done.
    """
    database = new_database()
    keys = [b"%04d" % n + b"k" * 4092 for n in range(1000)]
    apply_all(database, [put(n + 1, key, b"v" * 3000) for n, key in enumerate(keys)])
    index = database.applied_index
    inside = [
        Transaction((), tuple(map(TxnGet, keys[n : n + 125])), ())
        for n in range(0, 1000, 125)
    ]
    branch = (TxnPut(b"new", b"1"), *inside)
    (result,) = database.apply([transact(index, Transaction((), branch, ()))])
    assert result.code == ErrorCode.REQUEST_TOO_LARGE
    assert database.get(b"new") is None
    beside = (PARTS_MAX + KEYS_MAX) * (RECORD_HEAD_BYTES + 16)
    assert READ_BYTES_MAX + beside < DEFAULT_LIMITS.request_bytes_max


def test_an_entry_that_is_applied_again_changes_nothing() -> None:
    """I-32."""
    database = new_database()
    entry = transact(1, Transaction((), (TxnPut(b"a", b"1"),), ()))
    database.apply([entry])
    state = database.state_hash()
    database.apply([entry])
    assert database.state_hash() == state
    record = database.get(b"a")
    assert record is not None
    assert record.version == 1


# -- what is inside --------------------------------------------------------------------


def test_all_comparisons_see_what_was_there_before() -> None:
    """As in etcd: a transaction inside does not see what the one outside has put."""
    database = new_database()
    absent = Compare(b"a", Target.VERSION, Relation.EQUAL, 0)
    inner = Transaction((absent,), (TxnGet(b"a"),), ())
    reply = do(database, 1, Transaction((), (TxnPut(b"a", b"1"), inner), ()))
    inside = reply.results[1].reply
    assert inside is not None
    assert inside.succeeded
    # What it does sees it, though.
    assert inside.results[0].record is not None
    assert inside.results[0].record.value == b"1"


def test_a_reply_inside_has_the_revision_of_the_store() -> None:
    """Story: where nothing was written, what was inside named a revision that was not
    there: the one that its writes would have had.
    """
    database = new_database()
    idle = Transaction((), (Transaction((), (Transaction((), (), ()),), ()),), ())
    write = Transaction((), (Transaction((), (), ()), TxnPut(b"a", b"1")), ())
    assert revisions_in(do(database, 1, idle)) == [1, 1, 1]
    assert revisions_in(do(database, 2, write)) == [2, 2]
    assert revisions_in(do(database, 3, idle)) == [2, 2, 2]


def revisions_in(reply: TxnReply) -> list[int]:
    found = [reply.revision]
    for result in reply.results:
        if result.reply is not None:
            found += revisions_in(result.reply)
    return found


# -- limits ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full() -> Database:
    """As many keys as a command may meet, all on lease 7; tests leave them there."""
    database = new_database()
    puts = [put(n, b"key %05d" % n, b"", lease=7) for n in range(2, KEYS_MAX + 2)]
    assert not any(r.code for r in apply_all(database, [grant(1, 7), *puts]))
    return database


ONE_MORE = TxnPut(b"key", b"")
EVERYTHING = TxnGetRange(b"", b"", 1)
THERE = Compare(b"", Target.VERSION, Relation.GREATER, 0, b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compares", "branch", "fine"),
    [
        ((THERE,), (EVERYTHING,), True),
        ((THERE, THERE), (), False),
        ((), (ONE_MORE, EVERYTHING), False),
        ((), (EVERYTHING, TxnGetRange(b"key 00002", b"key 00003")), False),
        ((), (ONE_MORE, TxnDeleteRange(b"key ", b"")), True),
        ((), (ONE_MORE, TxnDeleteRange(b"l", b""), EVERYTHING), False),
        # What is deleted is not met again.
        ((), (TxnDeleteRange(b"", b""), EVERYTHING), True),
        # A full lease takes no other key, but what hangs on it may be put again.
        ((), (TxnPut(b"key", b"", 7),), False),
        ((), (TxnPut(b"key 00002", b"new", 7),), True),
        ((), (TxnPut(b"key 00002", b""), TxnPut(b"key", b"", 7)), True),
        ((), (TxnDelete(b"key 00002"), TxnPut(b"key", b"", 7)), True),
        ((), (TxnPut(b"key", b"", 7), TxnDelete(b"key 00002")), False),
        (
            (),
            (TxnDelete(b"key 00002"), TxnPut(b"key", b"", 7), TxnPut(b"k", b"", 7)),
            False,
        ),
    ],
)
def test_no_transaction_touches_too_many_keys(
    full: Database,
    compares: tuple[Compare, ...],
    branch: tuple[TxnOperation, ...],
    fine: bool,
) -> None:
    database = copy_of(full)
    before = database.meta()
    index = database.applied_index
    (result,) = database.apply([transact(index, Transaction(compares, branch, ()))])
    assert database.digest_sum == digests_of(database)
    kept = database.lease_table
    assert kept.leases[7].keys == len(kept.keys_of(7)) <= KEYS_MAX
    if fine:
        assert result.code == 0
        return
    assert result == Applied(ErrorCode.TOO_MANY_KEYS, before.revision, 0)
    after = database.meta()
    assert (after.revision, after.keys, after.digest_sum) == (
        *(before.revision, before.keys, before.digest_sum),
    )


def test_many_puts_of_one_transaction_do_not_overfill_a_lease() -> None:
    """Story: each was compared with what the lease had before the transaction."""
    database = new_database()
    puts = [put(n, b"%05d" % n, b"", lease=7) for n in range(2, KEYS_MAX)]
    apply_all(database, [grant(1, 7), *puts])
    index = database.applied_index
    two = (TxnPut(b"a", b"", 7), TxnPut(b"b", b"", 7))
    for writes, code in (((*two, TxnPut(b"c", b"", 7)), 21), (two, 0)):
        (result,) = database.apply([transact(index, Transaction((), writes, ()))])
        assert result.code == code
        index += 1
    assert database.lease_table.leases[7].keys == KEYS_MAX


def test_a_range_that_reads_too_much_does_nothing_at_all() -> None:
    database = new_database()
    half = b"x" * (READ_BYTES_MAX // 2)
    database.apply([put(1, b"a", half), put(2, b"b", half)])
    for wanted, code in (
        (TxnGetRange(b"", b""), ErrorCode.REQUEST_TOO_LARGE),
        (TxnGetRange(b"", b"", 1), 0),
        (TxnGetRange(b"", b"", 0, True), 0),
    ):
        branch = (TxnPut(b"c", b""), wanted)
        index = database.applied_index
        (result,) = database.apply([transact(index, Transaction((), branch, ()))])
        assert result.code == code
        assert (database.get(b"c") is None) == bool(code)


def test_what_is_refused_midway_changes_nothing() -> None:
    database = new_database()
    database.apply([grant(1, 7), put(2, b"a", b"1", lease=7), put(3, b"b", b"2")])
    before = database.meta()
    branch = (
        *(TxnDeleteRange(b"a", b"b"), TxnPut(b"b", b"3", 7), TxnPut(b"c", b"", 7)),
        Transaction((), (TxnPut(b"d", b"", 9),), ()),
    )
    (result,) = database.apply([transact(4, Transaction((), branch, ()))])
    assert result == Applied(ErrorCode.LEASE_NOT_FOUND, 3, 0)
    after = database.meta()
    assert (after.revision, after.keys, after.digest_sum) == (
        *(before.revision, before.keys, before.digest_sum),
    )
    assert database.lease_table.keys_of(7) == [b"a"]
    assert database.lease_table.leases[7].keys == 1
    assert (database.puts, database.deletes) == (2, 0)


@pytest.mark.parametrize(("start", "end"), [(b"c", b"b"), (b"b", b"b")])
def test_a_range_that_ends_before_it_begins_is_empty(start: bytes, end: bytes) -> None:
    database = new_database()
    database.apply([put(1, b"a", b""), put(2, b"b", b""), put(3, b"c", b"")])
    database.store.flush()
    absent = Compare(start, Target.VERSION, Relation.EQUAL, 0, end)
    valued = Compare(start, Target.VALUE, Relation.NOT_EQUAL, b"x", end)
    branch = (TxnGetRange(start, end), TxnDeleteRange(start, end))
    reply = do(database, 4, Transaction((absent,), branch, ()))
    assert reply == TxnReply(True, 4, (TxnResult.of_range((), 0),) * 2)
    assert not do(database, 5, Transaction((valued,), (), ())).succeeded


class Counting(Before):
    """How many records were read of what was there."""

    read = 0

    def scan(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        for found in super().scan(start, end):
            self.read += 1
            yield found


def test_what_a_transaction_has_deleted_is_not_passed_again_and_again() -> None:
    """Story: of ten thousand deleted keys none was counted by the ranges that followed,
    and all of them were read by each: a small transaction held every replica for half a
    minute, at the same entry.
    """
    database = new_database()
    database.apply([put(n, b"k%03d" % n, b"v") for n in range(1, 301)])
    before = Counting(database.store, database.lease_table, {})
    changes = Changes(before, database.revision + 1)
    gets = [TxnGetRange(b"", b"", 0, True), TxnGetRange(b"k1", b"k25", 0, True)] * 50
    deletes = (TxnDeleteRange(b"k1", b"k2"), TxnDeleteRange(b"k2", b""))
    transaction = Transaction((), (*deletes, *gets), ())
    reply = changes.do(choose(transaction, before))
    assert [result.count for result in reply.results] == [100, 101, *[99, 0] * 50]
    # Once each that was deleted, and the others by each range that has them.
    assert before.read <= 201 + 99 * 50


def test_a_range_to_delete_that_ends_before_it_begins_deletes_nothing() -> None:
    """And nothing twice: those that follow it read each key once."""
    database = new_database()
    database.apply([put(n, b"%d" % n, b"v") for n in range(1, 8)])
    operations = (
        TxnDeleteRange(b"5", b"3"),
        TxnDeleteRange(b"2", b"2"),
        TxnGetRange(b"1", b"9", 0, True),
        TxnDeleteRange(b"1", b"9"),
    )
    reply = do(database, 8, Transaction((), operations, ()))
    assert [result.count for result in reply.results] == [0, 0, 7, 7]
    assert database.keys == 0
    assert database.digest_sum == digests_of(database)


RANGES = st.tuples(st.binary(max_size=2), st.binary(max_size=2))


@given(st.lists(RANGES, max_size=6), st.binary(max_size=2))
def test_ranges_are_joined_to_the_same_keys(
    ranges: list[tuple[bytes, bytes]], key: bytes
) -> None:
    def has(some: list[tuple[bytes, bytes]]) -> bool:
        return any(start <= key and (not end or key < end) for start, end in some)

    ranges = [(start, end) for start, end in ranges if not end or start < end]
    apart = joined(ranges)
    assert has(apart) == has(ranges)
    assert apart == sorted(apart)
    for (_, end), (start, _) in itertools.pairwise(apart):
        assert end
        assert end < start
