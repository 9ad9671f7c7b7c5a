"""What a request amounts to: nothing that it can read or write is left out."""

import pytest
from quorate.node.api.operations import operations_of
from quorate.node.api.rights import Action, Operation
from quorate.wire.commands import encode_compact, encode_delete, encode_put
from quorate.wire.errors import ProtocolError
from quorate.wire.frames import RequestKind
from quorate.wire.leases import (
    Grant,
    KeepAlive,
    ListLeases,
    Revoke,
    TimeToLive,
    encode_lease_command,
)
from quorate.wire.limits import DEFAULT_LIMITS
from quorate.wire.members import (
    DropToken,
    MakeToken,
    MemberRole,
    Reassign,
    encode_member_command,
)
from quorate.wire.requests import Level, RangeRequest, encode_range
from quorate.wire.transactions import (
    Compare,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnDeleteRange,
    TxnGet,
    TxnGetRange,
    TxnPut,
    encode_transaction,
)
from quorate.wire.watches import WatchRequest, encode_watch

from .samples import NATIVE


def of(kind: RequestKind, body: bytes) -> list[Operation]:
    return list(operations_of(kind, body, DEFAULT_LIMITS))


def written(body: bytes) -> list[Operation]:
    return of(RequestKind.WRITE, body)


def one(action: Action, key: bytes, lease: int = 0) -> Operation:
    return Operation(action, key, key + b"\0", lease)


def test_every_kind_of_request_is_something() -> None:
    for kind, body in NATIVE.items():
        assert of(kind, body), kind


def test_a_put_is_of_its_key_and_of_the_lease_that_it_hangs_on() -> None:
    assert written(encode_put(b"k", b"v")) == [one(Action.PUT, b"k")]
    assert written(encode_put(b"k", b"v", None, 7)) == [one(Action.PUT, b"k", 7)]


def test_whoever_writes_on_a_condition_reads_as_well() -> None:
    put, delete = encode_put(b"k", b"v", 3), encode_delete(b"k", 3)
    assert written(put) == [one(Action.READ, b"k"), one(Action.PUT, b"k")]
    assert written(delete) == [one(Action.READ, b"k"), one(Action.DELETE, b"k")]
    assert written(encode_delete(b"k")) == [one(Action.DELETE, b"k")]


def test_a_range_and_a_watch_are_of_all_keys_between_their_bounds() -> None:
    asked = encode_range(RangeRequest(Level.LOCAL, 0, 0, b"a", b""))
    assert of(RequestKind.RANGE, asked) == [Operation(Action.READ, b"a", b"")]
    watch = encode_watch(WatchRequest(b"a", b"c", previous=True))
    assert of(RequestKind.WATCH, watch) == [Operation(Action.WATCH, b"a", b"c")]


def test_all_of_a_transaction_is_asked_about_both_sides_and_all_that_is_inside() -> (
    None
):
    innermost = Transaction(
        (Compare(b"c3", Target.VALUE, Relation.EQUAL, b"x"),),
        (TxnPut(b"p3", b"v", 9),),
        (TxnDelete(b"d3"),),
    )
    inner = Transaction(
        (Compare(b"c2", Target.VERSION, Relation.LESS, 1, b"c2z"),),
        (innermost, TxnGetRange(b"g2", b"")),
        (TxnDeleteRange(b"d2", b"d3"),),
    )
    outer = Transaction(
        (Compare(b"c1", Target.LEASE, Relation.EQUAL, 0),),
        (TxnPut(b"p1", b"v"), inner),
        (TxnGet(b"g1"), TxnDelete(b"d1")),
    )
    assert written(encode_transaction(outer)) == [
        one(Action.READ, b"c1"),
        one(Action.PUT, b"p1"),
        Operation(Action.READ, b"c2", b"c2z"),
        one(Action.READ, b"c3"),
        one(Action.PUT, b"p3", 9),
        one(Action.DELETE, b"d3"),
        Operation(Action.READ, b"g2", b""),
        Operation(Action.DELETE, b"d2", b"d3"),
        one(Action.READ, b"g1"),
        one(Action.DELETE, b"d1"),
    ]


@pytest.mark.parametrize(
    ("command", "operation"),
    [
        (Grant(7, 5000), Operation(Action.GRANT, lease=7)),
        (Revoke(7), Operation(Action.REVOKE, lease=7)),
        (KeepAlive(7), Operation(Action.KEEP_ALIVE, lease=7)),
        (TimeToLive(7, keys=True), Operation(Action.SEE_LEASES, lease=7)),
        (ListLeases(), Operation(Action.SEE_LEASES)),
    ],
)
def test_what_is_asked_about_a_lease_names_it(
    command: Grant | Revoke | KeepAlive | TimeToLive | ListLeases,
    operation: Operation,
) -> None:
    assert written(encode_lease_command(command)) == [operation]


@pytest.mark.parametrize(
    "command",
    [
        MakeToken(1, bytes(32), 5000, 1, MemberRole.VOTER),
        DropToken(1),
        Reassign(1, MemberRole.LEAVING, 0),
    ],
)
def test_members_and_their_tokens_are_one_right(
    command: MakeToken | DropToken | Reassign,
) -> None:
    assert written(encode_member_command(command)) == [Operation(Action.CHANGE_MEMBERS)]


def test_a_compaction_is_of_no_key() -> None:
    assert written(encode_compact(3)) == [Operation(Action.COMPACT)]


@pytest.mark.parametrize("body", [b"", b"\xff" * 40, encode_put(b"k", b"v") + b"x"])
def test_what_is_malformed_is_nothing_that_could_be_allowed(body: bytes) -> None:
    for kind in (RequestKind.WRITE, RequestKind.GET, RequestKind.WATCH):
        with pytest.raises(ProtocolError):
            of(kind, body)
