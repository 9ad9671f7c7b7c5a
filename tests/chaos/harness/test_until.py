"""Runs that end before their time, and what has to be done all the same."""

import asyncio

import pytest
from quorate.chaos.harness.until import undisturbed


async def test_who_is_interrupted_meanwhile_is_so_when_it_is_over() -> None:
    done: list[int] = []

    async def work() -> None:
        await asyncio.sleep(0.05)
        done.append(1)

    waiting = asyncio.ensure_future(undisturbed(work()))
    for _ in range(3):
        await asyncio.sleep(0.01)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done == [1]


async def test_what_comes_of_it_is_told() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await undisturbed(work()) == 7
