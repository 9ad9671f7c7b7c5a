"""With a full disk nothing is put, and what gives something up is taken for a while."""

import pytest
from quorate.wire import (
    Compare,
    ErrorCode,
    Grant,
    KeepAlive,
    OpenSession,
    Place,
    Relation,
    Revoke,
    Target,
    Transaction,
    TxnDelete,
    TxnDeleteRange,
    TxnGet,
    TxnOperation,
    TxnPut,
    encode_compact,
    encode_delete,
    encode_in_session,
    encode_lease_command,
    encode_put,
    encode_session_command,
    encode_transaction,
)

from .together import TTL_MS, Together, granted


def txn(*then: TxnOperation, otherwise: tuple[TxnOperation, ...] = ()) -> bytes:
    return encode_transaction(Transaction((), then, otherwise))


LARGE = Compare(b"a", Target.VALUE, Relation.EQUAL, bytes(100_000))
PUT = TxnPut(b"b", b"", 0)
PUTS = {
    "a put": encode_put(b"b", b"v"),
    "a put on condition": encode_put(b"b", b"v", 0),
    "a grant": encode_lease_command(Grant(9, TTL_MS)),
    "a put in a transaction": txn(PUT),
    "a put that may be done": txn(TxnDelete(b"a"), otherwise=(PUT,)),
    "a put further in": txn(Transaction((), (), (PUT,))),
    "a large condition": encode_transaction(
        Transaction((LARGE,), (TxnDelete(b"a"),), ())
    ),
}
GIVES = {
    "a delete": encode_delete(b"a"),
    "a revoke": encode_lease_command(Revoke(7)),
    "a compaction": encode_compact(2),
    "a transaction that deletes": txn(TxnDelete(b"a"), TxnGet(b"b")),
    "a range that goes": txn(Transaction((), (TxnDeleteRange(b"a", b"c"),), ())),
    "a session": encode_session_command(OpenSession(b"s" * 16)),
}


def full(together: Together, spent: bool = False) -> None:
    for replica in together.replicas.values():
        replica.no_space, replica.spent = True, spent


def code_of(together: Together, command: bytes) -> ErrorCode | None:
    number = together.ask(command)
    together.wait_for(lambda: together.answered(number))
    return together.code(number)


@pytest.mark.parametrize("command", PUTS.values(), ids=PUTS)
def test_nothing_is_put_on_a_full_disk(command: bytes) -> None:
    together = granted()
    full(together)
    assert code_of(together, command) is ErrorCode.NO_SPACE


@pytest.mark.parametrize("command", GIVES.values(), ids=GIVES)
def test_what_gives_something_up_is_taken_until_what_is_kept_is_used(
    command: bytes,
) -> None:
    """Story: a full disk took no deletion either, and kept each lock that was held."""
    together = granted()
    together.put(b"c", 0)
    full(together)
    assert code_of(together, command) is None
    full(together, spent=True)
    assert code_of(together, command) is ErrorCode.NO_SPACE


def test_in_a_session_it_is_the_same() -> None:
    together = granted()
    full(together)
    for command, expected in (
        (encode_delete(b"a"), ErrorCode.SESSION_NOT_FOUND),
        (encode_put(b"a", b""), ErrorCode.NO_SPACE),
    ):
        place = Place(b"s" * 16, 1, 1, 1)
        assert code_of(together, encode_in_session(place, command)) is expected


def test_a_lease_is_kept_alive_whatever_the_disk() -> None:
    together = granted()
    full(together, spent=True)
    assert code_of(together, encode_lease_command(KeepAlive(7))) is None
