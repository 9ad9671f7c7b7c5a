"""Tokens as text, and what a fenced write means, against the model of transactions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    FORMAT_LIMITS,
    OPERATIONS_MAX,
    CommandRefused,
    Compare,
    ErrorCode,
    ErrorReply,
    Fence,
    Outcome,
    ProtocolError,
    Record,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnPut,
    TxnReply,
    TxnResult,
    WriteReply,
    decode_command,
    decode_txn_reply,
    encode_transaction,
    encode_txn_reply,
    fenced,
    fenced_txn,
    fenced_write,
    parse_token,
)
from quorate.wire.commands import Delete, Put

from .transaction_model import Model, ModelRefused

KEYS = st.binary(min_size=1, max_size=40)
REVISIONS = st.integers(1, 2**64 - 1)
HOLDER = Record(b"lock/1", b"", 7, 7, 1, 1)
HELD = Fence(b"lock/1", 7)
LOST = Fence(b"lock/1", 6)


def model() -> Model:
    """A store where somebody holds a lock since revision 7, and two keys are."""
    records = (HOLDER, Record(b"a", b"1", 3, 4, 2, 0), Record(b"b", b"2", 5, 5, 1, 0))
    return Model(9, {record.key: record for record in records}, {1})


def through_the_wire(store: Model, transaction: Transaction) -> TxnReply:
    """As it would be done by a node, bytes and all."""
    command = decode_command(encode_transaction(transaction), DEFAULT_LIMITS)
    assert isinstance(command, Transaction)
    done = store.do(command)
    return decode_txn_reply(
        encode_txn_reply(done.succeeded, done.revision, done.results)
    )


def write(
    store: Model, command: Put | Delete, *fences: Fence
) -> WriteReply | ErrorReply:
    reply = through_the_wire(store, fenced(fences, command))
    return fenced_write(reply, put=isinstance(command, Put))


# -- as text ---------------------------------------------------------------------------


@given(KEYS, REVISIONS)
def test_a_token_is_its_fence_as_text(key: bytes, revision: int) -> None:
    fence = Fence(key, revision)
    assert parse_token(fence.token, DEFAULT_LIMITS) == fence


@given(KEYS, REVISIONS)
def test_a_token_survives_urls_and_headers_as_it_is(key: bytes, revision: int) -> None:
    token = Fence(key, revision).token
    assert token.isascii()
    assert token.replace("-", "").replace("_", "").replace(".", "").isalnum()


def test_a_token_looks_as_it_is_documented() -> None:
    assert Fence(b"job/694d71d8a5a0ad0c", 4711).token == (
        "4711.am9iLzY5NGQ3MWQ4YTVhMGFkMGM"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1",
        "1.",
        ".YQ",
        "0.YQ",
        "01.YQ",
        "-1.YQ",
        "1:YQ",
        "1.YQ==",
        "1.Y",
        "1.YR",
        "1.Y+==",
        "1.YQ\n",
        " 1.YQ",
        "\u0661.YQ",
        "18446744073709551616.YQ",
        "1.YQ.YQ",
    ],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(CommandRefused, match="a token is a revision"):
        parse_token(text, DEFAULT_LIMITS)


@given(st.text(max_size=60))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    try:
        fence = parse_token(text, DEFAULT_LIMITS)
    except CommandRefused:
        return
    assert fence.token == text
    assert fence.revision > 0


def test_a_token_of_a_key_that_is_too_long_is_refused_before_it_is_read() -> None:
    fits = Fence(b"k" * DEFAULT_LIMITS.key_bytes_max, 2**64 - 1)
    assert parse_token(fits.token, DEFAULT_LIMITS) == fits
    over = Fence(b"k" * (DEFAULT_LIMITS.key_bytes_max + 1), 1)
    with pytest.raises(CommandRefused) as refused:
        parse_token(over.token, DEFAULT_LIMITS)
    assert refused.value.code == ErrorCode.KEY_TOO_LONG
    with pytest.raises(CommandRefused, match="characters, over"):
        parse_token("1." + "A" * 100_000, FORMAT_LIMITS)


# -- what it does ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [Put(b"a", b"2"), Delete(b"a"), Put(b"a", b"2", 99), Delete(b"a", 99)]
)
def test_a_write_with_a_lost_fence_is_refused_and_does_nothing(
    command: Put | Delete,
) -> None:
    store = model()
    found = write(store, command, LOST)
    assert isinstance(found, ErrorReply)
    # The fence goes before the revision that was expected.
    assert (found.code, found.outcome) == (ErrorCode.FENCED, Outcome.NOT_APPLIED)
    assert not found.retryable
    assert store == model()


def test_the_fence_of_a_key_that_is_gone_does_not_hold() -> None:
    store = model()
    del store.table[HOLDER.key]
    found = write(store, Put(b"a", b"2"), HELD)
    assert isinstance(found, ErrorReply)
    assert found.code == ErrorCode.FENCED


def test_all_fences_have_to_hold() -> None:
    store = model()
    found = write(store, Put(b"a", b"2"), HELD, LOST)
    assert isinstance(found, ErrorReply)
    assert store == model()
    assert write(store, Put(b"a", b"2"), HELD, HELD) == WriteReply(10, 1)


@given(
    st.sampled_from([b"a", b"b", b"c", b"lock/1"]),
    st.sampled_from([None, 0, 4, 5, 7]),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
)
def test_while_the_fence_holds_a_write_is_what_it_is_without(
    key: bytes, expected: int | None, lease: int, put: bool
) -> None:
    command = Put(key, b"new", expected, lease) if put else Delete(key, expected)
    before, store = model(), model()
    old = before.table.get(key)
    at = 0 if old is None else old.mod_revision
    if put and lease == 2 and expected in (None, at):
        with pytest.raises(ModelRefused):
            write(store, command, HELD)
        return
    found = write(store, command, HELD)
    if expected is not None and expected != at:
        assert isinstance(found, ErrorReply)
        assert (found.code, found.revision) == (ErrorCode.PRECONDITION_FAILED, at)
        assert found.outcome == Outcome.NOT_APPLIED
        assert store == before
        return
    one = TxnPut(key, b"new", lease) if put else TxnDelete(key)
    plain = before.do(Transaction((), (one,), ()))
    assert found == WriteReply(plain.revision, int(put or old is not None))
    assert store == before


def test_a_fenced_transaction_does_one_of_its_branches_or_is_refused() -> None:
    wrong = Compare(b"a", Target.VALUE, Relation.EQUAL, b"7")
    inner = Transaction((wrong,), (TxnDelete(b"a"),), (TxnPut(b"b", b"3"),))
    store = model()
    found = fenced_txn(through_the_wire(store, fenced((HELD,), inner)))
    assert found == TxnReply(False, 10, (TxnResult(True),))
    found = fenced_txn(through_the_wire(store, fenced((LOST,), inner)))
    assert isinstance(found, ErrorReply)
    assert found.code == ErrorCode.FENCED
    assert store.revision == 10


def test_more_fences_than_a_transaction_compares_are_refused() -> None:
    fenced((HELD,) * OPERATIONS_MAX, Delete(b"a"))
    with pytest.raises(CommandRefused, match="129 tokens, over 128"):
        fenced((HELD,) * (OPERATIONS_MAX + 1), Delete(b"a"))


@pytest.mark.parametrize(
    "reply",
    [
        TxnReply(True, 9, ()),
        TxnReply(True, 9, (TxnResult(True),)),
        TxnReply(True, 9, (TxnResult(True, reply=TxnReply(True, 9, ())),)),
    ],
)
def test_a_reply_to_something_else_is_not_believed(reply: TxnReply) -> None:
    with pytest.raises(ProtocolError, match="another transaction"):
        fenced_write(reply, put=True)
