"""HTTP that is malformed, too large, too slow, or up to something."""

import asyncio
import logging
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quorate.wire.records import Record

from .support import SMALL_LIMITS, Port, Raw, connect, head, http, open_port, wait_for

PATIENCE = {"stall_timeout_s": 0.05, "head_timeout_s": 0.05, "idle_timeout_s": 0.05}


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port(limits=SMALL_LIMITS, partial_bytes_max=2000) as opened:
        yield opened


async def exchange(port: Port, data: bytes) -> bytes:
    """All that comes back for `data` until the node closes."""
    async with connect(port) as raw:
        raw.send(data)
        return await raw.read_to_end()


@pytest.mark.parametrize(
    "data",
    [
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Length: 4\r\n\r\n0\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\nab",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n"
        b"Content-Length: 1\r\n\r\na",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\na",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\na",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\na",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: \xd9\xa1\r\n\r\na",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\n"
        b"Content-Length: 99999999999999999999999\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
        b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"-1\r\nx\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"ffffffffffffffffff\r\nx\r\n",
        b"GET /v1/kv/a HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n",
        b"GET /v1/kv/a HTTP/1.1\r\n\r\n",
        b"GET /v1/kv/a HTTP/1.1\r\nHost : h\r\n\r\n",
        b"GET /v1/kv/a HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
        b"GET /v1/kv/a HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n",
        b"GET /v1/kv/a HTTP/1.1\nHost: h\n\n",
        b"GET /v1/kv/a\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /v1/kv/\xff HTTP/1.1\r\nHost: h\r\n\r\n",
        b"FOO /v1/kv/a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\r\n\x00",
        b"PR\x00\x00",
    ],
)
async def test_malformed_http_is_refused_once_and_nothing_behind_it_is_read(
    port: Port, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await exchange(port, data)
    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert answer.count(b"HTTP/1.") == 1
    assert b"application/problem+json" in answer
    assert b"smuggled" not in answer
    assert not port.service.asked
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "line", [b"GET /livez HTTP/2.0", b"GET /livez HTTP/9.9", b"GET /livez"]
)
async def test_another_version_of_http_is_not_spoken(port: Port, line: bytes) -> None:
    answer = await exchange(port, line + b"\r\nHost: h\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 505 ", b"HTTP/1.0 400 "))
    assert b"ok\n" not in answer


@pytest.mark.parametrize(
    "lines", [b"GET /livez HTTP/2.0\r\nHost: h\r\n\r\n", b"GET /livez\r\n\r\n"]
)
async def test_the_version_that_is_spoken_is_what_another_is_answered_in(
    port: Port, lines: bytes
) -> None:
    answer = await exchange(port, lines)
    assert answer.startswith(b"HTTP/1.1 505 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert b'"detail":"this port speaks HTTP/1.1"' in answer


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(
                (
                    *(b"GET ", b"/v1/kv/", b" HTTP/1.1\r\n", b"Host: h\r\n"),
                    *(b"\r\n", b"Content-Length: 3\r\n", b"PUT "),
                    b"Transfer-Encoding: chunked\r\n",
                )
            ),
        ),
        max_size=12,
    )
)
def test_no_bytes_whatever_disturb_the_port(parts: list[bytes]) -> None:
    async def scenario() -> None:
        async with open_port(limits=SMALL_LIMITS, **PATIENCE) as port:
            async with connect(port) as raw:
                raw.send(b"GET /" + b"".join(parts))
                raw.writer.write_eof()
                await raw.read_to_end()
            assert (await http(port, "GET", "/livez")).status == 200
            assert not errors

    errors: list[object] = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, each: errors.append(each))
        runner.run(scenario())


async def test_a_body_over_the_limit_is_refused_before_it_is_sent(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("PUT", "/v1/kv/a", Content_Length="1001"))
        reply = await raw.http_reply()
    assert reply.status == 413
    assert reply.json()["code"] == "value_too_large"
    assert reply.json()["outcome"] == "not_applied"
    assert reply.headers["connection"] == "close"
    assert (await http(port, "PUT", "/v1/kv/a", b"x" * 1000)).status == 200
    assert (await http(port, "PUT", "/v1/kv/a", b"x" * 1001)).status == 413
    assert len(port.service.asked) == 1


async def test_a_chunked_body_is_counted_while_it_comes(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("PUT", "/v1/kv/a", Transfer_Encoding="chunked"))
        for _ in range(1000):
            raw.send(b"1\r\nx\r\n")
        raw.send(b"0\r\n\r\n")
        assert (await raw.http_reply()).status == 200
    assert port.service.records[b"a"].value == b"x" * 1000
    async with connect(port) as raw:
        raw.send(head("PUT", "/v1/kv/b", Transfer_Encoding="chunked"))
        raw.send(b"3e9\r\n" + b"x" * 1001)
        assert (await raw.http_reply()).status == 413
    async with connect(port) as raw:
        whole = head("PUT", "/v1/kv/c", Transfer_Encoding="chunked")
        raw.send(whole + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n")
        assert (await raw.http_reply()).status == 413
    assert len(port.service.asked) == 1


async def test_bodies_of_all_connections_share_one_budget(port: Port) -> None:
    async with connect(port) as one, connect(port) as two, connect(port) as three:
        for number, raw in enumerate((one, two)):
            raw.send(head("PUT", f"/v1/kv/{number}", Content_Length="1000"))
            raw.send(b"x" * 990)
        await _wait_until_held(port, 1980)
        three.send(head("PUT", "/v1/kv/c", Content_Length="30"))
        await asyncio.sleep(0)
        three.send(b"x" * 25)
        reply = await three.http_reply()
        assert reply.status == 429
        assert reply.json()["code"] == "too_busy"
        assert reply.json()["retryable"] is True
        assert reply.headers["retry-after"] == "1"
        for raw in (one, two):
            raw.send(b"y" * 10)
            assert (await raw.http_reply()).status == 200
    await _wait_until_held(port, 0)


TOKEN = "t" * 32
# What is answered to whoever has shown nothing, and takes a body.
OPEN = [("GET", "/version"), ("GET", "/health"), ("POST", "/v3/auth/authenticate")]


@pytest.mark.parametrize(("method", "target"), OPEN)
async def test_nothing_that_strangers_send_is_held_instead_of_what_others_send(
    method: str, target: str
) -> None:
    digest = sha256(TOKEN.encode()).digest()
    async with (
        open_port(token_digests=(digest,), partial_bytes_max=1000) as port,
        connect(port) as stranger,
        connect(port) as raw,
    ):
        more = {"Content_Length": "4000", "Expect": "100-continue"}
        stranger.send(head(method, target, **more))
        assert (await stranger.http_reply()).status == 100
        # More than may be held of everybody, and he is not told that it is.
        stranger.send(b" " * 3900)
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        more = {"Content_Length": "1000", "Expect": "100-continue"}
        raw.send(head("PUT", "/v1/kv/a", **more, **bearer))
        assert (await raw.http_reply()).status == 100
        raw.send(b"x" * 1000)
        assert (await raw.http_reply()).status == 200
        stranger.send(b" " * 100)
        assert (await stranger.http_reply()).status in (200, 400)


async def test_a_body_that_nobody_looks_at_has_a_length_and_a_time() -> None:
    async with open_port(stall_timeout_s=0.05) as port:
        reply = await http(port, "GET", "/version", bytes(65536))
        assert reply.status == 200
        assert (await http(port, "GET", "/version", bytes(65537))).status == 400
        async with connect(port) as raw:
            raw.send(head("GET", "/version", Transfer_Encoding="chunked"))
            raw.send(b"10001\r\n" + bytes(65537) + b"\r\n")
            assert (await raw.http_reply()).status == 400
        async with connect(port) as raw:
            raw.send(head("GET", "/version", Content_Length="9") + b"half")
            assert (await raw.http_reply()).status == 408


async def _wait_until_held(port: Port, count: int) -> None:
    line = f"quorate_client_partial_bytes {float(count)}\n".encode()
    async with asyncio.timeout(5):
        while True:
            if line in (await http(port, "GET", "/metrics")).body:
                return


async def test_a_large_body_is_not_taken_for_a_head_that_grows() -> None:
    async with open_port() as port, connect(port) as raw:
        value = bytes(4 * 1024 * 1024)
        for number in range(2, 5):
            raw.send(head("PUT", "/v1/kv/a", Content_Length=str(len(value))) + value)
            assert (await raw.http_reply()).headers["etag"] == f'"{number}"'


async def test_a_refusal_is_not_overtaken_by_a_reset_while_the_body_comes() -> None:
    async with open_port() as port, connect(port) as raw:
        value = bytes(6 * 1024 * 1024)
        raw.send(head("PUT", "/v1/kv/a", Content_Length=str(len(value))) + value)
        await raw.drain()
        assert (await raw.http_reply()).status == 413


async def test_a_client_that_waits_to_be_asked_is_asked(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(
            head("PUT", "/v1/kv/a", Content_Length="5", Expect="100-continue"),
        )
        assert (await raw.http_reply()).status == 100
        raw.send(b"hello")
        assert (await raw.http_reply()).status == 200
    assert port.service.records[b"a"].value == b"hello"


async def test_a_client_that_waits_to_be_asked_is_refused_without_its_body(
    port: Port,
) -> None:
    for size, status in (("1001", 413), ("5", 412)):
        async with connect(port) as raw:
            fields = {"If_Match": '"7"'} if status == 412 else {}
            raw.send(
                head(
                    "PUT",
                    "/v1/kv/a",
                    Content_Length=size,
                    Expect="100-continue",
                    **fields,
                )
            )
            reply = await raw.http_reply()
            if status == 412:
                assert reply.status == 100
                raw.send(b"hello")
                reply = await raw.http_reply()
            assert reply.status == status


@pytest.mark.parametrize(
    ("method", "target"),
    [("PUT", "/v1/kv/a"), ("GET", "/livez"), ("GET", "/v1/kv/a"), ("GET", "/nowhere")],
)
async def test_another_expectation_fails(port: Port, method: str, target: str) -> None:
    body = b"x" if method == "PUT" else None
    reply = await http(port, method, target, body, Expect="a miracle")
    assert (reply.status, reply.json()["code"]) == (417, "expectation_failed")
    assert reply.headers["connection"] == "close"
    assert port.service.asked == []


async def test_http_1_0_knows_no_expectations(port: Port) -> None:
    answer = await exchange(port, b"GET /livez HTTP/1.0\r\nExpect: a miracle\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("Content_Encoding", "gzip", 415),
        ("Content_Encoding", "identity, gzip", 415),
        ("Content_Encoding", "identity", 200),
    ],
)
async def test_an_encoded_body_is_not_stored(
    port: Port, name: str, value: str, status: int
) -> None:
    reply = await http(port, "PUT", "/v1/kv/a", b"\x1f\x8b", **{name: value})
    assert reply.status == status


async def test_stacked_transfer_codings_are_refused(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("PUT", "/v1/kv/a", Transfer_Encoding="gzip, chunked"))
        raw.send(b"2\r\n\x1f\x8b\r\n0\r\n\r\n")
        assert (await raw.http_reply()).status == 501
    assert not port.service.asked


@pytest.mark.parametrize("target", ["/livez", "/version", "/nowhere", "/v1/kv/a"])
async def test_stacked_transfer_codings_are_refused_also_where_no_body_belongs(
    port: Port, target: str
) -> None:
    coded = head("GET", target, Transfer_Encoding="gzip, chunked")
    answer = await exchange(port, coded + b"0\r\n\r\n" + head("GET", "/livez"))
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert b" 200 OK" not in answer
    assert not port.service.asked


@pytest.mark.parametrize(
    "line",
    [
        *(b"PUT /v1/kv/a", b"GET /livez", b"POST /v3/kv/put", b"GET /v1/kv/a"),
        *(b"GET /nowhere", b"PUT /v1/kv/../a", b"OPTIONS *", b"GET /v1/kv/?x=1"),
    ],
)
async def test_http_1_0_has_no_transfer_codings_and_nothing_follows_one(
    port: Port, line: bytes
) -> None:
    fields = b"Host: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = line + b" HTTP/1.0\r\n" + fields + b"2\r\n{}\r\n0\r\n\r\n"
    answer = await exchange(port, whole + head("GET", "/livez"))
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b" 200 OK" not in answer
    assert not port.service.asked


@pytest.mark.parametrize(
    "lines",
    [
        b"GET /v1/kv/%s HTTP/1.1\r\nHost: h\r\n\r\n" % (b"a" * 40_000),
        b"GET / HTTP/1.1\r\nHost: h\r\nX: %s\r\n\r\n" % (b"a" * 9000),
        b"GET / HTTP/1.1\r\nHost: h\r\n%s: a\r\n\r\n" % (b"a" * 9000),
    ],
)
async def test_a_line_that_is_too_long_is_refused(port: Port, lines: bytes) -> None:
    answer = await exchange(port, lines)
    assert answer.startswith(b"HTTP/1.0 431 ")
    assert b"head_too_large" in answer
    assert len(answer) < 1000


async def test_too_many_headers_are_refused(port: Port) -> None:
    for count, status in ((63, b"HTTP/1.1 404 "), (64, b"HTTP/1.0 431 ")):
        lines = b"".join(b"X%d: y\r\n" % number for number in range(count))
        async with connect(port) as raw:
            raw.send(b"GET / HTTP/1.1\r\nHost: h\r\n" + lines + b"\r\n")
            raw.writer.write_eof()
            answer = await raw.read_to_end()
        assert answer.startswith(status)
        assert (b"head_too_large" in answer) == (count == 64)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (b"http://localhost:99999999/livez", b"neither a path nor a URL"),
        (b"http://[::1/livez", b"neither a path nor a URL"),
        (b"http:///livez", b"neither a path nor a URL"),
        (b"livez", b"neither a path nor a URL"),
        (b"/v1/kv/\xff", b"have to be percent-encoded"),
    ],
)
async def test_a_target_that_is_none_is_told_why(
    port: Port, target: bytes, reason: bytes
) -> None:
    answer = await exchange(port, b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b"malformed_http" in answer
    assert reason in answer


async def test_a_head_that_does_not_end_is_cut_off_by_its_size(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(b"GET / HTTP/1.1\r\nHost: h\r\n")
        for number in range(60):
            raw.send(b"X%d: %s\r\n" % (number, b"y" * 4000))
        assert await raw.read_to_end() == b""


async def test_a_head_that_comes_byte_by_byte_is_cut_off_by_the_clock() -> None:
    async with open_port(head_timeout_s=0.05) as port, connect(port) as raw:
        raw.send(b"GET / HTTP/1.1\r\nX: ")
        dripping = asyncio.create_task(_drip(raw))
        assert await raw.read_to_end() == b""
        dripping.cancel()


async def _drip(raw: Raw) -> None:
    while True:
        raw.send(b"a")
        await asyncio.sleep(0.005)


async def test_a_head_that_came_slowly_leaves_no_clock_running() -> None:
    async with open_port(head_timeout_s=0.05) as port, connect(port) as raw:
        whole = head("GET", "/v1/kv/a")
        for part in (whole[:9], whole[9:20]):
            raw.send(part)
            await raw.drain()
            await asyncio.sleep(0)
        port.service.holding = True
        raw.send(whole[20:])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await raw.reader.read(1)
        port.service.release()
        assert (await raw.http_reply()).status == 404


async def test_a_second_head_has_its_time_too() -> None:
    async with open_port(head_timeout_s=0.05) as port, connect(port) as raw:
        raw.send(head("GET", "/livez"))
        assert (await raw.http_reply()).status == 200
        raw.send(b"GET /")
        assert await raw.read_to_end() == b""


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async with open_port(stall_timeout_s=0.05) as port, connect(port) as raw:
        raw.send(head("PUT", "/v1/kv/a", Content_Length="10") + b"abc")
        reply = await raw.http_reply()
        assert reply.status == 408
        assert reply.json()["outcome"] == "not_applied"
        assert not port.service.asked


async def test_an_idle_connection_is_closed() -> None:
    async with open_port(idle_timeout_s=0.05) as port, connect(port) as raw:
        raw.send(head("GET", "/livez"))
        assert (await raw.http_reply()).status == 200
        assert await raw.read_to_end() == b""


async def test_pipelined_requests_are_answered_in_their_order(port: Port) -> None:
    async with connect(port) as raw:
        for number in range(100):
            body = b"v%d" % number
            raw.send(head("PUT", f"/v1/kv/{number}", Content_Length=str(len(body))))
            raw.send(body)
            raw.send(head("GET", f"/v1/kv/{number}"))
        for number in range(100):
            assert (await raw.http_reply()).headers["etag"] == f'"{number + 2}"'
            assert (await raw.http_reply()).body == b"v%d" % number


async def test_a_request_in_single_bytes_is_a_request(port: Port) -> None:
    async with connect(port) as raw:
        for byte in head("PUT", "/v1/kv/a", Content_Length="2") + b"hi":
            raw.send(bytes((byte,)))
            await raw.drain()
            await asyncio.sleep(0)
        assert (await raw.http_reply()).status == 200


async def test_an_upgrade_that_is_not_spoken_is_ignored(port: Port) -> None:
    for protocol in ("h2c", "websocket"):
        reply = await http(
            port, "GET", "/livez", Connection="Upgrade", Upgrade=protocol
        )
        assert (reply.status, reply.body) == (200, b"ok\n")


async def test_replies_that_nobody_reads_end_the_connection() -> None:
    async with open_port(stall_timeout_s=0.05) as port:
        port.service.records[b"a"] = Record(b"a", b"x" * 4_000_000, 2, 2, 1, 0)
        async with connect(port) as raw:
            raw.stop_reading()
            raw.send(head("GET", "/v1/kv/a") * 16)
            await wait_for(lambda: bool(port.service.asked))
            await wait_for(lambda: port.listener.connections == 0)
        assert len(port.service.asked) < 16
