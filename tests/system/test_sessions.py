"""Exactly once, on real processes, while leaders die: I-55.

A counter is a key that is only put to: its version is how often that was done.
"""

import asyncio
import random
import secrets

import pytest
from quorate import AsyncClient
from quorate.client import QuorateError, Unavailable, Unknown
from quorate.client.calls import Calls
from quorate.client.endpoints import parse_endpoints
from quorate.wire import (
    OpenSession,
    Place,
    RequestKind,
    decode_session_opened,
    decode_write_reply,
    encode_in_session,
    encode_put,
    encode_session_command,
)

from .harness import DEADLINE_S, Cluster, wait_for

pytestmark = pytest.mark.slow

WRITERS = 6
KILLS = 3
COPIES = 12


class Writer:
    """Counts up its own key, and counts along."""

    def __init__(self, number: int) -> None:
        self.key = f"counter {number}"
        self.done = 0
        self.unknown = 0

    async def run(self, endpoints: str, end: asyncio.Event) -> None:
        async with AsyncClient(endpoints, timeout=DEADLINE_S, balance=True) as kv:
            while not end.is_set():
                try:
                    await kv.put(self.key, "")
                    self.done += 1
                except Unknown:
                    self.unknown += 1
                except Unavailable:
                    continue


def went_on(writers: list[Writer], wanted: list[int]) -> None:
    wait_for(
        lambda: all(e.done >= w for e, w in zip(writers, wanted, strict=True)),
        "writes go on",
    )


def restart_a_leader(cluster: Cluster) -> None:
    leader = cluster.leader()
    leader.process.kill()
    cluster.leader()
    cluster.start([leader])


async def test_no_write_is_lost_or_done_twice_while_leaders_are_killed(
    own: Cluster,
) -> None:
    writers = [Writer(number) for number in range(WRITERS)]
    end = asyncio.Event()
    running = [asyncio.create_task(each.run(own.endpoints, end)) for each in writers]
    try:
        for _ in range(KILLS):
            wanted = [each.done + 20 for each in writers]
            await asyncio.to_thread(restart_a_leader, own)
            await asyncio.to_thread(went_on, writers, wanted)
    finally:
        end.set()
        await asyncio.gather(*running)
    async with AsyncClient(own.endpoints, timeout=DEADLINE_S) as kv:
        for each in writers:
            found = await kv.get(each.key)
            assert found is not None
            # With a deadline that no election outlasts, nothing is left unknown.
            assert each.unknown == 0
            assert found.version == each.done
    await asyncio.to_thread(own.wait_until_equal)


async def test_copies_of_a_command_through_all_nodes_are_done_once(
    own: Cluster,
) -> None:
    calls = Calls(
        parse_endpoints(own.endpoints),
        None,
        balance=False,
        learn=False,
        in_flight_max=1000,
        jitter=random.random,
    )
    number = secrets.token_bytes(16)
    opened = await calls.call(
        RequestKind.WRITE,
        encode_session_command(OpenSession(number)),
        DEADLINE_S,
        decode_session_opened,
        once=True,
    )

    async def copy(place: Place, at: int) -> int | None:
        body = encode_in_session(place, encode_put(b"k%d" % place.sequence, b"v"))
        endpoint = calls.endpoints[at % len(calls.endpoints)]
        try:
            reply = await calls.call_at(
                endpoint, RequestKind.WRITE, body, 5.0, decode_write_reply
            )
        except QuorateError:
            return None
        return reply.revision

    told: list[set[int]] = []
    try:
        for sequence in range(1, 31):
            place = Place(number, opened.since, sequence, 1)
            copies = [copy(place, at) for at in range(COPIES)]
            if sequence % 10 == 5:
                copies.append(_killed(own))
            told.append({r for r in await asyncio.gather(*copies) if r is not None})
        late = [copy(Place(number, opened.since, n, 1), n) for n in range(1, 31)]
        for seen, revision in zip(told, await asyncio.gather(*late), strict=True):
            assert len(seen | {revision}) == 1
    finally:
        await calls.close()
    async with AsyncClient(own.endpoints, timeout=DEADLINE_S) as kv:
        async for entry in kv.range("k"):
            assert entry.version == 1
    await asyncio.to_thread(own.wait_until_equal)


async def _killed(cluster: Cluster) -> None:
    await asyncio.to_thread(restart_a_leader, cluster)
