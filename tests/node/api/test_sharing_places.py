"""Several requests on one lease share a place: nobody loses it to the others."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest
from quorate.node.api import connections, places
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.requests import error_reply

from .lines import (
    go,
    hold_writes,
    leave_impatiently,
    lose,
    release_writes,
    stand,
    waiting,
)
from .support import (
    FakeService,
    Port,
    Reply,
    connect,
    head,
    http,
    open_port,
    wait_for,
)

KEY = b"job/a7"
LOCK = "/v1/locks/job"
NO_LEADER = error_reply(ErrorCode.NO_LEADER, Outcome.NOT_APPLIED, "none")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_impatiently(monkeypatch)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        opened.service.leases[0xA7] = 30_000
        yield opened


def wanted(path: str, wait: float) -> bytes:
    if path.startswith("/v3/"):
        return json.dumps({"name": "am9i", "lease": 0xA7}).encode()
    return json.dumps({"lease": "00000000000000a7", "wait": wait}).encode()


def ask(port: Port, wait: float = 60, path: str = LOCK) -> "asyncio.Task[Reply]":
    return asyncio.create_task(http(port, "POST", path, wanted(path, wait)))


def refused(reply: Reply, code: str) -> tuple[object, object]:
    """The outcome of what was refused for that, and whether it is worth a try."""
    problem = reply.json()
    assert problem["code"] == code
    return problem["outcome"], problem["retryable"]


async def settled() -> None:
    """Everybody who leaves has done so."""
    await wait_for(lambda: not places._leaving)


@pytest.mark.parametrize(
    "path",
    [LOCK, "/v1/elections/job", "/v3/lock/lock", "/v3/election/campaign"],
)
async def test_whoever_goes_away_takes_no_place_with_him_that_another_waits_at(
    port: Port, path: str
) -> None:
    holder = stand(port, b"job", 5)
    body = wanted(path, 60)
    async with connect(port) as raw:
        raw.send(head("POST", path, Content_Length=str(len(body))) + body)
        await waiting(port)
        second = ask(port, path=path)
        await waiting(port, 2)
        raw.reset()
    await waiting(port)
    await settled()
    go(port, holder.key)
    assert (await second).status == 200
    assert set(port.service.records) == {KEY}


async def test_who_gives_up_late_takes_no_lock_away_that_was_given_since(
    port: Port,
) -> None:
    """It can't be given up when the wait ends; when it can, another request has it."""
    holder = stand(port, b"job", 5)
    first = ask(port)
    await waiting(port)
    port.service.error = NO_LEADER
    port.service.end(ErrorCode.NO_LEADER)
    assert refused(await first, "no_leader") == ("unknown", False)
    held = hold_writes(port)
    port.service.error = None
    # What gives it up is on its way, and comes late.
    await wait_for(lambda: bool(held))
    late = held.pop()
    go(port, holder.key)
    second = ask(port)
    for _ in ("to enter", "to join"):
        await wait_for(lambda: bool(held))
        FakeService.answer(port.service, held.pop())
    assert (await second).status == 200
    held.append(late)
    release_writes(port, held)
    await settled()
    assert set(port.service.records) == {KEY}


async def test_whose_key_stays_because_another_waits_there_is_told_so(
    port: Port,
) -> None:
    holder = stand(port, b"job", 5)
    first = ask(port, 0.3)
    await waiting(port)
    second = ask(port)
    await waiting(port, 2)
    reply = await first
    assert refused(reply, "held") == ("unknown", False)
    go(port, holder.key)
    assert (await second).status == 200


async def test_who_waits_where_somebody_else_does_leaves_it_to_him(port: Port) -> None:
    holder = stand(port, b"job", 5)
    first = ask(port)
    await waiting(port)
    reply = await ask(port, 0.05)
    assert refused(reply, "held") == ("unknown", False)
    go(port, holder.key)
    assert (await first).status == 200


async def test_who_only_looks_whether_it_is_free_joins_nobody(port: Port) -> None:
    """So the one who waits gives the place up as if nobody had looked."""
    holder = stand(port, b"job", 5)
    first = ask(port, 0.2)
    await waiting(port)
    reply = await ask(port, 0)
    assert refused(reply, "held") == ("not_applied", True)
    assert refused(await first, "held") == ("not_applied", True)
    assert set(port.service.records) == {holder.key}


async def test_who_finds_a_key_that_goes_before_he_has_joined_stands_in_line_himself(
    port: Port,
) -> None:
    stood = stand(port, b"job", 0xA7)
    held = hold_writes(port)
    second = ask(port)
    await wait_for(lambda: len(held) == 1)
    FakeService.answer(port.service, held.pop())
    await wait_for(lambda: len(held) == 1)
    go(port, stood.key)
    release_writes(port, held)
    reply = await second
    assert reply.status == 200
    assert reply.json()["revision"] == port.service.records[KEY].create_revision


@pytest.mark.parametrize("done", [False, True])
async def test_to_join_is_asked_again_when_its_fate_was_lost(
    port: Port, done: bool
) -> None:
    stand(port, b"job", 0xA7)
    held = hold_writes(port)
    second = ask(port)
    await wait_for(lambda: len(held) == 1)
    FakeService.answer(port.service, held.pop())
    await wait_for(lambda: len(held) == 1)
    lose(port, held.pop(), done=done)
    release_writes(port, held)
    assert (await second).status == 200
    assert port.service.records[KEY].version == 2 + done


async def test_to_join_is_not_asked_for_ever(port: Port) -> None:
    stand(port, b"job", 0xA7)
    held = hold_writes(port)
    second = ask(port)
    for number in range(2 * places._TRIES):
        await wait_for(lambda: len(held) == 1)
        if number % 2:
            lose(port, held.pop(), done=False)
        else:
            FakeService.answer(port.service, held.pop())
    assert refused(await second, "unknown_outcome") == ("unknown", False)
    assert set(port.service.records) == {KEY}


async def test_a_lock_leaves_what_a_leader_says(port: Port) -> None:
    stand(port, b"job", 0xA7, b"n1")
    assert (await ask(port)).status == 200
    assert port.service.records[KEY].value == b"n1"


@pytest.mark.parametrize("path", ["/v3/lock/lock", "/v3/election/campaign"])
async def test_who_has_a_lock_of_etcd_and_asks_again_puts_nothing(
    port: Port, path: str
) -> None:
    """As in etcd: its revision stays as it is."""
    for _ in range(3):
        assert (await ask(port, path=path)).status == 200
        assert port.service.records[KEY].version == 1
    assert port.service.revision == 2


@pytest.mark.parametrize("path", ["/v3/lock/lock", "/v3/election/campaign"])
async def test_who_has_a_lock_of_etcd_that_another_may_give_up_puts_it_once(
    port: Port, path: str
) -> None:
    """Story: a request at a node without a leader could not leave, the next one had the
    lock elsewhere, and lost it when the first one could.
    """
    stand(port, b"job", 0xA7)
    for _ in range(3):
        assert (await ask(port, path=path)).status == 200
        assert port.service.records[KEY].version == 2


async def test_who_has_a_lock_of_etcd_does_not_lose_it_to_who_leaves_late(
    port: Port,
) -> None:
    holder = stand(port, b"job", 5)
    first = ask(port, path="/v3/lock/lock")
    await waiting(port)
    port.service.error = NO_LEADER
    port.service.end(ErrorCode.NO_LEADER)
    assert (await first).status == 503
    held = hold_writes(port)
    port.service.error = None
    await wait_for(lambda: bool(held))
    late = held.pop()
    go(port, holder.key)
    second = ask(port, path="/v3/lock/lock")
    for _ in ("to enter", "to join"):
        await wait_for(lambda: bool(held))
        FakeService.answer(port.service, held.pop())
    assert (await second).status == 200
    held.append(late)
    release_writes(port, held)
    await settled()
    assert set(port.service.records) == {KEY}


async def test_few_places_that_were_taken_are_remembered(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_TAKEN_MAX", 2)
    for name in ("am9i", "YQ==", "Yg=="):
        body = json.dumps({"name": name, "lease": 0xA7}).encode()
        assert (await http(port, "POST", "/v3/lock/lock", body)).status == 200
    for key, version in ((b"b/a7", 1), (b"job/a7", 2)):
        body = json.dumps(
            {"name": base64.b64encode(key[:-3]).decode(), "lease": 0xA7}
        ).encode()
        assert (await http(port, "POST", "/v3/lock/lock", body)).status == 200
        assert port.service.records[key].version == version


@pytest.mark.parametrize("path", [LOCK, "/v1/elections/job"])
async def test_who_has_a_lock_and_asks_again_is_safe_from_who_gives_up(
    port: Port, path: str
) -> None:
    first, second = await ask(port, path=path), await ask(port, path=path)
    assert first.json() == second.json()
    assert port.service.records[KEY].version == 2
