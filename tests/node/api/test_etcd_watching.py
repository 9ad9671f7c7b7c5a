"""etcd's watches over a service that says what it is told: what each of them hears."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from quorate.node.api.etcd import watching
from quorate.wire.records import Record
from quorate.wire.watches import encode_event, encode_progress

from ...wire.watch_replies import encode_events
from .support import Port, Raw, connect, head, open_port, wait_for


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

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while not (line := await self._raw.reader.readline()).startswith(b"{"):
                assert line, "the stream has ended"
        told: dict[str, Any] = json.loads(line)["result"]
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
