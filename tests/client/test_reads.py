"""Reads, ranges and status: what callers get, and what is not believed."""

import asyncio
from collections.abc import Sequence

import pytest
import uvloop
from quorate.client import (
    AsyncClient,
    InvalidRequest,
    KeyValue,
    PreconditionFailed,
    TooLarge,
    Unavailable,
    siblings,
)
from quorate.wire import (
    DEFAULT_LIMITS,
    Level,
    Member,
    Members,
    ReadHeader,
    Record,
    RequestFrame,
    RequestKind,
    decode_get,
    decode_range,
    encode_get_reply,
    encode_members,
    encode_range_reply,
)

from .fake_node import FakeNode, Session, hello_bytes, mute, plain, running


async def test_a_key_lives_from_its_put_to_its_delete() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        assert await kv.get("greeting") is None
        assert await kv.put("greeting", b"hello") == 2
        assert await kv.put(b"greeting", "héllo") == 3
        entry = await kv.get("greeting")
        assert entry is not None
        assert entry == KeyValue(b"greeting", "héllo".encode(), 2, 3, 2, 0)
        assert entry.text == "héllo"
        assert await kv.delete("greeting") is True
        assert await kv.delete("greeting") is False
        assert await kv.get("greeting") is None


async def test_a_write_can_expect_a_revision_or_absence() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        first = await kv.put("k", "1", if_absent=True)
        with pytest.raises(PreconditionFailed) as failed:
            await kv.put("k", "2", if_absent=True)
        assert failed.value.revision == first
        second = await kv.put("k", "2", if_revision=first)
        with pytest.raises(PreconditionFailed) as failed:
            await kv.delete("k", if_revision=first)
        assert failed.value.revision == second
        assert await kv.delete("k", if_revision=second)
        assert await kv.put("k", "3", if_revision=0) > second


async def test_a_read_says_its_level_staleness_and_revision() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        await kv.get("k")
        await kv.get("k", level="bounded", max_staleness=1.2345)
        await kv.get("k", level="local", min_revision=1)
        asked = [decode_get(frame.body, DEFAULT_LIMITS) for frame in node.requests]
        assert [
            (one.level, one.max_staleness_ms, one.min_revision) for one in asked
        ] == [
            (Level.LINEARIZABLE, 0, 0),
            (Level.BOUNDED, 1234, 0),
            (Level.LOCAL, 0, 1),
        ]


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (ReadHeader(1, 0, Level.LOCAL), b"k"),
        (ReadHeader(1, 0, Level.BOUNDED), b"k"),
        (ReadHeader(0, 0, Level.LINEARIZABLE), b"k"),
        (ReadHeader(1, 0, Level.LINEARIZABLE), b"another"),
    ],
    ids=["local", "bounded", "too old", "another key"],
)
async def test_a_read_that_was_served_weaker_than_asked_is_not_believed(
    header: ReadHeader, key: bytes
) -> None:
    def lie(session: Session, frame: RequestFrame) -> None:
        record = Record(key, b"v", 1, 1, 1, 0)
        session.reply(frame, encode_get_reply(header, record))

    node, honest = FakeNode(), FakeNode()
    node.answer = lie
    async with running(node, honest) as endpoints, plain(endpoints) as kv:
        assert await kv.get("k", min_revision=1) is None
        assert (len(node.requests), len(honest.requests)) == (1, 1)


@pytest.mark.parametrize("page_records", [1, 2, 3, 1000])
async def test_a_range_gives_every_key_once_whatever_the_pages_are(
    page_records: int,
) -> None:
    node = FakeNode()
    node.page_records = page_records
    keys = [b"a", b"a\x00", b"a\x00\x00", b"ab", b"b", b"\xff", b"\xff\xff"]
    async with running(node) as endpoints, plain(endpoints) as kv:
        for key in keys:
            await kv.put(key, key)
        assert [one.key async for one in kv.range()] == keys
        assert [one.key async for one in kv.range("a")] == keys[:4]
        assert [one.key async for one in kv.range(b"\xff")] == keys[5:]
        assert [one.key async for one in kv.range(start="ab")] == keys[3:]
        assert [one.key async for one in kv.range(end="ab")] == keys[:3]
        assert [one.key async for one in kv.range(start="ab", end="b")] == [b"ab"]
        assert [one.key async for one in kv.range("zzz")] == []
        for limit in range(9):
            got = [one.key async for one in kv.range(limit=limit)]
            assert got == keys[:limit]
        bare = [one async for one in kv.range(keys_only=True)]
        assert [(one.key, one.value) for one in bare] == [(key, b"") for key in keys]


async def test_all_pages_are_of_the_revision_of_the_first() -> None:
    node = FakeNode()
    node.page_records = 1
    async with running(node) as endpoints, plain(endpoints) as kv:
        for key in "abc":
            await kv.put(key, "")
        node.requests.clear()
        async for _ in kv.range(min_revision=2):
            node.revision += 10
        asked = [decode_range(frame.body, DEFAULT_LIMITS) for frame in node.requests]
        assert [one.min_revision for one in asked] == [2, 4, 4]
        assert [one.revision for one in asked] == [0, 4, 4]


def page(*keys: bytes, more: bool = False) -> bytes:
    records = [Record(key, b"", 1, 1, 1, 0) for key in keys]
    return encode_range_reply(ReadHeader(1, 0, Level.LINEARIZABLE), records, more)


@pytest.mark.parametrize(
    "body",
    [
        page(b"a"),
        page(b"c"),
        page(b"bb", b"ba"),
        page(b"ba", b"ba"),
        page(b"ba", b"bb", b"bc", b"bd"),
    ],
    ids=["before", "behind", "not in order", "twice", "too many"],
)
async def test_a_page_that_was_not_asked_for_is_not_believed(body: bytes) -> None:
    node, honest = FakeNode(), FakeNode()
    node.answer = lambda session, frame: session.reply(frame, body)
    async with running(node, honest) as endpoints, plain(endpoints) as kv:
        assert [one async for one in kv.range("b", limit=3)] == []
        assert (len(node.requests), len(honest.requests)) == (1, 1)


async def test_a_range_that_loses_its_node_goes_on_at_the_next() -> None:
    node, other = FakeNode(), FakeNode()
    for one in (node, other):
        one.page_records = 1
        one.keys = {key: Record(key, b"", 1, 1, 1, 0) for key in (b"a", b"b", b"c")}
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        got: list[bytes] = []
        async for one in kv.range():
            got.append(one.key)
            await node.stop()
        assert got == [b"a", b"b", b"c"]


async def test_status_is_what_the_node_says() -> None:
    node, other = FakeNode(), FakeNode()
    other.answer = lambda session, frame: session.reply(frame, b'{"name": "other"}')
    async with running(node, other) as endpoints, plain(node.endpoint) as kv:
        assert await kv.status() == {"name": "fake"}
        assert await kv.status(node.endpoint) == {"name": "fake"}
        assert await kv.status(other.endpoint) == {"name": "other"}
        assert kv.endpoints == [endpoints.split(",")[0]]
        # A connection for one question is not kept.
        await other.wait_for(lambda: not other.sessions[0].open)


async def test_status_of_a_node_that_is_down_is_unavailable_at_once() -> None:
    node, down = FakeNode(), FakeNode()
    async with running(node, down) as endpoints:
        await down.stop()
        async with plain(endpoints, timeout=600) as kv, asyncio.timeout(5):
            with pytest.raises(Unavailable, match=down.endpoint):
                await kv.status(down.endpoint)
            assert node.requests == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a": 1} ', b"\xff", b"[" * 9999])
async def test_a_status_that_is_no_object_is_not_believed(body: bytes) -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = lambda session, frame: session.reply(frame, body)
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        if body == b'{"a": 1} ':
            assert await kv.status() == {"a": 1}
        else:
            assert await kv.status() == {"name": "fake"}


async def test_a_client_learns_where_the_other_nodes_are() -> None:
    node, other = FakeNode(), FakeNode()
    async with running(node, other) as endpoints:
        first, second = endpoints.split(",")
        node.hello = hello_bytes(endpoints=(first, "nonsense", second, "h:0"))
        async with plain(first) as kv:
            await kv.put("k", "v")
            assert kv.endpoints == [first, second]
            await node.stop()
            assert await kv.get("k") is None
            assert len(other.requests) == 1


async def test_a_client_that_stays_connected_hears_of_nodes_that_came_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(siblings, "REFRESH_SECONDS", 0.01)
    node, other = FakeNode(), FakeNode()
    async with running(node, other) as endpoints:
        first, second = endpoints.split(",")
        places: list[str] = []

        def answer(session: Session, frame: RequestFrame) -> None:
            if frame.kind == RequestKind.MEMBERS:
                session.reply(frame, encode_members(members_at(places)))
            else:
                node.serve(session, frame)

        node.answer = answer
        node.tells_members = True
        async with plain(first) as kv:
            await kv.put("k", "v")
            asked = len(node.requests)
            await node.wait_for(lambda: len(node.requests) > asked)
            assert kv.endpoints == [first]
            # Somebody joins; what makes no sense is not taken.
            places += [f"http://{first}", f"http://{second}", "nonsense", ""]
            asked = len(node.requests)
            await node.wait_for(lambda: len(node.requests) > asked + 1)
            assert kv.endpoints == [first, second]
            await node.stop()
            assert await kv.get("k") is None


class Telling(FakeNode):
    """Tells where members are."""

    def __init__(self, *places: str) -> None:
        super().__init__()
        self.places = places
        self.answer = self.tell
        self.tells_members = True

    def tell(self, session: Session, frame: RequestFrame) -> None:
        if frame.kind == RequestKind.MEMBERS:
            session.reply(frame, encode_members(members_at(self.places)))
        else:
            self.serve(session, frame)


async def test_a_client_forgets_where_nodes_are_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(siblings, "REFRESH_SECONDS", 0.01)
    node = Telling()
    async with running(node), plain(node.endpoint) as kv:
        first = node.endpoint
        await kv.put("k", "v")
        for generation in range(3):
            # So many have no room together.
            node.places = tuple(
                f"http://10.9.{generation}.{number}:7400" for number in range(60)
            )
            there = [first, *[place.removeprefix("http://") for place in node.places]]
            await node.wait_for(lambda there=there: kv.endpoints == there)
        node.places = ()
        await node.wait_for(lambda: kv.endpoints == [first])
        assert await kv.get("k") is not None


async def test_a_learnt_node_that_is_in_use_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(siblings, "REFRESH_SECONDS", 0.01)
    node, other = Telling(), Telling()
    async with running(node, other):
        node.places = (f"http://{other.endpoint}", "http://10.9.9.9:7400")
        async with plain(node.endpoint) as kv:
            await kv.put("k", "v")
            await node.wait_for(lambda: len(kv.endpoints) == 3)
            other.answer = mute
            await node.stop()
            reading = asyncio.create_task(kv.get("k"))
            await other.wait_for(lambda: bool(other.requests))
            # It tells of nobody, not even of itself, and is the one that answers.
            other.answer = other.tell
            await other.wait_for(lambda: len(kv.endpoints) < 3)
            assert kv.endpoints == [node.endpoint, other.endpoint]
            for frame in other.requests:
                if frame.kind == RequestKind.GET:
                    other.serve(other.sessions[0], frame)
            assert await reading is None
            # Once nobody is connected to it, it is like any other one.
            await node.start()
            node.places = ()
            await other.stop()
            assert await kv.get("k") is not None
            await node.wait_for(lambda: kv.endpoints == [node.endpoint])


def members_at(places: Sequence[str]) -> Members:
    members = tuple(
        Member("0" * 15 + "1", "n", "voter", True, False, True, 0, "h:1", client)
        for client in places
    )
    return Members("0" * 16, "0" * 64, "0" * 16, None, 0, "", members, ())


async def test_a_client_that_does_not_learn_keeps_to_what_it_was_given() -> None:
    node = FakeNode()
    node.hello = hello_bytes(endpoints=("127.0.0.1:1",))
    async with (
        running(node) as endpoints,
        plain(endpoints, learn=False) as kv,
    ):
        await kv.put("k", "v")
        assert kv.endpoints == [endpoints]


async def test_a_balanced_client_starts_at_the_endpoint_that_chance_names() -> None:
    nodes = FakeNode(), FakeNode(), FakeNode()
    async with running(*nodes) as endpoints:
        for chance in (0.0, 0.34, 0.99):
            async with plain(
                endpoints, balance=True, jitter=lambda chance=chance: chance
            ) as kv:
                await kv.put("k", "v")
        assert [len(node.requests) for node in nodes] == [1, 1, 1]
        async with plain(endpoints, jitter=lambda: 0.99) as kv:
            await kv.put("k", "v")
        assert [len(node.requests) for node in nodes] == [2, 1, 1]


async def test_a_thousand_puts_at_once_share_a_connection_and_few_writes() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        puts = [kv.put(f"k{number}", str(number)) for number in range(1000)]
        revisions = await asyncio.gather(*puts)
        assert revisions == list(range(2, 1002))
        assert len(node.sessions) == 1
        assert node.chunks < 20
        gets = [kv.get(f"k{number}") for number in range(1000)]
        texts = [one and one.text for one in await asyncio.gather(*gets)]
        assert texts == [str(number) for number in range(1000)]


async def test_what_can_not_be_asked_is_refused_before_anything_is_sent() -> None:
    async with AsyncClient("127.0.0.1:1") as kv:
        for key in ("", b""):
            with pytest.raises(InvalidRequest, match="empty"):
                await kv.put(key, "v")
        with pytest.raises(InvalidRequest, match="UTF-8"):
            await kv.get("\udc80")
        with pytest.raises(TooLarge):
            await kv.delete(b"k" * 2**16)
        with pytest.raises(TooLarge):
            kv.range(b"k" * 2**16)
        with pytest.raises(InvalidRequest, match="if_revision or if_absent"):
            await kv.put("k", "v", if_revision=1, if_absent=True)
        for revision in (-1, 2**64):
            with pytest.raises(InvalidRequest, match="revision"):
                await kv.put("k", "v", if_revision=revision)
            with pytest.raises(InvalidRequest, match="revision"):
                await kv.get("k", min_revision=revision)
        for timeout in (0.0, -1.0, 600.1, float("nan"), float("inf")):
            with pytest.raises(InvalidRequest, match="timeout"):
                await kv.put("k", "v", timeout=timeout)
        with pytest.raises(InvalidRequest, match="max_staleness"):
            await kv.get("k", level="bounded")
        with pytest.raises(InvalidRequest, match="max_staleness"):
            await kv.get("k", max_staleness=1.0)
        for staleness in (-1.0, float("nan"), 1e10):
            with pytest.raises(InvalidRequest, match="max_staleness"):
                await kv.get("k", level="bounded", max_staleness=staleness)
        with pytest.raises(InvalidRequest, match="linearizable"):
            await kv.get("k", level="strong")  # pyright: ignore[reportArgumentType]
        with pytest.raises(InvalidRequest, match="prefix, or"):
            kv.range("p", start="s")
        with pytest.raises(InvalidRequest, match="limit"):
            kv.range(limit=-1)
        with pytest.raises(TypeError, match="int"):
            await kv.put("k", 5)  # pyright: ignore[reportArgumentType]


def test_the_client_also_runs_on_the_faster_event_loop() -> None:
    async def main() -> None:
        node = FakeNode()
        async with running(node) as endpoints, plain(endpoints) as kv:
            puts = [kv.put(f"k{number}", b"v" * 10_000) for number in range(100)]
            assert await asyncio.gather(*puts) == list(range(2, 102))
            assert len([one async for one in kv.range()]) == 100

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
