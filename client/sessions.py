"""Writes, each with a number of its own in a session: sent again, they happen once.

Law: a number belongs to one command, is never used twice, and is called finished only
when its call has ended: then the cluster forgets it, and a copy of it that is still on
its way does nothing. A session that the cluster has let go of costs a call that was
never sent before another one, and makes one that may have happened Unknown.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from ..wire import (
    SESSION_ID_BYTES,
    SESSION_WINDOW,
    CloseSession,
    OpenSession,
    Place,
    RequestKind,
    decode_session_opened,
    decode_write_reply,
    encode_in_session,
    encode_session_command,
)
from .calls import Calls
from .errors import QuorateError, SessionNotFound, Unavailable, Unknown

T = TypeVar("T")

# How long the end of a client may wait until its sessions are closed.
_CLOSE_SECONDS: Final = 0.5


class _Session:
    """An open session: which of its numbers are in use."""

    def __init__(self, number: bytes, since: int) -> None:
        self.number: bytes = number
        self.since: int = since
        self._next: int = 1
        self._lowest: int = 1
        self._finished: set[int] = set()

    @property
    def has_room(self) -> bool:
        return self._next - self._lowest < SESSION_WINDOW

    def begin(self) -> Place:
        """The next number."""
        place = Place(self.number, self.since, self._next, self._lowest)
        self._next += 1
        return place

    def finish(self, place: Place) -> None:
        """Its call has ended, however it did."""
        self._finished.add(place.sequence)
        while self._lowest in self._finished:
            self._finished.remove(self._lowest)
            self._lowest += 1


class Writes:
    """All writes of one client; without `sessions` each is sent as it is, once."""

    def __init__(self, calls: Calls, *, sessions: bool) -> None:
        self.calls: Calls = calls
        self._wanted: bool = sessions
        self._sessions: list[_Session] = []
        self._opening: asyncio.Task[_Session] | None = None

    async def write(
        self, command: bytes, timeout: float, decode: Callable[[bytes], T]
    ) -> T:
        """The decoded reply to `command`, within `timeout` seconds."""
        calls = self.calls
        if not self._wanted:
            return await calls.call(RequestKind.WRITE, command, timeout, decode)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            session = self._with_room()
            if session is None:
                session = await self._open(deadline)
                timeout = deadline - loop.time()
            place = session.begin()
            try:
                return await calls.call(
                    RequestKind.WRITE,
                    encode_in_session(place, command),
                    timeout,
                    decode,
                    once=True,
                )
            except SessionNotFound:
                # It was idle for long, or is of before a disaster: nothing was done.
                self._forget(session)
                timeout = deadline - loop.time()
            finally:
                session.finish(place)

    async def close(self) -> None:
        """Tell the cluster that the sessions are over; they end by themselves, too."""
        self._wanted = False
        sessions, self._sessions = self._sessions, []
        if self.calls.connected:
            await asyncio.gather(*[self._end(session) for session in sessions])

    # -- sessions ----------------------------------------------------------------------

    def _with_room(self) -> _Session | None:
        for session in self._sessions:
            if session.has_room:
                return session
        return None

    def _forget(self, session: _Session) -> None:
        if session in self._sessions:
            self._sessions.remove(session)

    async def _open(self, deadline: float) -> _Session:
        """A new session with room: all who need one wait for the same."""
        loop = asyncio.get_running_loop()
        while True:
            opening, ours = self._opening, False
            # One that has just failed is of no use, though nobody was told so far; and
            # to wait for it would not wait, so that nobody ever would be.
            if opening is None or opening.done():
                opening = loop.create_task(self._ask(deadline - loop.time()))
                opening.add_done_callback(self._opened)
                self._opening, ours = opening, True
            try:
                async with asyncio.timeout(deadline - loop.time()):
                    session = await asyncio.shield(opening)
            except TimeoutError:
                raise Unavailable("no session was opened before the deadline") from None
            except QuorateError:
                if ours:
                    raise
                # Another call's deadline, perhaps: ours may be later.
                continue
            if session.has_room:
                return session

    async def _ask(self, timeout: float) -> _Session:
        number = secrets.token_bytes(SESSION_ID_BYTES)
        command = encode_session_command(OpenSession(number))
        try:
            opened = await self.calls.call(
                RequestKind.WRITE, command, timeout, decode_session_opened, once=True
            )
        except Unknown as unknown:
            raise Unavailable(f"no session was opened: {unknown.reason}") from unknown
        session = _Session(number, opened.since)
        self._sessions.append(session)
        return session

    def _opened(self, task: asyncio.Task[_Session]) -> None:
        if self._opening is task:
            self._opening = None
        if not task.cancelled():
            # Whoever waited for it may have gone, and nobody looks at this any more.
            task.exception()

    async def _end(self, session: _Session) -> None:
        command = encode_session_command(CloseSession(session.number, session.since))
        with suppress(QuorateError):
            await self.calls.call(
                RequestKind.WRITE, command, _CLOSE_SECONDS, decode_write_reply
            )
