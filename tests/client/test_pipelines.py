"""Many calls at once: each for itself, those of a key in order."""

import asyncio
from collections.abc import Coroutine
from typing import cast

import pytest
from quorate.client import (
    AsyncClient,
    Client,
    InvalidRequest,
    KeyValue,
    Pipeline,
    PreconditionFailed,
    Unavailable,
)
from quorate.client.pipelines import IN_FLIGHT


def test_results_stand_where_their_calls_do(quorate_endpoints: str) -> None:
    pipeline = Pipeline().get("b").put("a", "1").put("b", b"2").get("a").delete("a")
    pipeline.delete("a").get("b")
    with Client(quorate_endpoints) as kv:
        nothing, first, second, found, was, is_not, other = kv.run(pipeline)
        assert (nothing, was, is_not) == (None, True, False)
        assert isinstance(found, KeyValue)
        assert found.text == "1"
        assert isinstance(other, KeyValue)
        assert (found.mod_revision, other.mod_revision) == (first, second)
        # It may be run again, and begins from what is there now.
        again = kv.run(pipeline)
        assert isinstance(again[0], KeyValue)
    assert len(pipeline) == len(again) == 7


def test_more_than_are_made_at_a_time(quorate_endpoints: str) -> None:
    count = 2 * IN_FLIGHT + 3
    pipeline = Pipeline()
    for number in range(count):
        pipeline.put(f"k/{number}", "x")
    with Client(quorate_endpoints) as kv:
        assert len(set(kv.run(pipeline))) == count
        assert len(list(kv.range("k/", keys_only=True))) == count


def test_an_error_stops_nobody_else(quorate_endpoints: str) -> None:
    pipeline = Pipeline().put("a", "1", if_absent=True).put("a", "2", if_absent=True)
    pipeline.put("b", "3")
    with Client(quorate_endpoints) as kv:
        results = kv.run(pipeline, return_errors=True)
        assert [type(each) for each in results] == [int, PreconditionFailed, int]
        kv.delete("b")
        with pytest.raises(PreconditionFailed):
            kv.run(pipeline)
        assert kv.get("b") is not None, "raised when all have ended"


def test_nothing_is_no_call(quorate_endpoints: str) -> None:
    with Client(quorate_endpoints) as kv:
        assert kv.run(Pipeline()) == []


def test_what_makes_no_sense_is_refused_when_it_is_written_down() -> None:
    with pytest.raises(InvalidRequest):
        Pipeline().get("")
    with pytest.raises(TypeError):
        Pipeline().get(cast(str, 5))
    with pytest.raises(TypeError):
        Pipeline().put("a", cast(str, 5))


async def test_nobody_there() -> None:
    async with AsyncClient("127.0.0.1:1", timeout=0.3) as client:
        pipeline = Pipeline().get("a").put("b", "1")
        results = await client.run(pipeline, return_errors=True)
        assert all(isinstance(each, Unavailable) for each in results)


class Scripted:
    """Who is asked for calls, and notes which are under way."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.under_way = 0
        self.most = 0

    def get(self, key: str, **_: object) -> Coroutine[None, None, KeyValue | None]:
        return self._call(key)

    async def _call(self, key: str) -> KeyValue | None:
        self.begun.append(key)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.under_way -= 1
        return None


async def test_calls_of_a_key_wait_for_each_other_and_the_others_for_room() -> None:
    scripted = Scripted()
    pipeline = Pipeline()
    for _ in range(20):
        pipeline.get("a")
    await pipeline.made_by(cast(AsyncClient, scripted), None)
    assert scripted.most == 1
    for number in range(3 * IN_FLIGHT):
        pipeline.get(f"k{number}")
    await pipeline.made_by(cast(AsyncClient, scripted), None)
    assert scripted.most == IN_FLIGHT
    assert len(scripted.begun) == 40 + 3 * IN_FLIGHT
