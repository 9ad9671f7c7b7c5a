"""The past over HTTP: keys as they were, and lists whose pages are of one revision."""

from collections.abc import AsyncIterator

import pytest
from quorate.wire.limits import DEFAULT_LIMITS
from quorate.wire.requests import decode_range

from .support import Port, http, open_port


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with open_port() as opened:
        yield opened


def _kvs(page: dict[str, object]) -> list[dict[str, object]]:
    kvs = page["kvs"]
    assert isinstance(kvs, list)
    return kvs  # pyright: ignore[reportUnknownVariableType]


async def test_a_key_is_read_as_it_was(port: Port) -> None:
    for value in (b"1", b"2"):
        await http(port, "PUT", "/v1/kv/a", value)
    await http(port, "DELETE", "/v1/kv/a")
    for revision, value in ((2, b"1"), (3, b"2")):
        reply = await http(port, "GET", f"/v1/kv/a?revision={revision}")
        assert (reply.status, reply.body) == (200, value)
        assert reply.headers["etag"] == f'"{revision}"'
        assert reply.headers["quorate-revision"] == "4"
    for revision in (1, 4, 0):
        reply = await http(port, "GET", f"/v1/kv/a?revision={revision}")
        assert (reply.status, reply.json()["code"]) == (404, "not_found")


async def test_a_revision_that_can_not_be_read_names_the_nearest_that_can(
    port: Port,
) -> None:
    for value in (b"1", b"2", b"3"):
        await http(port, "PUT", "/v1/kv/a", value)
    port.service.compacted = 3
    for path in ("/v1/kv/a", "/v1/kv/"):
        reply = await http(port, "GET", f"{path}?revision=2")
        assert (reply.status, reply.json()["code"]) == (410, "compacted")
        assert reply.json()["revision"] == 3
        assert "outcome" not in reply.json()
        reply = await http(port, "GET", f"{path}?revision=5")
        assert (reply.status, reply.json()["code"]) == (400, "future_revision")
        assert reply.json()["revision"] == 4
        assert (await http(port, "HEAD", f"{path}?revision=2")).status == 410
        assert (await http(port, "GET", f"{path}?revision=3")).status == 200


async def test_all_pages_of_a_list_are_of_the_revision_of_the_first(port: Port) -> None:
    for key in ("a", "b", "c"):
        await http(port, "PUT", f"/v1/kv/{key}", b"old")
    first = (await http(port, "GET", "/v1/kv/?limit=1")).json()
    await http(port, "DELETE", "/v1/kv/b")
    await http(port, "PUT", "/v1/kv/c", b"new")
    await http(port, "PUT", "/v1/kv/d", b"new")
    pages = [first]
    while cursor := pages[-1]["cursor"]:
        reply = await http(port, "GET", f"/v1/kv/?limit=1&cursor={cursor}")
        assert reply.headers["quorate-revision"] == "7"
        pages.append(reply.json())
    assert [page["revision"] for page in pages] == [4, 4, 4]
    shown = [record for page in pages for record in _kvs(page)]
    assert [record["key"] for record in shown] == ["a", "b", "c"]
    assert {record["value64"] for record in shown} == {"b2xk"}
    newest = (await http(port, "GET", "/v1/kv/")).json()
    assert [record["key"] for record in _kvs(newest)] == ["a", "c", "d"]


async def test_a_list_of_the_past_goes_on_in_the_past(port: Port) -> None:
    for key in ("a", "b", "a"):
        await http(port, "PUT", f"/v1/kv/{key}", b"v")
    first = (await http(port, "GET", "/v1/kv/?limit=1&revision=3")).json()
    assert first["revision"] == 3
    cursor = first["cursor"]
    # Saying again what the cursor says does no harm; another revision is refused.
    for query in (f"cursor={cursor}", f"cursor={cursor}&revision=3"):
        page = (await http(port, "GET", f"/v1/kv/?{query}")).json()
        assert (page["revision"], len(_kvs(page))) == (3, 1)
    reply = await http(port, "GET", f"/v1/kv/?cursor={cursor}&revision=4")
    assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
    assert "of revision 3" in str(reply.json()["detail"])


async def test_a_list_that_is_compacted_between_its_pages_ends_in_410(
    port: Port,
) -> None:
    for key in ("a", "b", "c"):
        await http(port, "PUT", f"/v1/kv/{key}", b"v")
    cursor = (await http(port, "GET", "/v1/kv/?limit=1&revision=3")).json()["cursor"]
    assert (await http(port, "POST", "/v1/compaction?revision=4")).status == 200
    reply = await http(port, "GET", f"/v1/kv/?cursor={cursor}")
    assert (reply.status, reply.json()["code"]) == (410, "compacted")
    assert reply.json()["revision"] == 4


@pytest.mark.parametrize(
    ("query", "lowest"),
    [
        ("", 0),
        ("&min_revision=2", 2),
        ("&consistency=local", 4),
        ("&consistency=local&min_revision=9", 9),
        ("&consistency=bounded&max_staleness=1s", 4),
    ],
)
async def test_a_page_on_a_node_that_is_behind_waits_until_it_is_there(
    port: Port, query: str, lowest: int
) -> None:
    for key in ("a", "b", "c"):
        await http(port, "PUT", f"/v1/kv/{key}", b"v")
    cursor = (await http(port, "GET", "/v1/kv/?limit=1")).json()["cursor"]
    await http(port, "GET", f"/v1/kv/?cursor={cursor}{query}")
    asked = decode_range(port.service.asked[-1].body, DEFAULT_LIMITS)
    assert (asked.revision, asked.min_revision) == (4, lowest)
    assert asked.start == b"a\0"
