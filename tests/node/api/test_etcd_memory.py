"""What a request of etcd's API holds while it waits, which may be for hours."""

import asyncio
import base64
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import pytest
from quorate.node.api import http_elections

from .lines import go, say, stand, waiting
from .support import Port, connect, head, open_port, wait_for

MIB = 1 << 20
PAD = "x" * (4 * MIB)
VALUE = base64.b64encode(bytes(3 * MIB)).decode()
NAME = base64.b64encode(b"e").decode()
LEASE = 0xA7


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        opened.service.leases[LEASE] = 30_000
        yield opened


@contextmanager
def counted() -> Generator[None]:
    """What is made in here is known to `large`."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def large() -> list[str]:
    """Where what is alive and has over a megabyte was made."""
    gc.collect()
    traces = tracemalloc.take_snapshot().traces
    return [str(trace.traceback) for trace in traces if trace.size > MIB]


async def test_an_open_watch_holds_nothing_of_its_body(port: Port) -> None:
    async with connect(port) as raw:
        wanted = {"create_request": {"key": NAME, "unknown": PAD}}
        body = json.dumps(wanted).encode()
        request = head("POST", "/v3/watch", Content_Length=str(len(body))) + body
        with counted():
            raw.send(request)
            async with asyncio.timeout(5):
                while b"created" not in await raw.reader.readline():
                    pass
            assert large() == []


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v3/election/campaign", {"name": NAME, "lease": LEASE, "value": VALUE}),
        ("/v3/election/campaign", {"name": NAME, "lease": LEASE, "unknown": PAD}),
        ("/v1/elections/e", {"lease": f"{LEASE:016x}", "wait": 60, "value64": VALUE}),
    ],
)
@pytest.mark.parametrize("again", [False, True])
async def test_who_waits_to_lead_holds_no_value(
    port: Port, path: str, wanted: dict[str, Any], *, again: bool
) -> None:
    """It is in the store from then on; also where another one was there before."""
    stand(port, b"e", 5)
    if again:
        stand(port, b"e", LEASE, bytes(2 * MIB))
    body = json.dumps(wanted).encode()
    request = head("POST", path, Content_Length=str(len(body))) + body
    async with connect(port) as raw:
        with counted():
            raw.send(request)
            await waiting(port)
            # What the service has is not the handler's.
            service = port.service
            service.asked.clear()
            service.past.clear()
            service.records.clear()
            assert large() == []


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/v1/elections/e?watch=1", b""),
        ("POST", "/v3/election/observe", json.dumps({"name": NAME}).encode()),
    ],
)
async def test_who_observes_holds_nothing_of_what_was_told(
    port: Port, monkeypatch: pytest.MonkeyPatch, method: str, target: str, body: bytes
) -> None:
    monkeypatch.setattr(http_elections, "QUIET_S", 0.01)
    stand(port, b"e", 5)
    async with connect(port) as raw:
        with counted():
            raw.send(head(method, target, Content_Length=str(len(body))) + body)
            await wait_for(lambda: len(port.service.watches) == 1)
            say(port, b"e/5", bytes(2 * MIB))
            async with asyncio.timeout(5):
                read = 0
                while read < 2 * MIB:
                    read += len(await raw.reader.read(MIB))
                # And a quiet line, of the one who gets one.
                await asyncio.sleep(0.05)
            service = port.service
            service.asked.clear()
            service.past.clear()
            service.records.clear()
            assert large() == []


@pytest.mark.parametrize(
    "path",
    [
        *("lock/lock", "lock/unlock"),
        *("election/leader", "election/observe", "election/resign"),
    ],
)
async def test_what_only_names_something_is_not_long(port: Port, path: str) -> None:
    for size, statuses in ((65_536, {200, 500}), (65_537, {400})):
        body = json.dumps({"name": NAME}).encode().ljust(size)
        async with connect(port) as raw:
            length = str(len(body))
            raw.send(head("POST", f"/v3/{path}", Content_Length=length) + body)
            answer = await raw.reader.readline()
            assert int(answer.split()[1]) in statuses, answer
            if statuses == {400}:
                assert b"request is too large" in await raw.read_to_end()


async def test_each_of_many_who_wait_holds_his_own_place_and_one_other(
    port: Port,
) -> None:
    """The line that each of them saw had all others in it: a square of them."""
    many = 200
    stand(port, b"e", 5)
    body = json.dumps({"name": NAME}).encode()
    async with AsyncExitStack() as stack:
        raws = [await stack.enter_async_context(connect(port)) for _ in range(many)]
        with counted():
            for raw in raws:
                length = str(len(body))
                raw.send(head("POST", "/v3/lock/lock", Content_Length=length) + body)
            await waiting(port, many)
            port.service.asked.clear()
            assert _entries() < 4 * many
            # Every second one goes: those behind them look at the line again.
            line = sorted(
                port.service.records.values(), key=lambda each: each.create_revision
            )
            for record in line[1::2]:
                go(port, record.key)
            await waiting(port, many // 2)
            await wait_for(lambda: port.listener._port.waiting == many // 2)
            port.service.asked.clear()
            assert _entries() < 4 * many


def _entries() -> int:
    """How many places in line are known to anybody."""
    gc.collect()
    snapshot = tracemalloc.take_snapshot()
    made = snapshot.filter_traces([tracemalloc.Filter(True, "*/wire/locks.py")])
    return sum(each.count for each in made.statistics("filename"))
