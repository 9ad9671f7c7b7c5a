"""`/v1/locks/…` over real sockets, and what is left when a wait ends."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from quorate.wire.errors import ErrorCode

from .lines import go, hold_writes, lose, release_writes, stand, waiting
from .support import Port, Reply, connect, head, http, open_port, wait_for

PATH = "/v1/locks/job"


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A port whose service has a lease for somebody who brings his own."""
    async with open_port(waiting_max=2) as opened:
        opened.service.leases[0xA7] = 30_000
        yield opened


async def take(port: Port, path: str = PATH, **wanted: object) -> Reply:
    return await http(port, "POST", path, json.dumps(wanted).encode())


def refused(reply: Reply, status: int, code: str) -> str:
    problem = reply.json()
    assert (reply.status, problem["code"]) == (status, code), reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    if problem.get("outcome") is not None:
        assert problem["outcome"] == "not_applied"
    return str(problem["detail"])


# -- taking ----------------------------------------------------------------------------


async def test_a_lock_that_is_free_is_taken_on_a_lease_that_is_made_for_it(
    port: Port,
) -> None:
    reply = await take(port, ttl=10)
    assert reply.status == 200
    assert reply.headers["quorate-revision"] == "2"
    told = reply.json()
    lease = int(str(told["lease"]), 16)
    assert port.service.leases[lease] == 10_000
    key = f"job/{lease:x}".encode()
    assert list(port.service.records) == [key]
    assert told == {
        "name": "job",
        "token": told["token"],
        "revision": 2,
        "lease": f"{lease:016x}",
    }
    assert str(told["token"]).startswith("2.")


async def test_a_lock_is_taken_on_ones_own_lease_and_once(port: Port) -> None:
    first = await take(port, lease="00000000000000a7")
    again = await take(port, lease="00000000000000a7", wait=0)
    assert first.status == 200
    assert first.json() == again.json()
    assert list(port.service.records) == [b"job/a7"]


@pytest.mark.parametrize("wait", [None, 0, "0s", 0.01, "10ms"])
async def test_whoever_does_not_get_it_in_time_leaves_nothing(
    port: Port, wait: object
) -> None:
    holder = stand(port, b"job", 5)
    wanted: dict[str, object] = {} if wait is None else {"wait": wait}
    reply = await take(port, PATH, ttl=10, **wanted)
    refused(reply, 409, "held")
    await wait_for(lambda: set(port.service.leases) == {0xA7, 5})
    reply = await take(port, PATH, lease="00000000000000a7", **wanted)
    refused(reply, 409, "held")
    await wait_for(lambda: list(port.service.records) == [holder.key])
    assert set(port.service.leases) == {0xA7, 5}
    assert port.service.watches == []


async def test_whoever_waits_gets_it_when_the_one_before_him_goes(port: Port) -> None:
    holder = stand(port, b"job", 5)
    second = asyncio.create_task(take(port, ttl=10, wait="1m"))
    await waiting(port, 1)
    third = asyncio.create_task(take(port, ttl=10, wait="1m"))
    await waiting(port, 2)
    go(port, holder.key)
    reply = await second
    assert reply.status == 200
    assert not third.done()
    told = reply.json()
    shown = (await http(port, "GET", PATH)).json()
    assert shown["holder"]["token"] == told["token"]  # pyright: ignore[reportIndexIssue]
    lease = int(str(told["lease"]), 16)
    # The one behind him watches his key now.
    await waiting(port, 1)
    go(port, f"job/{lease:x}".encode())
    reply = await third
    assert int(str(reply.json()["revision"])) > int(str(told["revision"]))
    assert port.service.watches == []


async def test_a_lease_that_was_made_for_a_wait_is_kept_alive_meanwhile(
    port: Port,
) -> None:
    stand(port, b"job", 5)
    wait = asyncio.create_task(take(port, ttl=1, wait="1m"))
    await waiting(port)

    def kept() -> int:
        return sum(asked.body[0] == 7 for asked in port.service.asked)

    assert kept() == 1
    go(port, b"job/5")
    assert (await wait).status == 200
    # Once more at the end: whoever waited has his whole time.
    assert kept() == 2


async def test_whoever_goes_away_while_he_waits_leaves_nothing(port: Port) -> None:
    holder = stand(port, b"job", 5)
    for wanted in (b'{"ttl":10,"wait":60}', b'{"lease":"00000000000000a7","wait":60}'):
        async with connect(port) as raw:
            raw.send(head("POST", PATH, Content_Length=str(len(wanted))) + wanted)
            await waiting(port)
            assert len(port.service.records) == 2
        await wait_for(lambda: list(port.service.records) == [holder.key])
        assert set(port.service.leases) == {0xA7, 5}
        assert port.service.watches == []


async def test_whoever_goes_away_before_he_stands_in_line_leaves_nothing(
    port: Port,
) -> None:
    held = hold_writes(port)
    wanted = b'{"lease":"00000000000000a7","wait":60}'
    async with connect(port) as raw:
        raw.send(head("POST", PATH, Content_Length=str(len(wanted))) + wanted)
        await wait_for(lambda: len(held) == 1)
    await wait_for(lambda: port.listener.connections == 0)
    release_writes(port, held)
    await wait_for(lambda: len(port.service.asked) == 2)
    assert port.service.records == {}
    assert port.service.revision == 3


async def test_a_key_that_was_there_before_stays_when_a_second_wait_ends(
    port: Port,
) -> None:
    """Two requests on one lease wait at one place, which the first one made."""
    holder = stand(port, b"job", 5)
    first = asyncio.create_task(take(port, lease="00000000000000a7", wait=60))
    await waiting(port)
    refused(await take(port, lease="00000000000000a7", wait=0), 409, "held")
    assert set(port.service.records) == {holder.key, b"job/a7"}
    go(port, holder.key)
    assert (await first).status == 200


async def test_whoever_loses_his_own_key_while_he_waits_is_told_at_once(
    port: Port,
) -> None:
    stand(port, b"job", 5)
    wait = asyncio.create_task(take(port, lease="00000000000000a7", wait=60))
    await waiting(port)
    go(port, b"job/a7")
    assert "while it waited" in refused(await wait, 404, "lease_not_found")


@pytest.mark.parametrize(
    ("code", "status"), [(ErrorCode.NO_LEADER, 503), (ErrorCode.STOPPING, 503)]
)
async def test_a_node_without_a_leader_ends_its_waits(
    port: Port, code: ErrorCode, status: int
) -> None:
    holder = stand(port, b"job", 5)
    wait = asyncio.create_task(take(port, ttl=10, wait=60))
    await waiting(port)
    port.service.end(code)
    refused(await wait, status, code.name.lower())
    await wait_for(lambda: list(port.service.records) == [holder.key])


async def test_a_wait_goes_on_when_what_it_needs_was_compacted(port: Port) -> None:
    holder = stand(port, b"job", 5)
    wait = asyncio.create_task(take(port, ttl=10, wait=60))
    await waiting(port)
    old = port.service.watches[-1]
    port.service.end(ErrorCode.COMPACTED, 9)
    await wait_for(lambda: len(port.service.watches) == 2)
    assert old not in port.service.watches
    go(port, holder.key)
    assert (await wait).status == 200


async def test_only_so_many_requests_wait(port: Port) -> None:
    stand(port, b"job", 5)
    waits = [asyncio.create_task(take(port, ttl=10, wait=60)) for _ in range(2)]
    await waiting(port, 2)
    reply = await take(port, "/v1/locks/other", ttl=10)
    assert "2 requests wait" in refused(reply, 429, "too_busy")
    for each in waits:
        each.cancel()
    await asyncio.wait(waits)
    await wait_for(lambda: port.service.watches == [])
    assert (await take(port, "/v1/locks/other", ttl=10)).status == 200


async def test_an_entry_whose_fate_was_lost_is_asked_again(port: Port) -> None:
    held = hold_writes(port)
    wait = asyncio.create_task(take(port, lease="00000000000000a7"))
    await wait_for(lambda: len(held) == 1)
    lose(port, held.pop(), done=False)
    release_writes(port, held)
    assert (await wait).status == 200
    assert list(port.service.records) == [b"job/a7"]


# -- looking and releasing -------------------------------------------------------------


async def test_who_holds_and_who_waits_is_shown_in_order(port: Port) -> None:
    assert (await http(port, "GET", PATH)).json() == {
        "revision": 1,
        "holder": None,
        "waiting": 0,
        "queue": [],
    }
    first, second = stand(port, b"job", 9), stand(port, b"job", 5)
    stand(port, b"other", 4)
    reply = await http(port, "GET", PATH)
    assert reply.headers["quorate-revision"] == "4"
    assert reply.json() == {
        "revision": 4,
        "holder": {
            "key": "job/9",
            "key64": "am9iLzk=",
            "token": first.token,
            "revision": 2,
            "lease": first.lease,
        },
        "waiting": 1,
        "queue": [
            {
                "key": "job/5",
                "key64": "am9iLzU=",
                "token": second.token,
                "revision": 3,
                "lease": second.lease,
            }
        ],
    }
    assert (await http(port, "HEAD", PATH)).body == b""


async def test_a_lock_is_released_once_and_by_its_token(port: Port) -> None:
    holder = stand(port, b"job", 9)
    reply = await http(port, "DELETE", f"{PATH}?token={holder.token}")
    assert (reply.status, reply.headers["quorate-revision"]) == (204, "3")
    assert port.service.records == {}
    reply = await http(port, "DELETE", f"{PATH}?token={holder.token}")
    refused(reply, 412, "fenced")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "token has to be there"),
        ("?token=", "a token is a revision"),
        ("?token=7", "a token is a revision"),
        ("?token=%FF", "a token is a revision"),
        ("?token=2.b3RoZXIvOQ", "a token of something else"),
        ("?token=2.am9iL3g", "a token of something else"),
        ("?tokens=1", "unknown query parameter"),
    ],
)
async def test_what_is_no_token_of_this_lock_releases_nothing(
    port: Port, query: str, reason: str
) -> None:
    stand(port, b"job", 9)
    reply = await http(port, "DELETE", PATH + query)
    assert reason in refused(reply, 400, "invalid_request")
    assert len(port.service.records) == 1


# -- garbage ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body: "),
        (b"{", "the body: "),
        (b"[]", "the body: expected `object`, got `array`"),
        (b"{}", "give ttl or lease"),
        (b'{"ttl":10,"lease":"00000000000000a7"}', "give ttl or lease"),
        (b'{"ttl":0.999}', "ttl has to be from 1000 ms"),
        (b'{"ttl":1e300}', "ttl has to be from 1000 ms"),
        (b'{"ttl":"10"}', "ttl has to look like"),
        (b'{"ttl":true}', "ttl: expected"),
        (b'{"ttl":10,"wait":-1}', "wait has to be from 0 ms"),
        (b'{"ttl":10,"wait":"11m"}', "wait has to be from 0 ms to 600000 ms"),
        (b'{"ttl":10,"patience":1}', "unknown field 'patience'"),
        (b'{"lease":"a7"}', "a lease has 16 hex digits"),
        (b'{"lease":"0000000000000000"}', "a lease has 16 hex digits"),
        (b'{"ttl":10,"value":"x"}', "unknown field 'value'"),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused(
    port: Port, body: bytes, reason: str
) -> None:
    assert reason in refused(
        await http(port, "POST", PATH, body), 400, "invalid_request"
    )
    assert port.service.asked == []


async def test_a_lease_that_is_not_there_holds_nothing(port: Port) -> None:
    reply = await take(port, lease="00000000000000ff")
    refused(reply, 404, "lease_not_found")
    assert port.service.records == {}


async def test_names_are_any_bytes_and_have_a_length(port: Port) -> None:
    reply = await take(port, "/v1/locks/a%2Fb%FF/c", ttl=10)
    assert reply.json()["name"] is None
    assert next(iter(port.service.records)).startswith(b"a/b\xff/c/")
    refused(await take(port, "/v1/locks/", ttl=10), 400, "invalid_request")
    refused(await take(port, "/v1/locks/../x", ttl=10), 400, "invalid_request")
    longest = 4096 - len("/-8000000000000000")
    assert (await take(port, f"/v1/locks/{'n' * longest}", ttl=10)).status == 200
    reply = await take(port, f"/v1/locks/{'n' * (longest + 1)}", ttl=10)
    refused(reply, 431, "key_too_long")


async def test_what_has_no_meaning_here_is_refused(port: Port) -> None:
    refused(await http(port, "PUT", PATH, b"x"), 405, "method_not_allowed")
    reply = await http(port, "POST", PATH, b'{"ttl":10}', If_Match='"1"')
    refused(reply, 400, "invalid_request")
    reply = await http(port, "POST", f"{PATH}?ttl=10", b"{}")
    refused(reply, 400, "invalid_request")
    refused(await http(port, "GET", PATH, b"x"), 400, "invalid_request")
    refused(await http(port, "POST", PATH, b" " * 5000), 413, "request_too_large")
