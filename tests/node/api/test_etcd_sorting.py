"""Ranges of etcd's API that have to be sorted: in order, in small steps, in bounds."""

import json
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.api.budget import SharedBudget
from quorate.node.api.etcd import ranges
from quorate.node.api.etcd.documents import Range, SortOrder, SortTarget
from quorate.node.api.etcd.sorting import Sorting
from quorate.wire.frames import RequestKind
from quorate.wire.records import Record
from turns import counted_turns

from .support import Asked, Port, connect, head, open_port, wait_for
from .test_etcd_gateway import ALL, post, store, stream

BY_VALUE = {**ALL, "sort_order": "DESCEND", "sort_target": "VALUE"}


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    """A port where three thousand records of a kilobyte can be sorted, once."""
    async with open_port(sorting_bytes_max=4 << 20) as opened:
        yield opened


@given(
    st.lists(st.integers(0, 5), max_size=30),
    st.integers(1, 7),
    st.sampled_from(SortOrder),
    st.sampled_from(SortTarget),
    st.integers(0, 12),
    st.sampled_from([(0, 0), (2, 0), (0, 3)]),
)
def test_sorted_in_pages_is_sorted_as_a_whole(
    numbers: list[int],
    page: int,
    order: SortOrder,
    target: SortTarget,
    limit: int,
    revisions: tuple[int, int],
) -> None:
    """Also what is alike, which stays in the order of keys."""
    records = [
        Record(b"%03d" % at, b"%d" % (each % 3), each, each // 2, each % 2, 0)
        for at, each in enumerate(numbers)
    ]
    none = (0, 0)
    wanted = Range(
        b"0", b"", limit, 0, order, target, False, False, False, revisions, none
    )
    budget = SharedBudget(1 << 20)
    with Sorting(budget, wanted, 1 << 20) as sorting:
        for at in range(0, len(records), page):
            sorting.take(records[at : at + page])
        shown = [each for piece in sorting.slices(4) for each in piece]
        assert (shown, sorting.more) == wanted.select(records)
        assert sorting.count == len(records)
        assert budget.held_bytes or not shown
    assert budget.held_bytes == 0


async def test_others_have_their_turn_while_a_range_is_sorted(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sort of a million records held the loop for a second: no heartbeat left.

    The service answers each page at once, so only the handler itself can give way.
    """
    store(port, 8000)
    steps: list[tuple[int, int]] = []
    answer, take, sort = port.service.answer, ranges._Out.take, Range.sort

    def answering(asked: Asked) -> None:
        if asked.kind == RequestKind.RANGE:
            steps.append((turns.count, 0))
        answer(asked)

    def taking(out: ranges._Out, revision: int, records: Sequence[Record]) -> None:
        if records:
            steps.append((turns.count, len(records)))
        take(out, revision, records)

    sorted_at_once: list[int] = []

    def sorting(wanted: Range, records: list[Record]) -> list[Record]:
        sorted_at_once.append(len(records))
        return sort(wanted, records)

    port.service.answer = answering
    monkeypatch.setattr(ranges._Out, "take", taking)
    monkeypatch.setattr(Range, "sort", sorting)
    async with counted_turns() as turns:
        reply = await post(port, "kv/range", BY_VALUE)
    assert reply.json()["count"] == "8000"
    assert len(steps) == 16
    # No two of them are in one turn of the loop, and none is large.
    assert len({turn for turn, _ in steps}) == 16
    assert max(sorted_at_once) == max(count for _, count in steps) == 1000


async def test_all_that_is_sorted_at_once_has_one_budget(port: Port) -> None:
    """Who does not read what was sorted for him holds it; the next one is refused."""
    store(port, 3000, 1000)
    budget = port.listener._port.sorting
    async with connect(port) as raw:
        data = json.dumps(BY_VALUE).encode()
        raw.stop_reading()
        raw.send(head("POST", "/v3/kv/range", Content_Length=str(len(data))) + data)
        await wait_for(lambda: budget.held_bytes > 3_000_000)
        reply = await post(port, "kv/range", BY_VALUE)
        assert (reply.status, reply.json()["code"]) == (429, 8)
        assert reply.json()["message"] == "etcdserver: too many requests"
        # In the order of keys nothing has to be held.
        assert (await stream(port, "kv/range", ALL)).whole
        raw.reset()
    await wait_for(lambda: budget.held_bytes == 0)
    assert (await stream(port, "kv/range", BY_VALUE)).whole
    assert budget.held_bytes == 0


async def test_what_can_not_be_sorted_leaves_nothing_held(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "SORTED_BYTES_MAX", 2 << 20)
    store(port, 3000, 1000)
    reply = await post(port, "kv/range", BY_VALUE)
    assert (reply.status, reply.json()["code"]) == (429, 8)
    assert reply.json()["message"] == "etcdserver: too many keys in one request"
    assert port.listener._port.sorting.held_bytes == 0
