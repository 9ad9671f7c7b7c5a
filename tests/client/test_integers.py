"""What is no integer is refused where it is said, as Python's own functions do."""

from collections.abc import Callable, Coroutine
from typing import cast

import pytest
from quorate.client import AsyncClient, Txn

from .fake_node import FakeNode, plain, running

HALF = cast(int, 1.5)
TEXT = cast(int, "3")


CALLS: list[Callable[[AsyncClient, int], object]] = [
    lambda kv, odd: kv.put("k", "v", if_revision=odd),
    lambda kv, odd: kv.put("k", "v", lease=odd),
    lambda kv, odd: kv.delete("k", if_revision=odd),
    lambda kv, odd: kv.get("k", revision=odd),
    lambda kv, odd: kv.get("k", min_revision=odd),
    lambda kv, odd: kv.compact(odd),
    lambda kv, odd: kv.range("k", limit=odd),
    lambda kv, odd: kv.range("k", revision=odd),
    lambda kv, odd: kv.lease(30, lease=odd),
    lambda kv, odd: kv.lease_info(odd),
    lambda kv, odd: kv.keep_alive(odd),
    lambda kv, odd: kv.revoke(odd),
    lambda kv, odd: kv.watch("k", revision=odd),
    lambda kv, odd: kv.create_token(uses=odd),
    lambda kv, odd: kv.set_caretaker(voters=odd),
    lambda kv, odd: Txn().if_revision("k", odd),
    lambda kv, odd: Txn().put("k", "v", lease=odd),
]


async def made(
    kv: AsyncClient, odd: int, call: Callable[[AsyncClient, int], object]
) -> None:
    """Some are refused when they are made, others when they are begun."""
    coroutine = call(kv, odd)
    assert isinstance(coroutine, Coroutine)
    await coroutine


@pytest.mark.parametrize("odd", [HALF, TEXT])
@pytest.mark.parametrize("call", CALLS)
async def test_what_is_no_integer_is_a_type_error_and_not_sent(
    call: Callable[[AsyncClient, int], object], odd: int
) -> None:
    node = FakeNode()
    async with running(node), plain(node.endpoint) as kv:
        with pytest.raises(TypeError, match="interpreted as an integer"):
            await made(kv, odd, call)
    assert node.requests == []


class Three:
    """An integer of somebody else's."""

    def __index__(self) -> int:
        return 3


async def test_whatever_stands_for_an_integer_is_one() -> None:
    three = cast(int, Three())
    node = FakeNode()
    node.leases = {3: 30_000}
    async with running(node), plain(node.endpoint) as kv:
        assert await kv.put("k", "v", lease=three) == 2
        assert await kv.put("k", "w") == three.__index__()
        assert await kv.put("k", "x", if_revision=three) == 4
        assert [one.text async for one in kv.range("k", revision=three)] == ["w"]
        assert (await kv.keep_alive(three)).id == 3
