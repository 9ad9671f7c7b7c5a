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
    TooBusy,
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
    with pytest.raises(TypeError):
        Pipeline().put("a", "b", lease=cast(int, "x"))
    with pytest.raises(TypeError):
        Pipeline().delete("a", if_revision=cast(int, "5"))
    with pytest.raises(InvalidRequest):
        Pipeline().put("a", "b", fence="no token")
    with pytest.raises(InvalidRequest):
        Pipeline().get("a", max_staleness=1.0)


async def test_nobody_there() -> None:
    async with AsyncClient("127.0.0.1:1", timeout=0.3) as client:
        pipeline = Pipeline().get("a").put("b", "1")
        results = await client.run(pipeline, return_errors=True)
        assert all(isinstance(each, Unavailable) for each in results)


def test_it_waits_for_room_in_the_client(quorate_endpoints: str) -> None:
    """A task whose call was refused took the next one, and that was refused, too."""
    pipeline = Pipeline()
    for number in range(500):
        pipeline.put(f"k/{number}", "x").get(f"k/{number}")
    with Client(quorate_endpoints, in_flight_max=3) as kv:
        assert len(kv.run(pipeline)) == 1000


async def test_room_that_others_have_is_waited_for_as_long_as_a_call() -> None:
    scripted = Scripted(room=0)
    client = cast(AsyncClient, scripted)
    pipeline = Pipeline()
    for number in range(50):
        pipeline.get(f"k{number}")
    results = await pipeline.made_by(client, None, 0.05)
    assert {type(each) for each in results} == {TooBusy}
    # One asks at a time, however many wait.
    assert len(scripted.begun) == 0
    assert scripted.refused < 250
    running = asyncio.create_task(pipeline.made_by(client, None, 60.0))
    # All are refused, and one asks again and again.
    await scripted.refuses(53)
    scripted.room = 7
    assert await running == [None] * 50
    assert scripted.most == 7


class Scripted:
    """Who is asked for calls, and notes which are under way."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.refused = 0
        self.awaited = 0
        self.enough = asyncio.Event()
        self.begun: list[str] = []
        self.under_way = 0
        self.most = 0

    async def refuses(self, count: int) -> None:
        """Until it has refused so many more."""
        self.awaited = count
        await self.enough.wait()

    def get(self, key: str, **_: object) -> Coroutine[None, None, KeyValue | None]:
        return self._call(key)

    async def _call(self, key: str) -> KeyValue | None:
        if self.under_way >= self.room:
            self.refused += 1
            self.awaited -= 1
            if not self.awaited:
                self.enough.set()
            raise TooBusy("no room")
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
    await pipeline.made_by(cast(AsyncClient, scripted), None, 5.0)
    assert scripted.most == 1
    for number in range(3 * IN_FLIGHT):
        pipeline.get(f"k{number}")
    await pipeline.made_by(cast(AsyncClient, scripted), None, 5.0)
    assert scripted.most == IN_FLIGHT
    assert len(scripted.begun) == 40 + 3 * IN_FLIGHT
