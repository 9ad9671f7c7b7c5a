"""Runs that end before their time, and what has to be done all the same."""

import asyncio

import pytest
from quorate.chaos.harness.errors import SetupFailed, Violated
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


async def test_a_violation_counts_more_than_what_went_wrong_beside_it() -> None:
    async def find() -> None:
        raise Violated(VIOLATION)

    async def stumble() -> None:
        raise ValueError("a bug")

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(find())
            group.create_task(stumble())

    found = await run_until(work(), asyncio.Event())
    assert found == ([VIOLATION], ["ValueError('a bug')"])


async def test_a_violation_counts_more_than_what_went_wrong_after_it() -> None:
    async def work() -> None:
        try:
            raise Violated(VIOLATION)
        finally:
            raise ValueError("a bug")

    violations, _ = await run_until(work(), asyncio.Event())
    assert violations == [VIOLATION]


async def test_what_a_cluster_broke_that_never_came_up_is_no_violation() -> None:
    async def work() -> None:
        try:
            try:
                raise Violated(VIOLATION)
            except Violated as error:
                raise SetupFailed("it never came up") from error
        finally:
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await run_until(work(), asyncio.Event())


async def test_a_bug_alone_is_raised_as_it_is() -> None:
    async def work() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await run_until(work(), asyncio.Event())
