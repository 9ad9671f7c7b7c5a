"""How often a client asks again: some at once, others as time or success allows."""

import asyncio

import pytest
from quorate.client import budget
from quorate.client.budget import RetryBudget


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "REPEATS_MAX", 2)
    monkeypatch.setattr(budget, "REPEATS_A_SECOND", 50)


async def test_some_repeats_are_free_and_the_next_wait_for_time_to_pass() -> None:
    turns = RetryBudget()
    began = asyncio.get_running_loop().time()
    assert await turns.take(0.0)
    assert await turns.take(0.0)
    assert not await turns.take(0.0)
    assert not turns.waiters
    assert await turns.take(10.0)
    assert await turns.take(10.0)
    assert asyncio.get_running_loop().time() - began >= 0.035
    turns.close()


async def test_whoever_waited_longest_goes_when_something_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = RetryBudget()
    monkeypatch.setattr(budget, "REPEATS_A_SECOND", 1)
    assert await turns.take(0.0)
    assert await turns.take(0.0)
    went: list[int] = []

    async def repeat(number: int) -> None:
        assert await turns.take(10.0)
        went.append(number)

    async with asyncio.timeout(0.9):
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(repeat(number))
            await asyncio.sleep(0)
            assert turns.waiters
            for _ in range(3):
                turns.give()
    assert went == [0, 1, 2]
    turns.close()


async def test_a_turn_of_somebody_who_is_gone_is_given_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = RetryBudget()
    monkeypatch.setattr(budget, "REPEATS_A_SECOND", 1)
    assert await turns.take(0.0)
    assert await turns.take(0.0)
    first = asyncio.create_task(turns.take(10.0))
    second = asyncio.create_task(turns.take(10.0))
    await asyncio.sleep(0)
    turns.give()
    first.cancel()
    async with asyncio.timeout(0.9):
        assert await second
    with pytest.raises(asyncio.CancelledError):
        await first
    third = asyncio.create_task(turns.take(10.0))
    await asyncio.sleep(0)
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    assert not turns.waiters
    turns.close()


async def test_what_is_not_used_comes_back_up_to_the_most() -> None:
    turns = RetryBudget()
    assert await turns.take(0.0)
    assert await turns.take(0.0)
    await asyncio.sleep(0.2)
    assert await turns.take(0.0)
    assert await turns.take(0.0)
    assert not await turns.take(0.0)
    turns.close()


async def test_while_nobody_waits_no_timer_goes() -> None:
    turns = RetryBudget()
    assert await turns.take(0.0)
    assert await turns.take(0.0)
    assert turns._timer is None
    assert not await turns.take(0.0)
    assert turns._timer is None
    assert await turns.take(10.0)
    assert turns._timer is None
    waiting = asyncio.create_task(turns.take(10.0))
    await asyncio.sleep(0)
    assert turns._timer is not None
    turns.close()
    assert await waiting
    assert turns._timer is None


async def test_when_it_is_closed_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = RetryBudget()
    monkeypatch.setattr(budget, "REPEATS_A_SECOND", 1)
    assert await turns.take(0.0)
    assert await turns.take(0.0)
    waiting = asyncio.create_task(turns.take(10.0))
    await asyncio.sleep(0)
    turns.close()
    async with asyncio.timeout(0.9):
        assert await waiting
