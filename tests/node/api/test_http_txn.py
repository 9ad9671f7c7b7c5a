"""`/v1/txn`: transactions in JSON, over real sockets."""

import base64
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.frames import RequestKind
from quorate.wire.requests import error_reply
from quorate.wire.transactions import (
    Compare,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnGet,
    TxnPut,
    encode_transaction,
)

from .support import (
    SMALL_LIMITS,
    Port,
    Reply,
    connect,
    head,
    http,
    open_port,
    wait_for,
)

PATH = "/v1/txn"
PUT_A = {"then": [{"put": {"key": "a", "value": "1"}}]}
A_BODY = json.dumps(PUT_A).encode()


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port(limits=SMALL_LIMITS) as opened:
        yield opened


async def commit(port: Port, document: object, **headers: str) -> Reply:
    return await http(port, "POST", PATH, json.dumps(document).encode(), **headers)


def refused(port: Port, reply: Reply, status: int, code: str) -> str:
    """The reason of a refusal, of which nothing has come to the service."""
    problem = reply.json()
    assert (reply.status, problem["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["outcome"] == "not_applied"
    assert not port.service.records
    return str(problem["detail"])


async def test_a_transaction_does_its_branch_and_tells_what_was_there(
    port: Port,
) -> None:
    await http(port, "PUT", "/v1/kv/a", b"1")
    reply = await commit(
        port,
        {
            "if": [{"key": "a", "value": "1"}, {"key": "b", "exists": False}],
            "then": [
                {"put": {"key": "a", "value": "2"}},
                {"put": {"key64": "/w==", "value64": "AP8="}},
                {"delete": {"key": "c"}},
                {"get": {"key": "a"}},
                {"get": {"key64": "/w"}},
                {"get": {"key": "b"}},
            ],
            "else": [{"get": {"key": "b"}}],
        },
    )
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["quorate-revision"] == "3"
    numbers = {"create_revision": 3, "mod_revision": 3, "version": 1}
    assert reply.json() == {
        "succeeded": True,
        "revision": 3,
        "results": [
            {"found": True},
            {"found": False},
            {"found": False},
            {
                "found": True,
                "kv": {
                    "key": "a",
                    "key64": "YQ==",
                    "value64": "Mg==",
                    "create_revision": 2,
                    "mod_revision": 3,
                    "version": 2,
                },
            },
            {
                "found": True,
                "kv": {"key": None, "key64": "/w==", "value64": "AP8=", **numbers},
            },
            {"found": False},
        ],
    }
    assert port.service.records[b"\xff"].value == b"\0\xff"


async def test_a_record_looks_as_it_does_in_a_list(port: Port) -> None:
    await http(port, "PUT", "/v1/kv/a%FF", b"1")
    listed = (await http(port, "GET", "/v1/kv/")).json()
    key64 = base64.b64encode(b"a\xff").decode()
    reply = await commit(port, {"then": [{"get": {"key64": key64}}]})
    (result,) = json.loads(reply.body)["results"]
    assert [result["kv"]] == listed["kvs"]


async def test_conditions_that_do_not_hold_are_no_error(port: Port) -> None:
    document = PUT_A | {"if": [{"key": "a", "version": 0, "op": ">"}]}
    reply = await commit(port, document)
    assert reply.status == 200
    assert reply.json() == {"succeeded": False, "revision": 1, "results": []}
    document["else"] = [{"put": {"key": "b", "value": "1"}}]
    reply = await commit(port, document)
    assert reply.json() == {
        "succeeded": False,
        "revision": 2,
        "results": [{"found": False}],
    }
    assert set(port.service.records) == {b"b"}


async def test_a_transaction_goes_on_as_a_native_client_would_send_it(
    port: Port,
) -> None:
    document = {
        "if": [{"key": "a", "mod_revision": 7, "op": "<"}],
        "then": [{"put": {"key": "a", "value": "1"}}, {"get": {"key": "b"}}],
        "else": [{"delete": {"key": "a"}}],
    }
    body = json.dumps(document).encode()
    assert (await http(port, "POST", PATH + "?timeout=250ms", body)).status == 200
    (asked,) = port.service.asked
    assert (asked.kind, asked.timeout_ms) == (RequestKind.WRITE, 250)
    assert asked.body == encode_transaction(
        Transaction(
            (Compare(b"a", Target.MOD_REVISION, Relation.LESS, 7),),
            (TxnPut(b"a", b"1"), TxnGet(b"b")),
            (TxnDelete(b"a"),),
        )
    )


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json; charset=x"])
async def test_the_content_type_is_ignored(port: Port, kind: str) -> None:
    assert (await commit(port, PUT_A, Content_Type=kind)).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_post_is_understood(port: Port, method: str) -> None:
    reply = await http(port, method, PATH, A_BODY)
    assert reply.status == 405
    assert reply.headers["allow"] == "POST"
    assert not port.service.asked


@pytest.mark.parametrize("path", ["/v1/txn/", "/v1/txns", "/v1/%74xn", "/v1/TXN"])
async def test_other_spellings_of_the_path_are_not_found(port: Port, path: str) -> None:
    reply = await http(port, "POST", path, A_BODY)
    assert refused(port, reply, 404, "not_found")


async def test_a_foreign_origin_and_a_rebound_name_are_refused(port: Port) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
    ):
        reply = await http(port, "POST", PATH, A_BODY, **headers)
        refused(port, reply, 403, "forbidden")
    assert not port.service.asked
    own = f"http://127.0.0.1:{port.listener.port}"
    assert (await http(port, "POST", PATH, A_BODY, Origin=own)).status == 200


@pytest.mark.parametrize(
    "query", ["?key64=YQ", "?timeout=0s", "?timeout=1h", "?timeout", "?timeout=1s&a"]
)
async def test_other_parameters_and_bad_timeouts_are_refused(
    port: Port, query: str
) -> None:
    reply = await http(port, "POST", PATH + query, A_BODY)
    refused(port, reply, 400, "invalid_request")


@pytest.mark.parametrize("name", ["If_Match", "If_None_Match"])
async def test_a_condition_in_the_head_is_refused(port: Port, name: str) -> None:
    reply = await http(port, "POST", PATH, A_BODY, **{name: '"1"'})
    reason = refused(port, reply, 400, "invalid_request")
    assert name.replace("_", "-") in reason


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the transaction"),
        (b"{}", "`then` or `else`"),
        (b"null", "expected `object`"),
        (b"\x00\xff", "malformed"),
        (b'{"then": [{"get": {"key": "\xff"}}]}', "then[0]: a text is not UTF-8"),
        (b'{"then": [], "also": 1}', "unknown field 'also'"),
        (b'{"then": [{"get": {"key": 1}}]}', "then[0].get.key: expected `str`"),
        (b'{"then": [{"get": {"key": "a", "key64": "YQ=="}}]}', "`key` and `key64`"),
        (b'{"then": [{"get": {"key64": "?"}}]}', "then[0].get.key64: not base64"),
        (b'{"else": [{"put": {"key": "a"}}]}', "else[0].put: `value` or `value64`"),
        (b'{"if": [{"key": "a", "version": -1}], "then": []}', "if[0].version"),
        (b'{"if": [{"key": "a", "version": 1.5}], "then": []}', "if[0].version"),
        (b'{"if": [{"key": "a", "version": 18446744073709551616}], "then": []}', "if"),
        (b'{"if": [{"key": "a", "version": 1e999}], "then": []}', "if[0].version"),
        (b'{"then": [' + b"[" * 3000, "nested too deeply"),
        (
            b'{"then": [{"delete": {"key": "a"}}, {"delete": {"key64": "YQ"}}]}',
            "twice",
        ),
    ],
)
async def test_a_document_that_makes_no_sense_is_refused(
    port: Port, body: bytes, words: str
) -> None:
    reply = await http(port, "POST", PATH, body)
    assert words in refused(port, reply, 400, "invalid_request")


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
async def test_no_damage_to_a_document_is_an_error_of_ours(data: st.DataObject) -> None:
    document = bytearray(A_BODY)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(document) - 1))
        document[at] = data.draw(st.integers(0, 255))
    async with open_port(limits=SMALL_LIMITS) as port:
        reply = await http(port, "POST", PATH, bytes(document))
    assert reply.status in (200, 400)


async def test_what_is_over_a_limit_is_refused_with_its_code(port: Port) -> None:
    long = {"then": [{"get": {"key": "k" * 65}}]}
    refused(port, await commit(port, long), 431, "key_too_long")
    longer = {"then": [{"delete": {"key": "k" * 1000}}]}
    refused(port, await commit(port, longer), 431, "key_too_long")
    large = {"then": [{"put": {"key": "a", "value": "v" * 1001}}]}
    refused(port, await commit(port, large), 413, "value_too_large")
    fits = {"then": [{"put": {"key": "k" * 64, "value": "v" * 1000}}]}
    assert (await commit(port, fits)).status == 200


@pytest.mark.parametrize("name", ["if", "then", "else"])
async def test_more_than_128_parts_are_refused(name: str) -> None:
    async with open_port() as port:
        part = {"key": "a", "version": 0} if name == "if" else {"get": {"key": "a"}}
        document = {"then": [], name: [part] * 128}
        assert (await commit(port, document)).status == 200
        document[name] = [part] * 129
        reason = refused(port, await commit(port, document), 413, "request_too_large")
        assert reason == f"{name}: more than 128 parts"
        # As many as there is room for: they are counted before they are looked at.
        document[name] = [part] * 200_000
        refused(port, await commit(port, document), 413, "request_too_large")


async def test_a_key_beyond_what_the_format_carries_is_refused() -> None:
    async with open_port() as port:
        document = {"then": [{"get": {"key": "k" * 70_000}}]}
        refused(port, await commit(port, document), 431, "key_too_long")


async def test_a_document_over_the_limit_is_refused_before_it_is_read(
    port: Port,
) -> None:
    reply = await http(port, "POST", PATH, A_BODY + b" " * (4096 - len(A_BODY)))
    assert reply.status == 200
    port.service.records.clear()
    async with connect(port) as raw:
        raw.send(head("POST", PATH, Content_Length="4097"))
        reply = await raw.http_reply()
    reason = refused(port, reply, 413, "request_too_large")
    assert reason == "the transaction has more than 4096 bytes"
    async with connect(port) as raw:
        raw.send(head("POST", PATH, Transfer_Encoding="chunked"))
        raw.send(b"1001\r\n" + b" " * 4097 + b"\r\n0\r\n\r\n")
        refused(port, await raw.http_reply(), 413, "request_too_large")


async def test_half_received_documents_share_the_budget() -> None:
    async with open_port(partial_bytes_max=10) as port:
        async with connect(port) as raw:
            raw.send(head("POST", PATH, Content_Length=str(len(A_BODY))))
            raw.send(A_BODY[:20])
            refused(port, await raw.http_reply(), 429, "too_busy")
        # A document that comes with its head is held by nobody.
        assert (await commit(port, PUT_A)).status == 200


async def test_a_document_may_come_in_chunks_and_after_an_invitation(
    port: Port,
) -> None:
    async with connect(port) as raw:
        raw.send(head("POST", PATH, Transfer_Encoding="chunked", Expect="100-continue"))
        assert (await raw.http_reply()).status == 100
        for byte in A_BODY:
            raw.send(b"1\r\n" + bytes((byte,)) + b"\r\n")
        raw.send(b"0\r\n\r\n")
        assert (await raw.http_reply()).status == 200
    assert port.service.records[b"a"].value == b"1"


async def test_a_content_encoding_is_refused(port: Port) -> None:
    reply = await commit(port, PUT_A, Content_Encoding="gzip")
    refused(port, reply, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("code", "outcome", "status", "told"),
    [
        (ErrorCode.NO_LEADER, Outcome.NOT_APPLIED, 503, "not_applied"),
        (ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN, 504, "unknown"),
        (ErrorCode.REQUEST_TOO_LARGE, Outcome.NOT_APPLIED, 413, "not_applied"),
        (ErrorCode.NO_SPACE, Outcome.NOT_APPLIED, 507, "not_applied"),
    ],
)
async def test_what_the_service_refuses_says_whether_it_happened(
    port: Port, code: ErrorCode, outcome: Outcome, status: int, told: str
) -> None:
    port.service.error = error_reply(code, outcome, "so it is")
    reply = await commit(port, PUT_A)
    assert reply.status == status
    assert reply.json()["code"] == code.name.lower()
    assert reply.json()["outcome"] == told


async def test_a_client_that_leaves_disturbs_nobody(port: Port) -> None:
    port.service.holding = True
    async with connect(port) as raw:
        raw.send(head("POST", PATH, Content_Length=str(len(A_BODY))) + A_BODY)
        await wait_for(lambda: bool(port.service.held))
        raw.reset()
    port.service.release()
    await wait_for(lambda: port.listener.connections == 0)
    assert (await commit(port, {"then": [{"get": {"key": "a"}}]})).status == 200


async def test_transactions_are_counted_under_their_name(port: Port) -> None:
    await commit(port, PUT_A)
    await commit(port, {})
    await http(port, "GET", PATH)
    text = (await http(port, "GET", "/metrics")).body.decode()
    name = "quorate_http_request_duration_seconds_count"
    for result in ("ok", "invalid_request", "method_not_allowed"):
        assert f'{name}{{operation="txn",result="{result}"}} 1' in text
