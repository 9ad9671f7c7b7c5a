"""One key that everybody wants: compare-and-set by all clients at once, and reads.

Law: each write is conditional on what its client saw last, so that of all who try at
once one gets through. The operations go to the run's recording, and are judged like
those of registers: by replay and by linearizability.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeAlias

from ....client import KeyValue, PreconditionFailed
from ...histories import Operation
from ..history import Input, Output, Recording
from ..served import Endpoint
from .shared import (
    LAST_SECONDS_MAX,
    SECONDS_MAX,
    Beat,
    Shared,
    judged_with_the_others,
    must,
    text_of,
)

NAME: Final = "hot-key"
PREFIX: Final = "load/hot/"
# Where more are at it at once, an order of them is hard to find without revisions.
CLIENTS: Final = 6
# A key of so many writes is left for another one: the search is by key.
WRITES_MAX: Final = 400
FIRST_CLIENT: Final = 3000

# The key's mod revision and value: 0 and None where there is no such key.
Found: TypeAlias = tuple[int, bytes | None]
_ABSENT: Final[Found] = (0, None)


class HotKey:
    """The key, and those who fight for it."""

    def __init__(self, shared: Shared, recording: Recording, rate: float) -> None:
        self.shared = shared
        self.recording = recording
        self.rate = rate
        self.prefix = f"{shared.prefix}{PREFIX}"
        self.keys = [f"{self.prefix}0"]
        self._made = 0

    def start(self, group: asyncio.TaskGroup) -> None:
        for number in range(CLIENTS):
            group.create_task(self._go_on(number))

    async def _go_on(self, number: int) -> None:
        dice = self.shared.dice(f"{NAME}:{number}")
        beat = Beat(self.shared, self.rate, CLIENTS, dice)
        client = FIRST_CLIENT + number
        key, known = "", _ABSENT
        while await beat.next():
            node = await self.shared.cluster.pick(dice)
            if key != self.keys[-1]:
                key, known = self.keys[-1], _ABSENT
            found = await self._cas(node, client, key, *known)
            if found is None:
                found = await self.read(node, client, key)
            known = found or known

    async def _cas(
        self, node: Endpoint, client: int, key: str, at: int, value: bytes | None
    ) -> Found | None:
        """One write on top of what is known; what is there now, if it got through."""
        self._made += 1
        if self._made % WRITES_MAX == 0:
            self.keys.append(f"{self.prefix}{len(self.keys)}")
        name = f"{key}:{self._made}"
        operation = self.recording.begin(
            Operation(client, "cas", key.encode(), 0), self.shared.now()
        )
        operation.value = name.encode()
        operation.expected, operation.expected_value = at, value
        ended = await self.shared.do(
            *(NAME, "cas", key, node, client, Input(name, at)),
            node.client(client).put(key, name, if_revision=at, timeout=SECONDS_MAX),
            lambda revision: Output(revision=revision),
            expected=(PreconditionFailed,),
        )
        if ended.outcome != "unknown":
            operation.outcome, operation.end = ended.outcome, ended.end
        if isinstance(ended.error, PreconditionFailed):
            operation.mod_revision = ended.error.revision
        if ended.result is None:
            return None
        operation.revision = ended.result
        self.shared.wrote(ended.result, key)
        return ended.result, name.encode()

    async def read(
        self, node: Endpoint, client: int, key: str, *, last: bool = False
    ) -> Found | None:
        """What is there; None when there was no answer."""
        operation = self.recording.begin(
            Operation(client, "get", key.encode(), 0), self.shared.now()
        )
        seconds = LAST_SECONDS_MAX if last else SECONDS_MAX
        ended = await self.shared.do(
            *(NAME, "get", key, node, client, Input()),
            _found(node.client(client).get(key, timeout=seconds)),
            lambda found: Output(
                value=None if found[1] is None else text_of(found[1]),
                mod_revision=found[0],
            ),
            reads=True,
        )
        if last:
            must(ended, f"a read of {key}", node.name)
        if ended.result is None:
            return ended.result
        operation.outcome, operation.end = "ok", ended.end
        operation.mod_revision, operation.value = ended.result
        return ended.result

    async def finish(self) -> None:
        """Every such key once more through each node."""
        for node in self.shared.cluster.nodes:
            for key in self.keys:
                await self.read(node, FIRST_CLIENT, key, last=True)

    def check(self) -> str:
        """The run's recording is judged as a whole."""
        judged = judged_with_the_others(self.shared, NAME, self.recording, self.prefix)
        return f"{NAME}: {self._made} writes of {len(self.keys)} keys, {judged}"


async def _found(getting: Coroutine[Any, Any, KeyValue | None]) -> Found:
    entry = await getting
    return _ABSENT if entry is None else (entry.mod_revision, entry.value)
