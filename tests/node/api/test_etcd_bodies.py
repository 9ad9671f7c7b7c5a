"""From JSON to etcd's messages: every spelling that is taken, and what is refused."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.node.api.errors import Problem
from quorate.node.api.etcd.bodies import int64, octets, signed, unsigned
from quorate.node.api.etcd.documents import (
    Range,
    SortOrder,
    SortTarget,
    parse_delete_range,
    parse_put,
    parse_range,
)
from quorate.node.api.etcd.errors import translated
from quorate.node.api.etcd.txn_documents import Txn, parse_txn

KEY = '"key":"YQ=="'


def refusal(call: Callable[[], object]) -> tuple[int, str]:
    """The number and text with which something is refused."""
    with pytest.raises(Problem) as caught:
        call()
    return translated(caught.value)


def number_of(call: Callable[[], object]) -> int | None:
    """The number with which something is refused, if it is."""
    try:
        call()
    except Problem as problem:
        return translated(problem)[0]
    return None


@pytest.mark.parametrize("start", ["range_end", "rangeEnd"])
def test_both_spellings_of_a_name_are_the_same(start: str) -> None:
    assert parse_range(f'{{{KEY},"{start}":"Yg=="}}'.encode()).end == b"b"


def test_every_field_of_a_range_has_two_names() -> None:
    fields: dict[str, Any] = {
        "range_end": "Yg==",
        "sort_order": "DESCEND",
        "sort_target": 3,
        "keys_only": True,
        "count_only": True,
        "min_mod_revision": "1",
        "max_mod_revision": 2,
        "min_create_revision": "3",
        "max_create_revision": 4,
    }
    expected = Range(
        b"a",
        b"b",
        0,
        0,
        SortOrder.DESCEND,
        SortTarget.MOD,
        False,
        True,
        True,
        (1, 2),
        (3, 4),
    )
    for spell in (str, camel):
        named = {spell(name): value for name, value in fields.items()}
        assert parse_range(json.dumps({"key": "YQ==", **named}).encode()) == expected


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


@given(st.binary(max_size=40), st.booleans(), st.booleans())
def test_all_of_base64_is_understood(data: bytes, urlsafe: bool, padded: bool) -> None:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    text = encode(data).decode()
    assert octets(text if padded else text.rstrip("=")) == data


@given(st.text(max_size=12))
def test_text_that_is_no_base64_is_refused_and_never_a_bug(text: str) -> None:
    assert number_of(lambda: octets(text)) in (None, 3)


@given(st.integers(-(2**63), 2**63 - 1))
def test_numbers_are_numbers_or_text(number: int) -> None:
    assert int64(number) == int64(str(number)) == number
    assert signed(unsigned(number)) == number
    assert 0 <= unsigned(number) < 2**64


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30, "1e3", "01", "+1"])
def test_what_is_no_int64_is_refused(number: int | str) -> None:
    assert refusal(lambda: int64(number))[0] == 3


names = st.sampled_from(
    (
        "key",
        "range_end",
        "rangeEnd",
        "limit",
        "revision",
        "sort_order",
        "compare",
        "success",
        "failure",
        "target",
        "request_put",
        "requestRange",
        "request_txn",
        "value",
        "lease",
        "zzz",
    )
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["YQ==", "1", "MOD", "DESCEND"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "parse", [parse_range, parse_put, parse_delete_range, parse_txn]
)
@settings(max_examples=60)
@given(document=st.dictionaries(names, json_values, max_size=6))
def test_any_json_is_a_message_or_refused_in_etcds_way(
    parse: Callable[[bytes], object], document: dict[str, Any]
) -> None:
    body = json.dumps(document).encode()
    assert number_of(lambda: parse(body)) in (None, 3)


@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused_in_etcds_way(data: bytes) -> None:
    for body in (data, b"{" + data, b'{"key":"' + data, b'{"success":[' + data):
        assert number_of(lambda body=body: parse_txn(body)) in (None, 3)


@pytest.mark.parametrize(
    "body",
    [
        b'{"z":' + b"[" * 100_000,
        b'{"z":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"success":[{"request_txn":' * 3000,
        b'{"success":[{"request_txn":' * 3000 + b"{}" + b"}]}" * 3000,
    ],
)
def test_depth_is_refused_before_it_costs_anything(body: bytes) -> None:
    number, text = refusal(lambda: parse_txn(body))
    assert number == 3
    assert len(text) < 100


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(depth - 1):
        inner = {"success": [{"request_txn": inner}]}
    return inner


def test_transactions_in_transactions_have_a_depth() -> None:
    assert isinstance(parse_txn(json.dumps(nested(4)).encode()), Txn)
    text = json.dumps(nested(5)).encode()
    assert refusal(lambda: parse_txn(text)) == (
        3,
        "etcdserver: too many operations in txn request",
    )


def test_what_is_quoted_of_a_document_is_short() -> None:
    long = "x" * 100_000
    for body in (
        f'{{"key":"{long}!"}}',
        f'{{{KEY},"sort_order":"{long}"}}',
        f'{{{KEY},"limit":"{"1" * 100_000}"}}',
        f'{{{KEY},"limit":"{long}"}}',
        f'{{{KEY},"limit":{"1" * 4000}}}',
        f'{{{KEY},"limit":{"1" * 1_000_000}}}',
        f'{{"{long}":1,"key":1}}',
        f"{{{KEY}{long}",
    ):
        text = body.encode()
        assert len(refusal(lambda text=text: parse_range(text))[1]) < 200


def test_a_number_that_an_enum_does_not_have_is_refused() -> None:
    """etcd sorts by nothing, ends with an error of its own, or lets a compare hold."""
    for body in ('"sort_order":9', '"sort_target":9', '"sort_target":-1'):
        text = f"{{{KEY},{body}}}".encode()
        assert refusal(lambda text=text: parse_range(text))[0] == 3
    for body in ('"target":7', '"result":7'):
        text = f'{{"compare":[{{{KEY},{body}}}]}}'.encode()
        assert refusal(lambda text=text: parse_txn(text))[0] == 3
