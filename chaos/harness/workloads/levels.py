"""Reads at each level through every node, also those that only follow and do not vote.

Law: one writer a key, which writes 1, 2, 3, … each conditional on the one before, so
that none takes effect late. What a read may miss is fixed by what it asked for and by
what had been acknowledged; no clock but the run's own is looked at.
"""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any, Final, TypeAlias

from ....client import KeyValue, PreconditionFailed, TooStale
from ...histories import Level, LevelRead, Version, check_levels
from ..history import UNREADABLE, Input, Output
from ..served import Endpoint
from .shared import Beat, Shared, microseconds, never_written, object_to

NAME: Final = "levels"
PREFIX: Final = "load/levels/"
KEYS: Final = 4
READERS: Final = 4
# The readers' part of the rate; the rest is what is written.
READ_SHARE: Final = 0.8
LEVELS: Final[tuple[Level, ...]] = ("bounded", "bounded", "local", "linearizable")
STALENESS_SECONDS: Final = (0.1, 0.3, 1.0, 3.0)
# One read in so many names a revision that it must not fall behind.
NAMED: Final = 3
# Who waits for a node that is cut off writes nothing that others could miss.
PATIENCE_SECONDS: Final = 1.0
FIRST_CLIENT: Final = 4000
_DIGITS_MAX: Final = 20

# A number and its revision; both 0 where there is no such key, and no number where its
# value is none.
Found: TypeAlias = tuple[int | None, int]


class Levels:
    """The keys, their writers, and all reads of them."""

    def __init__(self, shared: Shared, rate: float) -> None:
        self.shared = shared
        self.rate = rate
        self.versions: dict[str, list[Version]] = {
            f"{shared.prefix}{PREFIX}{number}": [] for number in range(KEYS)
        }
        self.reads: dict[str, list[LevelRead]] = {key: [] for key in self.versions}
        self._newest = 0

    def start(self, group: asyncio.TaskGroup) -> None:
        for number, key in enumerate(self.versions):
            group.create_task(self._write_on(number, key))
        for number in range(READERS):
            group.create_task(self._read_on(KEYS + number))

    async def _write_on(self, number: int, key: str) -> None:
        dice = self.shared.dice(f"{NAME}:{number}")
        beat = Beat(self.shared, self.rate * (1 - READ_SHARE), KEYS, dice)
        client = FIRST_CLIENT + number
        known: int | None = 0
        while await beat.next():
            node = await self.shared.cluster.pick(dice)
            if known is None:
                found = await self._read(node, client, key, "linearizable", 0.0, 0)
                known = None if found is None else found[1]
            else:
                known = await self._write(node, client, key, known)

    async def _write(
        self, node: Endpoint, client: int, key: str, at: int
    ) -> int | None:
        """The next number; its revision, None when that is not known."""
        versions = self.versions[key]
        one = Version(len(versions) + 1, microseconds(self.shared.now()))
        versions.append(one)
        ended = await self.shared.do(
            *(NAME, "cas", key, node, client, Input(f"{key}:{one.number}", at)),
            node.client(client).put(
                key, str(one.number), if_revision=at, timeout=PATIENCE_SECONDS
            ),
            lambda revision: Output(revision=revision),
            expected=(PreconditionFailed,),
        )
        if ended.outcome != "unknown":
            one.end, one.outcome = ended.end, ended.outcome
        if ended.result is None:
            return None
        one.revision = ended.result
        self._newest = max(self._newest, ended.result)
        self.shared.wrote(ended.result, key)
        return ended.result

    async def _read_on(self, number: int) -> None:
        dice = self.shared.dice(f"{NAME}:{number}")
        beat = Beat(self.shared, self.rate * READ_SHARE, READERS, dice)
        while await beat.next():
            node = await self._pick(dice)
            key = dice.choice(list(self.versions))
            staleness_s = dice.choice(STALENESS_SECONDS)
            least = self._newest if dice.randrange(NAMED) == 0 else 0
            level = dice.choice(LEVELS)
            await self._read(
                node, FIRST_CLIENT + number, key, level, staleness_s, least
            )

    async def _pick(self, dice: Random) -> Endpoint:
        """Every other time a replica without a vote, where there is one."""
        replicas = [n for n in self.shared.cluster.replicas if n.up.is_set()]
        if replicas and dice.random() < 0.5:
            return dice.choice(replicas)
        return await self.shared.cluster.pick(dice)

    async def _read(
        self,
        node: Endpoint,
        client: int,
        key: str,
        level: Level,
        staleness_s: float,
        least: int,
    ) -> Found | None:
        bound = staleness_s if level == "bounded" else None
        ended = await self.shared.do(
            *(NAME, f"get-{level}", key, node, client),
            Input(max_staleness_s=bound, min_revision=least or None),
            _found(
                node.client(client).get(
                    key,
                    level=level,
                    max_staleness=bound,
                    min_revision=least,
                    timeout=PATIENCE_SECONDS,
                )
            ),
            lambda found: output_of(key, found),
            expected=(TooStale,),
            reads=True,
        )
        if ended.result is None:
            return None
        number, revision = ended.result
        if number is None:
            raise never_written(key, revision, node.name)
        read = LevelRead(
            *(node.name, level, ended.start, ended.end, number, revision),
            # A slow clock takes less time to have passed.
            staleness=microseconds((bound or 0.0) / (1 - self.shared.drift)),
            min_revision=least,
        )
        self.reads[key].append(read)
        return ended.result

    async def finish(self) -> None:
        """Nothing is left to ask: registers have shown what is there in the end."""

    def check(self) -> str:
        """Judge it; what was looked at. Raises Violated."""
        for key, versions in self.versions.items():
            wanted = "nothing that is older than what was asked for"
            object_to(check_levels(versions, self.reads[key]), key, wanted)
        reads = [read for those in self.reads.values() for read in those]
        counts = {level: sum(read.level == level for read in reads) for level in LEVELS}
        never = ", ".join(level for level, count in counts.items() if not count)
        if never:
            self.shared.tally(NAME).unjudged = f"no read was answered: {never}"
        told = ", ".join(f"{count} {level}" for level, count in counts.items())
        return f"{NAME}: {told} reads, none older than it may be"


def output_of(key: str, found: Found) -> Output:
    """As the history has it: nothing where there is no such key."""
    number, revision = found
    if number is None:
        return Output(value=UNREADABLE, mod_revision=revision)
    return Output(value=f"{key}:{number}" if number else None, mod_revision=revision)


async def _found(getting: Coroutine[Any, Any, KeyValue | None]) -> Found:
    entry = await getting
    if entry is None:
        return 0, 0
    digits = entry.value[:_DIGITS_MAX]
    number = int(digits) if digits.isdigit() else 0
    # Zeros in front, too: a value is right as a whole or not at all.
    whole = number > 0 and entry.value == str(number).encode()
    return (number if whole else None), entry.mod_revision
