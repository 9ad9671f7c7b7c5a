"""Leases: granted, kept alive, left to their end or revoked, each with a key.

Law: a tenant asks one thing after the other, and keeps a lease alive by hand, so that
it is known until when the lease was promised. What the end of the run finds of a key is
gone, as soon as there has been time for that.
"""

import asyncio
import secrets
from collections.abc import Coroutine
from random import Random
from typing import Any, Final

from ....client import KeyValue, LeaseInfo, LeaseNotFound
from ...histories import Question, Tenancy, check_tenancy
from ...histories.tenancies import Answer, What
from ..errors import Violated
from ..history import Input, Output
from ..served import Endpoint
from ..verdict import Violation
from .shared import (
    SECONDS_MAX,
    TOLERANCE,
    Beat,
    Ended,
    Shared,
    microseconds,
    never_written,
    object_to,
    text_of,
)

NAME: Final = "leases"
PREFIX: Final = "load/leases/"
CLIENTS: Final = 5
TTL_SECONDS: Final = (1.0, 2.5)
QUESTIONS_MAX: Final = 6
REVOKED_SHARE: Final = 0.25
LOOK_SECONDS: Final = 0.2
ENDED_SECONDS_MAX: Final = 60.0
FIRST_CLIENT: Final = 7000


class Leases:
    """The tenants, and everything that they were told."""

    def __init__(self, shared: Shared, rate: float) -> None:
        self.shared = shared
        self.rate = rate
        self.all: list[tuple[str, Tenancy]] = []

    def start(self, group: asyncio.TaskGroup) -> None:
        for number in range(CLIENTS):
            group.create_task(self._go_on(number))

    async def _go_on(self, number: int) -> None:
        dice = self.shared.dice(f"{NAME}:{number}")
        beat = Beat(self.shared, self.rate, CLIENTS, dice)
        client = FIRST_CLIENT + number
        while await beat.next():
            ttl_s = round(dice.uniform(*TTL_SECONDS), 3)
            one = Tenancy(secrets.randbits(62) + 1, microseconds(ttl_s))
            key = f"{self.shared.prefix}{PREFIX}{len(self.all)}"
            self.all.append((key, one))
            node = await self.shared.cluster.pick(dice)
            if await self._grant(node, client, one, ttl_s):
                await self._hang(node, client, key, one)
                await self._live(client, key, one, dice, beat)

    async def _live(
        self, client: int, key: str, one: Tenancy, dice: Random, beat: Beat
    ) -> None:
        """Keep it alive for a while, then let it go, and look until it is gone."""
        for _ in range(dice.randrange(QUESTIONS_MAX)):
            if not await beat.next():
                return
            node = await self.shared.cluster.pick(dice)
            if dice.random() < 0.5:
                await self._keep(node, client, one)
            else:
                await self.look(node, client, key, one)
        if dice.random() < REVOKED_SHARE:
            await self._revoke(await self.shared.cluster.pick(dice), client, one)
        while await self.shared.rest(LOOK_SECONDS):
            node = await self.shared.cluster.pick(dice)
            if await self.look(node, client, key, one) == "gone":
                await self._keep(node, client, one)
                return

    # -- what is asked -----------------------------------------------------------------

    async def _grant(
        self, node: Endpoint, client: int, one: Tenancy, ttl_s: float
    ) -> bool:
        lease = node.client(client).lease(ttl_s, lease=one.lease, timeout=SECONDS_MAX)

        async def grant() -> int:
            await lease.grant()
            # From here on it is kept alive by hand.
            await lease.abandon()
            return lease.id

        ended = await self.shared.do(
            *(NAME, "grant", f"{one.lease:016x}", node, client, Input(ttl_s=ttl_s)),
            grant(),
            lambda _: None,
            # One may be granted so slowly that it ends meanwhile. Its id is drawn for
            # this grant alone: there is none already.
            expected=(LeaseNotFound,),
        )
        self._note(one, "grant", ended, gone=())
        return ended.result is not None

    async def _hang(self, node: Endpoint, client: int, key: str, one: Tenancy) -> None:
        ended = await self.shared.do(
            *(NAME, "put", key, node, client, Input(f"{key}:1", lease=one.lease)),
            node.client(client).put(key, key, lease=one.lease, timeout=SECONDS_MAX),
            lambda revision: Output(revision=revision),
            expected=(LeaseNotFound,),
        )
        if ended.result is not None:
            one.hung = ended.end
            self.shared.wrote(ended.result, key)

    async def _keep(self, node: Endpoint, client: int, one: Tenancy) -> None:
        ended: Ended[LeaseInfo] = await self.shared.do(
            *(NAME, "keep-alive", f"{one.lease:016x}", node, client, Input()),
            node.client(client).keep_alive(one.lease, timeout=SECONDS_MAX),
            lambda _: None,
            expected=(LeaseNotFound,),
        )
        self._note(one, "keep-alive", ended, gone=(LeaseNotFound,))

    async def _revoke(self, node: Endpoint, client: int, one: Tenancy) -> None:
        ended = await self.shared.do(
            *(NAME, "revoke", f"{one.lease:016x}", node, client, Input()),
            _done(node.client(client).revoke(one.lease, timeout=SECONDS_MAX)),
            lambda _: None,
            expected=(LeaseNotFound,),
        )
        self._note(one, "revoke", ended, gone=(LeaseNotFound,), done="done")

    async def look(self, node: Endpoint, client: int, key: str, one: Tenancy) -> Answer:
        """Is its key there?"""
        ended = await self.shared.do(
            *(NAME, "get", key, node, client, Input()),
            _found(node.client(client).get(key, timeout=SECONDS_MAX)),
            lambda found: output_of(key, found),
            reads=True,
        )
        answer: Answer = "unknown"
        if ended.result is not None:
            value, revision = ended.result
            if revision and value != key.encode():
                raise never_written(key, revision, node.name)
            answer = "kept" if revision else "gone"
        one.questions.append(Question("read", ended.start, ended.end, answer))
        return answer

    def _note(
        self,
        one: Tenancy,
        what: What,
        ended: Ended[Any],
        gone: tuple[type[Exception], ...],
        done: Answer = "kept",
    ) -> None:
        answer: Answer = done if ended.error is None else "unknown"
        if isinstance(ended.error, gone):
            answer = "gone"
        one.questions.append(Question(what, ended.start, ended.end, answer))

    # -- the end -----------------------------------------------------------------------

    async def finish(self) -> None:
        """All of them end. Raises Violated when one does not."""
        left = list(self.all)
        deadline_s = self.shared.now() + ENDED_SECONDS_MAX
        node = self.shared.cluster.nodes[0]
        while left:
            left = [
                (key, one)
                for key, one in left
                if await self.look(node, FIRST_CLIENT, key, one) != "gone"
            ]
            if left and self.shared.now() > deadline_s:
                expected = f"gone within {ENDED_SECONDS_MAX:g} s of the last keep-alive"
                key, found = left[0][0], f"it and {len(left) - 1} others are there"
                raise Violated(Violation("lease without an end", key, expected, found))

    def check(self) -> str:
        """Judge it; what was looked at. Raises Violated."""
        for key, one in self.all:
            wanted = "a lease that is there as long as promised, and then gone for good"
            # A leader's clock that runs fast counts a lease's time sooner.
            tolerance = TOLERANCE + int(one.ttl * self.shared.drift)
            object_to(check_tenancy(one, tolerance), key, wanted)
        asked = sum(len(one.questions) for _, one in self.all)
        return f"{NAME}: {len(self.all)} of them, none over early, in {asked} answers"


def output_of(key: str, found: tuple[bytes, int]) -> Output:
    """As the history has it: nothing where there is no such key."""
    value, revision = found
    known = f"{key}:1" if value == key.encode() else text_of(value)
    return Output(value=known if revision else None, mod_revision=revision)


async def _found(
    getting: Coroutine[Any, Any, KeyValue | None],
) -> tuple[bytes, int]:
    """Its value and mod_revision; that is 0 when there is none."""
    entry = await getting
    return (b"", 0) if entry is None else (entry.value, entry.mod_revision)


async def _done(doing: Coroutine[Any, Any, None]) -> bool:
    await doing
    return True
