"""How long writes are refused after the leader is killed.

Law: one tool for both systems: it puts through the JSON gateway that both have. A put
is tried every ten milliseconds at each surviving node, on a connection of its own, and
none waits for another: what counts is the moment of the first answer that a put which
was *begun after* the kill was done. So a node that lets a put wait until there is a
leader is not judged by how long it waits.
"""

import asyncio
import base64
import json
import time
from collections.abc import Sequence

from .clusters import BenchmarkFailed, Place, System

EVERY_S = 0.01
PATIENCE_S = 15.0
_TRY_S = 5.0


def refused_ms(system: System) -> float:
    """Kill the leader, measure, and start it again."""
    leader = system.leader()
    places = system.places()
    survivors = [place for number, place in enumerate(places) if number != leader]
    for place in survivors:
        # Each must take writes before, or something else would be measured.
        asyncio.run(first_put([place], time.perf_counter()))
    begin_s = time.perf_counter()
    system.kill(leader)
    done_s = asyncio.run(first_put(survivors, begin_s))
    system.restart(leader)
    return (done_s - begin_s) * 1000


async def first_put(places: Sequence[Place], begin_s: float) -> float:
    """When the first put was done that was begun from now on."""
    done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    tries: set[asyncio.Task[None]] = set()

    async def attempt(place: Place) -> None:
        try:
            async with asyncio.timeout(_TRY_S):
                succeeded = await _put(place.port)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        if succeeded and not done.done():
            done.set_result(time.perf_counter())

    try:
        while not done.done():
            if time.perf_counter() - begin_s > PATIENCE_S:
                raise BenchmarkFailed(f"no write was taken for {PATIENCE_S:.0f} s")
            for place in places:
                task = asyncio.ensure_future(attempt(place))
                tries.add(task)
                task.add_done_callback(tries.discard)
            await asyncio.wait({done}, timeout=EVERY_S)
        return done.result()
    finally:
        for task in list(tries):
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


async def _put(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_REQUEST)
        head = await reader.readuntil(b"\r\n")
        return head.split()[1] == b"200"
    finally:
        writer.close()


def _request() -> bytes:
    key, value = (base64.b64encode(text).decode() for text in (b"failover", b"v" * 256))
    body = json.dumps({"key": key, "value": value}).encode()
    head = (
        "POST /v3/kv/put HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_REQUEST = _request()
