"""What a request of etcd's API holds while it waits, which may be for hours."""

import asyncio
import base64
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from .lines import stand, waiting
from .support import Port, connect, head, open_port

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
async def test_who_waits_to_lead_holds_no_value(
    port: Port, path: str, wanted: dict[str, Any]
) -> None:
    """It is in the store from then on."""
    stand(port, b"e", 5)
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
