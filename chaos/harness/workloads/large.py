"""Large values: written whole, and read whole or not at all.

Law: a value's bytes follow from its name, so that nothing of it has to be kept. The
operations go to the run's recording under that name.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from ....client import KeyValue
from ...histories import Operation
from ..history import UNREADABLE, Input, Output, Recording
from ..served import Endpoint
from .shared import (
    LAST_SECONDS_MAX,
    SECONDS_MAX,
    Beat,
    Shared,
    judged_with_the_others,
    must,
    never_written,
)

NAME: Final = "large-values"
# Not below load/: whoever watches that one would get them all.
PREFIX: Final = "large/"
KEYS: Final = 3
CLIENTS: Final = 2
SIZES: Final = (1 << 10, 1 << 14, 1 << 18, 1 << 20)
READS: Final = 3
FIRST_CLIENT: Final = 5000
_FILLER: Final = bytes(range(256))


class LargeValues:
    """The keys, and those who write and read them."""

    def __init__(self, shared: Shared, recording: Recording, rate: float) -> None:
        self.shared = shared
        self.recording = recording
        self.rate = rate
        prefix = f"{shared.prefix}{PREFIX}"
        self.keys = [f"{prefix}{number}" for number in range(KEYS)]
        self._made = 0

    def start(self, group: asyncio.TaskGroup) -> None:
        for number in range(CLIENTS):
            group.create_task(self._go_on(number))

    async def _go_on(self, number: int) -> None:
        dice = self.shared.dice(f"{NAME}:{number}")
        beat = Beat(self.shared, self.rate, CLIENTS, dice)
        client = FIRST_CLIENT + number
        while await beat.next():
            node = await self.shared.cluster.pick(dice)
            key = dice.choice(self.keys)
            if dice.randrange(READS) == 0:
                await self.read(node, client, key)
            else:
                await self._put(node, client, key, dice.choice(SIZES))

    async def _put(self, node: Endpoint, client: int, key: str, size: int) -> None:
        self._made += 1
        name = f"{key}:{self._made}:{size}"
        operation = self.recording.begin(
            Operation(client, "put", key.encode(), 0), self.shared.now()
        )
        operation.value = name.encode()
        ended = await self.shared.do(
            *(NAME, "put", key, node, client, Input(name)),
            node.client(client).put(key, large_value(name, size), timeout=SECONDS_MAX),
            lambda revision: Output(revision=revision),
        )
        if ended.outcome != "unknown":
            operation.outcome, operation.end = ended.outcome, ended.end
            operation.revision = ended.result or 0

    async def read(
        self, node: Endpoint, client: int, key: str, *, last: bool = False
    ) -> None:
        """One read, whose bytes have to be those of the value it says that it is."""
        operation = self.recording.begin(
            Operation(client, "get", key.encode(), 0), self.shared.now()
        )
        seconds = LAST_SECONDS_MAX if last else SECONDS_MAX
        ended = await self.shared.do(
            *(NAME, "get", key, node, client, Input()),
            _named(node.client(client).get(key, timeout=seconds)),
            lambda found: Output(value=found[0], mod_revision=found[1]),
            reads=True,
        )
        if last:
            must(ended, f"a read of {key}", node.name)
        if ended.result is None:
            return
        name, revision = ended.result
        if name == UNREADABLE:
            raise never_written(key, revision, node.name)
        operation.outcome, operation.end = "ok", ended.end
        operation.value = None if name is None else name.encode()
        operation.mod_revision = revision

    async def finish(self) -> None:
        """Each of them once more through each node."""
        for node in self.shared.cluster.nodes:
            for key in self.keys:
                await self.read(node, FIRST_CLIENT, key, last=True)

    def check(self) -> str:
        """The run's recording is judged as a whole."""
        prefix = f"{self.shared.prefix}{PREFIX}"
        judged = judged_with_the_others(self.shared, NAME, self.recording, prefix)
        return f"{NAME}: {self._made} values of up to {SIZES[-1]} bytes, {judged}"


def large_value(name: str, size: int) -> bytes:
    """The name, and then so much that it has `size` bytes."""
    head = f"{name}\n".encode()
    turn = len(name) + size % 251
    filler = (_FILLER[turn % 256 :] + _FILLER * (size // 256 + 1))[: size - len(head)]
    return head + filler


async def _named(
    getting: Coroutine[Any, Any, KeyValue | None],
) -> tuple[str | None, int]:
    """The name of what was found, and its revision."""
    entry = await getting
    if entry is None:
        return None, 0
    head = entry.value.partition(b"\n")[0].decode(errors="replace")
    size = head.rpartition(":")[2]
    # First the size: one that is damaged, too, may be any number, or none.
    length = len(entry.value)
    whole = size == str(length) and entry.value == large_value(head, length)
    return (head if whole else UNREADABLE), entry.mod_revision
