"""Endpoints, values and options: what people write, and what it means."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.client import AsyncClient, Client, InvalidRequest, KeyValue, prefix_end
from quorate.client.endpoints import (
    ENDPOINTS_MAX,
    Endpoint,
    parse_endpoint,
    parse_endpoints,
    speaks_tls,
)
from quorate.client.options import options_from_url


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:7400", "127.0.0.1", 7400),
        (" node-1.example:1 ", "node-1.example", 1),
        ("http://localhost:65535", "localhost", 65535),
        ("http://localhost:80/", "localhost", 80),
        ("quorate://n1:7400", "n1", 7400),
        ("https://n1:443", "n1", 443),
        ("quorates://n1:7400", "n1", 7400),
        ("[::1]:7400", "::1", 7400),
        ("http://[fe80::1]:7400", "fe80::1", 7400),
    ],
)
def test_an_endpoint_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_endpoint(text) == Endpoint(host, port)
    assert parse_endpoint(str(parse_endpoint(text))) == Endpoint(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n1",
        "n1:",
        ":7400",
        "n1:0",
        "n1:65536",
        "n1:-1",
        "n1:http",
        "n 1:7400",
        "[::1:7400",
        "ftp://n1:7400",
        "n1:7400/path",
        "n1:7400?x=1",
        "n1:7400#x",
        "user@n1:7400",
    ],
)
def test_what_is_not_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_endpoint(text)


@given(text=st.text(max_size=20))
def test_any_text_is_an_endpoint_or_refused(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except InvalidRequest:
        return
    assert endpoint.host
    assert 0 < endpoint.port < 2**16


def test_endpoints_are_kept_in_order_and_once() -> None:
    expected = [Endpoint("b", 2), Endpoint("a", 1)]
    assert parse_endpoints("b:2, a:1,,http://b:2") == expected
    assert parse_endpoints(["b:2", "a:1"]) == expected


@pytest.mark.parametrize("endpoints", ["", " , ", []])
def test_no_endpoints_at_all_are_refused(endpoints: str | list[str]) -> None:
    with pytest.raises(InvalidRequest, match="no endpoint"):
        parse_endpoints(endpoints)


def test_too_many_endpoints_are_refused() -> None:
    names = [f"n{number}:1" for number in range(ENDPOINTS_MAX + 1)]
    assert len(parse_endpoints(names[:-1])) == ENDPOINTS_MAX
    with pytest.raises(InvalidRequest, match="65 endpoints"):
        parse_endpoints(names)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"a", b"b"),
        ("app/", b"app0"),
        (b"a\xff", b"b"),
        (b"a\xff\xff", b"b"),
        (b"\xff", b""),
        (b"", b""),
        (b"\x00", b"\x01"),
    ],
)
def test_a_prefix_ends_at_the_first_key_behind_it(
    prefix: str | bytes, end: bytes
) -> None:
    assert prefix_end(prefix) == end


@given(prefix=st.binary(max_size=4), key=st.binary(max_size=6))
def test_a_key_lies_in_the_prefixs_range_exactly_when_it_starts_with_it(
    prefix: bytes, key: bytes
) -> None:
    end = prefix_end(prefix)
    inside = key >= prefix and (not end or key < end)
    assert inside == key.startswith(prefix)


def test_a_values_text_is_utf8_or_an_error() -> None:
    assert KeyValue(b"k", "é".encode(), 1, 1, 1, 0).text == "é"
    with pytest.raises(UnicodeDecodeError):
        _ = KeyValue(b"k", b"\xff", 1, 1, 1, 0).text


def test_a_client_given_nothing_takes_the_environments_endpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUORATE_ENDPOINTS", "a:1,b:2")
    assert AsyncClient().endpoints == ["a:1", "b:2"]
    assert AsyncClient.from_env().endpoints == ["a:1", "b:2"]
    assert AsyncClient("c:3").endpoints == ["c:3"]
    monkeypatch.setenv("QUORATE_ENDPOINTS", "")
    assert AsyncClient().endpoints == ["127.0.0.1:7400"]
    monkeypatch.delenv("QUORATE_ENDPOINTS")
    assert AsyncClient.from_env(timeout=1).endpoints == ["127.0.0.1:7400"]


def test_a_client_from_the_environment_takes_its_certificates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUORATE_CACERT", "/nowhere/ca.pem")
    with pytest.raises(InvalidRequest, match=r"/nowhere/ca\.pem"):
        AsyncClient.from_env()
    assert AsyncClient.from_env(cafile=None).endpoints


def test_a_url_names_endpoints_and_options() -> None:
    url = "quorate://a:1,b:2?timeout=2.5&balance=1&learn=false&cafile=%2Fca.pem"
    endpoints, options = options_from_url(url, {"timeout": 9.0})
    assert parse_endpoints(endpoints) == [Endpoint("a", 1), Endpoint("b", 2)]
    assert options == {
        "timeout": 9.0,
        "balance": True,
        "learn": False,
        "cafile": "/ca.pem",
    }
    assert AsyncClient.from_url("quorate://a:1,b:2").endpoints == ["a:1", "b:2"]


@pytest.mark.parametrize(
    "query",
    ["color=red", "timeout=soon", "timeout=0", "balance=perhaps", "timeout", "a=1&a=2"],
)
def test_a_url_with_an_option_that_means_nothing_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequest):
        AsyncClient.from_url(f"quorate://a:1?{query}")


@pytest.mark.parametrize("make", [AsyncClient, Client])
def test_a_client_that_could_never_work_is_refused(
    make: type[AsyncClient] | type[Client],
) -> None:
    with pytest.raises(InvalidRequest):
        make("nonsense")
    with pytest.raises(InvalidRequest):
        make("a:1", timeout=0)
    with pytest.raises(InvalidRequest):
        make("a:1", in_flight_max=0)
    with pytest.raises(InvalidRequest, match="keyfile needs certfile"):
        make("a:1", keyfile="key.pem")
    with pytest.raises(InvalidRequest, match=r"missing\.pem"):
        make("a:1", cafile="/nowhere/missing.pem")


@pytest.mark.parametrize("missing", ["cafile", "certfile", "keyfile"])
def test_of_three_files_the_one_that_is_not_there_is_named(
    tmp_path: Path, missing: str
) -> None:
    files = {name: str(tmp_path / name) for name in ("cafile", "certfile", "keyfile")}
    for name, path in files.items():
        if name != missing:
            Path(path).write_text("whatever")
    with pytest.raises(InvalidRequest) as refused:
        AsyncClient("a:1", **files)  # pyright: ignore[reportArgumentType]
    assert refused.value.reason == f"{files[missing]}: No such file or directory"


@pytest.mark.parametrize(
    ("endpoints", "certificates", "tls"),
    [
        ("a:1,quorate://b:2", False, False),
        ("http://a:1", False, False),
        ("a:1,quorate://b:2", True, True),
        ("https://a:1,b:2", False, True),
        ("quorates://a:1,https://b:2", True, True),
    ],
)
def test_tls_is_meant_by_a_scheme_or_by_certificates(
    endpoints: str, certificates: bool, tls: bool
) -> None:
    assert speaks_tls(endpoints, certificates=certificates) == tls


def test_an_endpoint_that_means_no_tls_does_not_go_with_what_means_it() -> None:
    for certificates in (False, True):
        with pytest.raises(InvalidRequest, match="means no TLS"):
            speaks_tls("http://a:1,https://b:2", certificates=certificates)


@pytest.mark.parametrize(
    ("endpoints", "other"), [("a:1", "https://b:2"), ("https://a:1", "http://b:2")]
)
async def test_a_node_is_not_asked_in_another_way_than_the_others(
    endpoints: str, other: str
) -> None:
    async with AsyncClient(endpoints) as client:
        with pytest.raises(InvalidRequest, match="TLS"):
            await client.status(other)
