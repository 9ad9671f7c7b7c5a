"""`/livez` and `/readyz`: the bytes of etcd's, over real sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from quorate.node.api.etcd import probes
from quorate.node.api.service import DAMAGED, DISK_FULL, NO_LEADER, SHUTTING_DOWN
from quorate.wire.errors import ErrorCode, Outcome
from quorate.wire.frames import RequestKind
from quorate.wire.requests import Level, decode_range, error_reply

from .support import Port, http, open_port, wait_for

WELL = (
    b"[+]shutdown ok\n[+]data_corruption ok\n[+]disk_space ok\n"
    b"[+]serializable_read ok\n[+]linearizable_read ok\n"
)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


async def get(port: Port, target: str) -> tuple[int, bytes]:
    reply = await http(port, "GET", target)
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers.get("retry-after") == (None if reply.status == 200 else "1")
    return reply.status, reply.body


async def test_what_is_well_is_shown_to_whoever_wants_to_know(port: Port) -> None:
    assert await get(port, "/livez") == (200, b"ok\n")
    assert await get(port, "/readyz") == (200, b"ok\n")
    for query in ("verbose", "verbose=false", "a=1&verbose=&a=2"):
        assert await get(port, f"/livez?{query}") == (200, b"[+]process ok\nok\n")
        assert await get(port, f"/readyz?{query}") == (200, WELL + b"ok\n")


@pytest.mark.parametrize("path", probes.PATHS)
async def test_other_parameters_mean_nothing(port: Port, path: str) -> None:
    for query in ("probe=1&probe=2", "&", "exclude=", "exclude=nothing", "Verbose"):
        assert await get(port, f"{path}?{query}") == (200, b"ok\n")


async def test_readiness_reads_as_a_client_would(port: Port) -> None:
    await get(port, "/readyz")
    asked = [decode_range(a.body, port.service.limits) for a in port.service.asked]
    assert [each.level for each in asked] == [Level.LOCAL, Level.LINEARIZABLE]
    assert {each.limit for each in asked} == {1}
    assert {each.timeout_ms for each in port.service.asked} == {2000}


async def test_all_checks_are_told_when_one_fails(port: Port) -> None:
    port.service.troubled = (NO_LEADER,)
    failed = b"[-]linearizable_read failed: etcdserver: no leader\n"
    told = WELL.replace(b"[+]linearizable_read ok\n", failed) + b"\n"
    assert await get(port, "/readyz") == (503, told)
    assert await get(port, "/readyz?verbose") == (503, told)
    assert await get(port, "/readyz?exclude=linearizable_read") == (200, b"ok\n")
    assert await get(port, "/readyz/linearizable_read") == (503, failed + b"\n")
    assert await get(port, "/readyz/serializable_read") == (200, b"ok\n")
    assert await get(port, "/livez") == (200, b"ok\n")
    # Nobody waits for a leader that is not there.
    levels = [decode_range(a.body, port.service.limits) for a in port.service.asked]
    assert {each.level for each in levels} == {Level.LOCAL}


async def test_one_trouble_does_not_hide_another(port: Port) -> None:
    port.service.troubled = (SHUTTING_DOWN, NO_LEADER, DAMAGED, DISK_FULL)
    status, body = await get(port, "/readyz?exclude=linearizable_read&exclude=shutdown")
    assert status == 503
    assert body.splitlines() == [
        b"[-]data_corruption failed: " + DAMAGED.encode(),
        b"[-]disk_space failed: the disk is full",
        b"[+]serializable_read ok",
        b"",
    ]
    for name in ("data_corruption", "disk_space", "shutdown"):
        assert (await get(port, f"/readyz/{name}"))[0] == 503
    every = "&".join(f"exclude={name}" for name in probes.CHECKS["/readyz"])
    assert await get(port, f"/readyz?verbose&{every}") == (200, b"ok\n")


async def test_a_read_that_is_refused_says_why(port: Port) -> None:
    port.service.error = error_reply(ErrorCode.DEADLINE_EXCEEDED, Outcome.NONE, "late")
    status, body = await get(port, "/readyz?exclude=linearizable_read")
    assert status == 503
    late = b"[-]serializable_read failed: etcdserver: request timed out\n"
    assert body.endswith(b"disk_space ok\n" + late + b"\n")


async def test_both_reads_wait_together_and_liveness_for_none(port: Port) -> None:
    port.service.holding = True
    answer = asyncio.create_task(get(port, "/readyz"))
    await wait_for(lambda: len(port.service.held) == 2)
    assert {each.kind for each in port.service.held} == {RequestKind.RANGE}
    assert await get(port, "/livez?verbose") == (200, b"[+]process ok\nok\n")
    port.service.release()
    assert await answer == (200, b"ok\n")


@pytest.mark.parametrize(
    "path",
    ["/readyz/", "/readyz/non_learner", "/readyz/process", "/livez/x", "/livezx"],
)
async def test_other_checks_are_not_there(port: Port, path: str) -> None:
    reply = await http(port, "GET", path)
    assert (reply.status, reply.json()["code"]) == (404, "not_found")


async def test_a_full_disk_is_told_without_a_leader_too(port: Port) -> None:
    port.service.troubled = (NO_LEADER, DISK_FULL)
    told = await http(port, "GET", "/health?serializable=true")
    assert (told.status, told.json()["reason"]) == (503, "ALARM NOSPACE")
    both = await http(port, "GET", "/health?serializable=true&exclude=NOSPACE")
    assert both.status == 200
    alarms = await http(port, "POST", "/v3/maintenance/alarm", b"{}")
    assert alarms.json()["alarms"] == [{"memberID": "161", "alarm": "NOSPACE"}]
