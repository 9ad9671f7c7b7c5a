"""`/v1/kv/`: what comes of each method, over real sockets."""

import base64
from collections.abc import AsyncIterator
from urllib.parse import quote_from_bytes

import pytest
from quorate.node.api import targets
from quorate.wire.errors import ERROR_TRAITS, ErrorCode, Outcome
from quorate.wire.limits import DEFAULT_LIMITS
from quorate.wire.requests import Level, decode_get, error_reply

from .support import Port, connect, head, http, open_port, wait_for


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


async def test_a_put_is_answered_with_its_revision(port: Port) -> None:
    reply = await http(port, "PUT", "/v1/kv/greeting", b"hello")
    assert reply.status == 200
    assert reply.body == b'{"revision":2}'
    assert reply.headers["etag"] == '"2"'
    assert reply.headers["quorate-revision"] == "2"
    assert port.service.records[b"greeting"].value == b"hello"


async def test_a_get_is_answered_with_the_bytes_and_nothing_to_interpret(
    port: Port,
) -> None:
    value = b"<script>\x00\xff"
    await http(port, "PUT", "/v1/kv/a", value, Content_Type="text/html")
    reply = await http(port, "GET", "/v1/kv/a")
    assert (reply.status, reply.body) == (200, value)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"] == "sandbox"
    assert reply.headers["etag"] == '"2"'
    assert reply.headers["quorate-revision"] == "2"
    assert reply.headers["quorate-consistency"] == "linearizable"
    assert reply.headers["quorate-staleness-ms"] == "0"
    assert "aiohttp" not in reply.headers["server"]


async def test_a_head_is_a_get_without_its_body(port: Port) -> None:
    await http(port, "PUT", "/v1/kv/a", b"hello")
    reply = await http(port, "HEAD", "/v1/kv/a")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["content-length"] == "5"
    assert reply.headers["etag"] == '"2"'
    assert (await http(port, "HEAD", "/v1/kv/b")).status == 404


async def test_an_absent_key_is_not_found_and_says_at_which_revision(
    port: Port,
) -> None:
    reply = await http(port, "GET", "/v1/kv/nothing")
    assert reply.status == 404
    assert reply.json()["code"] == "not_found"
    assert reply.headers["quorate-revision"] == "1"
    assert reply.headers["quorate-consistency"] == "linearizable"


async def test_a_delete_takes_the_key_away_once(port: Port) -> None:
    await http(port, "PUT", "/v1/kv/a", b"1")
    reply = await http(port, "DELETE", "/v1/kv/a")
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["quorate-revision"] == "3"
    assert "content-length" not in reply.headers
    reply = await http(port, "DELETE", "/v1/kv/a")
    assert reply.status == 404
    assert reply.json()["outcome"] == "not_applied"


async def test_an_empty_value_is_a_value(port: Port) -> None:
    assert (await http(port, "PUT", "/v1/kv/a", b"")).status == 200
    assert (await http(port, "PUT", "/v1/kv/b")).status == 200
    assert (await http(port, "GET", "/v1/kv/a")).body == b""
    assert (await http(port, "GET", "/v1/kv/b")).status == 200


async def test_every_byte_can_stand_in_a_key(port: Port) -> None:
    async with connect(port) as raw:
        for number in range(256):
            key = b"k" + bytes((number,))
            target = "/v1/kv/" + quote_from_bytes(key, safe="")
            raw.send(head("PUT", target, Content_Length="1") + b"v")
            assert (await raw.http_reply()).status == 200
    keys = {b"k" + bytes((number,)) for number in range(256)}
    assert set(port.service.records) == keys


async def test_every_visible_byte_can_stand_in_a_key_as_it_is(port: Port) -> None:
    plain = bytes(range(0x21, 0x7F)).translate(None, b"#?%")
    async with connect(port) as raw:
        for number in plain:
            raw.send(
                head("PUT", b"/v1/kv/k" + bytes((number,)), Content_Length="0"),
            )
            assert (await raw.http_reply()).status == 200
    assert set(port.service.records) == {b"k" + bytes((each,)) for each in plain}


@pytest.mark.parametrize(
    ("rest", "key"),
    [
        (b"a//b", b"a//b"),
        (b"/a", b"/a"),
        (b"//", b"//"),
        (b"a/", b"a/"),
        (b"%2e%2e/%2E", b"../."),
        (b"a%2Fb", b"a/b"),
        (b"a/b", b"a/b"),
        (b"%0d%0aX:y", b"\r\nX:y"),
        (b"%", b"%"),
        (b"a;b=c", b"a;b=c"),
        (b"a&b", b"a&b"),
        (b"http://h/x", b"http://h/x"),
    ],
)
async def test_a_key_arrives_as_it_stood_in_the_request_line(
    port: Port, rest: bytes, key: bytes
) -> None:
    assert (await http(port, "PUT", b"/v1/kv/" + rest, b"v")).status == 200
    assert list(port.service.records) == [key]


@pytest.mark.parametrize("rest", [b".", b"..", b"a/../b", b"../status", b"./a"])
async def test_a_dot_segment_is_refused_and_nothing_is_written(
    port: Port, rest: bytes
) -> None:
    reply = await http(port, "PUT", b"/v1/kv/" + rest, b"v")
    assert reply.status == 400
    assert reply.json()["outcome"] == "not_applied"
    assert not port.service.asked


@pytest.mark.parametrize("key", [b"..", b"", b"\xff" * 4096, b"?#%/", b"."])
async def test_key64_always_works(port: Port, key: bytes) -> None:
    encoded = base64.urlsafe_b64encode(key).decode()
    reply = await http(port, "PUT", f"/v1/kv/?key64={encoded}", b"v")
    if not key:
        assert reply.status == 400
        return
    assert reply.status == 200
    assert list(port.service.records) == [key]
    assert (await http(port, "GET", f"/v1/kv/?key64={encoded}")).body == b"v"


async def test_a_key_of_the_longest_length_fits_escaped(port: Port) -> None:
    key = b"\xfe" * DEFAULT_LIMITS.key_bytes_max
    target = "/v1/kv/" + quote_from_bytes(key)
    assert (await http(port, "PUT", target, b"v")).status == 200
    assert list(port.service.records) == [key]
    reply = await http(port, "PUT", target + "a", b"v")
    assert reply.status == 431
    assert reply.json()["code"] == "key_too_long"


async def test_a_key_in_two_places_is_refused(port: Port) -> None:
    assert (await http(port, "GET", "/v1/kv/a?key64=YQ")).status == 400


async def test_a_write_happens_only_at_the_expected_revision(port: Port) -> None:
    await http(port, "PUT", "/v1/kv/a", b"1")
    reply = await http(port, "PUT", "/v1/kv/a", b"2", If_Match='"2"')
    assert reply.status == 200
    reply = await http(port, "PUT", "/v1/kv/a", b"3", If_Match='"2"')
    assert reply.status == 412
    assert reply.headers["etag"] == '"3"'
    assert reply.json()["revision"] == 3
    assert reply.json()["code"] == "precondition_failed"
    assert reply.json()["outcome"] == "not_applied"
    assert port.service.records[b"a"].value == b"2"
    reply = await http(port, "DELETE", "/v1/kv/a", If_Match='"2"')
    assert reply.status == 412
    assert (await http(port, "DELETE", "/v1/kv/a", If_Match='"3"')).status == 204


async def test_a_create_happens_only_once(port: Port) -> None:
    assert (await http(port, "PUT", "/v1/kv/a", b"1", If_None_Match="*")).status == 200
    reply = await http(port, "PUT", "/v1/kv/a", b"2", If_None_Match="*")
    assert reply.status == 412
    assert reply.headers["etag"] == '"2"'
    reply = await http(port, "PUT", "/v1/kv/b", b"1", If_Match='"2"')
    assert reply.status == 412
    assert "etag" not in reply.headers
    assert reply.json()["revision"] == 0


async def test_a_get_of_a_known_revision_is_not_sent_again(port: Port) -> None:
    await http(port, "PUT", "/v1/kv/a", b"1")
    reply = await http(port, "GET", "/v1/kv/a", If_None_Match='"2"')
    assert (reply.status, reply.body) == (304, b"")
    assert reply.headers["etag"] == '"2"'
    reply = await http(port, "GET", "/v1/kv/a", If_None_Match='"1"')
    assert reply.status == 200
    reply = await http(port, "GET", "/v1/kv/a", If_Match='"1"')
    assert reply.status == 412
    assert reply.headers["etag"] == '"2"'
    assert reply.json()["revision"] == 2


async def test_a_repeated_condition_is_refused(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(
            b'PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nIf-Match: "1"\r\nIf-Match: "2"\r\n'
            b"Content-Length: 0\r\n\r\n"
        )
        assert (await raw.http_reply()).status == 400
    assert not port.service.asked


async def test_a_read_asks_for_its_level(port: Port) -> None:
    query = "consistency=bounded&max_staleness=2s&min_revision=7&timeout=250ms"
    reply = await http(port, "GET", f"/v1/kv/a?{query}")
    assert reply.headers["quorate-consistency"] == "bounded"
    assert reply.headers["quorate-staleness-ms"] == "2000"
    asked = port.service.asked[0]
    get = decode_get(asked.body, DEFAULT_LIMITS)
    assert (get.level, get.max_staleness_ms, get.min_revision) == (
        Level.BOUNDED,
        2000,
        7,
    )
    assert asked.timeout_ms == 250
    reply = await http(port, "GET", "/v1/kv/a?consistency=local")
    assert reply.headers["quorate-consistency"] == "local"
    assert port.service.asked[1].timeout_ms == 0


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", "consistency=strong"),
        ("GET", "consistency=bounded"),
        ("GET", "max_staleness=2s"),
        ("GET", "consistency=local&max_staleness=2s"),
        ("GET", "consistency=bounded&max_staleness=2"),
        ("GET", "consistency=bounded&max_staleness=2000h"),
        ("GET", "min_revision=x"),
        ("GET", "revision=-1"),
        ("GET", "revision=18446744073709551616"),
        ("GET", "timeout=0s"),
        ("GET", "timeout=601s"),
        ("GET", "prefix=a"),
        ("GET", "limit=1"),
        ("GET", "colour=red"),
        ("GET", "timeout=1s&timeout=1s"),
        ("PUT", "consistency=linearizable"),
        ("PUT", "min_revision=1"),
        ("PUT", "revision=1"),
        ("DELETE", "prefix=a"),
    ],
)
async def test_a_parameter_that_is_not_understood_is_refused(
    port: Port, method: str, query: str
) -> None:
    reply = await http(port, method, f"/v1/kv/a?{query}")
    assert reply.status == 400
    assert reply.json()["code"] == "invalid_request"
    assert not port.service.asked


async def test_a_list_has_keys_and_values_and_goes_on_at_its_cursor(port: Port) -> None:
    for key in (b"a/1", b"a/2", b"a/\xff", b"b"):
        await http(port, "PUT", "/v1/kv/" + quote_from_bytes(key), b"v" + key)
    reply = await http(port, "GET", "/v1/kv/?prefix=a%2F&limit=2")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["quorate-consistency"] == "linearizable"
    page = reply.json()
    assert page["revision"] == 5
    assert page["more"] is True
    assert page["kvs"] == [
        {
            "key": key,
            "key64": base64.b64encode(key.encode()).decode(),
            "value64": base64.b64encode(b"v" + key.encode()).decode(),
            "create_revision": revision,
            "mod_revision": revision,
            "version": 1,
        }
        for key, revision in (("a/1", 2), ("a/2", 3))
    ]
    target = f"/v1/kv/?prefix=a/&limit=2&cursor={page['cursor']}&keys_only=1"
    page = (await http(port, "GET", target)).json()
    assert page == {
        "revision": 5,
        "more": False,
        "cursor": None,
        "kvs": [
            {
                "key": None,
                "key64": base64.b64encode(b"a/\xff").decode(),
                "create_revision": 4,
                "mod_revision": 4,
                "version": 1,
            }
        ],
    }


async def test_a_list_without_a_prefix_has_everything(port: Port) -> None:
    for key in ("a", "b", "%FF%FF"):
        await http(port, "PUT", f"/v1/kv/{key}", b"")
    page = (await http(port, "GET", "/v1/kv/")).json()
    assert [record["key"] for record in _kvs(page)] == ["a", "b", None]
    page = (await http(port, "GET", "/v1/kv/?prefix=%FF")).json()
    assert len(_kvs(page)) == 1
    assert (await http(port, "HEAD", "/v1/kv/")).status == 200


def _kvs(page: dict[str, object]) -> list[dict[str, object]]:
    kvs = page["kvs"]
    assert isinstance(kvs, list)
    return kvs  # pyright: ignore[reportUnknownVariableType]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=4294967296",
        "keys_only=yes",
        "cursor=!",
        "cursor=" + targets.encode_cursor(1, b"b"),
        "cursor=" + targets.encode_cursor(1, b""),
        "cursor=" + targets.encode_cursor(1, b"a" * 4098),
        "cursor=" + targets.encode_cursor(0, b"a"),
        "cursor=AAAAAAAAAA",
        "cursor=",
        "revision=2&cursor=" + targets.encode_cursor(1, b"a"),
        "revision=0&cursor=" + targets.encode_cursor(1, b"a"),
        "prefix=" + "a" * 4097,
        "prefix=a&key64=YQ",
    ],
)
async def test_a_list_that_makes_no_sense_is_refused(port: Port, query: str) -> None:
    prefix = "" if "prefix" in query else "prefix=a&"
    reply = await http(port, "GET", f"/v1/kv/?{prefix}{query}")
    assert reply.status in (400, 431)
    assert not port.service.asked


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_write_without_a_key_is_refused(port: Port, method: str) -> None:
    reply = await http(port, method, "/v1/kv/", b"")
    assert reply.status == 400
    assert not port.service.asked


@pytest.mark.parametrize("code", list(ErrorCode))
async def test_every_error_of_the_service_is_a_problem_document(
    port: Port, code: ErrorCode
) -> None:
    status, retryable = ERROR_TRAITS[code]
    unknown = code == ErrorCode.UNKNOWN_OUTCOME
    outcome = Outcome.UNKNOWN if unknown else Outcome.NOT_APPLIED
    port.service.error = error_reply(code, outcome, "because", 9)
    reply = await http(port, "PUT", "/v1/kv/a", b"1")
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    document = reply.json()
    assert document["code"] == code.name.lower()
    assert document["status"] == status
    assert document["detail"] == "because"
    assert document["retryable"] is retryable
    assert document["outcome"] == ("unknown" if unknown else "not_applied")
    assert document["type"] == f"urn:quorate:problem:{code.name.lower()}"
    assert isinstance(document["title"], str)
    assert ("retry-after" in reply.headers) == (status in (429, 503))
    assert ("etag" in reply.headers) == (code == ErrorCode.PRECONDITION_FAILED)
    at_revision = (
        ErrorCode.PRECONDITION_FAILED,
        ErrorCode.COMPACTED,
        ErrorCode.FUTURE_REVISION,
    )
    assert document.get("revision") == (9 if code in at_revision else None)


async def test_an_error_of_a_read_has_no_outcome(port: Port) -> None:
    port.service.error = error_reply(ErrorCode.TOO_STALE, Outcome.NONE, "behind")
    reply = await http(port, "GET", "/v1/kv/a")
    assert reply.status == 503
    assert reply.json()["code"] == "too_stale"
    assert "outcome" not in reply.json()


async def test_a_client_that_leaves_does_not_disturb_the_service(port: Port) -> None:
    port.service.holding = True
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/kv/a"))
        await wait_for(lambda: bool(port.service.held))
        raw.reset()
    await wait_for(lambda: port.listener.connections == 0)
    port.service.release()
    assert (await http(port, "GET", "/v1/kv/a")).status == 404
    cancelled = b'_count{operation="get",result="cancelled"} 1.0'
    assert cancelled in (await http(port, "GET", "/metrics")).body


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/kv", "/v1/keys/a"])
async def test_who_asks_at_a_wrong_path_is_told_where_keys_are(
    port: Port, path: str
) -> None:
    reply = await http(port, "GET", path)
    assert reply.status == 404
    assert "keys are below /v1/kv/" in str(reply.json()["detail"])
