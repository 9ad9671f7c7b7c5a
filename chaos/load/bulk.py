"""Something done once to each of many keys: loading before a run, cleaning after it.

Law: nothing here is measured, and nothing is left out: a key whose turn failed or is
unknown is tried again, a bounded number of times, since doing it twice does no harm.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from ...client import QuorateError, Unknown
from .clock import Clock
from .errors import PhaseFailed
from .report import code_of

IN_FLIGHT: Final = 64
TRIES_MAX: Final = 8
BACKOFF_SECONDS_MIN: Final = 0.05


async def for_each(
    numbers: Iterable[int], act: Callable[[int], Awaitable[object]], clock: Clock
) -> None:
    """Do it to all of them, some at a time; raises PhaseFailed for one that can't."""
    # All workers draw from one iterator, so that none has less to do than another.
    waiting = iter(numbers)

    async def work() -> None:
        for number in waiting:
            await _surely(act, number, clock)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(work())
    except* PhaseFailed as failed:
        first = failed.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        failure = first
    else:
        return
    raise failure


async def _surely(
    act: Callable[[int], Awaitable[object]], number: int, clock: Clock
) -> None:
    pause_s = BACKOFF_SECONDS_MIN
    for last in [False] * (TRIES_MAX - 1) + [True]:
        try:
            await act(number)
        except QuorateError as error:
            again = error.retryable or isinstance(error, Unknown)
            if last or not again:
                raise PhaseFailed(code_of(error), error.reason) from error
        else:
            return
        await clock.sleep_until(clock.now() + pause_s)
        pause_s *= 2
