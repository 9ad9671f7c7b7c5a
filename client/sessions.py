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
from copy import copy
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
    def room(self) -> int:
        """So many numbers may be begun now."""
        return SESSION_WINDOW - (self._next - self._lowest)

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
        # Who waits for room in a session, the oldest first; a dict, since many may give
        # up at once, from its middle.
        self._waiting: dict[asyncio.Future[None], None] = {}
        # Who was told to look again, and has not yet.
        self._told: set[asyncio.Future[None]] = set()

    async def write(
        self, command: bytes, timeout: float, decode: Callable[[bytes], T]
    ) -> T:
        """The decoded reply to `command`, within `timeout` seconds."""
        calls = self.calls
        if not self._wanted:
            return await calls.call(RequestKind.WRITE, command, timeout, decode)
        loop = asyncio.get_running_loop()
        calls.belong_to(loop)
        deadline = loop.time() + timeout
        while True:
            session = self._with_room()
            if session is not None:
                place = session.begin()
            else:
                session, place = await self._room(deadline)
                timeout = deadline - loop.time()
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
                self._wake()

    async def close(self) -> None:
        """Tell the cluster that the sessions are over; they end by themselves, too."""
        self._wanted = False
        sessions, self._sessions = self._sessions, []
        if self.calls.connected:
            await asyncio.gather(*[self._end(session) for session in sessions])

    # -- sessions ----------------------------------------------------------------------

    def _with_room(self) -> _Session | None:
        for session in self._sessions:
            if session.room:
                return session
        return None

    def _forget(self, session: _Session) -> None:
        if session in self._sessions:
            self._sessions.remove(session)

    async def _room(self, deadline: float) -> tuple[_Session, Place]:
        """A number, once some session has room; another one is opened where none has.

        Who finds none is not told of it: thousands would only wait again, each time.
        """
        loop = asyncio.get_running_loop()
        session = None
        while session is None:
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting[turn] = None
            if self._opening is None:
                self._open(turn, deadline)
            try:
                async with asyncio.timeout_at(deadline):
                    await turn
            except BaseException as error:
                self._waiting.pop(turn, None)
                self._told.discard(turn)
                # What he was told, and has no use for, is the next one's.
                self._wake()
                if isinstance(error, TimeoutError):
                    reason = "no session was opened before the deadline"
                    raise Unavailable(reason) from None
                raise
            self._told.discard(turn)
            session = self._with_room()
        place = session.begin()
        self._wake()
        return session, place

    def _wake(self) -> None:
        """As many as have room now look again, the oldest first; or one opens more."""
        if not self._waiting:
            return
        room = sum(session.room for session in self._sessions)
        useful = room or int(self._opening is None)
        while self._waiting and len(self._told) < useful:
            turn = next(iter(self._waiting))
            del self._waiting[turn]
            if not turn.done():
                self._told.add(turn)
                turn.set_result(None)

    def _open(self, turn: "asyncio.Future[None]", deadline: float) -> None:
        """Open a session for all who wait; why there is none, this one is told.

        The others have another deadline, perhaps a later one, and open their own; but
        where that is of no use, they are told as well.
        """
        loop = asyncio.get_running_loop()

        def opened(task: asyncio.Task[_Session]) -> None:
            self._opening = None
            error = None if task.cancelled() else task.exception()
            if error is not None:
                final = isinstance(error, QuorateError) and not error.retryable
                for each in (turn, *(self._waiting if final else ())):
                    if not each.done():
                        each.set_exception(copy(error))
            self._wake()

        self._opening = loop.create_task(self._ask(deadline - loop.time()))
        self._opening.add_done_callback(opened)

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

    async def _end(self, session: _Session) -> None:
        command = encode_session_command(CloseSession(session.number, session.since))
        with suppress(QuorateError):
            await self.calls.call(
                RequestKind.WRITE, command, _CLOSE_SECONDS, decode_write_reply
            )
