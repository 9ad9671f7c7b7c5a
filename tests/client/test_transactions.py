"""Transactions as callers build them, and replies that are none to them."""

from collections.abc import AsyncIterator

import pytest
from quorate.client import (
    AsyncClient,
    Fenced,
    InvalidRequest,
    KeyValue,
    TooLarge,
    Txn,
)
from quorate.client.transactions import committed
from quorate.wire import (
    Compare,
    Record,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnGet,
    TxnPut,
    TxnReply,
    TxnResult,
)

RECORD = Record(b"a", b"1", 2, 3, 4, 0)


@pytest.fixture
async def nowhere() -> AsyncIterator[AsyncClient]:
    """A client that must not come so far as to need a node."""
    async with AsyncClient("127.0.0.1:1", timeout=0.1) as kv:
        yield kv


def test_a_transaction_is_what_was_said() -> None:
    txn = (
        Txn()
        .if_value("a", "1")
        .if_revision(b"b", 7, "!=")
        .if_created("c", 8, ">")
        .if_version("d", 9, "<")
        .if_exists("e")
        .if_absent("f")
        .put("a", "2")
        .delete("b")
        .get("a")
        .otherwise()
        .get("b")
    )
    assert txn.transaction() == Transaction(
        (
            Compare(b"a", Target.VALUE, Relation.EQUAL, b"1"),
            Compare(b"b", Target.MOD_REVISION, Relation.NOT_EQUAL, 7),
            Compare(b"c", Target.CREATE_REVISION, Relation.GREATER, 8),
            Compare(b"d", Target.VERSION, Relation.LESS, 9),
            Compare(b"e", Target.VERSION, Relation.GREATER, 0),
            Compare(b"f", Target.VERSION, Relation.EQUAL, 0),
        ),
        (TxnPut(b"a", b"2"), TxnDelete(b"b"), TxnGet(b"a")),
        (TxnGet(b"b"),),
    )


def test_a_transaction_of_the_wire_is_taken_as_it_is() -> None:
    said = Txn().if_exists("e").put("a", "1").otherwise().get("a").transaction()
    txn = Txn.of(said)
    assert txn.transaction() == said
    with pytest.raises(InvalidRequest, match="come before"):
        txn.if_absent("b")
    # It can be gone on with, where it left off, and what it came from stays.
    assert txn.get("b").transaction().otherwise == (TxnGet(b"a"), TxnGet(b"b"))
    assert said.otherwise == (TxnGet(b"a"),)


def test_what_makes_no_sense_is_refused_where_it_is_said() -> None:
    with pytest.raises(InvalidRequest, match="come before"):
        Txn().put("a", "1").if_absent("b")
    with pytest.raises(InvalidRequest, match="come before"):
        Txn().otherwise().if_absent("b")
    with pytest.raises(InvalidRequest, match="twice"):
        Txn().otherwise().otherwise()
    with pytest.raises(InvalidRequest, match="operator"):
        Txn().if_version("a", 1, "~")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidRequest, match="not a revision"):
        Txn().if_revision("a", -1)
    with pytest.raises(InvalidRequest, match="empty"):
        Txn().get("")


async def test_what_the_format_has_no_room_for_is_refused(nowhere: AsyncClient) -> None:
    txn = Txn()
    for _ in range(1 << 16):
        txn.get("a")
    with pytest.raises(TooLarge):
        await nowhere.commit(txn)


@pytest.mark.parametrize(
    "results",
    [
        (),
        (TxnResult(True), TxnResult(False)),
        (TxnResult(True), TxnResult(True)),
        (TxnResult(True, RECORD), TxnResult(False)),
        (TxnResult(True), TxnResult(True, Record(b"b", b"", 1, 1, 1, 0))),
    ],
)
def test_a_reply_to_something_else_is_not_believed(
    results: tuple[TxnResult, ...],
) -> None:
    transaction = Txn().put("a", "1").get("a").transaction()
    found = committed(transaction, TxnReply(True, 3, results))
    if results == (TxnResult(True), TxnResult(False)):
        assert found is not None
        assert found.results == (True, None)
    else:
        assert found is None


def test_results_are_those_of_the_side_that_was_done() -> None:
    transaction = Txn().if_absent("a").put("a", "1").otherwise().get("a").transaction()
    done = committed(transaction, TxnReply(True, 3, (TxnResult(False),)))
    assert done
    assert done.results == (False,)
    missed = committed(transaction, TxnReply(False, 2, (TxnResult(True, RECORD),)))
    assert missed is not None
    assert not missed
    assert missed.results == (KeyValue.of(RECORD),)


async def test_a_range_is_deleted_in_one_step(kv: AsyncClient) -> None:
    for key in ("a", "b", "b/1", "c"):
        await kv.put(key, "v")
    before = await kv.put("d", "v")
    assert await kv.delete_range("b") == 2
    assert await kv.put("d", "v") == before + 2
    assert await kv.delete_range("b") == 0
    assert await kv.delete_range(start="c", end="d") == 1
    assert [entry.key async for entry in kv.range("")] == [b"a", b"d"]
    done = await kv.commit(Txn().if_exists("a").delete_range(start="b").get("d"))
    assert done.results == (1, None)
    assert await kv.delete_range("") == 1
    with pytest.raises(InvalidRequest, match="give prefix"):
        await kv.delete_range()
    with pytest.raises(InvalidRequest):
        Txn().delete_range("a", end="b")


async def test_a_range_is_deleted_only_while_the_lock_is_held(kv: AsyncClient) -> None:
    await kv.put("k", "v")
    async with kv.lock("job") as lock:
        token = lock.token
        assert await kv.delete_range("k", fence=token) == 1
    await kv.put("k", "v")
    with pytest.raises(Fenced):
        await kv.delete_range("k", fence=token)
    assert await kv.get("k") is not None
