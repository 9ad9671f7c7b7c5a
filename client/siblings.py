"""Where the other nodes are, asked again now and then while a client is in use.

Law: hints. A node tells of the others when somebody connects; whoever stays connected
for long would not hear of those that came later, and be alone when the one goes.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Final

from ..wire import Members
from .errors import QuorateError

REFRESH_SECONDS: Final = 30.0


class Siblings:
    """Asks by `ask`, and hands client addresses to `learn`."""

    def __init__(
        self,
        ask: Callable[[], Coroutine[object, object, Members]],
        learn: Callable[[Iterable[str]], None],
    ) -> None:
        self._ask: Callable[[], Coroutine[object, object, Members]] = ask
        self._learn: Callable[[Iterable[str]], None] = learn
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._closed: bool = False

    def heard(self, endpoints: Iterable[str]) -> None:
        """A node that was connected to has told of these."""
        self._learn(endpoints)
        if self._timer is None and not self._closed:
            self._arm()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(REFRESH_SECONDS, self._refresh)

    def _refresh(self) -> None:
        self._asking = asyncio.ensure_future(self._learn_again())

    async def _learn_again(self) -> None:
        try:
            members = await self._ask()
        except QuorateError:
            # An older node, or none that is there: what is known stays known.
            return
        finally:
            if not self._closed:
                self._arm()
        self._learn([each.client for each in members.members if each.client])

    def stop(self) -> None:
        """Ask no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    async def ended(self) -> None:
        """Wait for the end of what was being asked when it was stopped."""
        if self._asking is not None:
            await asyncio.gather(self._asking, return_exceptions=True)
