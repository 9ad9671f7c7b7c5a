"""Transactions: one encoding each, judged whole, and nothing else gets through."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    OPERATIONS_MAX,
    Command,
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
    TxnDeleteRange,
    TxnGet,
    TxnGetRange,
    TxnOperation,
    TxnPut,
    TxnReply,
    TxnResult,
    decode_command,
    decode_txn_reply,
    encode_transaction,
    encode_txn_reply,
)
from quorate.wire.transactions import DEPTH_MAX, PARTS_MAX

from .branches import transactions, writes_once

KEYS = st.binary(min_size=1, max_size=4)
FEW = st.sampled_from([b"a", b"b", b"ba", b"c"])
U64 = st.integers(0, 2**64 - 1)
TRANSACTIONS = transactions(KEYS, st.binary(max_size=5), U64, U64)
CARELESS = transactions(FEW, st.just(b""), U64, st.just(0), careless=True)
RECORDS = st.builds(Record, KEYS, st.binary(max_size=9), U64, U64, U64, U64)


def range_result(records: list[Record], more: int) -> TxnResult:
    return TxnResult.of_range(records, len(records) + more)


def inside_result(found: bool, reply: TxnReply) -> TxnResult:
    return TxnResult(found, reply=reply)


RANGES = st.builds(range_result, st.lists(RECORDS, max_size=3), st.integers(0, 2**31))
RESULTS: st.SearchStrategy[TxnResult] = st.one_of(
    st.builds(TxnResult, st.booleans()),
    st.builds(TxnResult, st.just(True), RECORDS),
    RANGES,
)


def replies(results: st.SearchStrategy[TxnResult]) -> st.SearchStrategy[TxnReply]:
    return st.builds(
        TxnReply, st.booleans(), U64, st.lists(results, max_size=5).map(tuple)
    )


def replied_inside(
    inside: st.SearchStrategy[TxnResult], depth: int
) -> st.SearchStrategy[TxnResult]:
    """`inside`, and replies of transactions in transactions, so deep."""
    for _ in range(depth):
        deeper = replies(inside)
        inside = RESULTS | st.builds(inside_result, st.booleans(), deeper)
    return inside


REPLIES = replies(replied_inside(RESULTS, DEPTH_MAX - 1))


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


@given(REPLIES, st.data())
def test_a_reply_that_is_changed_is_refused_or_another_one(
    reply: TxnReply, data: st.DataObject
) -> None:
    encoded = bytearray(
        encode_txn_reply(reply.succeeded, reply.revision, reply.results)
    )
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = decode_txn_reply(bytes(encoded))
    except ProtocolError:
        return
    again = encode_txn_reply(found.succeeded, found.revision, found.results)
    assert again == bytes(encoded)


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


def decoded(transaction: Transaction) -> Command:
    return decode_command(encode_transaction(transaction), DEFAULT_LIMITS)


def accepted(transaction: Transaction) -> bool:
    try:
        found = decoded(transaction)
    except CommandRefused:
        return False
    assert found == transaction
    return True


@given(CARELESS)
@settings(max_examples=300)
def test_a_key_is_written_once_on_every_way(transaction: Transaction) -> None:
    assert accepted(transaction) == writes_once(transaction)


PUT, DELETE, GET = TxnPut(b"k", b"1"), TxnDelete(b"k"), TxnGet(b"k")
RANGE, BESIDE = TxnDeleteRange(b"a", b""), TxnDeleteRange(b"a", b"k")


def inside(
    *then: TxnOperation, otherwise: tuple[TxnOperation, ...] = ()
) -> Transaction:
    return Transaction((), then, otherwise)


@pytest.mark.parametrize(
    ("branch", "fine"),
    [
        ((PUT, PUT), False),
        ((PUT, DELETE), False),
        ((DELETE, PUT), False),
        ((DELETE, DELETE), False),
        ((PUT, GET), True),
        ((PUT, RANGE), False),
        ((RANGE, PUT), False),
        ((BESIDE, PUT), True),
        ((RANGE, RANGE, DELETE), True),
        ((TxnDeleteRange(b"", b""), TxnPut(b"\xff" * 9, b"")), False),
        # An end before the start: nothing is in there.
        ((TxnDeleteRange(b"z", b"a"), PUT), True),
        ((inside(PUT, otherwise=(PUT,)),), True),
        ((inside(PUT, otherwise=(DELETE,)),), True),
        ((inside(PUT, otherwise=(RANGE,)),), True),
        ((PUT, inside(PUT)), False),
        ((PUT, inside(otherwise=(PUT,))), False),
        ((inside(PUT), inside(PUT)), False),
        ((inside(PUT), inside(otherwise=(DELETE,))), False),
        ((RANGE, inside(PUT)), False),
        ((inside(RANGE), PUT), False),
        ((inside(PUT), RANGE), False),
        ((inside(inside(PUT), otherwise=(inside(PUT),)),), True),
        ((inside(inside(PUT), PUT),), False),
        ((inside(inside(inside(PUT))), RANGE), False),
    ],
)
def test_what_is_written_outside_is_not_written_inside(
    branch: tuple[TxnOperation, ...], fine: bool
) -> None:
    for both in (Transaction((), branch, ()), Transaction((), (), branch)):
        assert accepted(both) == writes_once(both) == fine
    # Only one of the two sides is done.
    assert accepted(Transaction((), branch, branch)) == fine


def nested(*operations: TxnOperation, depth: int) -> Transaction:
    """`depth` transactions, one in the other."""
    made = Transaction((), operations, ())
    for _ in range(depth - 1):
        made = Transaction((), (made,), ())
    return made


def test_transactions_are_nested_up_to_a_depth() -> None:
    assert accepted(nested(TxnGet(b"k"), depth=DEPTH_MAX))
    with pytest.raises(CommandRefused, match="deep") as refused:
        decoded(nested(TxnGet(b"k"), depth=DEPTH_MAX + 1))
    assert refused.value.code is ErrorCode.REQUEST_TOO_LARGE


def test_replies_are_nested_up_to_the_same_depth() -> None:
    reply = TxnReply(True, 2, ())
    for depth in range(1, DEPTH_MAX + 2):
        data = encode_txn_reply(True, 2, reply.results)
        if depth <= DEPTH_MAX:
            assert decode_txn_reply(data) == reply
        else:
            with pytest.raises(ProtocolError, match="too deep"):
                decode_txn_reply(data)
        reply = TxnReply(True, 2, (TxnResult(True, reply=reply),))


def test_the_parts_of_all_depths_are_counted() -> None:
    gets = (TxnGet(b"k"),) * (OPERATIONS_MAX - 1)
    # Eight of 127 with their heads, and what is left.
    inner = (Transaction((), gets, ()),) * 8
    rest = (TxnGet(b"k"),) * (PARTS_MAX - 8 * OPERATIONS_MAX)
    assert accepted(Transaction((), inner, rest))
    for over in (
        Transaction((), inner, (*rest, TxnGet(b"k"))),
        Transaction((), inner[1:], (*rest, nested(*gets, GET, GET, depth=1))),
        nested(*inner, *rest, depth=2),
    ):
        with pytest.raises(CommandRefused) as refused:
            decoded(over)
        assert refused.value.code is ErrorCode.REQUEST_TOO_LARGE


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


LONG, LONGER, LONGEST = b"k" * 8, b"k" * 9, b"k" * 10


@pytest.mark.parametrize(
    ("part", "code"),
    [
        (TxnPut(b"", b""), ErrorCode.INVALID_REQUEST),
        (TxnGet(b""), ErrorCode.INVALID_REQUEST),
        (TxnPut(b"", b"", 7), ErrorCode.INVALID_REQUEST),
        (TxnPut(LONG, b"v" * 16, 7), None),
        (TxnGet(LONGER), ErrorCode.KEY_TOO_LONG),
        (TxnDelete(LONGER), ErrorCode.KEY_TOO_LONG),
        (TxnPut(LONGER, b"", 7), ErrorCode.KEY_TOO_LONG),
        (TxnPut(b"k", b"v" * 17), ErrorCode.VALUE_TOO_LARGE),
        (TxnPut(b"k", b"v" * 17, 7), ErrorCode.VALUE_TOO_LARGE),
        # A bound may be empty, and one byte longer than a key.
        (TxnGetRange(b"", b""), None),
        (TxnDeleteRange(b"", b""), None),
        (TxnGetRange(LONGER, LONGER), None),
        (TxnDeleteRange(LONGER, LONGER), None),
        (TxnGetRange(LONGEST, b""), ErrorCode.KEY_TOO_LONG),
        (TxnGetRange(b"", LONGEST), ErrorCode.KEY_TOO_LONG),
        (TxnDeleteRange(LONGEST, b""), ErrorCode.KEY_TOO_LONG),
        (TxnDeleteRange(b"", LONGEST), ErrorCode.KEY_TOO_LONG),
        (Compare(b"", Target.LEASE, Relation.EQUAL, 0), ErrorCode.INVALID_REQUEST),
        (Compare(LONGER, Target.LEASE, Relation.EQUAL, 0), ErrorCode.KEY_TOO_LONG),
        (Compare(b"", Target.LEASE, Relation.EQUAL, 0, b""), None),
        (Compare(LONGER, Target.LEASE, Relation.EQUAL, 0, LONGER), None),
        (Compare(LONGEST, Target.LEASE, Relation.LESS, 0, b""), ErrorCode.KEY_TOO_LONG),
        (
            Compare(b"", Target.VALUE, Relation.LESS, b"", LONGEST),
            ErrorCode.KEY_TOO_LONG,
        ),
        (
            Compare(b"", Target.VALUE, Relation.LESS, b"v" * 17, b""),
            ErrorCode.VALUE_TOO_LARGE,
        ),
    ],
)
def test_keys_bounds_and_values_have_the_usual_limits(
    part: TxnOperation | Compare, code: ErrorCode | None
) -> None:
    limits = Limits(key_bytes_max=8, value_bytes_max=16)
    if isinstance(part, Compare):
        transaction = Transaction((part,), (), ())
    else:
        transaction = Transaction((), (part,), ())
    for deep in (transaction, Transaction((), (), (transaction,))):
        data = encode_transaction(deep)
        if code is None:
            assert decode_command(data, limits) == deep
            continue
        with pytest.raises(CommandRefused) as refused:
            decode_command(data, limits)
        assert refused.value.code is code


@pytest.mark.parametrize(
    ("part", "code"),
    [
        (TxnGetRange(b"k" * (1 << 16), b""), ErrorCode.KEY_TOO_LONG),
        (TxnGetRange(b"", b"", -1), ErrorCode.INVALID_REQUEST),
        (TxnGetRange(b"", b"", 1 << 32), ErrorCode.INVALID_REQUEST),
        (TxnPut(b"k", b"", -1), ErrorCode.INVALID_REQUEST),
        (TxnPut(b"k", b"", 1 << 64), ErrorCode.INVALID_REQUEST),
        (
            Compare(b"", Target.LEASE, Relation.EQUAL, 0, b"k" * (1 << 16)),
            ErrorCode.KEY_TOO_LONG,
        ),
    ],
)
def test_what_there_is_no_room_for_is_not_encoded(
    part: TxnOperation | Compare, code: ErrorCode
) -> None:
    if isinstance(part, Compare):
        transaction = Transaction((part,), (), ())
    else:
        transaction = Transaction((), (part,), ())
    with pytest.raises(CommandRefused) as refused:
        encode_transaction(transaction)
    assert refused.value.code is code


@pytest.mark.parametrize(
    "compare",
    [
        Compare(b"k", Target.VALUE, Relation.EQUAL, 3),
        Compare(b"k", Target.VERSION, Relation.EQUAL, b"3"),
        Compare(b"k", Target.LEASE, Relation.EQUAL, b"3"),
        Compare(b"k", Target.VERSION, Relation.EQUAL, -1),
        Compare(b"k", Target.VERSION, Relation.EQUAL, 2**64),
    ],
)
def test_an_operand_is_of_its_targets_kind(compare: Compare) -> None:
    with pytest.raises(CommandRefused):
        encode_transaction(Transaction((compare,), (), ()))
