"""`/v1/watch` over real sockets: three formats, what is refused, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from quorate.node.api import http_watch
from quorate.node.api.service import WatchSink
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.limits import DEFAULT_LIMITS
from quorate.wire.records import Record
from quorate.wire.requests import error_reply
from quorate.wire.watches import (
    WatchRequest,
    decode_watch,
    encode_event,
    encode_part,
    encode_progress,
)

from ...wire.watch_replies import encode_events
from .support import Port, Raw, connect, head, http, open_port, wait_for


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


def put(revision: int, key: bytes = b"k", value: bytes = b"v") -> bytes:
    return encode_event(True, Record(key, value, 2, revision, 1, 0))


def deleted(revision: int, key: bytes = b"k", before: bytes | None = None) -> bytes:
    old = None if before is None else Record(key, before, 2, 2, 1, 0)
    return encode_event(False, Record(key, b"", 0, revision, 0, 0), old)


def told(revision: int, *events: bytes) -> bytes:
    (body,) = encode_events(revision, events or [put(revision)])
    return body


async def stream_head(raw: Raw) -> bytes:
    async with asyncio.timeout(5):
        return await raw.reader.readuntil(b"\r\n\r\n")


async def chunk(raw: Raw) -> bytes:
    """The next chunk of a chunked reply; the last one is empty."""
    async with asyncio.timeout(5):
        size = int((await raw.reader.readline()).strip(), 16)
        data = await raw.reader.readexactly(size)
        await raw.reader.readexactly(2)
        return data


async def line(raw: Raw) -> dict[str, Any]:
    data = await chunk(raw)
    assert data.endswith(b"\n")
    document: dict[str, Any] = json.loads(data)
    return document


async def asked(port: Port, count: int = 1) -> WatchRequest:
    """What the service was asked, once it was."""
    await wait_for(lambda: len(port.service.watches) == count)
    return decode_watch(port.service.watches[-1].body, DEFAULT_LIMITS)


# -- what is asked -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", WatchRequest(b"", b"")),
        ("?key=a/b", WatchRequest(b"a/b", b"a/b\0")),
        ("?key64=AP8", WatchRequest(b"\0\xff", b"\0\xff\0")),
        ("?prefix=a", WatchRequest(b"a", b"b")),
        ("?prefix64=YQ", WatchRequest(b"a", b"b")),
        ("?prefix=", WatchRequest(b"", b"")),
        ("?prefix64=__8", WatchRequest(b"\xff\xff", b"")),
        ("?revision=7", WatchRequest(b"", b"", 7)),
        ("?revision=7&previous=1", WatchRequest(b"", b"", 7, True)),
    ],
)
async def test_a_watch_asks_for_a_key_a_prefix_or_everything(
    port: Port, query: str, wanted: WatchRequest
) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", f"/v1/watch{query}"))
        assert await asked(port) == wanted


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?key=a&prefix=a", 400),
        ("?key=", 400),
        ("?key64=", 400),
        ("?key64=*", 400),
        ("?revision=-1", 400),
        ("?revision=x", 400),
        ("?revision=18446744073709551616", 400),
        ("?previous=perhaps", 400),
        ("?format=xml", 400),
        ("?format=sse&wait=1s", 400),
        ("?wait=soon", 400),
        ("?wait=601s", 400),
        ("?limit=3", 400),
        (f"?prefix={'k' * 4097}", 431),
    ],
)
async def test_what_makes_no_sense_is_refused_and_nothing_begins(
    port: Port, query: str, status: int
) -> None:
    reply = await http(port, "GET", f"/v1/watch{query}")
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert not port.service.asked


@pytest.mark.parametrize("value", ["", "x", "-1", "18446744073709551615", "é"])
async def test_a_last_event_id_that_is_no_revision_is_refused(
    port: Port, value: str
) -> None:
    async with connect(port) as raw:
        lines = head("GET", "/v1/watch", Last_Event_ID="@")
        raw.send(lines.replace(b"@", value.encode("latin-1")))
        assert (await raw.http_reply()).status == 400
    assert not port.service.asked


async def test_only_a_get_watches(port: Port) -> None:
    reply = await http(port, "PUT", "/v1/watch", b"")
    assert (reply.status, reply.headers["allow"]) == (405, "GET")


# -- streams -----------------------------------------------------------------------


async def test_lines_of_json_tell_one_revision_each(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch?prefix=k&previous=1"))
        lines = await stream_head(raw)
        assert b" 200 " in lines
        assert b"application/x-ndjson" in lines
        assert b"Quorate-Revision: 1" in lines
        assert await line(raw) == {"revision": 1, "events": []}
        port.service.tell(told(3, put(3), deleted(3, b"l", b"old")))
        document = await line(raw)
        assert document["revision"] == 3
        first, second = document["events"]
        assert first["type"] == "put"
        assert first["kv"]["key"] == "k"
        assert first["kv"]["value64"] == "dg=="
        assert "previous" not in first
        assert second["type"] == "delete"
        assert second["kv"]["key"] == "l"
        assert "value64" not in second["kv"]
        assert second["previous"]["value64"] == "b2xk"


async def test_server_sent_events_carry_their_revision_as_id(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch?key=k", Accept="text/event-stream"))
        assert b"text/event-stream" in await stream_head(raw)
        assert await chunk(raw) == b'id: 1\ndata: {"revision":1,"events":[]}\n\n'
        port.service.tell(told(5))
        event = await chunk(raw)
        assert event.startswith(b'id: 5\ndata: {"revision":5,"events":[{"type":"put"')
        assert event.endswith(b"\n\n")
        assert event.count(b"\n") == 3


async def test_a_format_goes_before_what_the_client_accepts(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch?format=sse", Accept="application/json"))
        assert b"text/event-stream" in await stream_head(raw)


async def test_what_a_client_accepts_is_read_in_any_case_and_in_all_lines(
    port: Port,
) -> None:
    for accept in (
        b"Accept: Text/Event-Stream\r\n",
        b"Accept: application/json\r\nAccept: text/event-stream\r\n",
    ):
        async with connect(port) as raw:
            raw.send(head("GET", "/v1/watch")[:-2] + accept + b"\r\n")
            assert b"text/event-stream" in await stream_head(raw)


@pytest.mark.parametrize(("last", "revision"), [("0", 1), ("41", 42)])
async def test_a_browser_goes_on_behind_what_it_has_seen(
    port: Port, last: str, revision: int
) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch?revision=5&format=sse", Last_Event_ID=last))
        assert (await asked(port)).revision == revision
        await stream_head(raw)
        assert (await chunk(raw)).startswith(b"id: %b\n" % last.encode())


async def test_the_parts_of_a_revision_are_one_line(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch"))
        await stream_head(raw)
        await line(raw)
        value = b"v" * (400 << 10)
        events = [put(3, b"%d" % number, value) for number in range(5)]
        bodies = encode_events(3, events)
        assert len(bodies) == 3
        for body in bodies:
            port.service.tell(body)
            await asyncio.sleep(0.01)
        port.service.tell(told(4))
        keys = [event["kv"]["key"] for event in (await line(raw))["events"]]
        assert keys == ["0", "1", "2", "3", "4"]
        assert (await line(raw))["revision"] == 4


async def test_progress_is_a_line_without_events(port: Port) -> None:
    """So that who reads only this goes on from there, and not from long ago."""
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch?format=sse"))
        await stream_head(raw)
        await chunk(raw)
        port.service.tell(encode_progress(900))
        assert await chunk(raw) == b'id: 900\ndata: {"revision":900,"events":[]}\n\n'


async def test_a_quiet_stream_is_not_silent(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_watch, "PROGRESS_S", 0.01)
    async with connect(port) as raw, connect(port) as other:
        raw.send(head("GET", "/v1/watch?format=sse"))
        other.send(head("GET", "/v1/watch?format=ndjson&revision=1"))
        for stream in (raw, other):
            await stream_head(stream)
            await chunk(stream)
        assert await chunk(raw) == b":\n\n"
        assert await line(other) == {"revision": 0, "events": []}


async def test_nobody_is_told_a_revision_of_which_a_part_is_missing(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who went on behind it would never hear of the rest."""
    monkeypatch.setattr(http_watch, "PROGRESS_S", 0.01)
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch?format=ndjson&revision=2"))
        await stream_head(raw)
        begin = (await line(raw))["revision"]
        port.service.tell(encode_part(3, [put(3, b"a")], more=True))
        for _ in range(3):
            assert await line(raw) == {"revision": begin, "events": []}
        port.service.tell(encode_part(3, [put(3, b"b")], more=False))
        while not (whole := await line(raw))["events"]:
            pass
        assert (whole["revision"], len(whole["events"])) == (3, 2)


# -- ends --------------------------------------------------------------------------


async def test_a_watch_that_can_not_begin_is_a_problem(port: Port) -> None:
    port.service.error = error_reply(ErrorCode.COMPACTED, Outcome.NONE, "gone", 9)
    reply = await http(port, "GET", "/v1/watch?revision=2")
    assert reply.status == 410
    assert reply.json()["code"] == "compacted"
    await wait_for(lambda: len(port.service.left) == 1)


async def test_a_watch_that_ends_says_why_as_its_last_line(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch"))
        await stream_head(raw)
        await line(raw)
        port.service.tell(told(3))
        port.service.end(ErrorCode.COMPACTED, 9)
        assert (await line(raw))["revision"] == 3
        error = (await line(raw))["error"]
        assert error["code"] == "compacted"
        assert await chunk(raw) == b""
        assert await raw.read_to_end() == b""


async def test_a_browser_is_told_as_an_event_of_its_own(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch?format=sse"))
        await stream_head(raw)
        await chunk(raw)
        port.service.end(ErrorCode.NO_LEADER)
        event = await chunk(raw)
        assert event.startswith(b"event: error\ndata: {")
        assert event.endswith(b"\n\n")
        assert await chunk(raw) == b""


async def test_a_client_that_leaves_frees_its_watch(port: Port) -> None:
    for query in ("", "?wait=600s"):
        async with connect(port) as raw:
            raw.send(head("GET", f"/v1/watch{query}"))
            await asked(port)
            raw.reset()
            await wait_for(lambda: not port.service.watches)
    assert len(port.service.left) == 2
    assert port.service.left[0].room() == 0


async def test_a_slow_reader_holds_a_buffer_and_no_more(port: Port) -> None:
    async with connect(port) as raw, connect(port) as other:
        raw.send(head("GET", "/v1/watch"))
        await asked(port)
        other.send(head("GET", "/v1/watch"))
        await asked(port, 2)
        raw.stop_reading()
        slow = cast(WatchSink, port.service.watches[0].sink)
        revision = 1
        while slow.room() > 0:
            revision += 1
            assert revision < 5000, "somewhere it has to end"
            port.service.tell(told(revision, put(revision, b"k", b"v" * 50_000)))
            await asyncio.sleep(0)
        await stream_head(other)
        await line(other)
        port.service.tell(told(7), 1)
        assert (await line(other))["revision"] == 7
        raw.go_on_reading()
        await stream_head(raw)
        revisions = [(await line(raw))["revision"] for _ in range(revision)]
        assert revisions == list(range(1, revision + 1))
        assert slow.room() == 1 << 20


async def test_a_port_that_closes_does_not_wait_for_those_who_watch() -> None:
    async with open_port(drain_timeout_s=0.1) as port, connect(port) as raw:
        raw.send(head("GET", "/v1/watch"))
        await asked(port)
        await stream_head(raw)
        await port.listener.close()
        await raw.read_to_end()
        assert not port.service.watches


# -- long polls --------------------------------------------------------------------


async def test_a_poll_is_answered_with_the_first_revision(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch?key=k&wait=10s"))
        await asked(port)
        port.service.tell(encode_progress(2))
        port.service.tell(told(3))
        port.service.tell(told(4))
        reply = await raw.http_reply()
        assert reply.status == 200
        assert reply.headers["quorate-revision"] == "3"
        document: dict[str, Any] = reply.json()
        assert (document["revision"], len(document["events"])) == (3, 1)
        await wait_for(lambda: not port.service.watches)
        # The connection is good for another one, which goes on from there.
        raw.send(head("GET", "/v1/watch?key=k&wait=0s&revision=5"))
        assert (await raw.http_reply()).json() == {"revision": 4, "events": []}


async def test_a_poll_that_waits_in_vain_says_how_far_it_is(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch?wait=50ms"))
        await asked(port)
        port.service.tell(encode_progress(77))
        reply = await raw.http_reply()
        assert (reply.status, reply.json()) == (200, {"revision": 77, "events": []})


async def test_a_poll_whose_watch_ends_is_a_problem(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch?wait=10s"))
        await asked(port)
        port.service.end(ErrorCode.STOPPING)
        reply = await raw.http_reply()
        assert (reply.status, reply.json()["code"]) == (503, "stopping")


async def test_a_watch_is_counted_but_not_timed(port: Port) -> None:
    await http(port, "GET", "/v1/watch?wait=30ms")
    text = (await http(port, "GET", "/metrics")).body.decode()
    lines = [one for one in text.splitlines() if 'operation="watch"' in one]
    assert any(one.endswith((" 1", " 1.0")) for one in lines)
    assert all("_sum" not in one or float(one.split()[-1]) == 0 for one in lines)


async def test_a_poll_that_ends_in_the_middle_of_a_revision_has_nothing_of_it(
    port: Port,
) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", "/v1/watch?wait=100ms&revision=2"))
        await asked(port)
        port.service.tell(encode_progress(2))
        port.service.tell(encode_part(3, [put(3, b"a")], more=True))
        document: dict[str, Any] = (await raw.http_reply()).json()
        assert document == {"revision": 2, "events": []}


@pytest.mark.parametrize("target", ["/v1/watch?previous=1", "/v1/watch?wait=5s"])
async def test_parts_that_are_gathered_count_among_what_is_unsent(target: str) -> None:
    """Story: each who watched with what was before held a whole deletion of 128 MiB."""
    async with open_port(unsent_bytes_max=150_000) as port:
        unsent = port.listener._port.unsent
        async with connect(port) as raw:
            raw.send(head("GET", target))
            await asked(port)
            event = deleted(5, before=bytes(60_000))
            for parts in (1, 2):
                port.service.tell(encode_part(5, [event], more=True))
                await wait_for(lambda n=parts: unsent.held_bytes > n * 60_000)
            port.service.tell(encode_part(5, [event], more=True))
            rest = await raw.read_to_end() if "wait" not in target else b""
            if "wait" in target:
                assert (await raw.http_reply()).json()["code"] == "too_busy"
            else:
                assert b'"code":"too_busy"' in rest
        await wait_for(lambda: unsent.held_bytes == 0)


async def test_what_was_gathered_is_counted_no_more_once_it_is_whole() -> None:
    async with open_port(unsent_bytes_max=150_000) as port:
        unsent = port.listener._port.unsent
        async with connect(port) as raw:
            raw.send(head("GET", "/v1/watch"))
            await stream_head(raw)
            await line(raw)
            for revision in (5, 6, 7):
                event = deleted(revision, before=bytes(60_000))
                port.service.tell(encode_part(revision, [event], more=True))
                await wait_for(lambda: unsent.held_bytes > 60_000)
                port.service.tell(encode_part(revision, [event], more=False))
                assert len((await line(raw))["events"]) == 2
                await wait_for(lambda: unsent.held_bytes == 0)
