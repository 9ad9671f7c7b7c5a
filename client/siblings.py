"""Where the other nodes are and who leads, asked now and then while a client is in use.

Law: hints. A node tells of the others when somebody connects; whoever stays connected
for long would not hear of those that came later, and be alone when the one goes.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Final

from ..wire import Members
from .errors import QuorateError

# A client that asks for one thing and goes does not ask who leads.
FIRST_SECONDS: Final = 0.1
REFRESH_SECONDS: Final = 30.0
# Sooner when it would help, and then less and less often while it does not.
SOON_SECONDS_MIN: Final = 0.25


class Siblings:
    """Asks by `ask`; hands addresses to `learn`, and all else to `told`.

    `told` says whether that was enough: else it is asked again soon.
    """

    def __init__(
        self,
        ask: Callable[[], Coroutine[object, object, Members]],
        learn: Callable[[Iterable[str]], None],
        told: Callable[[Members], bool],
    ) -> None:
        self._ask: Callable[[], Coroutine[object, object, Members]] = ask
        self._learn: Callable[[Iterable[str]], None] = learn
        self._told: Callable[[Members], bool] = told
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        # When it is next asked too late to help, it is asked after this.
        self._pause: float = SOON_SECONDS_MIN
        self._closed: bool = False

    def heard(self, endpoints: Iterable[str]) -> None:
        """A node that was connected to has told of these."""
        self._learn(endpoints)
        if self._timer is None:
            self._arm(FIRST_SECONDS)

    def soon(self) -> None:
        """What was told last is not so any more, or may not be."""
        timer = self._timer
        if timer is None or self._busy():
            return
        if timer.when() > asyncio.get_running_loop().time() + self._pause:
            timer.cancel()
            self._arm(self._pause)

    def _busy(self) -> bool:
        return self._asking is not None and not self._asking.done()

    def _arm(self, seconds: float) -> None:
        if not self._closed:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self._refresh)

    def _refresh(self) -> None:
        self._asking = asyncio.ensure_future(self._ask_again())

    async def _ask_again(self) -> None:
        seconds = REFRESH_SECONDS
        try:
            members = await self._ask()
            if self._closed:
                return
            if self._told(members):
                self._pause = SOON_SECONDS_MIN
            else:
                seconds = self._pause
                self._pause = min(2 * self._pause, REFRESH_SECONDS)
        except QuorateError:
            # An older node, or none that is there: what is known stays known.
            return
        finally:
            self._arm(seconds)

    def stop(self) -> None:
        """Ask no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    async def ended(self) -> None:
        """Wait for the end of what was being asked when it was stopped."""
        if self._asking is not None:
            await asyncio.gather(self._asking, return_exceptions=True)
