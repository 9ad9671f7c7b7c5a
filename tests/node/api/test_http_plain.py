"""Plain requests are answered as others are, byte by byte, and the same rules hold."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest
import uvloop
from quorate.node.api import http_plain
from quorate.node.api.http_connection import HttpConnection
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.records import Record
from quorate.wire.requests import error_reply

from .support import SMALL_LIMITS, Port, Raw, connect, head, http, open_port, wait_for

KEY = "a%2Fb"
PLACE = f"/v1/kv/{KEY}"
LIVEZ = head("GET", "/livez")
# With a header that means nothing, but is none of those that plain requests have.
UNUSUAL = {"X_Unusual": "1"}


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What plain requests were counted as, in the order in which they began."""
    names: list[str] = []
    begin = http_plain.Asked.begin

    def noted(asked: http_plain.Asked) -> None:
        names.append(asked._form.operation)
        begin(asked)

    monkeypatch.setattr(http_plain.Asked, "begin", noted)
    return names


def store(port: Port, size: int = 5, lease: int = 0) -> None:
    port.service.records[b"a/b"] = Record(b"a/b", b"v" * size, 2, 7, 3, lease)


def put(value: bytes = b"v", **headers: str) -> bytes:
    length = str(len(value))
    return head("PUT", PLACE, Content_Length=length, **headers) + value


def post(path: str, document: object, **headers: str) -> bytes:
    data = json.dumps(document).encode()
    length = str(len(data))
    return head("POST", path, Content_Length=length, **headers) + data


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def requests(**headers: str) -> dict[str, bytes]:
    """One of each kind, with these headers besides."""
    key = text(b"a/b")
    return {
        "get": head("GET", PLACE, **headers),
        "put": put(b"v", **headers),
        "etcd_range": post("/v3/kv/range", {"key": key}, **headers),
        "etcd_put": post("/v3/kv/put", {"key": key, "value": text(b"w")}, **headers),
    }


async def settled(raw: Raw) -> None:
    """Until what comes next on this connection finds nobody at work."""
    raw.send(LIVEZ)
    assert (await raw.http_reply()).status == 200
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def held(port: Port, raw: Raw, request: bytes) -> None:
    """Send a request that the service does not answer before `release`."""
    await settled(raw)
    port.service.holding = True
    raw.send(request)
    await wait_for(lambda: len(port.service.held) == 1)


async def raw_answer(port: Port, request: bytes) -> bytes:
    """All bytes of the answer to a request that nothing is in the way of."""
    async with connect(port) as raw:
        await settled(raw)
        raw.send(request)
        lines = await raw.reader.readuntil(b"\r\n\r\n")
        size = next(
            int(line.partition(b":")[2])
            for line in lines.split(b"\r\n")
            if line.startswith(b"Content-Length:")
        )
        body = await raw.reader.readexactly(size)
    kept = [line for line in lines.split(b"\r\n") if not line.startswith(b"Date: ")]
    assert len(kept) == lines.count(b"\r\n"), "a date is among them"
    return b"\r\n".join(kept) + body


@pytest.mark.parametrize("kind", requests())
@pytest.mark.parametrize("there", ["a key", "a key with a lease", "nothing"])
async def test_both_ways_answer_the_same_bytes(
    port: Port, begun: list[str], kind: str, there: str
) -> None:
    if there != "nothing":
        store(port, lease=9 if "lease" in there else 0)
    before, revision = dict(port.service.records), port.service.revision
    plain = await raw_answer(port, requests()[kind])
    assert begun == [kind]
    port.service.records, port.service.revision = before, revision
    usual = await raw_answer(port, requests(**UNUSUAL)[kind])
    assert begun == [kind]
    assert plain == usual


@pytest.mark.parametrize("kind", requests())
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (ErrorCode.NO_LEADER, Outcome.NOT_APPLIED),
        (ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN),
        (ErrorCode.TOO_BUSY, Outcome.NONE),
        (ErrorCode.COMPACTED, Outcome.NONE),
        (ErrorCode.DAMAGED, Outcome.NONE),
        (ErrorCode.LEASE_NOT_FOUND, Outcome.NOT_APPLIED),
    ],
)
async def test_both_ways_refuse_in_the_same_bytes(
    port: Port, begun: list[str], kind: str, code: ErrorCode, outcome: Outcome
) -> None:
    port.service.error = error_reply(code, outcome, "not now", 4)
    plain = await raw_answer(port, requests()[kind])
    usual = await raw_answer(port, requests(**UNUSUAL)[kind])
    assert begun == [kind]
    assert plain == usual


async def test_both_ways_are_counted_alike(port: Port, begun: list[str]) -> None:
    store(port)
    for kind, request in requests().items():
        await raw_answer(port, request)
        await raw_answer(port, requests(**UNUSUAL)[kind])
    assert begun == list(requests())
    port.service.error = error_reply(ErrorCode.NO_LEADER, Outcome.NONE, "nobody")
    await raw_answer(port, requests()["get"])
    metrics = (await http(port, "GET", "/metrics")).body.decode()
    name = "quorate_http_request_duration_seconds_count"
    for kind in requests():
        assert f'{name}{{operation="{kind}",result="ok"}} 2.0' in metrics
    assert f'{name}{{operation="get",result="no_leader"}} 1.0' in metrics


@pytest.mark.parametrize(
    "unusual",
    [
        head("GET", PLACE, Authorization="Bearer x"),
        head("GET", PLACE, If_None_Match='"7"'),
        head("GET", PLACE, Quorate_Fence="1.2"),
        head("GET", PLACE, Origin="http://127.0.0.1"),
        head("GET", PLACE, Connection="close"),
        head("GET", f"{PLACE}?consistency=local"),
        head("GET", "/v1/kv/"),
        head("GET", "/v1/kv/a/../b"),
        head("GET", "/v1/status"),
        head("HEAD", PLACE),
        head("DELETE", PLACE),
        head("GET", PLACE, Content_Length="1") + b"x",
        head("PUT", PLACE, Content_Length="0"),
        head("PUT", PLACE, Expect="100-continue", Content_Length="1") + b"x",
        head("PUT", PLACE, Content_Range="bytes 0-0/2", Content_Length="1") + b"x",
        head("PUT", PLACE, Transfer_Encoding="chunked") + b"1\r\nx\r\n0\r\n\r\n",
        head("PUT", PLACE, Content_Encoding="gzip", Content_Length="1") + b"x",
        head("GET", PLACE).replace(b"HTTP/1.1", b"HTTP/1.0"),
        head("GET", PLACE).replace(b"Host: 127.0.0.1", b"Host: a@127.0.0.1"),
        head("GET", PLACE).replace(b"127.0.0.1", b"evil.example.com"),
        head("GET", PLACE).replace(b"\r\n\r\n", b"\r\nHost: 127.0.0.1\r\n\r\n"),
        head("GET", PLACE).replace(b"Host: 127.0.0.1\r\n", b""),
        head("GET", "/v1/kv/" + "k" * 5000),
        put(b"v" * 70_000),
        post("/v3/kv/range", {"key": text(b"a"), "range_end": text(b"b")}),
        post("/v3/kv/range", {"key": 7}),
        post("/v3/kv/range", {}),
        post("/v3/kv/put", {"key": text(b"a"), "prev_kv": True}),
        post("/v3/kv/put", {"key": "no base64"}),
        post("/v3beta/kv/put", {"key": text(b"a")}),
        post("/v3/kv/txn", {}),
    ],
)
async def test_what_is_unusual_is_left_to_the_usual_way(
    port: Port, begun: list[str], unusual: bytes
) -> None:
    store(port)
    async with connect(port) as raw:
        await settled(raw)
        raw.send(unusual)
        raw.writer.write_eof()
        assert (await raw.read_to_end()).startswith(b"HTTP/1.")
    assert begun == []


async def test_who_needs_a_token_is_looked_at(begun: list[str]) -> None:
    async with open_port(token_digests=(b"\0" * 32,)) as port:
        assert b" 401 " in (await raw_answer(port, requests()["get"]))
        assert begun == []


async def test_large_values_are_told_in_the_usual_way(
    port: Port, begun: list[str]
) -> None:
    store(port, size=100_000)
    for kind in ("get", "etcd_range"):
        plain = await raw_answer(port, requests()[kind])
        assert plain == await raw_answer(port, requests(**UNUSUAL)[kind])
    assert begun == ["get", "etcd_range"]


async def test_a_value_over_this_nodes_limit_is_refused_as_ever(
    begun: list[str],
) -> None:
    async with open_port(limits=SMALL_LIMITS) as port:
        assert b" 413 " in await raw_answer(port, put(b"v" * 1001))
        assert begun == []


async def test_what_follows_waits_for_its_turn(port: Port, begun: list[str]) -> None:
    store(port)
    async with connect(port) as raw:
        await held(port, raw, requests()["get"])
        # Another plain one, something else, and one whose body comes in pieces, and
        # is larger than a head may be.
        third = put(b"x" * 100_000)
        raw.send(put(b"second") + LIVEZ + third[:1000])
        for start in range(1000, len(third) - 1, 9_000):
            await asyncio.sleep(0.01)
            raw.send(third[start : min(start + 9_000, len(third) - 1)])
            await raw.drain()
        assert len(port.service.held) == 1
        port.service.release()
        assert (await raw.http_reply()).body == b"vvvvv"
        assert (await raw.http_reply()).json() == {"revision": 2}
        assert (await raw.http_reply()).body == b"ok\n"
        raw.send(b"x")
        assert (await raw.http_reply()).json() == {"revision": 3}
        assert port.service.records[b"a/b"].value == b"x" * 100_000
        # And one that comes alone is plain again.
        await settled(raw)
        raw.send(requests()["get"])
        assert len((await raw.http_reply()).body) == 100_000
    assert begun[0] == begun[-1] == "get"


async def test_several_at_once_are_answered_in_their_order(port: Port) -> None:
    store(port)
    async with connect(port) as raw:
        await settled(raw)
        raw.send(requests()["get"] + put(b"new") + requests()["get"])
        assert (await raw.http_reply()).body == b"vvvvv"
        assert (await raw.http_reply()).json() == {"revision": 2}
        assert (await raw.http_reply()).body == b"new"


async def test_a_request_that_comes_in_pieces_is_answered(
    port: Port, begun: list[str]
) -> None:
    store(port)
    async with connect(port) as raw:
        await settled(raw)
        for piece in (requests()["get"][:9], requests()["get"][9:]):
            raw.send(piece)
            await raw.drain()
            await asyncio.sleep(0.02)
        assert (await raw.http_reply()).body == b"vvvvv"
    assert begun == ["get"]


@pytest.mark.parametrize("kind", requests())
async def test_who_sends_no_more_still_gets_the_answer(
    port: Port, begun: list[str], kind: str
) -> None:
    store(port)
    async with connect(port) as raw:
        await held(port, raw, requests()[kind])
        raw.writer.write_eof()
        await asyncio.sleep(0.02)
        port.service.release()
        assert b" 200 OK" in await raw.read_to_end()
    await wait_for(lambda: port.listener.connections == 0)
    assert begun == [kind]


async def test_the_answer_for_somebody_who_has_gone_is_dropped(
    port: Port, begun: list[str]
) -> None:
    async with connect(port) as raw:
        await held(port, raw, put())
        raw.reset()
        await wait_for(lambda: port.listener.connections == 0)
    port.service.release()
    assert begun == ["put"]
    assert port.service.records[b"a/b"].value == b"v"


async def test_a_port_that_closes_lets_plain_answers_leave(begun: list[str]) -> None:
    async with open_port(drain_timeout_s=600.0) as port, connect(port) as raw:
        await held(port, raw, put())
        closing = asyncio.ensure_future(port.listener.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        port.service.release()
        assert b" 200 OK" in await raw.read_to_end()
        async with asyncio.timeout(60):
            await closing
    assert begun == ["put"]


async def test_a_port_that_closes_waits_for_nobody_for_ever(begun: list[str]) -> None:
    async with open_port(drain_timeout_s=0.1) as port, connect(port) as raw:
        await held(port, raw, put())
        async with asyncio.timeout(5):
            await port.listener.close()
        assert await raw.read_to_end() == b""
        port.service.release()
    assert begun == ["put"]


async def test_an_idle_connection_ends_and_one_that_waits_does_not(
    begun: list[str],
) -> None:
    async with open_port(idle_timeout_s=0.2) as port, connect(port) as raw:
        await held(port, raw, put())
        await asyncio.sleep(0.5)
        port.service.release()
        assert (await raw.http_reply()).status == 200
        assert await raw.read_to_end() == b""
    assert begun == ["put"]


async def test_a_connection_of_plain_requests_is_not_idle(begun: list[str]) -> None:
    async with open_port(idle_timeout_s=0.5) as port, connect(port) as raw:
        await settled(raw)
        for _ in range(20):
            await asyncio.sleep(0.05)
            raw.send(put())
            assert (await raw.http_reply()).status == 200
        assert await raw.read_to_end() == b""
    assert begun == ["put"] * 20


async def test_who_reads_nothing_is_sent_no_plain_answers(port: Port) -> None:
    """One at a time, each of them small: together they would fill the memory."""
    store(port, size=60_000)
    async with connect(port) as raw:
        await settled(raw)
        raw.stop_reading()
        (connection,) = port.listener._port.all()
        assert isinstance(connection, HttpConnection)
        answered = -1
        while answered != connection._answered:
            answered = connection._answered
            raw.send(requests()["get"])
            await asyncio.sleep(0.1)
        below = connection._below
        assert below is not None
        assert below.get_write_buffer_size() < 500_000
        raw.go_on_reading()
        for _ in range(answered):
            assert len((await raw.http_reply()).body) == 60_000


def test_plain_requests_are_answered_under_uvloop_too() -> None:
    async def ask() -> None:
        async with open_port() as port:
            store(port)
            for kind in requests():
                plain = await raw_answer(port, requests()[kind])
                assert b" 200 OK" in plain

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())
