"""Transactions against a dict and a handful of plain lines: I-36."""

from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.node.database import Applied, Database
from quorate.wire import (
    READ_BYTES_MAX,
    ErrorCode,
    Transaction,
    TxnDelete,
    TxnGet,
    TxnPut,
    TxnReply,
    decode_txn_reply,
)

from ...wire.branches import branches, compares
from ...wire.transaction_model import Model
from .support import copy_of, new_database, put, records_of, transact

KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])
VALUES = st.sampled_from([b"", b"x", b"xy", b"y"])
# Not only what is likely to be there.
NUMBERS = st.integers(0, 12)
COMPARES = compares(KEYS, VALUES, NUMBERS)
BRANCHES = branches(KEYS, VALUES)
TRANSACTIONS = st.builds(
    Transaction, st.lists(COMPARES, max_size=2).map(tuple), BRANCHES, BRANCHES
)


def do(database: Database, index: int, transaction: Transaction) -> TxnReply:
    (result,) = database.apply([transact(index, transaction)])
    assert result.code == 0
    reply = decode_txn_reply(result.reply)
    assert result.revision == reply.revision
    return reply


@given(st.lists(TRANSACTIONS, max_size=12), st.booleans())
@settings(deadline=None)
def test_transactions_do_what_a_few_plain_lines_do(
    transactions: list[Transaction], together: bool
) -> None:
    database, model = new_database(), Model()
    wanted = [model.do(transaction) for transaction in transactions]
    if together:
        # As one batch: each sees what those before it have done.
        entries = [transact(n, t) for n, t in enumerate(transactions, 1)]
        replies = [decode_txn_reply(r.reply) for r in database.apply(entries)]
    else:
        replies = [do(database, n, t) for n, t in enumerate(transactions, 1)]
    assert replies == wanted
    assert database.revision == model.revision
    assert database.keys == len(model.table)
    for key in (b"a", b"b", b"c", b"d"):
        assert database.get(key) == model.table.get(key)
    # The state hash is that of the same records written in any other way.
    rebuilt = sum(
        int.from_bytes(record[32:48], "little") for _, record in records_of(database)
    )
    assert database.digest_sum == rebuilt % (1 << 128)
    assert copy_of(database).state_hash() == database.state_hash()


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
    half = b"x" * (READ_BYTES_MAX // 2)
    database.apply([put(1, b"a", half), put(2, b"b", half + b"x")])
    before = database.digest_sum, database.keys
    reads = (TxnPut(b"new", b"1"), TxnGet(b"a"), TxnGet(b"b"))
    (result,) = database.apply([transact(3, Transaction((), reads, ()))])
    assert result == Applied(ErrorCode.REQUEST_TOO_LARGE, 3, 0)
    assert (database.digest_sum, database.keys) == before
    assert database.get(b"new") is None
    reads = (TxnGet(b"a"), TxnGet(b"a"))
    assert len(do(database, 4, Transaction((), reads, ())).results) == 2


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
