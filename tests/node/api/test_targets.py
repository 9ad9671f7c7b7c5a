"""Request targets: keys and parameters out of what stands in the request line."""

import base64
from urllib.parse import quote_from_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.api import targets
from quorate.node.api.errors import Problem
from quorate.wire.bounds import prefix_end

ALLOWED = frozenset(("prefix", "key64"))


@given(st.binary(min_size=1, max_size=64))
def test_every_key_that_is_quoted_comes_back(key: bytes) -> None:
    quoted = quote_from_bytes(key, safe="")
    assert targets.key_of_path("/v1/kv/" + quoted.replace(".", "%2E")) == key


@pytest.mark.parametrize(
    ("rest", "key"),
    [
        ("a//b/", b"a//b/"),
        ("/", b"/"),
        ("a%2Fb", b"a/b"),
        ("a%2fb", b"a/b"),
        ("%00%ff%0A", b"\x00\xff\n"),
        ("%2e%2e/x", b"../x"),
        ("%2e", b"."),
        (".%2e", b".."),
        ("...", b"..."),
        (".a", b".a"),
        ("a..", b"a.."),
        ("a+b", b"a+b"),
        ("%252F", b"%2F"),
        ("100%", b"100%"),
        ("%zz", b"%zz"),
        ("", b""),
    ],
)
def test_a_key_is_decoded_once_and_not_normalised(rest: str, key: bytes) -> None:
    assert targets.key_of_path("/v1/kv/" + rest) == key


@pytest.mark.parametrize("rest", [".", "..", "a/./b", "a/..", "../a", "./", "a/../"])
def test_a_plain_dot_segment_is_refused(rest: str) -> None:
    with pytest.raises(Problem) as refusal:
        targets.key_of_path("/v1/kv/" + rest)
    assert refusal.value.status == 400


def test_a_target_is_split_at_its_first_question_mark() -> None:
    target = targets.split_target("/v1/kv/a?b?c")
    assert (target.path, target.query, target.authority) == ("/v1/kv/a", "b?c", None)


@pytest.mark.parametrize(
    ("raw", "authority", "path"),
    [
        ("http://h:1/v1/kv/a", "h:1", "/v1/kv/a"),
        ("HTTPS://h/x", "h", "/x"),
        ("http://h", "h", "/"),
        ("http://h?a", "h", "/"),
        ("http://h//x", "h", "//x"),
    ],
)
def test_the_absolute_form_is_understood(raw: str, authority: str, path: str) -> None:
    target = targets.split_target(raw)
    assert (target.authority, target.path) == (authority, path)


@pytest.mark.parametrize("raw", ["*", "h:80", "ftp://h/x", "a/b", "", "/a#b", "/a?b#c"])
def test_a_target_that_is_no_path_is_refused(raw: str) -> None:
    with pytest.raises(Problem):
        targets.split_target(raw)


@given(st.binary(max_size=40))
def test_parameters_survive_the_usual_encoders(value: bytes) -> None:
    for query in (urlencode({"prefix": value}), "prefix=" + quote_from_bytes(value)):
        assert targets.parse_query(query, ALLOWED) == {"prefix": value}


@pytest.mark.parametrize(
    "query",
    ["other=1", "prefix=a&prefix=a", "&", "prefix=a&", "=", "PREFIX=a", "p%72efix"],
)
def test_an_unknown_or_repeated_parameter_is_refused(query: str) -> None:
    with pytest.raises(Problem):
        targets.parse_query(query, ALLOWED)


@given(st.binary(max_size=40))
def test_base64_is_read_in_both_alphabets_padded_or_not(value: bytes) -> None:
    for encoded in (base64.b64encode(value), base64.urlsafe_b64encode(value)):
        assert targets.decode_base64("key64", encoded) == value
        assert targets.decode_base64("key64", encoded.rstrip(b"=")) == value


def test_a_plus_that_nobody_escaped_is_still_base64() -> None:
    query = targets.parse_query("key64=+/+/", ALLOWED)
    assert targets.decode_base64("key64", query["key64"]) == b"\xfb\xff\xbf"


@pytest.mark.parametrize(
    "value", [b"a", b"ab=", b"ab===", b"a b c", b"!!!!", b"ab==cd==", b"\xff", b"YR=="]
)
def test_what_is_not_canonical_base64_is_refused(value: bytes) -> None:
    with pytest.raises(Problem):
        targets.decode_base64("key64", value)


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [(b"500ms", 500), (b"2s", 2000), (b"1m", 60_000), (b"1h", 3_600_000), (b"0s", 0)],
)
def test_durations_have_units(value: bytes, milliseconds: int) -> None:
    assert targets.duration_ms("timeout", value, 0, 4_000_000) == milliseconds


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"5", b"s", b"-1s", b"1.5s", b"1 s", b"1s ", b"1d", b"9999999999s"),
        *("١s".encode(), b"\xff", b"1s\n", b"3h"),
    ],
)
def test_what_is_not_a_duration_in_range_is_refused(value: bytes) -> None:
    with pytest.raises(Problem):
        targets.duration_ms("timeout", value, 0, 4_000_000)


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"+1", b"01", b"1_0", b"1e3", b"0x1", b"10001", b"9" * 5000]
)
def test_what_is_not_a_number_in_range_is_refused(value: bytes) -> None:
    with pytest.raises(Problem):
        targets.number("limit", value, 0, 10_000)


def test_numbers_reach_both_ends_of_their_range() -> None:
    assert targets.number("limit", b"0", 0, 10_000) == 0
    assert targets.number("limit", b"10000", 0, 10_000) == 10_000
    assert targets.revision("min_revision", b"18446744073709551615") == 2**64 - 1
    with pytest.raises(Problem):
        targets.revision("min_revision", b"18446744073709551616")


def test_a_flag_is_zero_or_one() -> None:
    assert targets.flag("keys_only", b"1")
    assert not targets.flag("keys_only", b"0")
    with pytest.raises(Problem):
        targets.flag("keys_only", b"true")


@given(st.binary(max_size=8), st.binary(max_size=8), st.binary(max_size=8))
def test_a_prefix_range_holds_exactly_what_starts_with_it(
    prefix: bytes, suffix: bytes, other: bytes
) -> None:
    end = prefix_end(prefix)
    for key in (prefix + suffix, other):
        inside = key >= prefix and (not end or key < end)
        assert inside == key.startswith(prefix)


@given(st.integers(1, 2**64 - 1), st.binary(max_size=40))
def test_a_cursor_comes_back_without_escaping(at: int, start: bytes) -> None:
    cursor = targets.encode_cursor(at, start)
    query = targets.parse_query(f"key64={cursor}", ALLOWED)
    assert targets.decode_cursor(query["key64"]) == (at, start)


@pytest.mark.parametrize(
    "value", [b"", b"AQ", b"!", b"AAAAAAAAAA", base64.b64encode(bytes(8) + b"a")]
)
def test_what_is_no_cursor_is_refused(value: bytes) -> None:
    with pytest.raises(Problem) as refusal:
        targets.decode_cursor(value)
    assert refusal.value.status == 400


def test_a_cursor_is_what_the_documents_say() -> None:
    golden = base64.urlsafe_b64encode(b"\0\0\0\0\0\0\1\2key\0").decode().rstrip("=")
    assert targets.encode_cursor(0x102, b"key\0") == golden
