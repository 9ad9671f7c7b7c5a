"""Hellos: both sides agree on a version or part, and lies are refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.wire import (
    MAGIC,
    ClientHello,
    ProtocolError,
    ServerHello,
    VersionMismatch,
    choose_version,
    encode_client_hello,
    encode_server_hello,
    is_token,
    parse_client_hello,
    parse_server_hello,
)
from quorate.wire.hello import TOKEN_BYTES_MAX

IDS = st.integers(1, 2**64 - 1)
GOOD: dict[str, object] = {
    "cluster_id": 1,
    "member_id": 2,
    "name": "n1",
    "server": "quorate",
    "request_bytes_max": 1000,
    "endpoints": ["a:1"],
}


def server_hello(body: bytes, version: int = 1) -> bytes:
    return MAGIC + bytes([version, 0]) + len(body).to_bytes(2, "little") + body


def pack(body: object) -> bytes:
    return msgspec.msgpack.encode(body)


@given(
    hello=st.builds(
        ServerHello,
        version=st.just(1),
        cluster_id=IDS,
        member_id=IDS,
        name=st.text(max_size=20),
        server=st.text(max_size=20),
        request_bytes_max=st.integers(1, 2**32 - 65),
        endpoints=st.lists(st.text(max_size=20), max_size=3).map(tuple),
        refused=st.text(max_size=20),
    ),
    rest=st.binary(max_size=10),
)
def test_a_server_hello_survives_its_bytes_and_leaves_the_rest(
    hello: ServerHello, rest: bytes
) -> None:
    data = encode_server_hello(hello)
    assert parse_server_hello(data + rest) == (hello, len(data))


@given(token=st.binary(max_size=TOKEN_BYTES_MAX), rest=st.binary(max_size=10))
def test_a_clients_token_survives_and_leaves_the_rest(
    token: bytes, rest: bytes
) -> None:
    hello = ClientHello(token=token)
    data = encode_client_hello(hello)
    assert parse_client_hello(data + rest) == hello
    assert hello.length == len(data)
    for end in range(0, len(data), 100):
        assert parse_client_hello(data[:end]) is None


def test_a_hello_without_a_token_has_the_bytes_that_it_always_had() -> None:
    assert encode_client_hello() == b"\xabQRT\x01\x01\x00\x00"
    shown = encode_client_hello(ClientHello(token=b"t0"))
    assert shown == b"\xabQRT\x01\x01\x02\x00t0"
    parsed = parse_server_hello(server_hello(pack(GOOD)))
    assert parsed is not None
    assert parsed[0].refused == ""
    assert encode_server_hello(parsed[0]) == server_hello(pack(GOOD))


def test_a_token_over_its_limit_is_refused_from_the_head() -> None:
    head = b"\xabQRT\x01\x01" + (TOKEN_BYTES_MAX + 1).to_bytes(2, "little")
    with pytest.raises(ProtocolError, match="a token of 1025 bytes, over 1024"):
        parse_client_hello(head)


@pytest.mark.parametrize(
    ("data", "good"),
    [
        (b"YWJj+/8=", True),
        (b"a-b_c.d~e", True),
        (b"x" * TOKEN_BYTES_MAX, True),
        (b"x" * (TOKEN_BYTES_MAX + 1), False),
        (b"", False),
        (b"=", False),
        (b"a=b", False),
        (b"a b", False),
        (b"a\n", False),
        (b"\xc3\xa4", False),
    ],
)
def test_a_token_has_the_letters_of_a_bearer_token(data: bytes, good: bool) -> None:
    assert is_token(data) is good


@given(versions=st.tuples(st.integers(1, 255), st.integers(1, 255)))
def test_the_chosen_version_is_one_that_both_know(versions: tuple[int, int]) -> None:
    hello = ClientHello(min(versions), max(versions))
    assert parse_client_hello(encode_client_hello(hello)) == hello
    assert choose_version(hello) == (1 if hello.version_min == 1 else 0)


@pytest.mark.parametrize(
    "opening", [b"H", b"HTTP/1.1 400 Bad Request\r\n", b"\xabQRX", b"\x16\x03\x01"]
)
def test_another_protocol_is_refused_at_its_first_wrong_byte(opening: bytes) -> None:
    with pytest.raises(ProtocolError, match="does not speak"):
        parse_server_hello(opening)
    with pytest.raises(ProtocolError, match="does not speak"):
        parse_client_hello(opening)


def test_version_zero_means_no_version_in_common_before_its_body_is_there() -> None:
    with pytest.raises(VersionMismatch):
        parse_server_hello(server_hello(b"x" * 9, version=0)[:8])


def test_a_server_without_a_common_version_can_still_say_who_it_is() -> None:
    hello = ServerHello(
        version=0,
        cluster_id=1,
        member_id=1,
        name="",
        server="",
        request_bytes_max=1,
    )
    with pytest.raises(VersionMismatch):
        parse_server_hello(encode_server_hello(hello))


def test_unknown_keys_of_the_body_are_ignored() -> None:
    parsed = parse_server_hello(server_hello(pack({**GOOD, "later": [1, {"x": None}]})))
    assert parsed is not None
    assert parsed[0].name == "n1"


@pytest.mark.parametrize(
    "change",
    [
        {"cluster_id": 0},
        {"cluster_id": -1},
        {"cluster_id": "1"},
        {"cluster_id": 1.0},
        {"member_id": 0},
        {"name": b"bytes"},
        {"name": None},
        {"request_bytes_max": 0},
        {"request_bytes_max": 2**32},
        {"request_bytes_max": 2**64 - 1},
        {"endpoints": "a:1"},
        {"endpoints": [1]},
    ],
)
def test_a_body_with_a_wrong_field_is_refused(change: dict[str, object]) -> None:
    assert parse_server_hello(server_hello(pack(GOOD))) is not None
    with pytest.raises(ProtocolError):
        parse_server_hello(server_hello(pack({**GOOD, **change})))


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_a_body_without_one_of_its_fields_is_refused(missing: str) -> None:
    body = {key: value for key, value in GOOD.items() if key != missing}
    with pytest.raises(ProtocolError):
        parse_server_hello(server_hello(pack(body)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x80",
        b"\x93\x01\x02\x03",
        b"\x81\xa1x" + b"\x91" * 60_000 + b"\xc0",
        b"\x81\xa4name\xa2\xff\xfe",
        pack(GOOD) + b"\x00",
    ],
    ids=["nothing", "never used", "empty", "no map", "deep", "not utf-8", "trailing"],
)
def test_a_body_that_is_not_such_a_map_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_server_hello(server_hello(body))


@given(body=st.binary(max_size=60))
def test_a_body_of_garbage_raises_nothing_but_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_server_hello(server_hello(body))
