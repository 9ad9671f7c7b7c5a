"""Headers that change what a request means: taken, or refused by name."""

from collections.abc import AsyncIterator

import pytest
from quorate.wire.fences import Fence

from .samples import ETCD, SAMPLES, Sample, prepare
from .support import Port, Reply, connect, http, open_port

TOKEN = Fence(b"job/5", 2).token
FENCED = frozenset(("/v1/kv/{key}", "/v1/kv/"))
UNFENCED = [
    sample
    for sample in SAMPLES
    if sample.method not in ("GET", "HEAD") and sample.route not in FENCED
]


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        prepare(opened.service)
        yield opened


def refused(port: Port, reply: Reply, name: str) -> None:
    """It is told which header it was, and nothing has come to the service."""
    problem = reply.json()
    assert (reply.status, problem["code"]) == (400, "invalid_request")
    assert name in str(problem["detail"])
    assert port.service.asked == []


# -- fences ----------------------------------------------------------------------------


@pytest.mark.parametrize("sample", UNFENCED, ids=lambda s: f"{s.method} {s.route}")
async def test_a_fence_is_refused_where_no_write_would_heed_it(
    port: Port, sample: Sample
) -> None:
    assert (await http(port, sample.method, sample.target, sample.body)).status < 300
    port.service.asked.clear()
    reply = await http(
        port, sample.method, sample.target, sample.body, Quorate_Fence=TOKEN
    )
    refused(port, reply, "Quorate-Fence")
    assert reply.json()["outcome"] == "not_applied"


@pytest.mark.parametrize("target", ["/v1/kv/a", "/v1/kv/?prefix=a", "/v1/locks/lock"])
async def test_a_fence_is_refused_where_nothing_is_written(
    port: Port, target: str
) -> None:
    reply = await http(port, "GET", target, Quorate_Fence=TOKEN)
    refused(port, reply, "Quorate-Fence")


@pytest.mark.parametrize("path", ETCD)
async def test_a_fence_is_refused_in_etcds_words(port: Port, path: str) -> None:
    reply = await http(port, "POST", f"/v3/{path}", ETCD[path], Quorate_Fence=TOKEN)
    problem = reply.json()
    assert (reply.status, problem["code"]) == (400, 3)
    assert problem["error"] == problem["message"]
    assert "Quorate-Fence" in str(problem["message"])
    assert port.service.asked == []


# -- parts of values -------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["/v1/kv/a", "/v1/kv/a?ttl=10s", f"/v1/elections/job?token={TOKEN}"],
)
async def test_a_part_of_a_value_is_not_taken_for_the_whole(
    port: Port, target: str
) -> None:
    content = {"Content_Range": "bytes 100-102/500"}
    reply = await http(port, "PUT", target, b"abc", **content)
    refused(port, reply, "Content-Range")
    assert port.service.records[b"a"].value == b"v"


# -- conditions ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        (['"1"', '"7"'], 304),
        (['"x,y"', 'W/"7", "8"'], 304),
        (['"1"', '"8"'], 200),
        (["*", '"7"'], 400),
    ],
)
async def test_several_lines_of_a_condition_are_one_list(
    port: Port, tags: list[str], status: int
) -> None:
    lines = "".join(f"If-None-Match: {each}\r\n" for each in tags)
    async with connect(port) as raw:
        raw.send(f"GET /v1/kv/a HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode())
        assert (await raw.http_reply()).status == status
