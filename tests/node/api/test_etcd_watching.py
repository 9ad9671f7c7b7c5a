"""etcd's watches over a service that says what it is told: what each of them hears."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from quorate.node.api.etcd import watching
from quorate.wire.errors import ErrorCode
from quorate.wire.records import Record
from quorate.wire.watches import encode_event, encode_part, encode_progress

from ...wire.watch_replies import encode_events
from .support import Port, Raw, connect, head, http, open_port, wait_for


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


def create(**wanted: Any) -> dict[str, Any]:
    return {"create_request": {"key": "YQ==", **wanted}}


class Stream:
    """The messages of one answer, of which each is one line."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    async def line(self) -> bytes:
        async with asyncio.timeout(5):
            while not (line := await self._raw.reader.readline()).startswith(b"{"):
                assert line, "the stream has ended"
        return line

    async def next(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(await self.line())["result"]
        return told

    async def heard(self) -> tuple[str, str, int]:
        """The next message: whose it is, of which revision, and how many events."""
        told = await self.next()
        events = len(told.get("events", ()))
        return told.get("watch_id", "0"), told["header"]["revision"], events


@asynccontextmanager
async def streaming(port: Port, *messages: dict[str, Any]) -> AsyncGenerator[Stream]:
    """What is told of the watches that these messages leave."""
    body = " ".join(map(json.dumps, messages)).encode()
    async with connect(port) as raw:
        raw.send(head("POST", "/v3/watch", Content_Length=str(len(body))) + body)
        yield Stream(raw)
    await wait_for(lambda: port.service.watches == [])


def happen(port: Port, revision: int, watch: int = 0) -> None:
    """Tell a watch that `a` was put."""
    event = encode_event(True, Record(b"a", b"", revision, revision, 1, 0))
    (body,) = encode_events(revision, [event])
    port.service.tell(body, watch)


async def test_a_quiet_watch_that_asked_for_it_is_told_how_far_it_is(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node tells each watch every ten seconds that nothing is still to come.

    So no watch is ever without a word for a minute, and it was never told on: a client
    could not go on from behind a compaction of what it was not interested in.
    """
    quiet, other = create(watch_id=5, progress_notify=True), create(watch_id=6)
    async with streaming(port, quiet, other) as stream:
        assert await stream.heard() == ("5", "1", 0)
        assert await stream.heard() == ("6", "1", 0)
        # It has just been told something.
        port.service.tell(encode_progress(7), 0)
        happen(port, 8, 1)
        assert await stream.heard() == ("6", "8", 1)
        monkeypatch.setattr(watching, "PROGRESS_S", 0.0)
        # Nobody asked for this one.
        port.service.tell(encode_progress(20), 1)
        port.service.tell(encode_progress(9), 0)
        # How far it is itself, whatever others were told.
        assert await stream.next() == {
            "header": {
                "cluster_id": "193",
                "member_id": "161",
                "revision": "9",
                "raft_term": "3",
            },
            "watch_id": "5",
        }
        monkeypatch.setattr(watching, "PROGRESS_S", 3600.0)
        # That was a message, too.
        port.service.tell(encode_progress(10), 0)
        happen(port, 11)
        assert await stream.heard() == ("5", "11", 1)


# -- progress that is asked for --------------------------------------------------------

PROGRESS: dict[str, Any] = {"progress_request": {}}


async def test_progress_is_told_in_the_bytes_of_etcd(port: Port) -> None:
    body = b'{"create_request":{"key":"YQ=="}}{"progressRequest":{}}'
    async with connect(port) as raw:
        raw.send(head("POST", "/v3/watch", Content_Length=str(len(body))) + body)
        async with asyncio.timeout(5):
            await raw.reader.readuntil(b"\r\n\r\n")
            header = (
                b'{"result":{"header":{"cluster_id":"193","member_id":"161",'
                b'"revision":"1","raft_term":"3"},'
            )
            for told in (b'"created":true}}\n', b'"watch_id":"-1"}}\n'):
                chunk = b"%x\r\n%b\r\n" % (len(header + told), header + told)
                assert await raw.reader.readexactly(len(chunk)) == chunk


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([PROGRESS], [("-1", False)]),
        ([create(), PROGRESS, PROGRESS], [("0", True), ("-1", False), ("-1", False)]),
        # All of the body is taken first.
        ([PROGRESS, create()], [("0", True), ("-1", False)]),
        ([create(start_revision=9), PROGRESS], [("0", True), ("-1", False)]),
        (
            [create(), {"cancel_request": {"watch_id": 0}}, PROGRESS],
            [("0", True), ("0", False), ("-1", False)],
        ),
        ([create(range_end="QQ=="), PROGRESS], [("-1", True), ("-1", False)]),
    ],
)
async def test_progress_is_told_of_what_is_still_to_come(
    port: Port, messages: list[dict[str, Any]], told: list[tuple[str, bool]]
) -> None:
    async with streaming(port, *messages) as stream:
        for watch_id, created in told:
            one = await stream.next()
            assert one["header"]["revision"] == "1"
            assert (one.get("watch_id", "0"), "created" in one) == (watch_id, created)
            assert "canceled" not in one or watch_id != "-1" or created


async def test_progress_waits_for_all_who_are_behind(port: Port) -> None:
    port.service.revision = 20
    behind, quiet = create(start_revision=3), create(watch_id=5, start_revision=20)
    async with streaming(port, behind, create(watch_id=7), PROGRESS, quiet) as stream:
        for watch_id in ("0", "7", "5"):
            assert await stream.heard() == (watch_id, "20", 0)
        happen(port, 15, 0)
        assert await stream.heard() == ("0", "15", 1)
        happen(port, 22, 1)
        assert await stream.heard() == ("7", "22", 1)
        # One has caught up by what it was told, the other one is told that it has.
        happen(port, 21, 0)
        assert await stream.heard() == ("0", "21", 1)
        port.service.tell(encode_progress(23), 2)
        # What all of them were told.
        assert await stream.heard() == ("-1", "21", 0)
        happen(port, 24, 0)
        assert await stream.heard() == ("0", "24", 1)


async def test_a_part_of_a_revision_is_no_progress(port: Port) -> None:
    port.service.revision = 20
    event = encode_event(True, Record(b"a", bytes(900_000), 20, 20, 1, 0))
    first, last = encode_events(20, [event, event])
    async with streaming(port, create(start_revision=3), PROGRESS) as stream:
        assert await stream.heard() == ("0", "20", 0)
        port.service.tell(first)
        port.service.tell(last)
        assert await stream.heard() == ("0", "20", 2)
        assert await stream.heard() == ("-1", "20", 0)


async def test_progress_does_not_wait_for_whom_compaction_ended(port: Port) -> None:
    port.service.revision = 20
    old, other = create(start_revision=3), create(watch_id=5)
    async with streaming(port, old, other, PROGRESS) as stream:
        assert await stream.heard() == ("0", "20", 0)
        assert await stream.heard() == ("5", "20", 0)
        port.service.end(ErrorCode.COMPACTED, 7)
        assert (await stream.next())["compact_revision"] == "7"
        assert await stream.heard() == ("-1", "20", 0)


async def test_a_wish_for_progress_that_is_none_is_refused(port: Port) -> None:
    reply = await http(port, "POST", "/v3/watch", b'{"progress_request": 5}')
    assert (reply.status, reply.json()["code"]) == (400, 3)


# -- WebSocket -------------------------------------------------------------------------


async def test_a_websocket_is_refused_at_once(port: Port) -> None:
    asked = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with connect(port) as raw:
        raw.send(head("GET", "/v3/watch", **asked))
        reply = await raw.http_reply()
        assert (reply.status, reply.headers["allow"]) == (405, "POST")
        # The connection still speaks HTTP, and frames are none.
        raw.send(head("GET", "/livez", **asked))
        assert (await raw.http_reply()).status == 200
        raw.send(b"\x81\x85abcdefghi")
        assert (await raw.read_to_end()).startswith(b"HTTP/1.0 400 ")
    assert port.service.asked == []


async def test_a_post_that_asks_for_a_websocket_is_a_post(port: Port) -> None:
    body = json.dumps(create()).encode()
    asked = {"Connection": "Upgrade", "Upgrade": "websocket"}
    async with connect(port) as raw:
        length = str(len(body))
        raw.send(head("POST", "/v3/watch", Content_Length=length, **asked) + body)
        assert await Stream(raw).heard() == ("0", "1", 0)


async def test_parts_that_are_gathered_count_among_what_is_unsent() -> None:
    old = Record(b"a", bytes(60_000), 2, 2, 1, 0)

    def part(revision: int, *, more: bool) -> bytes:
        event = encode_event(False, Record(b"a", b"", 0, revision, 0, 0), old)
        return encode_part(revision, [event], more=more)

    async with open_port(unsent_bytes_max=150_000) as port:
        unsent = port.listener._port.unsent
        async with streaming(port, create(prev_kv=True), create()) as stream:
            for watch_id in ("0", "1"):
                assert await stream.heard() == (watch_id, "1", 0)
            for watch in (0, 1):
                port.service.tell(part(5, more=True), watch)
                await wait_for(lambda n=watch: unsent.held_bytes > (1 + n) * 60_000)
            port.service.tell(part(5, more=False), 0)
            assert await stream.heard() == ("0", "5", 2)
            await wait_for(lambda: 60_000 < unsent.held_bytes < 70_000)
            port.service.tell(part(6, more=True), 0)
            await wait_for(lambda: unsent.held_bytes > 120_000)
            port.service.tell(part(6, more=True), 0)
            error = json.loads(await stream.line())["error"]
            assert error["message"] == "etcdserver: too many requests"
        await wait_for(lambda: unsent.held_bytes == 0)
