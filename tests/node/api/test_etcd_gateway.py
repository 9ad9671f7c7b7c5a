"""The etcd gateway over a service that says what it is told: errors, paths, streams."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quorate.node.api.errors import HTTP_PROBLEMS
from quorate.node.api.etcd import leases, ranges
from quorate.node.api.etcd.errors import HTTP_STATUS, TRANSLATIONS
from quorate.node.api.etcd.gateway import Gateway
from quorate.node.api.etcd.transactions import TRIES_MAX
from quorate.node.api.service import DISK_FULL, NO_LEADER
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.frames import OK, RequestKind
from quorate.wire.leases import LEASES_PAGE_MAX
from quorate.wire.limits import Limits
from quorate.wire.records import Record
from quorate.wire.requests import Level, decode_range, error_reply
from quorate.wire.transaction_replies import encode_txn_reply

from .support import Asked, Port, Reply, connect, head, http, open_port

PUT = b'{"key":"YQ==","value":"MQ=="}'
GET = b'{"key":"YQ=="}'
ALL = {"key": "AA==", "range_end": "AA=="}


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


async def post(port: Port, path: str, body: bytes | dict[str, Any] = b"{}") -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await http(port, "POST", f"/v3/{path}", data)


class Chunked(NamedTuple):
    head: bytes
    chunks: list[bytes]
    whole: bool


async def stream(port: Port, path: str, body: bytes | dict[str, Any]) -> Chunked:
    """The chunks of an answer, and whether it came to its end."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with connect(port) as raw:
        length = str(len(data))
        request = head("POST", f"/v3/{path}", Content_Length=length, Connection="close")
        raw.send(request + data)
        answer = await raw.read_to_end()
    start, _, rest = answer.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in start
    chunks: list[bytes] = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return Chunked(start, chunks, True)
        chunks.append(rest[:length])
        rest = rest[length + 2 :]
    return Chunked(start, chunks, False)


def store(port: Port, count: int, size: int = 0) -> None:
    """Records without having asked for them."""
    for number in range(count):
        key = b"%06d" % number
        record = Record(key, bytes(size), number + 2, number + 2, 1, 0)
        port.service.records[key] = record
    port.service.revision = count + 1


def fail_after(port: Port, count: int, code: ErrorCode) -> None:
    """Answer so many requests, and the others with an error."""
    answer = port.service.answer
    left = count

    def failing(asked: Asked) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            port.service.error = error_reply(code, Outcome.NONE, "as told")
        answer(asked)

    port.service.answer = failing


# -- errors ------------------------------------------------------------------------


def test_every_error_has_a_translation() -> None:
    codes = {code.name.lower() for code in ErrorCode} | HTTP_PROBLEMS.keys()
    assert TRANSLATIONS.keys() == codes
    assert {number for number, _ in TRANSLATIONS.values()} <= HTTP_STATUS.keys()


@pytest.mark.parametrize("code", list(ErrorCode))
async def test_an_error_of_the_node_is_told_as_etcd_would(
    port: Port, code: ErrorCode
) -> None:
    port.service.error = error_reply(code, Outcome.NOT_APPLIED, "in our words")
    number, text = TRANSLATIONS[code.name.lower()]
    message = text or "in our words"
    for path, body in (("kv/put", PUT), ("kv/range", GET), ("kv/txn", b"{}")):
        reply = await post(port, path, body)
        assert reply.status == HTTP_STATUS[number]
        assert reply.headers["content-type"] == "application/json"
        assert reply.json() == {
            "error": message,
            "code": number,
            "message": message,
            "details": [],
        }
        assert reply.headers["quorate-outcome"] == "not_applied"


async def test_whether_a_write_may_have_happened_is_in_a_header(port: Port) -> None:
    port.service.error = error_reply(
        ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN, "the leader was lost"
    )
    reply = await post(port, "kv/put", PUT)
    assert (reply.status, reply.json()["code"]) == (503, 14)
    assert reply.json()["message"] == "etcdserver: request timed out"
    assert reply.headers["quorate-outcome"] == "unknown"


async def test_what_is_refused_at_once_never_reaches_the_service(port: Port) -> None:
    for body in (b"", b"{}", b"{bad", b'{"key":"!"}', b'{"key":1}'):
        reply = await post(port, "kv/put", body)
        assert (reply.status, reply.json()["code"]) == (400, 3)
        assert "quorate-outcome" not in reply.headers
    assert not port.service.asked


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.binary(max_size=80))
async def test_garbage_is_never_an_internal_error(port: Port, data: bytes) -> None:
    for path in ("kv/range", "lease/grant", "lease/keepalive", "maintenance/alarm"):
        for body in (data, b"{" + data, b'{"key":"' + data):
            port.service.error = error_reply(ErrorCode.TOO_BUSY, Outcome.NONE, "no")
            reply = await post(port, path, body)
            assert reply.status in (200, 400, 429)


async def test_a_body_over_the_limit_is_refused_unread() -> None:
    limits = Limits(
        key_bytes_max=64,
        value_bytes_max=1000,
        request_bytes_max=4096,
        range_bytes_max=1000,
    )
    async with open_port(limits=limits) as port:
        async with connect(port) as raw:
            raw.send(head("POST", "/v3/kv/put", Content_Length="4097"))
            reply = await raw.http_reply()
        assert (reply.status, reply.json()["message"]) == (
            400,
            "etcdserver: request is too large",
        )
        assert reply.headers["connection"] == "close"
        reply = await post(port, "kv/range", {"key": "YWFh" * 30})
        assert reply.json()["message"] == "etcdserver: request is too large"


@pytest.mark.parametrize("size", [4098, 65_535, 65_536, 1_000_000])
async def test_a_key_that_is_too_long_is_refused_wherever_it_stands(
    port: Port, size: int
) -> None:
    long = base64.b64encode(bytes(size)).decode()
    put = {"request_put": {"key": long}}
    for path, body in (
        ("kv/range", {"key": long}),
        ("kv/range", {"key": long, "range_end": "AA=="}),
        ("kv/put", {"key": long}),
        ("kv/put", {"key": long, "ignore_value": True}),
        ("kv/deleterange", {"key": long}),
        ("kv/txn", {"success": [put]}),
        ("kv/txn", {"compare": [{"key": long}]}),
    ):
        reply = await post(port, path, body)
        assert (reply.status, reply.json()["code"]) == (400, 3), path
        assert reply.json()["message"] == "etcdserver: request is too large"


# -- paths -------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
async def test_only_post_is_taken(port: Port, method: str) -> None:
    reply = await http(port, method, "/v3/kv/range")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"


async def test_what_is_not_served_says_so(port: Port) -> None:
    for path in ("cluster/member/add", "maintenance/snapshot"):
        reply = await post(port, path)
        assert (reply.status, reply.json()["code"]) == (501, 12)
    for path in ("", "kv", "kv/nope", "kv/range/", "kv/lease/grant"):
        reply = await post(port, path)
        assert (reply.status, reply.body) == (404, b"Not Found\n")
    reply = await http(port, "POST", "/v3alpha/kv/range", b"{}")
    assert reply.status == 404


async def test_nobody_has_to_log_in(port: Port) -> None:
    for path in ("authenticate", "enable", "user/add", "role/grant", "nope"):
        reply = await post(port, f"auth/{path}")
        assert (reply.status, reply.json()["code"]) == (400, 9)
        message = "etcdserver: authentication is not enabled"
        assert reply.json()["message"] == message
    assert (await post(port, "auth/status")).json()["authRevision"] == "1"


async def test_content_types_and_query_strings_mean_nothing(port: Port) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        reply = await http(port, "POST", "/v3/kv/put?a=b", PUT, Content_Type=kind)
        assert reply.status == 200
    assert port.service.records[b"a"].value == b"1"
    assert (await http(port, "POST", "/v3beta/kv/range", GET)).json()["count"] == "1"


async def test_a_foreign_page_is_refused(port: Port) -> None:
    reply = await http(
        port, "POST", "/v3/kv/put", PUT, Origin="http://evil.example:1234"
    )
    assert (reply.status, reply.json()["code"]) == (403, 7)
    reply = await http(port, "POST", "/v3/kv/put", PUT, Host="evil.example")
    assert reply.status == 403
    assert not port.service.asked


async def test_operations_are_counted_under_names_of_a_fixed_table(port: Port) -> None:
    await post(port, "kv/put", PUT)
    await post(port, "kv/range", b"{bad")
    await post(port, "auth/canary")
    await post(port, "canary/canary")
    metrics = (await http(port, "GET", "/metrics")).body.decode()
    assert 'operation="etcd_put",result="ok"' in metrics
    assert 'operation="etcd_range",result="invalid_request"' in metrics
    assert 'operation="etcd_auth"' in metrics
    assert "canary" not in metrics


async def test_every_path_has_a_name_of_this_api(port: Port) -> None:
    gateway = Gateway(port.listener._port)
    for path in gateway._handlers:
        assert gateway.operation(path).startswith("etcd_")


# -- the cluster -------------------------------------------------------------------


async def test_members_are_told_as_far_as_they_are_known(port: Port) -> None:
    reply = await post(port, "cluster/member/list")
    assert reply.json() == {
        "header": {"cluster_id": "193", "member_id": "161", "raft_term": "3"},
        "members": [
            {
                "ID": "161",
                "name": "n1",
                "peerURLs": ["https://127.0.0.1:7500"],
                "clientURLs": ["http://127.0.0.1:7400"],
            },
            {"ID": "178", "name": "n2", "isLearner": True},
        ],
    }


async def test_health_says_why_not(port: Port) -> None:
    async def health(query: str = "") -> tuple[int, str]:
        reply = await http(port, "GET", f"/health{query}")
        assert reply.json()["health"] == ("true" if reply.status == 200 else "false")
        return reply.status, str(reply.json()["reason"])

    assert await health() == (200, "")
    port.service.troubled = (NO_LEADER,)
    assert await health() == (503, "RAFT NO LEADER")
    assert await health("?serializable=true") == (200, "")
    port.service.troubled = (DISK_FULL,)
    assert await health() == (503, "ALARM NOSPACE")
    for query in (
        "exclude=NOSPACE",
        # Several alarms, and names that mean nothing: as in etcd.
        *("exclude=NOSPACE&exclude=CORRUPT", "exclude=CORRUPT&exclude=NOSPACE"),
        *("exclude=NOSPACE&verbose", "probe=7&exclude=NOSPACE&probe=8"),
    ):
        assert await health(f"?{query}") == (200, ""), query
    for query in ("exclude=CORRUPT", "exclude=", "&", "unknown=1"):
        assert await health(f"?{query}") == (503, "ALARM NOSPACE"), query
    alarm = await post(port, "maintenance/alarm", {"action": "GET"})
    assert alarm.json()["alarms"] == [{"memberID": "161", "alarm": "NOSPACE"}]
    port.service.troubled = ()
    port.service.error = error_reply(ErrorCode.DEADLINE_EXCEEDED, Outcome.NONE, "late")
    assert await health() == (503, "RANGE ERROR:etcdserver: request timed out")


async def test_defragmenting_does_nothing_and_says_so(port: Port) -> None:
    reply = await post(port, "maintenance/defragment")
    assert (reply.status, reply.body) == (200, b"{}")
    assert "nothing to do" in reply.headers["quorate-note"]
    assert not port.service.asked


async def test_all_leases_are_told_at_once_though_they_are_read_in_pages(
    port: Port,
) -> None:
    assert "leases" not in (await post(port, "lease/leases", {})).json()
    ids = [*range(1, LEASES_PAGE_MAX + 5), 2**64 - 1]
    port.service.leases = dict.fromkeys(ids, 30_000)
    told = (await post(port, "kv/lease/leases", {})).json()["leases"]
    assert told == [{"ID": str(lease)} for lease in ids[:-1]] + [{"ID": "-1"}]
    assert len(port.service.asked) == 3


async def test_more_leases_than_can_be_held_are_not_listed(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASES_MAX", 2)
    port.service.leases = dict.fromkeys((1, 2), 30_000)
    assert (await post(port, "lease/leases", {})).status == 200
    port.service.leases[3] = 30_000
    reply = await post(port, "lease/leases", {})
    assert reply.json()["message"] == "etcdserver: request is too large"


# -- streams -----------------------------------------------------------------------


async def test_a_keepalive_that_fails_is_an_error_in_the_stream(port: Port) -> None:
    port.service.error = error_reply(ErrorCode.NO_LEADER, Outcome.NOT_APPLIED, "none")
    answer = await stream(port, "lease/keepalive", b'{"ID":5}{"ID":6}')
    assert answer.head.startswith(b"HTTP/1.1 503 ")
    (chunk,) = answer.chunks
    assert json.loads(chunk)["error"] == {
        "grpc_code": 14,
        "http_code": 503,
        "message": "etcdserver: no leader",
        "http_status": "Service Unavailable",
        "code": 14,
        "details": [],
    }
    assert answer.whole


async def test_a_lease_that_is_gone_has_no_ttl(port: Port) -> None:
    port.service.error = error_reply(
        ErrorCode.LEASE_NOT_FOUND, Outcome.NOT_APPLIED, "none"
    )
    answer = await stream(port, "lease/keepalive", b'{"ID":5}\n{"ID":"6"}')
    header = {"cluster_id": "193", "member_id": "161", "revision": "1"}
    header["raft_term"] = "3"
    assert [json.loads(chunk) for chunk in answer.chunks] == [
        {"result": {"header": header, "ID": "5"}},
        {"result": {"header": header, "ID": "6"}},
    ]
    assert all(chunk.endswith(b"}\n") for chunk in answer.chunks)
    assert answer.whole


async def test_one_request_keeps_a_thousand_leases_at_most(port: Port) -> None:
    port.service.error = error_reply(
        ErrorCode.LEASE_NOT_FOUND, Outcome.NOT_APPLIED, "none"
    )
    answer = await stream(port, "lease/keepalive", b'{"ID":5}' * 1002)
    assert len(answer.chunks) == 1001
    assert b'"grpc_code":8' in answer.chunks[-1]


# -- writes that build on what they read -------------------------------------------


async def test_a_put_that_ignores_gives_up_when_the_key_never_rests(port: Port) -> None:
    store(port, 1)
    answer = port.service.answer
    tries = 0

    def overtaken(asked: Asked) -> None:
        nonlocal tries
        if asked.kind == RequestKind.GET:
            answer(asked)
            return
        tries += 1
        body = encode_txn_reply(False, 7, [])
        asked.sink.reply(asked.request_id, asked.kind, OK, body)

    port.service.answer = overtaken
    body = {"key": "MDAwMDAw", "ignore_value": True}
    reply = await post(port, "kv/put", body)
    assert (reply.status, reply.json()["code"]) == (429, 8)
    assert tries == TRIES_MAX


# -- large answers -----------------------------------------------------------------


async def test_a_large_answer_leaves_in_pieces(port: Port) -> None:
    store(port, 3000, 1000)
    answer = await stream(port, "kv/range", ALL)
    assert answer.whole
    assert len(answer.chunks) > 2
    assert max(map(len, answer.chunks)) < 3 * ranges.PIECE_BYTES
    document = json.loads(b"".join(answer.chunks))
    assert document["count"] == "3000"
    assert len(document["kvs"]) == 3000
    assert answer.head.count(b"Server: quorate/") == 1


async def test_a_small_answer_is_one_piece_with_its_length(port: Port) -> None:
    store(port, 3)
    reply = await post(port, "kv/range", ALL)
    assert int(reply.headers["content-length"]) == len(reply.body)


async def test_an_answer_that_fails_half_way_breaks_off(port: Port) -> None:
    store(port, 5000, 1000)
    fail_after(port, 3, ErrorCode.COMPACTED)
    answer = await stream(port, "kv/range", ALL)
    assert answer.chunks
    assert not answer.whole


async def test_an_answer_that_fails_before_it_began_is_an_error(port: Port) -> None:
    store(port, 3000)
    fail_after(port, 2, ErrorCode.COMPACTED)
    body = {**ALL, "sort_order": "DESCEND"}
    reply = await post(port, "kv/range", body)
    message = "etcdserver: mvcc: required revision has been compacted"
    assert (reply.status, reply.json()["message"]) == (400, message)


async def test_pages_behind_the_first_need_nobody_else(port: Port) -> None:
    store(port, 2500)
    await post(port, "kv/range", {**ALL, "limit": 10})
    asked = [
        decode_range(each.body, port.service.limits)
        for each in port.service.asked
        if each.kind == RequestKind.RANGE
    ]
    assert [each.limit for each in asked] == [10, 0, 0, 0]
    assert [each.keys_only for each in asked] == [False, True, True, True]
    levels = [each.level for each in asked]
    assert levels == [Level.LINEARIZABLE, Level.LOCAL, Level.LOCAL, Level.LOCAL]
    assert [each.revision for each in asked] == [0, 2501, 2501, 2501]
    assert [each.min_revision for each in asked] == [0, 2501, 2501, 2501]


async def test_counting_has_an_end(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "COUNTED_KEYS_MAX", 2000)
    store(port, 3500)
    for changes in ({"limit": 1}, {"count_only": True}, {"max_mod_revision": 5}):
        reply = await post(port, "kv/range", {**ALL, **changes})
        assert (reply.status, reply.json()["code"]) == (429, 8)
        assert reply.json()["message"] == "etcdserver: too many keys in one request"
    # All of it, unsorted, is no trouble.
    assert (await post(port, "kv/range", ALL)).status == 200


async def test_a_large_answer_that_can_not_be_counted_does_not_begin(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "COUNTED_KEYS_MAX", 2000)
    store(port, 5500, 600)
    reply = await post(port, "kv/range", {**ALL, "limit": 3000})
    assert (reply.status, reply.json()["code"]) == (429, 8)


async def test_what_has_to_be_sorted_has_to_fit(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "SORTED_BYTES_MAX", 100_000)
    store(port, 200, 1000)
    for order in ({"sort_order": "DESCEND"}, {"sort_target": "MOD"}):
        reply = await post(port, "kv/range", {**ALL, **order})
        assert (reply.status, reply.json()["code"]) == (429, 8)


async def test_who_does_not_read_costs_a_piece_and_no_more(port: Port) -> None:
    store(port, 20_000, 1000)
    async with connect(port) as raw:
        data = json.dumps(ALL).encode()
        raw.stop_reading()
        raw.send(head("POST", "/v3/kv/range", Content_Length=str(len(data))) + data)
        before = -1
        while before != len(port.service.asked):
            before = len(port.service.asked)
            for _ in range(200):
                await raw.drain()
                await asyncio.sleep(0)
        assert len(port.service.asked) < 15
