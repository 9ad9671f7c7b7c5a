"""`/v1/elections/…` over real sockets."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest
from quorate.node.api import http_elections
from quorate.wire.errors import ErrorCode

from .lines import go, say, stand, waiting
from .support import Port, Raw, Reply, connect, head, http, open_port, wait_for
from .test_http_locks import refused

PATH = "/v1/elections/e"


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A port whose service has a lease for somebody who brings his own."""
    async with open_port() as opened:
        opened.service.leases[0xA7] = 30_000
        yield opened


async def campaign(port: Port, **wanted: object) -> Reply:
    return await http(port, "POST", PATH, json.dumps(wanted).encode())


async def line(raw: Raw) -> dict[str, object]:
    """The next line of a stream: each comes in a chunk of its own."""
    async with asyncio.timeout(5):
        while True:
            text = await raw.reader.readline()
            if text.startswith(b"{"):
                document: dict[str, object] = json.loads(text)
                return document


def value(document: dict[str, object]) -> bytes | None:
    leader = document["leader"]
    if leader is None:
        assert "token" not in document
        return None
    assert isinstance(leader, dict)
    return base64.b64decode(leader["value64"])  # pyright: ignore[reportUnknownArgumentType]


async def test_a_campaign_is_won_with_its_value(port: Port) -> None:
    assert (await http(port, "GET", PATH)).json() == {"revision": 1, "leader": None}
    reply = await campaign(port, ttl=10, value="me")
    assert reply.status == 200
    told = reply.json()
    assert (told["name"], told["revision"]) == ("e", 2)
    shown = (await http(port, "GET", PATH)).json()
    assert shown["token"] == told["token"]
    assert shown["leader"] == {
        "key": f"e/{int(str(told['lease']), 16):x}",
        "key64": shown["leader"]["key64"],  # pyright: ignore[reportIndexIssue]
        "value64": "bWU=",
        "create_revision": 2,
        "mod_revision": 2,
        "version": 1,
        "lease": told["lease"],
    }
    assert (await http(port, "HEAD", PATH)).body == b""


async def test_a_value_is_any_bytes_or_none(port: Port) -> None:
    assert (
        await campaign(port, lease="00000000000000a7", value64="_w==")
    ).status == 200
    assert port.service.records[b"e/a7"].value == b"\xff"
    port.service.records.clear()
    assert (await campaign(port, lease="00000000000000a7")).status == 200
    assert port.service.records[b"e/a7"].value == b""


async def test_on_the_same_lease_a_campaign_says_its_new_value(port: Port) -> None:
    first = await campaign(port, lease="00000000000000a7", value="one")
    second = await campaign(port, lease="00000000000000a7", value="two")
    assert first.json() == second.json()
    record = port.service.records[b"e/a7"]
    assert (record.value, record.create_revision, record.version) == (b"two", 2, 2)


async def test_whoever_came_next_leads_next(port: Port) -> None:
    holder = stand(port, b"e", 5, b"first")
    refused(await campaign(port, ttl=10, value="second"), 409, "held")
    wait = asyncio.create_task(campaign(port, ttl=10, value="second", wait=60))
    await waiting(port)
    assert value((await http(port, "GET", PATH)).json()) == b"first"
    go(port, holder.key)
    assert (await wait).status == 200
    assert value((await http(port, "GET", PATH)).json()) == b"second"


async def test_a_leader_says_something_else_and_resigns(port: Port) -> None:
    holder = stand(port, b"e", 5, b"one")
    reply = await http(port, "PUT", f"{PATH}?token={holder.token}", b"two")
    assert (reply.status, reply.json()) == (200, {"revision": 3})
    record = port.service.records[holder.key]
    assert (record.value, record.lease) == (b"two", 5)
    reply = await http(port, "DELETE", f"{PATH}?token={holder.token}")
    assert (reply.status, reply.headers["quorate-revision"]) == (204, "4")
    reply = await http(port, "PUT", f"{PATH}?token={holder.token}", b"three")
    refused(reply, 412, "fenced")
    reply = await http(port, "DELETE", f"{PATH}?token={holder.token}")
    refused(reply, 412, "fenced")
    assert port.service.records == {}


async def test_who_observes_is_told_of_every_leader(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", f"{PATH}?watch=1"))
        assert value(await line(raw)) is None
        await wait_for(lambda: len(port.service.watches) == 1)
        first = stand(port, b"e", 5, b"one")
        assert value(await line(raw)) == b"one"
        stand(port, b"e", 4, b"two")
        say(port, first.key, b"uno")
        told = await line(raw)
        assert (told["token"], value(told)) == (first.token, b"uno")
        go(port, first.key)
        # It came before, and is told now: what it said then is read.
        assert value(await line(raw)) == b"two"
        go(port, b"e/4")
        assert value(await line(raw)) is None
    await wait_for(lambda: port.service.watches == [])


async def test_a_quiet_line_says_no_more_than_that_nothing_has_changed(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: it was the leader's whole value again, however large."""
    monkeypatch.setattr(http_elections, "QUIET_S", 0.01)
    stand(port, b"e", 5, b"one")
    async with connect(port) as raw:
        raw.send(head("GET", f"{PATH}?watch=1"))
        told = await line(raw)
        assert value(told) == b"one"
        for _ in range(2):
            assert await line(raw) == {"revision": told["revision"]}
        say(port, b"e/5", b"two")
        while "leader" not in (told := await line(raw)):
            pass
        assert value(told) == b"two"


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("watch=1", "observe"),
        ("watch=%31", "observe"),
        ("watch=%30", "leader"),
        ("watch=0", "leader"),
        ("watch=10", "leader"),
        ("unwatch=1", "leader"),
        ("", "leader"),
    ],
)
def test_what_is_a_stream_is_counted_as_one(query: str, label: str) -> None:
    assert http_elections.operation("GET", query) == label


async def test_an_escaped_watch_is_a_stream_and_counted_as_one(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", f"{PATH}?watch=%31"))
        await line(raw)
        await wait_for(lambda: len(port.service.watches) == 1)
    await wait_for(lambda: port.service.watches == [])
    metrics = (await http(port, "GET", "/metrics")).body.decode()
    assert 'operation="observe"' in metrics
    assert 'operation="leader"' not in metrics


async def test_observing_goes_on_with_who_leads_after_a_compaction(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", f"{PATH}?watch=1"))
        assert value(await line(raw)) is None
        await wait_for(lambda: len(port.service.watches) == 1)
        service = port.service
        watches, service.watches = service.watches, []
        stand(port, b"e", 5, b"one")
        service.watches = watches
        service.end(ErrorCode.COMPACTED, 9)
        assert value(await line(raw)) == b"one"


async def test_what_ends_the_observing_is_its_last_line(port: Port) -> None:
    async with connect(port) as raw:
        raw.send(head("GET", f"{PATH}?watch=1"))
        await line(raw)
        await wait_for(lambda: len(port.service.watches) == 1)
        port.service.end(ErrorCode.NO_LEADER)
        error = (await line(raw))["error"]
        assert isinstance(error, dict)
        assert error["code"] == "no_leader"
        await raw.read_to_end()


async def test_what_makes_no_sense_is_refused(port: Port) -> None:
    for method, target, body in (
        ("GET", f"{PATH}?watch=2", None),
        ("GET", f"{PATH}?token=1", None),
        ("PUT", PATH, b"x"),
        ("PUT", f"{PATH}?token=2.bC85", b"x"),
        ("DELETE", PATH, None),
        ("POST", PATH, b'{"ttl":10,"value":"a","value64":"YQ=="}'),
        ("POST", PATH, b'{"ttl":10,"value64":"?"}'),
        ("POST", PATH, b'{"ttl":10,"value":7}'),
        ("POST", PATH, b'{"value":"a"}'),
        ("POST", f"{PATH}?wait=1", b'{"ttl":10}'),
        ("GET", "/v1/elections/", None),
    ):
        refused(await http(port, method, target, body), 400, "invalid_request")
    assert (await http(port, "HEAD", f"{PATH}?watch=1")).status == 400
    refused(await http(port, "PATCH", PATH), 405, "method_not_allowed")
    too_large = json.dumps({"ttl": 10, "value": "x" * (4 << 20) + "x"}).encode()
    refused(await http(port, "POST", PATH, too_large), 413, "value_too_large")
    assert port.service.asked == []
