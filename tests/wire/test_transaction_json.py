"""Transactions in JSON: every spelling means one, and the rest is refused by name."""

import base64
import json
import re
import sys
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    DEFAULT_LIMITS,
    OPERATIONS_MAX,
    OPERATORS,
    CommandRefused,
    Compare,
    ErrorCode,
    Fence,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnGet,
    TxnOperation,
    TxnPut,
    decode_command,
    encode_transaction,
)
from quorate.wire.transaction_json import has_more_parts, parse_transaction

from .branches import branches, compares

KEYS = st.one_of(
    st.binary(min_size=1, max_size=4), st.sampled_from([b"a", b"\xc3\xa4"])
)
VALUES = st.one_of(st.binary(max_size=5), st.text(max_size=3).map(str.encode))
LEASES = st.one_of(st.just(0), st.integers(1, 2**64 - 1))
BRANCHES = branches(KEYS, VALUES, LEASES)
COMPARES = compares(KEYS, VALUES, st.integers(0, 2**64 - 1), st.none())
TRANSACTIONS = st.builds(
    Transaction,
    st.lists(COMPARES, max_size=4).map(tuple),
    BRANCHES,
    BRANCHES,
)
SIGNS = {relation: sign for sign, relation in OPERATORS.items()}
A = '{"key": "a"}'
# What a person gets wrong: fields of the right names with values of all kinds.
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["YQ==", "==", "<", "a"]),
)
NAMES = st.sampled_from(
    [
        *("if", "then", "else", "put", "delete", "get", "key", "key64", "value"),
        *("value64", "mod_revision", "create_revision", "version", "exists", "op"),
        "lease",
    ]
)
SHAPES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
    max_leaves=12,
)


def spelled(transaction: Transaction, draw: st.DataObject) -> bytes:
    """The transaction in JSON, in one of its spellings."""

    def text(name: str, data: bytes) -> dict[str, object]:
        try:
            if draw.draw(st.booleans()):
                return {name: data.decode()}
        except UnicodeDecodeError:
            pass
        encode = draw.draw(
            st.sampled_from([base64.b64encode, base64.urlsafe_b64encode])
        )
        encoded = encode(data).decode()
        return {f"{name}64": encoded.rstrip("=") if draw.draw(BOOLEANS) else encoded}

    def condition(compare: Compare) -> dict[str, object]:
        said = text("key", compare.key)
        as_exists = (compare.target, compare.operand) == (Target.VERSION, 0)
        if as_exists and draw.draw(BOOLEANS):
            if compare.relation is Relation.GREATER:
                return said | {"exists": True}
            if compare.relation is Relation.EQUAL:
                return said | {"exists": False}
        if isinstance(compare.operand, bytes):
            said |= text("value", compare.operand)
        elif compare.target is Target.LEASE:
            said["lease"] = f"{compare.operand:016x}"
        else:
            said[compare.target.name.lower()] = compare.operand
        if compare.relation is not Relation.EQUAL or draw.draw(BOOLEANS):
            said["op"] = SIGNS[compare.relation]
        return said

    def operation(each: TxnOperation) -> dict[str, object]:
        match each:
            case TxnPut():
                put = text("key", each.key) | text("value", each.value)
                if each.lease:
                    put["lease"] = f"{each.lease:016x}"
                return {"put": put}
            case TxnDelete():
                return {"delete": text("key", each.key)}
            case TxnGet():
                return {"get": text("key", each.key)}
            case _:
                raise AssertionError("no spelling yet")

    document: dict[str, object] = {
        "if": [condition(each) for each in transaction.compares],
        "then": [operation(each) for each in transaction.then],
        "else": [operation(each) for each in transaction.otherwise],
    }
    # An empty list may as well be left out, if it is not the only one of the two.
    for name in ("if", "else"):
        if not document[name] and draw.draw(BOOLEANS):
            del document[name]
    return json.dumps(document, ensure_ascii=draw.draw(BOOLEANS)).encode()


BOOLEANS = st.booleans()


@given(TRANSACTIONS, st.data())
def test_every_spelling_of_a_transaction_is_understood(
    transaction: Transaction, data: st.DataObject
) -> None:
    document = spelled(transaction, data)
    assert parse_transaction(document) == (transaction, ())
    # So what a document may have is enough for its command, too.
    assert len(encode_transaction(transaction)) <= len(document) + 1


@given(SHAPES)
def test_documents_of_any_shape_are_understood_or_refused(shape: object) -> None:
    _parse_or_refuse(json.dumps(shape).encode())
    for name in ("if", "then", "else"):
        document = {name: [shape], "then" if name != "then" else "else": []}
        _parse_or_refuse(json.dumps(document).encode())


@given(TRANSACTIONS, st.data())
def test_damaged_documents_are_understood_or_refused(
    transaction: Transaction, data: st.DataObject
) -> None:
    document = bytearray(spelled(transaction, data))
    at = data.draw(st.integers(0, len(document) - 1))
    document[at] = data.draw(st.integers(0, 255))
    _parse_or_refuse(bytes(document))
    _parse_or_refuse(bytes(document[:at]))


@given(st.binary(max_size=60))
def test_garbage_is_refused(data: bytes) -> None:
    _parse_or_refuse(data)


def _parse_or_refuse(data: bytes) -> None:
    reason = _refusal(data)
    assert reason is None or (0 < len(reason) < 200 and reason.isprintable())


def _refusal(data: bytes) -> str | None:
    """Why `data` is refused, if it is; what is parsed has to be a command."""
    try:
        found = parse_transaction(data).transaction
    except CommandRefused as refused:
        return refused.reason
    try:
        command = decode_command(encode_transaction(found), DEFAULT_LIMITS)
    except CommandRefused as refused:
        reason = refused.reason
    else:
        assert command == found
        return None
    # All else is known before there are bytes.
    assert "twice" in reason
    return reason


def test_a_put_may_hang_on_a_lease_and_a_condition_name_one() -> None:
    document = b"""{
      "if": [{"key": "a", "lease": "0000000000000000"},
             {"key": "b", "lease": "694d71d8a5a0ad0c", "op": "!="}],
      "then": [{"put": {"key": "a", "value": "1", "lease": "ffffffffffffffff"}}]
    }"""
    assert parse_transaction(document).transaction == Transaction(
        (
            Compare(b"a", Target.LEASE, Relation.EQUAL, 0),
            Compare(b"b", Target.LEASE, Relation.NOT_EQUAL, 0x694D71D8A5A0AD0C),
        ),
        (TxnPut(b"a", b"1", 2**64 - 1),),
        (),
    )


def test_a_whole_document_reads_like_the_client() -> None:
    document = b"""{
      "if": [{"key": "a", "value": "1"},
             {"key64": "Yg==", "mod_revision": 7, "op": ">"}],
      "then": [{"put": {"key": "a", "value64": "AP8="}}, {"delete": {"key": "b"}}],
      "else": [{"get": {"key": "a"}}]
    }"""
    assert parse_transaction(document).transaction == Transaction(
        (
            Compare(b"a", Target.VALUE, Relation.EQUAL, b"1"),
            Compare(b"b", Target.MOD_REVISION, Relation.GREATER, 7),
        ),
        (TxnPut(b"a", b"\0\xff"), TxnDelete(b"b")),
        (TxnGet(b"a"),),
    )


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "the transaction: input data was truncated"),
        ("null", "the transaction: expected `object`, got `null`"),
        ("[]", "the transaction: expected `object`, got `array`"),
        ("{}", "the transaction: it needs `then` or `else`"),
        ('{"if": []}', "the transaction: it needs `then` or `else`"),
        ('{"then": []} {}', "the transaction: JSON is malformed"),
        ('{"then": [], "also": []}', "the transaction: unknown field 'also'"),
        ('{"then": {}}', "then: expected `array`, got `object`"),
        ('{"else": null}', "else: expected `array`, got `null`"),
        ('{"then": [[]]}', "then[0]: expected `object`, got `array`"),
        ('{"then": [{}]}', "then[0]: one of `put`, `delete` and `get`"),
        (
            f'{{"then": [{{"get": {A}}}, {{"get": {A}, "delete": {A}}}]}}',
            "then[1]: one of `put`, `delete` and `get`",
        ),
        ('{"else": [{"range": {}}]}', "else[0]: unknown field 'range'"),
        ('{"then": [{"get": {}}]}', "then[0].get: `key` or `key64`"),
        ('{"then": [{"get": {"key": ""}}]}', "then[0].get: the key is empty"),
        ('{"then": [{"get": {"key64": ""}}]}', "then[0].get: the key is empty"),
        ('{"then": [{"get": {"key": null}}]}', "then[0].get.key: expected `str`"),
        (
            '{"then": [{"get": {"key": "a", "key64": "YQ=="}}]}',
            "then[0].get: `key` and `key64` are the same thing twice",
        ),
        ('{"then": [{"get": {"key64": "YQ="}}]}', "then[0].get.key64: not base64"),
        ('{"then": [{"get": {"key64": "YR=="}}]}', "then[0].get.key64: not base64"),
        ('{"then": [{"get": {"key64": "\\u00e4"}}]}', "then[0].get.key64: not base64"),
        (f'{{"then": [{{"put": {A}}}]}}', "then[0].put: `value` or `value64`"),
        (
            '{"then": [{"put": {"key": "a", "value": 1}}]}',
            "then[0].put.value: expected `str`, got `int`",
        ),
        *(
            (
                '{"then": [{"put": {"key": "a", "value": "", "lease": '
                + f"{lease}}}}}]}}",
                f"then[0].put.lease: {reason}",
            )
            for lease, reason in (
                ("7", "expected `str`, got `int`"),
                ("null", "expected `str`, got `null`"),
                ('""', "not 16 hex digits"),
                ('"7"', "not 16 hex digits"),
                (f'"{"F" * 16}"', "not 16 hex digits"),
                ('"000000000000000\\u0661"', "not 16 hex digits"),
                (f'"{"1" * 16}\\n"', "not 16 hex digits"),
                (f'"{"0" * 16}"', "all zeros are no lease"),
            )
        ),
        (
            f'{{"then": [{{"delete": {{"key": "a", "lease": "{"1" * 16}"}}}}]}}',
            "then[0].delete: unknown field 'lease'",
        ),
        (
            '{"then": [{"delete": {"key": "a", "value": ""}}]}',
            "then[0].delete: unknown field 'value'",
        ),
    ],
)
def test_what_is_wrong_with_a_document_is_said_with_its_place(
    document: str, reason: str
) -> None:
    with pytest.raises(CommandRefused) as refused:
        parse_transaction(document.encode())
    assert refused.value.reason.startswith(reason)
    assert refused.value.code is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ('"key": "a"', "if[0]: one of `value`"),
        ('"version": 1', "if[0]: `key` or `key64`"),
        ('"key": "a", "version": 1, "mod_revision": 1', "if[0]: one of `value`"),
        ('"key": "a", "version": 1, "exists": true', "if[0]: one of `value`"),
        ('"key": "a", "value": "", "value64": ""', "if[0]: `value` and `value64`"),
        ('"key": "a", "version": -1', "if[0].version: not a number from 0 to"),
        (
            '"key": "a", "mod_revision": 18446744073709551616',
            "if[0].mod_revision: not a number from 0 to 18446744073709551615",
        ),
        (f'"key": "a", "version": {"9" * 5000}', "if[0].version: integer value out"),
        ('"key": "a", "version": 1.0', "if[0].version: expected `int`, got `float`"),
        ('"key": "a", "version": 1e400', "if[0].version: number out of range"),
        ('"key": "a", "version": "1"', "if[0].version: expected `int`, got `str`"),
        ('"key": "a", "version": true', "if[0].version: expected `int`, got `bool`"),
        ('"key": "a", "exists": 1', "if[0].exists: expected `bool`, got `int`"),
        ('"key": "a", "exists": true, "op": "=="', "if[0].op: it does not go with"),
        ('"key": "a", "version": 1, "op": "="', "if[0].op: not one of == != > <"),
        ('"key": "a", "version": 1, "op": null', "if[0].op: expected `str`"),
        ('"key": "a", "lease": 7', "if[0].lease: expected `str`, got `int`"),
        ('"key": "a", "lease": "7"', "if[0].lease: not 16 hex digits"),
        (f'"key": "a", "lease": "{"A" * 16}"', "if[0].lease: not 16 hex digits"),
        (f'"key": "a", "lease": "{"1" * 17}"', "if[0].lease: not 16 hex digits"),
        (f'"key": "a", "lease": "{"1" * 16}", "version": 1', "if[0]: one of `value`"),
        ('"key": "a", "leases": 1', "if[0]: unknown field 'leases'"),
    ],
)
def test_what_is_wrong_with_a_condition_is_said_with_its_place(
    condition: str, reason: str
) -> None:
    with pytest.raises(CommandRefused) as refused:
        parse_transaction(f'{{"if": [{{{condition}}}], "then": []}}'.encode())
    assert refused.value.reason.startswith(reason)


@pytest.mark.parametrize("name", ["if", "then", "else"])
def test_parts_are_counted(name: str) -> None:
    part = {"key": "a", "version": 0} if name == "if" else {"get": {"key": "a"}}
    document: dict[str, object] = {"then": [], "else": []}
    full = json.dumps(document | {name: [part] * OPERATIONS_MAX})
    assert parse_transaction(full.encode())
    over = json.dumps(document | {name: [part] * (OPERATIONS_MAX + 1)})
    with pytest.raises(CommandRefused, match=f"{name}: more than 128 parts") as refused:
        parse_transaction(over.encode())
    assert refused.value.code is ErrorCode.REQUEST_TOO_LARGE


@pytest.mark.parametrize(
    "document",
    [
        '{"then": [%s]}',
        '{"then": [], "fence": [%s]}',
        '{"if": [%s], "then": []}',
        # Of what is there twice the last one would be looked at first.
        '{"then": [%s], "then": []}',
        '{"then": [%s], "th\\u0065n": []}',
    ],
)
def test_parts_are_counted_before_they_take_memory(document: str) -> None:
    data = (document % ("1," * 200_000 + "1")).encode()
    tracemalloc.start()
    try:
        with pytest.raises(CommandRefused):
            parse_transaction(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2 * len(data)


PIECES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner)
    ),
    max_leaves=8,
)


@given(st.lists(PIECES, max_size=5), st.integers(0, 5), st.sampled_from([None, 1]))
def test_a_list_has_as_many_parts_as_it_has(
    parts: list[object], most: int, indent: int | None
) -> None:
    text = json.dumps([parts], indent=indent).encode()
    (raw,) = msgspec.json.decode(text, type=list[msgspec.Raw])
    assert has_more_parts(raw, most) == (len(parts) > most)


@pytest.mark.parametrize(
    "begin", ["[", '{"get":', '{"then":[', '{"then":[{"get":{"a":']
)
def test_deep_nesting_is_refused(begin: str) -> None:
    with pytest.raises(CommandRefused):
        parse_transaction(begin.encode() * 200_000)
    with pytest.raises(CommandRefused):
        parse_transaction(b'{"then": [' + begin.encode() * 200_000)


@pytest.mark.parametrize("name", ["then", "else", "if", "fence"])
def test_nesting_that_is_almost_too_deep_is_refused(name: str) -> None:
    """Story: one frame deeper the same list ended in an error that nobody expected, so
    that there was one depth at which a node answered with a 500.
    """
    commas = ",".join(["1"] * 140)
    for depth in range(sys.getrecursionlimit() - 300, sys.getrecursionlimit() + 5):
        document = f'{{"{name}": [{"[" * depth}{"]" * depth}, {commas}]}}'
        with pytest.raises(CommandRefused):
            parse_transaction(document.encode())


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(CommandRefused, match=r"then\[0\]: a text is not UTF-8"):
        parse_transaction(b'{"then": [{"get": {"key": "\xff"}}]}')
    with pytest.raises(CommandRefused, match="surrogate"):
        parse_transaction(b'{"then": [{"get": {"key": "\\ud800\\u0061"}}]}')
    with pytest.raises(CommandRefused, match="the transaction: a text is not UTF-8"):
        parse_transaction(b'{"\xff": []}')


def test_a_reason_tells_only_a_little_of_what_was_sent() -> None:
    for name in ("x" * 100_000, "`" * 100_000, "\x1b" * 100, "a` - at `$.then[0]`"):
        document = json.dumps({name: 1})
        with pytest.raises(CommandRefused) as refused:
            parse_transaction(document.encode())
        assert len(refused.value.reason) < 200
        assert refused.value.reason.isprintable()


# -- fences ----------------------------------------------------------------------------


def test_a_document_names_one_fence_or_a_list_of_them() -> None:
    token, other = Fence(b"l/1", 7).token, Fence(b"m/1", 8).token
    for said, fences in (
        (f'"{token}"', (Fence(b"l/1", 7),)),
        (f'["{token}"]', (Fence(b"l/1", 7),)),
        (f'["{token}", "{other}"]', (Fence(b"l/1", 7), Fence(b"m/1", 8))),
    ):
        document = f'{{"then": [], "fence": {said}}}'
        assert parse_transaction(document.encode()).fences == fences
    assert parse_transaction(b'{"then": []}').fences == ()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("null", "fence: expected `str | array`, got `null`"),
        ("7", "fence: expected `str | array`, got `int`"),
        ('""', "fence: a token is a revision, a dot, and a key in base64url"),
        ("[]", "fence: no token is in the list"),
        ('["1.YQ", 7]', "fence[1]: expected `str`, got `int`"),
        ('["1.YQ", "0.YQ"]', "fence[1]: a token is a revision"),
        ("[" + '"1.YQ",' * 128 + '"1.YQ"]', "fence: more than 128 parts"),
    ],
)
def test_a_fence_that_makes_no_sense_is_refused_with_its_place(
    said: str, reason: str
) -> None:
    with pytest.raises(CommandRefused, match=re.escape(reason)):
        parse_transaction(f'{{"then": [], "fence": {said}}}'.encode())


@pytest.mark.parametrize(
    ("document", "name"),
    [
        (b'{"then": [], "then": []}', "then"),
        (b'{"then": [{"get": {"key": "a", "key": "b"}}]}', "key"),
        (b'{"then": [{"get": {"key": "a"}, "get": {"key": "a"}}]}', "get"),
        (b'{"if": [{"key": "a", "version": 1, "version": 1}], "then": []}', "version"),
        (b'{"then": [{"get": {"key": "a", "k\\u0065y": "b"}}]}', "key"),
    ],
)
def test_a_field_that_is_there_twice_is_refused(document: bytes, name: str) -> None:
    with pytest.raises(CommandRefused, match=f"the field '{name}' is repeated"):
        parse_transaction(document)
