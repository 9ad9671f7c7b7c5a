"""What is of another type is refused in words, before anything is sent."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, cast

import pytest
from quorate.client import AsyncClient, Client, Pipeline, Txn

from .fake_node import FakeNode, plain, running

# What a caller without a type checker may hand in.
SOON = cast(float, "5s")
NOTHING = cast(str, 0)
ODD: Any = {}

CALLS: dict[str, Callable[[AsyncClient], object]] = {
    "a Txn is committed, not dict": lambda kv: kv.commit(ODD),
    "a Pipeline is run, not dict": lambda kv: kv.run(ODD),
    "timeout is a number of seconds, not str": lambda kv: kv.get("k", timeout=SOON),
    "patience is a number of seconds, not str": lambda kv: kv.watch(patience=SOON),
    "ttl is a number of seconds, not str": lambda kv: kv.lease(SOON),
    "wait is a number of seconds, not str": lambda kv: kv.lock("l", wait=SOON),
    "max_staleness is a number of seconds, not str": lambda kv: kv.get(
        "k", level="bounded", max_staleness=SOON
    ),
    "lag is a number of seconds, not str": lambda kv: kv.set_caretaker(lag=SOON),
    "a fence is a lock's token, a str, not dict": lambda kv: kv.delete("k", fence=ODD),
    "endpoints are host:port as text": lambda kv: kv.status(cast(str, 7400)),
}


@pytest.mark.parametrize("words", CALLS)
async def test_what_is_of_another_type_is_said_in_words_and_not_sent(
    words: str,
) -> None:
    node = FakeNode()
    async with running(node), plain(node.endpoint) as kv:
        with pytest.raises(TypeError, match=words):
            await cast(Awaitable[object], CALLS[words](kv))
    assert node.requests == []


@pytest.mark.parametrize("at", [7400, ("localhost", 7400), b"localhost:7400"])
def test_a_host_and_a_port_are_one_text(at: object) -> None:
    with pytest.raises(TypeError, match="host:port as text"):
        Client(cast(str, at))


async def test_a_bound_that_is_false_is_not_the_lack_of_one() -> None:
    """All keys would have gone."""
    node = FakeNode()
    async with running(node), plain(node.endpoint) as kv:
        for make in (kv.range, kv.delete_range, Txn().delete_range):
            with pytest.raises(TypeError, match="not int"):
                await cast(Awaitable[object], make(start=NOTHING))
            with pytest.raises(TypeError, match="not int"):
                await cast(Awaitable[object], make(end=NOTHING))
    assert node.requests == []


async def test_any_number_is_a_time() -> None:
    node = FakeNode()
    async with running(node), plain(node.endpoint) as kv:
        assert await kv.get("k", timeout=cast(float, Decimal("9.5"))) is None
        assert await kv.run(Pipeline().get("k"), timeout=9) == [None]
