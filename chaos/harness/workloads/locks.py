"""A lock that is fought for, and what its holders write by its token.

Law: now and then a holder does what one does who was paused: it keeps its lease alive
no longer, waits until another one has the lock, and goes on writing by its old token.
None of that may be done. All of its writes are of one key, and are judged as registers,
too.
"""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any, Final

from ....client import (
    AsyncClient,
    Fenced,
    Held,
    KeyValue,
    Lease,
    LeaseNotFound,
    Lock,
)
from ...histories import FencedWrite, Holding, Operation, check_fencing
from ..history import Input, Output, Recording
from .shared import (
    SECONDS_MAX,
    TOLERANCE,
    Beat,
    Shared,
    microseconds,
    never_written,
    object_to,
    text_of,
)

NAME: Final = "locks"
LOCK: Final = "load/lock"
GUARDED: Final = "load/guarded"
CLIENTS: Final = 4
TTL_SECONDS: Final = 1.5
WAIT_SECONDS: Final = 10.0
WRITES_MAX: Final = 6
# One holding in so many is paused.
PAUSED: Final = 3
# One in so many writes once more when it has given the lock up.
OVER: Final = 3
# A paused holder looks so often whether another one has the lock.
LOOK_SECONDS: Final = 0.1
PAUSE_SECONDS_MAX: Final = 4 * TTL_SECONDS
FIRST_CLIENT: Final = 6000


class Locks:
    """The lock, those who want it, and everything that they were told."""

    def __init__(self, shared: Shared, recording: Recording, rate: float) -> None:
        self.shared = shared
        self.recording = recording
        self.rate = rate
        self.lock = f"{shared.prefix}{LOCK}"
        self.guarded = f"{shared.prefix}{GUARDED}"
        self.holdings: list[Holding] = []
        self.writes: dict[str, FencedWrite] = {}
        self.paused = self.outlived = 0

    def start(self, group: asyncio.TaskGroup) -> None:
        for number in range(CLIENTS):
            group.create_task(self._go_on(number))

    async def _go_on(self, number: int) -> None:
        dice = self.shared.dice(f"{NAME}:{number}")
        beat = Beat(self.shared, self.rate, 1, dice)
        client = self.shared.roaming(number)
        while await beat.next():
            lock = client.lock(
                self.lock, ttl=TTL_SECONDS, wait=WAIT_SECONDS, timeout=SECONDS_MAX
            )
            ended = await self.shared.do(
                *(NAME, "lock", self.lock, None, FIRST_CLIENT + number, Input()),
                lock.acquire(),
                lambda held: Output(revision=held.revision),
                expected=(Held, LeaseNotFound),
            )
            if ended.result is not None:
                one = Holding(number, lock.revision, ended.start, ended.end)
                self.holdings.append(one)
                await self._hold(client, one, lock, beat, dice)

    async def _hold(
        self, client: AsyncClient, one: Holding, lock: Lock, beat: Beat, dice: Random
    ) -> None:
        """Write by its token for a while, perhaps for too long, and give it up."""
        number, token, revision = one.client, lock.token, lock.revision
        for _ in range(dice.randint(1, WRITES_MAX)):
            if await beat.next():
                await self._write(client, number, token, revision)
            self._is_promised(one, lock.lease)
        await self._read(client, number)
        self._is_promised(one, lock.lease)
        if dice.randrange(PAUSED) == 0:
            await lock.lease.abandon()
            self._is_promised(one, lock.lease)
            await self._pause(revision)
            await self._write(client, number, token, revision)
            await self._write(client, number, token, revision)
        # From here on it may be anybody's.
        one.until = min(one.until, microseconds(self.shared.now()))
        ended = await self.shared.do(
            *(NAME, "unlock", self.lock, None, FIRST_CLIENT + number, Input()),
            lock.release(),
            lambda _: None,
        )
        if ended.error is None:
            one.released = ended.end
        if dice.randrange(OVER) == 0:
            await self._write(client, number, token, revision)

    def _is_promised(self, one: Holding, lease: Lease) -> None:
        """Note until when it is, by what its holder's client knows now."""
        until = microseconds(self.shared.now() + lease.left)
        if not lease.over:
            one.until = max(one.until, until)

    async def _pause(self, revision: int) -> None:
        """Until another one holds the lock, or nobody seems to want it."""
        self.paused += 1
        until_s = self.shared.now() + PAUSE_SECONDS_MAX
        while self.shared.now() < until_s and await self.shared.rest(LOOK_SECONDS):
            if any(one.token > revision for one in self.holdings):
                self.outlived += 1
                return

    async def _write(
        self, client: AsyncClient, number: int, token: str, revision: int
    ) -> None:
        name = f"{self.guarded}:{len(self.writes) + 1}"
        user = FIRST_CLIENT + number
        operation = self.recording.begin(
            Operation(user, "put", self.guarded.encode(), 0), self.shared.now()
        )
        operation.value = name.encode()
        one = FencedWrite(number, revision, microseconds(self.shared.now()))
        self.writes[name] = one
        ended = await self.shared.do(
            *(NAME, "fenced-put", self.guarded, None, user),
            Input(name, fence=revision),
            client.put(self.guarded, name, fence=token, timeout=SECONDS_MAX),
            lambda made: Output(revision=made),
            expected=(Fenced,),
        )
        if ended.outcome != "unknown":
            operation.outcome, operation.end = ended.outcome, ended.end
            operation.revision = ended.result or 0
            # One that was refused may have been read: then it is of a revision.
            one.revision = ended.result or one.revision
            one.outcome, one.end = ended.outcome, ended.end
            one.fenced = isinstance(ended.error, Fenced)

    async def _read(self, client: AsyncClient, number: int) -> None:
        user = FIRST_CLIENT + number
        operation = self.recording.begin(
            Operation(user, "get", self.guarded.encode(), 0), self.shared.now()
        )
        ended = await self.shared.do(
            *(NAME, "get", self.guarded, None, user, Input()),
            _found(client.get(self.guarded, timeout=SECONDS_MAX)),
            lambda found: Output(value=found[0] or None, mod_revision=found[1]),
            reads=True,
        )
        if ended.result is None:
            return
        name, revision = ended.result
        if revision and name not in self.writes:
            raise never_written(self.guarded, revision, "")
        operation.outcome, operation.end = "ok", ended.end
        operation.value = name.encode() if name else None
        operation.mod_revision = revision
        if revision:
            self.writes[name].revision = revision

    async def finish(self) -> None:
        """What was written last."""
        await self._read(self.shared.roaming(0), 0)

    def check(self) -> str:
        """Judge it; what was looked at. Raises Violated."""
        wanted = "one holder at a time, and no write by the token of another one"
        writes = list(self.writes.values())
        # A leader's clock that runs fast counts a lease's time sooner.
        tolerance = TOLERANCE + int(microseconds(TTL_SECONDS) * self.shared.drift)
        object_to(check_fencing(self.holdings, writes, tolerance), self.guarded, wanted)
        if not any(one.outcome == "ok" for one in writes):
            # Where all are refused, none is done by a lock that was lost either.
            self.shared.tally(NAME).unjudged = "no write by a token was done"
        return (
            f"{NAME}: {len(self.writes)} writes in {len(self.holdings)} holdings, in"
            f" the order of their tokens; {self.paused} holders were paused,"
            f" {self.outlived} of them until another one held the lock"
        )


async def _found(getting: Coroutine[Any, Any, KeyValue | None]) -> tuple[str, int]:
    entry = await getting
    return ("", 0) if entry is None else (text_of(entry.value), entry.mod_revision)
