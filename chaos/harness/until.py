"""A run until its time is over, until it is stopped, or until something is found.

Law: what is about the nodes or about this machine is returned; a bug of the harness is
raised as it is, but after a violation: what was found first counts, whatever else went
wrong when all was put away.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar, cast

from .errors import HarnessError, Violated
from .verdict import Violation

T = TypeVar("T")


async def run_until(
    work: Coroutine[None, None, None], stop: asyncio.Event
) -> tuple[list[Violation], list[str]]:
    """The violations of a run, and why it is void if it is; all else is raised."""
    running = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        running.cancel()
        await asyncio.wait({running})
    error = _failure(running)
    if isinstance(error, asyncio.CancelledError):
        return _found_before(error), ["it was interrupted"]
    if error is None:
        return [], []
    found = leaves(error)
    violations = _violations(found)
    if not all(isinstance(leaf, HarnessError) for leaf in found):
        violations = violations or _found_before(error)
        if not violations:
            raise error
    failed = [
        str(leaf) if isinstance(leaf, HarnessError) else repr(leaf)
        for leaf in found
        if not isinstance(leaf, Violated)
    ]
    return violations, list(dict.fromkeys(failed))


def _failure(done: "asyncio.Future[None]") -> BaseException | None:
    """Why it ended; as it was raised also where it was cancelled."""
    try:
        done.result()
    except BaseException as error:  # noqa: BLE001
        return error
    return None


def _violations(found: Sequence[BaseException]) -> list[Violation]:
    return [leaf.violation for leaf in found if isinstance(leaf, Violated)]


def _found_before(error: BaseException) -> list[Violation]:
    """What had been found when something else came, while things were put away."""
    before = error.__context__
    while before is not None:
        found = leaves(before)
        # Where a cluster never came up, what it broke first is no violation.
        if any(isinstance(leaf, HarnessError) for leaf in found):
            return _violations(found)
        before = before.__context__
    return []


async def undisturbed(work: Coroutine[None, None, T]) -> T:
    """What comes of it; whoever is interrupted meanwhile is so when it is over."""
    doing = asyncio.ensure_future(work)
    interrupted = False
    while not doing.done():
        try:
            await asyncio.wait({doing})
        except asyncio.CancelledError:
            interrupted = True
    result = doing.result()
    if interrupted:
        raise asyncio.CancelledError
    return result


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions in a tree of groups, in order."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for inner in group.exceptions for leaf in leaves(inner)]


class Span:
    """How long a run may last, from now on; None: it has no end of its own."""

    def __init__(self, seconds: float | None, now: Callable[[], float]) -> None:
        self._now = now
        self._until_s = None if seconds is None else now() + seconds

    @property
    def is_over(self) -> bool:
        return self._until_s is not None and self._now() >= self._until_s

    async def rest(self, seconds: float) -> None:
        """Let the load run without faults, but not beyond the run's time."""
        if self._until_s is not None:
            seconds = min(seconds, max(self._until_s - self._now(), 0.0))
        await asyncio.sleep(seconds)
