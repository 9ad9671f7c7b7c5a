"""Lists that everybody appends to, one or two at once, and reads.

Law: an element is sent once, whatever becomes of it. Each append is conditional on the
lists that it was told last, so that it is known where the element stands. The verdict
looks at elements and times alone.
"""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

import msgspec

from ....client import Committed, KeyValue, Txn
from ...histories import Append, check_appends
from ..history import Input, Output
from ..served import Endpoint
from .shared import (
    LAST_SECONDS_MAX,
    SECONDS_MAX,
    Beat,
    Shared,
    must,
    object_to,
)

NAME: Final = "lists"
PREFIX: Final = "load/lists/"
LISTS: Final = 3
CLIENTS: Final = 6
# A list that is so long is left for another one.
ELEMENTS_MAX: Final = 64
READS: Final = 4
FIRST_CLIENT: Final = 2000


class Known(msgspec.Struct, frozen=True):
    """A list as somebody saw it, and the revision that it is conditional on."""

    elements: tuple[bytes, ...] = ()
    revision: int = 0


class Lists:
    """The lists, those who append, and everything that they were told."""

    def __init__(self, shared: Shared, rate: float) -> None:
        self.shared = shared
        self.rate = rate
        self.prefix = f"{shared.prefix}{PREFIX}"
        self.all: list[Append] = []
        self.used: list[str] = []
        self._open = [self._fresh() for _ in range(LISTS)]
        self._made = 0

    def start(self, group: asyncio.TaskGroup) -> None:
        for number in range(CLIENTS):
            group.create_task(self._go_on(number))

    def _fresh(self) -> str:
        self.used.append(f"{self.prefix}{len(self.used)}")
        return self.used[-1]

    async def _go_on(self, number: int) -> None:
        dice = self.shared.dice(f"{NAME}:{number}")
        beat = Beat(self.shared, self.rate, CLIENTS, dice)
        known: dict[str, Known] = {}
        while await beat.next():
            node = await self.shared.cluster.pick(dice)
            keys = dice.sample(self._open, dice.randint(1, 2))
            client = FIRST_CLIENT + number
            if dice.randrange(READS) == 0:
                known |= await self.read(node, client, keys) or {}
            else:
                await self._append(node, client, keys, known, dice)
            for key in keys:
                if len(known.get(key, Known()).elements) >= ELEMENTS_MAX:
                    self._leave(key)

    def _leave(self, key: str) -> None:
        if key in self._open:
            self._open[self._open.index(key)] = self._fresh()

    async def _append(
        self,
        node: Endpoint,
        client: int,
        keys: Sequence[str],
        known: dict[str, Known],
        dice: Random,
    ) -> None:
        """To the first of `keys`, and now and then to all; the others are read."""
        base = {key: known.get(key, Known()) for key in keys}
        added: dict[str, bytes] = {}
        for key in keys[: dice.randint(1, len(keys))]:
            self._made += 1
            added[key] = str(self._made).encode()
        values = {key: (*base[key].elements, added[key]) for key in added}
        ended = await self.shared.do(
            *(NAME, "append", keys[0], node, client),
            Input(
                expected={key: one.revision for key, one in base.items()},
                writes={key: element.decode() for key, element in added.items()},
            ),
            node.client(client).commit(_txn(base, values), timeout=SECONDS_MAX),
            lambda done: Output(revision=done.revision, lengths=_lengths(keys, done)),
            refused=lambda done: not done.succeeded,
        )
        one = Append(client, ended.start, {k.encode(): e for k, e in added.items()})
        if ended.outcome != "unknown":
            one.end, one.outcome = ended.end, ended.outcome
        self.all.append(one)
        done = ended.result
        if done is None:
            for key in keys:
                known.pop(key, None)
        elif done.succeeded:
            one.read = {key.encode(): base[key].elements for key in keys}
            for key, elements in values.items():
                self.shared.wrote(done.revision, key)
                known[key] = Known(elements, done.revision)
        else:
            known |= _known(keys, done)
            self._saw(client, ended.start, ended.end, known, keys)

    async def read(
        self, node: Endpoint, client: int, keys: Sequence[str], *, last: bool = False
    ) -> dict[str, Known] | None:
        """Some lists at once, without a condition; None when there is no answer."""
        txn = Txn()
        for key in keys:
            txn.get(key)
        seconds = LAST_SECONDS_MAX if last else SECONDS_MAX
        ended = await self.shared.do(
            *(NAME, "read", keys[0], node, client, Input()),
            node.client(client).commit(txn, timeout=seconds),
            lambda done: Output(revision=done.revision, lengths=_lengths(keys, done)),
            reads=True,
        )
        if last:
            must(ended, f"a read of {keys[0]}", node.name)
        if ended.result is None:
            return None
        known = _known(keys, ended.result)
        self._saw(client, ended.start, ended.end, known, keys)
        return known

    def _saw(
        self,
        client: int,
        start: int,
        end: int,
        known: Mapping[str, Known],
        keys: Sequence[str],
    ) -> None:
        """Lists as they were read: also what stood in the way of an append."""
        read = {key.encode(): known[key].elements for key in keys}
        self.all.append(Append(client, start, {}, end, "ok", read))

    # -- the end -----------------------------------------------------------------------

    async def finish(self) -> None:
        """Every list once more through each node."""
        for node in self.shared.cluster.nodes:
            for key in self.used:
                await self.read(node, FIRST_CLIENT, [key], last=True)

    def check(self) -> str:
        """Judge it; what was looked at. Raises Violated."""
        appended = sum(bool(one.appended) for one in self.all)
        wanted = f"an order of {appended} appends that explains every list"
        object_to(check_appends(self.all), self.prefix, wanted)
        return (
            f"{NAME}: one order for {appended} appends to {len(self.used)} lists and"
            f" {len(self.all) - appended} reads"
        )


def _txn(base: Mapping[str, Known], values: Mapping[str, Sequence[bytes]]) -> Txn:
    txn = Txn()
    for key, one in base.items():
        txn.if_revision(key, one.revision)
    for key, elements in values.items():
        txn.put(key, b" ".join(elements))
    txn.otherwise()
    for key in base:
        txn.get(key)
    return txn


def _known(keys: Sequence[str], done: Committed) -> dict[str, Known]:
    """The lists in a reply that shows them."""
    known: dict[str, Known] = {}
    for key, entry in zip(keys, done.results, strict=True):
        if isinstance(entry, KeyValue):
            known[key] = Known(tuple(entry.value.split(b" ")), entry.mod_revision)
        else:
            known[key] = Known()
    return known


def _lengths(keys: Sequence[str], done: Committed) -> dict[str, int] | None:
    if not any(entry is None or isinstance(entry, KeyValue) for entry in done.results):
        return None
    return {key: len(one.elements) for key, one in _known(keys, done).items()}
