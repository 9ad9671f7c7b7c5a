"""Runs that end before their time, and what has to be done all the same."""

import asyncio

import pytest
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.until import run_until, undisturbed
from quorate.chaos.harness.verdict import Violation

VIOLATION = Violation("lost write", "k", "counter 2", "nothing")


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


@pytest.mark.parametrize("grouped", [False, True])
async def test_what_was_found_is_told_although_the_end_was_interrupted(
    grouped: bool,
) -> None:
    stop = asyncio.Event()

    async def find() -> None:
        raise Violated(VIOLATION)

    async def work() -> None:
        try:
            if grouped:
                async with asyncio.TaskGroup() as group:
                    group.create_task(find())
            await find()
        finally:
            stop.set()
            await asyncio.sleep(60)

    assert await run_until(work(), stop) == ([VIOLATION], ["it was interrupted"])


async def test_who_is_interrupted_has_found_nothing_else() -> None:
    stop = asyncio.Event()
    stop.set()
    found = await run_until(asyncio.sleep(60), stop)
    assert found == ([], ["it was interrupted"])
