"""Transactions: one encoding each, judged whole, and nothing else gets through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    OPERATIONS_MAX,
    CommandRefused,
    Compare,
    ErrorCode,
    Limits,
    ProtocolError,
    Record,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnGet,
    TxnOperation,
    TxnPut,
    TxnReply,
    TxnResult,
    decode_command,
    decode_txn_reply,
    encode_transaction,
    encode_txn_reply,
)

from .branches import branches, compares

KEYS = st.binary(min_size=1, max_size=4)
U64 = st.integers(0, 2**64 - 1)
COMPARES = compares(KEYS, KEYS, U64)
BRANCHES = branches(KEYS, st.binary(max_size=5))
TRANSACTIONS = st.builds(
    Transaction, st.lists(COMPARES, max_size=4).map(tuple), BRANCHES, BRANCHES
)
RECORDS = st.builds(Record, KEYS, st.binary(max_size=9), U64, U64, U64, U64)
RESULTS = st.one_of(
    st.builds(TxnResult, st.booleans()), st.builds(TxnResult, st.just(True), RECORDS)
)
REPLIES = st.builds(TxnReply, st.booleans(), U64, st.lists(RESULTS).map(tuple))


@given(TRANSACTIONS)
def test_a_transaction_survives_its_bytes(transaction: Transaction) -> None:
    data = encode_transaction(transaction)
    assert decode_command(data, DEFAULT_LIMITS) == transaction


@given(REPLIES)
def test_a_reply_survives_its_bytes(reply: TxnReply) -> None:
    data = encode_txn_reply(reply.succeeded, reply.revision, reply.results)
    assert decode_txn_reply(data) == reply


@given(TRANSACTIONS, st.data())
def test_what_is_changed_is_refused_or_another_transaction(
    transaction: Transaction, data: st.DataObject
) -> None:
    """Whatever decodes encodes to the same bytes: there are no spare bits."""
    encoded = bytearray(encode_transaction(transaction))
    at = data.draw(st.integers(1, len(encoded) - 1))
    encoded[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        command = decode_command(bytes(encoded), DEFAULT_LIMITS)
    except CommandRefused:
        return
    assert isinstance(command, Transaction)
    assert encode_transaction(command) == bytes(encoded)


@given(TRANSACTIONS, REPLIES, st.data())
def test_what_is_cut_off_or_goes_on_is_refused(
    transaction: Transaction, reply: TxnReply, data: st.DataObject
) -> None:
    encoded = encode_transaction(transaction)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    for wrong in (encoded[:cut], encoded + b"\0"):
        with pytest.raises(CommandRefused):
            decode_command(wrong, DEFAULT_LIMITS)
    encoded = encode_txn_reply(reply.succeeded, reply.revision, reply.results)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    for wrong in (encoded[:cut], encoded + b"\0"):
        with pytest.raises(ProtocolError):
            decode_txn_reply(wrong)


@given(st.binary(max_size=60))
def test_garbage_is_a_protocol_error(data: bytes) -> None:
    for decode in (
        lambda: decode_command(b"\3" + data, DEFAULT_LIMITS),
        lambda: decode_txn_reply(data),
    ):
        try:
            decode()
        except ProtocolError:
            continue


@pytest.mark.parametrize("last", [TxnPut(b"k", b"2"), TxnDelete(b"k")])
@pytest.mark.parametrize("first", [TxnPut(b"k", b"1"), TxnDelete(b"k")])
def test_a_key_is_written_once_in_a_branch(
    first: TxnOperation, last: TxnOperation
) -> None:
    for both in (((first, last), ()), ((), (first, last))):
        with pytest.raises(CommandRefused, match="twice"):
            decode_command(encode_transaction(Transaction((), *both)), DEFAULT_LIMITS)
    both = Transaction((), (first, TxnGet(b"k")), (last,))
    assert decode_command(encode_transaction(both), DEFAULT_LIMITS) == both


def test_parts_are_counted() -> None:
    compare = Compare(b"k", Target.VERSION, Relation.EQUAL, 0)
    full = Transaction(
        (compare,) * OPERATIONS_MAX, (TxnGet(b"k"),) * OPERATIONS_MAX, ()
    )
    assert decode_command(encode_transaction(full), DEFAULT_LIMITS) == full
    for over in (
        Transaction((compare,) * (OPERATIONS_MAX + 1), (), ()),
        Transaction((), (TxnGet(b"k"),) * (OPERATIONS_MAX + 1), ()),
        Transaction((), (), (TxnGet(b"k"),) * (OPERATIONS_MAX + 1)),
    ):
        with pytest.raises(CommandRefused) as refused:
            decode_command(encode_transaction(over), DEFAULT_LIMITS)
        assert refused.value.code is ErrorCode.REQUEST_TOO_LARGE
    with pytest.raises(CommandRefused):
        encode_transaction(Transaction((compare,) * (1 << 16), (), ()))


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (TxnPut(b"", b""), ErrorCode.INVALID_REQUEST),
        (TxnGet(b"k" * 9), ErrorCode.KEY_TOO_LONG),
        (TxnDelete(b"k" * 9), ErrorCode.KEY_TOO_LONG),
        (TxnPut(b"k", b"v" * 17), ErrorCode.VALUE_TOO_LARGE),
    ],
)
def test_keys_and_values_have_the_usual_limits(
    operation: TxnOperation, code: ErrorCode
) -> None:
    limits = Limits(key_bytes_max=8, value_bytes_max=16)
    with pytest.raises(CommandRefused) as refused:
        decode_command(encode_transaction(Transaction((), (operation,), ())), limits)
    assert refused.value.code is code


@pytest.mark.parametrize(
    "compare",
    [
        Compare(b"k", Target.VALUE, Relation.EQUAL, 3),
        Compare(b"k", Target.VERSION, Relation.EQUAL, b"3"),
        Compare(b"k", Target.VERSION, Relation.EQUAL, -1),
        Compare(b"k", Target.VERSION, Relation.EQUAL, 2**64),
    ],
)
def test_an_operand_is_of_its_targets_kind(compare: Compare) -> None:
    with pytest.raises(CommandRefused):
        encode_transaction(Transaction((compare,), (), ()))
