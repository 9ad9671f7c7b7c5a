"""Locks that are given up when that can't be done at once: asked again until it is."""

import asyncio
import json
import math
from collections.abc import AsyncIterator

import pytest
from quorate.node.api import places
from quorate.node.api.door import ASKING
from quorate.node.api.places import Leaving
from quorate.node.api.rights import NODE
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.fences import Fence
from quorate.wire.frames import RequestKind
from quorate.wire.leases import Grant, KeepAlive, Revoke, encode_lease_command
from quorate.wire.locks import leave
from quorate.wire.requests import ErrorReply, error_reply
from quorate.wire.transactions import encode_transaction

from .lines import (
    UNKNOWN,
    Stood,
    hold_writes,
    leave_impatiently,
    lose,
    release_writes,
    stand,
    waiting,
)
from .support import (
    Asked,
    FakeService,
    Port,
    Reply,
    connect,
    head,
    http,
    open_port,
    wait_for,
)
from .test_http_locks import refused

PATH = "/v1/locks/job"
LEASE = 0xA7
ON_ITS_OWN_LEASE = b'{"lease":"00000000000000a7","wait":60}'
ON_A_LEASE_OF_OURS = b'{"ttl":100,"wait":60}'
NO_LEADER = error_reply(ErrorCode.NO_LEADER, Outcome.NOT_APPLIED, "none")
FORBIDDEN = error_reply(ErrorCode.FORBIDDEN, Outcome.NOT_APPLIED, "no more")
LEAVE = encode_transaction(leave(Fence(b"job/a7", 3)))
BOTH = pytest.mark.parametrize("wanted", [ON_ITS_OWN_LEASE, ON_A_LEASE_OF_OURS])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_impatiently(monkeypatch)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port(waiting_max=2) as opened:
        opened.service.leases[LEASE] = 30_000
        yield opened


@pytest.fixture
def holder(port: Port) -> Stood:
    """The one who holds the lock."""
    return stand(port, b"job", 5)


def left(port: Port, holder: Stood) -> bool:
    """Is nobody there but the holder, and nothing that was made for anybody else?"""
    service = port.service
    return list(service.records) == [holder.key] and set(service.leases) == {5, LEASE}


async def lose_the_leader(port: Port, wanted: bytes) -> Reply:
    """What is told to somebody who waits when the leader is lost, and stays so."""
    wait = asyncio.create_task(http(port, "POST", PATH, wanted))
    await waiting(port)
    port.service.error = NO_LEADER
    port.service.end(ErrorCode.NO_LEADER)
    return await wait


# -- what is told ----------------------------------------------------------------------


@BOTH
async def test_whoever_may_still_get_the_lock_is_not_told_that_he_will_not(
    port: Port, holder: Stood, wanted: bytes
) -> None:
    reply = await lose_the_leader(port, wanted)
    problem = reply.json()
    assert (reply.status, problem["code"]) == (503, "no_leader")
    assert (problem["outcome"], problem["retryable"]) == ("unknown", False)
    port.service.error = None
    await wait_for(lambda: left(port, holder))


@BOTH
async def test_whoever_has_left_the_line_is_told_so(
    port: Port, holder: Stood, wanted: bytes
) -> None:
    wait = asyncio.create_task(http(port, "POST", PATH, wanted))
    await waiting(port)
    port.service.end(ErrorCode.NO_LEADER)
    problem = (await wait).json()
    assert (problem["outcome"], problem["retryable"]) == ("not_applied", True)
    assert left(port, holder)


async def test_etcds_clients_are_told_in_a_header(port: Port, holder: Stood) -> None:
    body = json.dumps({"name": "am9i", "lease": LEASE}).encode()
    wait = asyncio.create_task(http(port, "POST", "/v3/lock/lock", body))
    await waiting(port)
    port.service.error = NO_LEADER
    port.service.end(ErrorCode.NO_LEADER)
    reply = await wait
    assert (reply.status, reply.json()["code"]) == (503, 14)
    assert reply.headers["quorate-outcome"] == "unknown"
    port.service.error = None
    await wait_for(lambda: left(port, holder))


async def test_an_entry_whose_fate_was_lost_may_have_been_made(port: Port) -> None:
    """By the first try, though the second one is sure that it did nothing."""
    errors = [UNKNOWN, NO_LEADER]
    answer = port.service.answer

    def failing(asked: Asked) -> None:
        writes = asked.kind == RequestKind.WRITE
        port.service.error = errors.pop(0) if writes and errors else None
        answer(asked)

    port.service.answer = failing
    problem = (await http(port, "POST", PATH, ON_ITS_OWN_LEASE)).json()
    assert (problem["code"], problem["outcome"]) == ("no_leader", "unknown")
    assert problem["retryable"] is False


async def test_a_lease_that_was_not_made_is_not_given_up(port: Port) -> None:
    port.service.error = NO_LEADER
    reply = await http(port, "POST", PATH, ON_A_LEASE_OF_OURS)
    refused(reply, 503, "no_leader")
    # Grants begin so; what would end one begins otherwise.
    (asked,) = port.service.asked
    assert asked.body[0] == encode_lease_command(Grant(1, 1000))[0]


# -- what stood there before -----------------------------------------------------------


async def go_while_the_fate_of_an_entry_is_lost(port: Port, *, done: bool) -> None:
    """Ask for a lock, and go before the first try of it is answered: with UNKNOWN."""
    held = hold_writes(port)
    async with connect(port) as raw:
        length = str(len(ON_ITS_OWN_LEASE))
        raw.send(head("POST", PATH, Content_Length=length) + ON_ITS_OWN_LEASE)
        await wait_for(lambda: len(held) == 1)
    await wait_for(lambda: port.listener.connections == 0)
    lose(port, held.pop(), done=done)
    await wait_for(lambda: len(held) == 1)
    release_writes(port, held)


async def test_a_lock_that_is_held_is_not_taken_from_whoever_asks_for_it_again(
    port: Port,
) -> None:
    """Its holder asks once more on the same lease, the leader dies, the holder goes.

    The second try finds the key. It was there long before the first one, and its lease
    lives: it must not be given up for a request whose answer nobody waits for.
    """
    assert (await http(port, "POST", PATH, ON_ITS_OWN_LEASE)).status == 200
    (before,) = port.service.records.values()
    await go_while_the_fate_of_an_entry_is_lost(port, done=False)
    asked = len(port.service.asked)
    shown = (await http(port, "GET", PATH)).json()["holder"]
    assert isinstance(shown, dict)
    assert shown["revision"] == before.create_revision
    assert list(port.service.records.values()) == [before]
    assert [each.kind for each in port.service.asked[asked:]] == [RequestKind.RANGE]


async def test_a_key_that_a_try_made_whose_fate_was_lost_goes_with_the_lease(
    port: Port,
) -> None:
    """It may as well be that of another request, as in the next test."""
    await go_while_the_fate_of_an_entry_is_lost(port, done=True)
    await asyncio.sleep(0.05)
    assert set(port.service.records) == {b"job/a7"}
    # Whoever asks again on that lease has it.
    assert (await http(port, "POST", PATH, ON_ITS_OWN_LEASE)).status == 200


@pytest.mark.parametrize("path", [PATH, "/v3/lock/lock"])
async def test_a_lock_is_not_taken_from_the_request_that_was_sent_instead(
    port: Port, path: str
) -> None:
    """Story: a client that had waited too long for the first answer, since a leader
    had died, asked at another node, and had the lock. The first request found its key,
    took it for its own, and gave it up.
    """
    held = hold_writes(port)
    async with connect(port) as raw:
        length = str(len(ON_ITS_OWN_LEASE))
        raw.send(head("POST", PATH, Content_Length=length) + ON_ITS_OWN_LEASE)
        await wait_for(lambda: len(held) == 1)
    await wait_for(lambda: port.listener.connections == 0)
    first = held.pop()
    body = ON_ITS_OWN_LEASE
    if path != PATH:
        body = json.dumps({"name": "am9i", "lease": LEASE}).encode()
    second = asyncio.create_task(http(port, "POST", path, body))
    await wait_for(lambda: len(held) == 1)
    FakeService.answer(port.service, held.pop())
    assert (await second).status == 200
    (before,) = port.service.records.values()
    lose(port, first, done=False)
    await wait_for(lambda: len(held) == 1)
    release_writes(port, held)
    await asyncio.sleep(0.05)
    assert list(port.service.records.values()) == [before]


async def test_who_does_not_wait_at_a_key_that_may_be_his_is_told_so(
    port: Port, holder: Stood
) -> None:
    held = hold_writes(port)
    body = b'{"lease":"00000000000000a7"}'
    ask = asyncio.create_task(http(port, "POST", PATH, body))
    await wait_for(lambda: len(held) == 1)
    lose(port, held.pop(), done=True)
    await wait_for(lambda: len(held) == 1)
    release_writes(port, held)
    problem = (await ask).json()
    assert (problem["code"], problem["outcome"]) == ("held", "unknown")


async def test_who_leads_still_does_when_saying_something_else_fails(
    port: Port,
) -> None:
    """The fate of the entry is lost, then nothing is said.

    Whether he leads by that entry is not known; the key that was there before stays.
    """
    path = "/v1/elections/job"
    one = b'{"lease":"00000000000000a7","value":"one"}'
    assert (await http(port, "POST", path, one)).status == 200
    (before,) = port.service.records.values()
    held = hold_writes(port)
    again = asyncio.create_task(http(port, "POST", path, one.replace(b"one", b"two")))
    await wait_for(lambda: len(held) == 1)
    lose(port, held.pop(), done=False)
    await wait_for(lambda: len(held) == 1)
    FakeService.answer(port.service, held.pop())
    await wait_for(lambda: len(held) == 1)
    port.service.error = NO_LEADER
    FakeService.answer(port.service, held.pop())
    port.service.error = None
    release_writes(port, held)
    problem = (await again).json()
    assert (problem["code"], problem["outcome"]) == ("no_leader", "unknown")
    assert list(port.service.records.values()) == [before]


# -- what is done ----------------------------------------------------------------------


@BOTH
async def test_whoever_goes_away_is_taken_out_of_the_line_once_there_is_a_leader(
    port: Port, holder: Stood, wanted: bytes
) -> None:
    async with connect(port) as raw:
        raw.send(head("POST", PATH, Content_Length=str(len(wanted))) + wanted)
        await waiting(port)
        port.service.error = NO_LEADER
        before = len(port.service.asked)
        raw.reset()
    await wait_for(lambda: len(port.service.asked) > before + 3)
    assert not left(port, holder)
    port.service.error = None
    await wait_for(lambda: left(port, holder))


async def test_who_still_has_to_leave_counts_as_one_who_waits() -> None:
    async with open_port(waiting_max=1) as port:
        holder = stand(port, b"job", 5)
        port.service.leases[LEASE] = 30_000
        await lose_the_leader(port, ON_ITS_OWN_LEASE)
        reply = await http(port, "POST", PATH, ON_A_LEASE_OF_OURS)
        refused(reply, 429, "too_busy")
        port.service.error = None
        await wait_for(lambda: left(port, holder) and not places._leaving)
        reply = await http(port, "POST", "/v1/locks/free", b'{"ttl":10}')
        assert reply.status == 200


def leaving(port: Port, lasts_s: float, data: bytes = LEAVE) -> Leaving:
    ASKING.set(NODE)
    return Leaving(port.listener._port, data, lasts_s, None)


async def test_it_is_asked_no_more_when_the_lease_is_over(port: Port) -> None:
    port.service.error = NO_LEADER
    assert not await leaving(port, 0.0).first
    await wait_for(lambda: not places._leaving)
    assert len(port.service.asked) == 1
    assert port.listener._port.waiting == 0


@pytest.mark.parametrize("error", [UNKNOWN, NO_LEADER])
async def test_it_is_asked_until_it_is_done(port: Port, error: ErrorReply) -> None:
    port.service.error = error
    revoke = encode_lease_command(Revoke(LEASE))
    assert not await leaving(port, math.inf, revoke).first
    await wait_for(lambda: len(port.service.asked) > 3)
    port.service.error = None
    await wait_for(lambda: not places._leaving)
    assert LEASE not in port.service.leases


async def test_a_lease_that_is_gone_needs_not_to_be_ended(port: Port) -> None:
    assert await leaving(port, math.inf, encode_lease_command(Revoke(1))).first
    await wait_for(lambda: not places._leaving)
    assert len(port.service.asked) == 1


async def test_what_is_refused_for_good_is_asked_once(port: Port) -> None:
    port.service.error = FORBIDDEN
    assert not await leaving(port, math.inf).first
    await wait_for(lambda: not places._leaving)
    assert len(port.service.asked) == 1


async def test_a_node_that_stops_asks_no_more() -> None:
    async with open_port() as port:
        port.service.error = NO_LEADER
        leaving(port, math.inf)
        await wait_for(lambda: len(port.service.asked) > 1)
    await wait_for(lambda: not places._leaving)


async def test_a_lock_that_can_not_be_kept_after_a_wait_is_given_up(
    port: Port, holder: Stood
) -> None:
    """The line is free, and whoever is first in it can't have his whole time."""
    wait = asyncio.create_task(http(port, "POST", PATH, ON_A_LEASE_OF_OURS))
    await waiting(port)
    answer = port.service.answer
    keep = encode_lease_command(KeepAlive(1))[0]

    def failing(asked: Asked) -> None:
        port.service.error = NO_LEADER if asked.body[0] == keep else None
        answer(asked)

    port.service.answer = failing
    del port.service.records[holder.key]
    port.service.end(ErrorCode.COMPACTED)
    refused(await wait, 503, "no_leader")
    assert not port.service.records
