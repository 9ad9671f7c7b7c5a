"""`/v1/compaction`: letting go of old revisions, over real sockets."""

from collections.abc import AsyncIterator

import pytest
from quorate.wire.commands import encode_compact
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.frames import RequestKind
from quorate.wire.requests import error_reply

from .support import Port, Reply, http, open_port

PATH = "/v1/compaction"


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A port whose store is at revision 4."""
    async with open_port() as opened:
        for value in (b"1", b"2", b"3"):
            await http(opened, "PUT", "/v1/kv/a", value)
        opened.service.asked.clear()
        yield opened


async def compact(port: Port, query: str, **headers: str) -> Reply:
    return await http(port, "POST", f"{PATH}?{query}", None, **headers)


def refused(reply: Reply, status: int, code: str) -> dict[str, object]:
    problem = reply.json()
    assert (reply.status, problem["code"]) == (status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["outcome"] == "not_applied"
    return problem


async def test_a_compaction_says_what_is_the_oldest_and_what_the_newest(
    port: Port,
) -> None:
    reply = await compact(port, "revision=3")
    assert (reply.status, reply.body) == (200, b'{"compacted":3,"revision":4}')
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["quorate-revision"] == "4"
    assert (await http(port, "GET", "/v1/kv/a?revision=3")).body == b"2"
    assert (await http(port, "GET", "/v1/kv/a?revision=2")).status == 410
    assert (await http(port, "GET", "/v1/status")).json()["compacted"] == 3


async def test_a_compaction_goes_on_as_a_native_client_would_send_it(
    port: Port,
) -> None:
    assert (await compact(port, "timeout=250ms&revision=2")).status == 200
    (asked,) = port.service.asked
    assert (asked.kind, asked.timeout_ms) == (RequestKind.WRITE, 250)
    assert asked.body == encode_compact(2)


async def test_what_was_let_go_can_not_be_let_go_again(port: Port) -> None:
    await compact(port, "revision=3")
    for revision in (1, 3):
        reply = await compact(port, f"revision={revision}")
        assert refused(reply, 410, "compacted")["revision"] == 3
    assert (await compact(port, "revision=4")).status == 200


async def test_a_revision_that_is_not_there_yet_is_kept(port: Port) -> None:
    for revision in (5, 2**64 - 1):
        reply = await compact(port, f"revision={revision}")
        assert refused(reply, 400, "future_revision")["revision"] == 4
    assert port.service.compacted == 0


@pytest.mark.parametrize(
    "query",
    [
        *("", "revision", "revision=", "revision=0", "revision=x", "revision=-1"),
        *("revision=18446744073709551616", "revision=1&revision=1", "revision=1&a=b"),
        *("revision=1&timeout=0s", "revision=1&timeout=1h", "timeout=1s"),
        "revision=1&key64=YQ",
    ],
)
async def test_a_compaction_that_makes_no_sense_is_refused(
    port: Port, query: str
) -> None:
    refused(await compact(port, query), 400, "invalid_request")
    assert not port.service.asked


async def test_a_body_is_refused_and_an_empty_one_is_none(port: Port) -> None:
    reply = await http(port, "POST", PATH + "?revision=2", b"revision=2")
    refused(reply, 400, "invalid_request")
    assert not port.service.asked
    assert (await http(port, "POST", PATH + "?revision=2", b"")).status == 200


@pytest.mark.parametrize("name", ["If_Match", "If_None_Match"])
async def test_a_condition_in_the_head_is_refused(port: Port, name: str) -> None:
    problem = refused(
        await compact(port, "revision=2", **{name: '"1"'}), 400, "invalid_request"
    )
    assert name.replace("_", "-") in str(problem["detail"])
    assert not port.service.asked


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_only_post_is_understood(port: Port, method: str) -> None:
    reply = await http(port, method, PATH + "?revision=2")
    assert reply.status == 405
    assert reply.headers["allow"] == "POST"
    assert not port.service.asked


@pytest.mark.parametrize("path", ["/v1/compaction/", "/v1/compact", "/v1/Compaction"])
async def test_other_spellings_of_the_path_are_not_found(port: Port, path: str) -> None:
    refused(await http(port, "POST", path + "?revision=2"), 404, "not_found")


async def test_a_foreign_origin_and_a_rebound_name_are_refused(port: Port) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        reply = await compact(port, "revision=2", **headers)
        refused(reply, 403, "forbidden")
    assert not port.service.asked
    own = f"http://127.0.0.1:{port.listener.port}"
    assert (await compact(port, "revision=2", Origin=own)).status == 200


@pytest.mark.parametrize(
    ("code", "outcome", "status", "told"),
    [
        (ErrorCode.NO_LEADER, Outcome.NOT_APPLIED, 503, "not_applied"),
        (ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN, 504, "unknown"),
    ],
)
async def test_what_the_service_refuses_says_whether_it_happened(
    port: Port, code: ErrorCode, outcome: Outcome, status: int, told: str
) -> None:
    port.service.error = error_reply(code, outcome, "so it is")
    reply = await compact(port, "revision=2")
    assert reply.status == status
    assert reply.json()["outcome"] == told
    assert "revision" not in reply.json()


async def test_compactions_are_counted_under_their_name(port: Port) -> None:
    for query in ("revision=2", "revision=2", "revision=9", ""):
        await compact(port, query)
    text = (await http(port, "GET", "/metrics")).body.decode()
    name = "quorate_http_request_duration_seconds_count"
    for result in ("ok", "compacted", "future_revision", "invalid_request"):
        assert f'{name}{{operation="compaction",result="{result}"}} 1' in text
