"""Reading the past and letting go of it: what callers get, and what it ends in."""

import pytest
from quorate.client import (
    Client,
    Compacted,
    FutureRevision,
    InvalidRequest,
    Unavailable,
    Unknown,
)
from quorate.wire import DEFAULT_LIMITS, ErrorCode, Outcome, RequestFrame, decode_range

from .fake_node import FakeNode, Session, hanging_up, plain, refusing, running


async def test_a_key_is_read_as_it_was_at_each_revision() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        first = await kv.put("k", "1")
        second = await kv.put("k", "2")
        await kv.delete("k")
        for revision, text in ((first, "1"), (second, "2")):
            entry = await kv.get("k", revision=revision)
            assert entry is not None
            assert (entry.text, entry.mod_revision) == (text, revision)
        assert await kv.get("k", revision=second + 1) is None
        assert await kv.get("k") is None


async def test_a_range_is_read_as_it_was_whatever_its_pages_are() -> None:
    node = FakeNode()
    node.page_records = 1
    async with running(node) as endpoints, plain(endpoints) as kv:
        for key in "abc":
            await kv.put(key, "old")
        at = node.revision
        await kv.delete("b")
        await kv.put("a", "new")
        await kv.put("d", "new")
        old = [(one.key, one.value) async for one in kv.range(revision=at)]
        assert old == [(b"a", b"old"), (b"b", b"old"), (b"c", b"old")]
        assert [one.key async for one in kv.range()] == [b"a", b"c", b"d"]


async def test_a_range_is_of_one_revision_while_others_write() -> None:
    node = FakeNode()
    node.page_records = 1
    async with running(node) as endpoints, plain(endpoints) as kv:
        for key in "abc":
            await kv.put(key, "old")
        seen: list[tuple[bytes, bytes]] = []
        async for one in kv.range():
            seen.append((one.key, one.value))
            await kv.put("c", "new")
            await kv.delete("b")
        assert seen == [(b"a", b"old"), (b"b", b"old"), (b"c", b"old")]


async def test_a_revision_that_can_not_be_read_names_the_nearest_that_can() -> None:
    node, other = FakeNode(), FakeNode()
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        for text in "123":
            await kv.put("k", text)
        await kv.compact(3)
        with pytest.raises(Compacted) as gone:
            await kv.get("k", revision=2)
        assert gone.value.revision == 3
        with pytest.raises(FutureRevision) as early:
            await kv.get("k", revision=5)
        assert early.value.revision == 4
        with pytest.raises(Compacted):
            await anext(kv.range(revision=2))
        kept = await kv.get("k", revision=3)
        assert kept is not None
        assert kept.text == "2"
        # Nobody else would know better.
        assert other.requests == []


async def test_a_range_that_is_compacted_between_its_pages_says_so() -> None:
    node = FakeNode()
    node.page_records = 1
    async with running(node) as endpoints, plain(endpoints) as kv:
        for key in "abc":
            await kv.put(key, "")
        found = kv.range()
        assert (await anext(found)).key == b"a"
        await kv.put("d", "")
        await kv.compact(node.revision)
        with pytest.raises(Compacted):
            await anext(found)


async def test_a_compaction_is_refused_when_it_is_early_or_late() -> None:
    node = FakeNode()
    async with running(node) as endpoints, plain(endpoints) as kv:
        for text in "123":
            await kv.put("k", text)
        with pytest.raises(FutureRevision) as early:
            await kv.compact(5)
        assert early.value.revision == 4
        await kv.compact(3)
        for revision in (1, 3):
            with pytest.raises(Compacted) as late:
                await kv.compact(revision)
            assert late.value.revision == 3
            assert (late.value.outcome, late.value.retryable) == ("not_applied", False)
        for revision in (-1, 2**64):
            with pytest.raises(InvalidRequest, match="revision"):
                await kv.compact(revision)
            with pytest.raises(InvalidRequest, match="revision"):
                await kv.get("k", revision=revision)
            with pytest.raises(InvalidRequest, match="revision"):
                kv.range(revision=revision)


async def test_a_compaction_is_a_write_and_never_sent_twice() -> None:
    node, other = FakeNode(), FakeNode()
    node.answer = hanging_up
    async with running(node, other) as endpoints, plain(endpoints) as kv:
        with pytest.raises(Unknown):
            await kv.compact(1)
        assert other.requests == []
    node.answer = refusing(ErrorCode.UNKNOWN_OUTCOME, Outcome.UNKNOWN)
    async with running(node) as endpoints, plain(endpoints) as kv:
        with pytest.raises(Unknown):
            await kv.compact(1)
    node.answer = refusing(ErrorCode.STOPPING)
    async with running(node) as endpoints, plain(endpoints, timeout=0.2) as kv:
        with pytest.raises(Unavailable):
            await kv.compact(1)


async def test_a_read_of_the_past_keeps_its_level() -> None:
    node = FakeNode()
    node.page_records = 1
    asked: list[tuple[int, int, int]] = []

    def note(session: Session, frame: RequestFrame) -> None:
        request = decode_range(frame.body, DEFAULT_LIMITS)
        asked.append((request.level, request.min_revision, request.revision))
        node.serve(session, frame)

    async with running(node) as endpoints, plain(endpoints) as kv:
        for key in "abc":
            await kv.put(key, "")
        node.answer = note
        async for _ in kv.range(level="local", revision=3):
            pass
    # The next page may be asked of a node that has not come so far.
    assert asked == [(2, 0, 3), (2, 3, 3)]


def test_the_synchronous_client_reads_the_past_too() -> None:
    # Its methods are compared with those of its twin elsewhere; here they are called.
    with Client("127.0.0.1:1", timeout=0.1) as kv:
        with pytest.raises(Unavailable):
            kv.compact(1)
        with pytest.raises(Unavailable):
            kv.get("k", revision=1)
        with pytest.raises(Unavailable):
            next(kv.range(revision=1))
