"""A loop whose clock jumps: whoever sleeps is woken at once, and no time has passed.

For what does no I/O: nothing here would wait for a socket.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from quorate.client import leases

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, it lets the time go by."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits, and for nothing"
        self.now += max(0.0, timeout)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop on such a selector."""

    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now

    def stand_still(self, seconds: float) -> None:
        """Nothing runs for a while, as when the machine was suspended."""
        self.selector.now += seconds


def run(
    patch: pytest.MonkeyPatch,
    main: Callable[[JumpingLoop], Coroutine[Any, Any, T]],
) -> T:
    """Run it on a loop of its own, by whose clock leases live, too."""
    loop = JumpingLoop()
    patch.setattr(leases, "now", loop.time)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop))
