"""Transfers between accounts: money moves, and none is made or lost.

Law: each transfer is a transaction on two accounts, conditional on both balances that
it read; all accounts are read at once now and then, through any node. An amount is
`balance:transfer`, so that a value names the transaction that wrote it.
"""

import asyncio
from collections.abc import Mapping
from random import Random
from typing import Final, TypeVar

from ....client import Committed, KeyValue, Txn
from ...histories import (
    Seen,
    Transaction,
    check_conserved,
    check_transactions,
)
from ..history import Input, Output
from ..served import Endpoint
from .shared import (
    LAST_SECONDS_MAX,
    REFUSED_SECONDS,
    SECONDS_MAX,
    Beat,
    Ended,
    Shared,
    must,
    never_written,
    object_to,
    text_of,
)

T = TypeVar("T")


NAME: Final = "transfers"
PREFIX: Final = "load/accounts/"
ACCOUNTS: Final = 8
CLIENTS: Final = 6
BALANCE: Final = 100
AMOUNT_MAX: Final = 30
# Of so many operations one reads all accounts.
READS: Final = 3
FIRST_CLIENT: Final = 1000


class Transfers:
    """The bank, its clients, and everything that they were told."""

    def __init__(self, shared: Shared, rate: float) -> None:
        self.shared = shared
        self.rate = rate
        self.prefix = f"{shared.prefix}{PREFIX}"
        self.keys = [f"{self.prefix}{number}" for number in range(ACCOUNTS)]
        self.all: list[Transaction] = []
        self._made = 0
        # Every amount that was ever sent, by its account.
        self._sent: set[tuple[str, bytes]] = set()

    def start(self, group: asyncio.TaskGroup) -> None:
        group.create_task(self._run(group))

    async def _run(self, group: asyncio.TaskGroup) -> None:
        await self._open()
        for number in range(CLIENTS):
            group.create_task(self._go_on(number))

    async def _open(self) -> None:
        """All accounts at once, however often that has to be tried."""
        dice = self.shared.dice(NAME)
        while not self.shared.stopping:
            node = await self.shared.cluster.pick(dice)
            amounts = dict.fromkeys(self.keys, BALANCE)
            absent = dict.fromkeys(self.keys, 0)
            found = await self._write(node, FIRST_CLIENT, absent, amounts, {})
            if found is not None and all(value for value, _ in found.values()):
                # Nothing was moved by it.
                self.shared.tally(NAME).changes = 0
                return
            await self.shared.rest(REFUSED_SECONDS)

    async def _go_on(self, number: int) -> None:
        dice = self.shared.dice(f"{NAME}:{number}")
        beat = Beat(self.shared, self.rate, CLIENTS, dice)
        client = FIRST_CLIENT + number
        found: Mapping[str, Seen] | None = None
        while await beat.next():
            node = await self.shared.cluster.pick(dice)
            if found is None or dice.randrange(READS) == 0:
                found = await self.read(node, client)
            else:
                found = await self._transfer(node, client, found, dice)

    async def _transfer(
        self, node: Endpoint, client: int, found: Mapping[str, Seen], dice: Random
    ) -> Mapping[str, Seen] | None:
        """One transfer by what was read; what is known now, None when nothing is."""
        source, target = dice.sample(self.keys, 2)
        have = {key: balance(found[key]) for key in (source, target)}
        amount = dice.randint(1, AMOUNT_MAX)
        if have[source] < amount:
            source, target = target, source
        amount = min(amount, have[source])
        amounts = {source: have[source] - amount, target: have[target] + amount}
        expected = {key: found[key][1] for key in amounts}
        return await self._write(node, client, expected, amounts, found)

    async def _write(
        self,
        node: Endpoint,
        client: int,
        expected: Mapping[str, int],
        amounts: Mapping[str, int],
        found: Mapping[str, Seen],
    ) -> Mapping[str, Seen] | None:
        self._made += 1
        values = {key: f"{amount}:{self._made}" for key, amount in amounts.items()}
        self._sent.update((key, value.encode()) for key, value in values.items())
        ended = await self.shared.do(
            *(NAME, "txn", next(iter(values)), node, client),
            Input(expected=dict(expected), writes=values),
            node.client(client).commit(_txn(expected, values), timeout=SECONDS_MAX),
            lambda done: Output(
                revision=done.revision, found=named(_found(expected, done))
            ),
            refused=lambda done: not done.succeeded,
        )
        done = ended.result
        came_upon = {} if done is None else _found(expected, done)
        self._check_sent(came_upon, node)
        self._note(client, ended, expected, values, came_upon, revision_of(done))
        if done is None:
            return None
        if done.succeeded:
            for key in values:
                self.shared.wrote(done.revision, key)
            came_upon = {k: (v.encode(), done.revision) for k, v in values.items()}
        return {**found, **came_upon}

    async def read(
        self, node: Endpoint, client: int, *, last: bool = False
    ) -> Mapping[str, Seen] | None:
        """All accounts at one revision; None when there was no answer."""
        seconds = LAST_SECONDS_MAX if last else SECONDS_MAX
        pager = node.client(client).range(self.prefix, timeout=seconds)

        async def ask() -> dict[str, Seen]:
            return seen_of(self.keys, [entry async for entry in pager])

        ended = await self.shared.do(
            *(NAME, "range", self.prefix, node, client, Input(), ask()),
            lambda found: Output(revision=pager.revision, found=named(found)),
            reads=True,
        )
        if last:
            must(ended, "all accounts", node.name)
        if ended.result is not None:
            self._check_sent(ended.result, node)
            self._note(client, ended, {}, {}, ended.result, pager.revision)
        return ended.result

    def _check_sent(self, found: Mapping[str, Seen], node: Endpoint) -> None:
        """Money is counted only where it was paid in. Raises Violated."""
        for key, (value, revision) in found.items():
            if value is not None and (key, value) not in self._sent:
                raise never_written(key, revision, node.name)

    def _note(
        self,
        client: int,
        ended: Ended[T],
        expected: Mapping[str, int],
        values: Mapping[str, str],
        found: Mapping[str, Seen],
        revision: int,
    ) -> None:
        """As the checkers take it."""
        one = Transaction(
            client,
            ended.start,
            {key.encode(): at for key, at in expected.items()},
            {key.encode(): value.encode() for key, value in values.items()},
            found={key.encode(): seen for key, seen in found.items()},
            revision=revision,
        )
        if ended.outcome != "unknown":
            one.end, one.outcome = ended.end, ended.outcome
        self.all.append(one)

    # -- the end -----------------------------------------------------------------------

    async def finish(self) -> None:
        """All accounts, once more through each node."""
        for node in self.shared.cluster.nodes:
            await self.read(node, FIRST_CLIENT, last=True)

    def check(self) -> str:
        """Judge it; what was looked at. Raises Violated."""
        keys = [key.encode() for key in self.keys]
        total = BALANCE * ACCOUNTS
        wanted = f"{ACCOUNTS} accounts with {total} in all, at every revision"
        object_to(check_conserved(self.all, keys, _amount, total), self.prefix, wanted)
        object_to(check_transactions(self.all), self.prefix, wanted)
        reads = sum(not one.writes for one in self.all)
        return (
            f"{NAME}: {len(self.all) - reads} transactions and {reads} reads of all"
            f" {ACCOUNTS} accounts, whole at their revisions, {total} in all"
        )


def seen_of(keys: list[str], entries: list[KeyValue]) -> dict[str, Seen]:
    """What was found of each key."""
    found: dict[str, Seen] = dict.fromkeys(keys, (None, 0))
    for entry in entries:
        found[text_of(entry.key)] = (entry.value, entry.mod_revision)
    return found


def named(found: Mapping[str, Seen]) -> dict[str, tuple[str | None, int]]:
    """As the history has it."""
    return {
        key: (None if value is None else text_of(value), at)
        for key, (value, at) in found.items()
    }


def _txn(expected: Mapping[str, int], values: Mapping[str, str]) -> Txn:
    """Write the values if nothing has changed; else see what has."""
    txn = Txn()
    for key, revision in expected.items():
        txn.if_revision(key, revision)
    for key, value in values.items():
        txn.put(key, value)
    txn.otherwise()
    for key in expected:
        txn.get(key)
    return txn


def _found(expected: Mapping[str, int], done: Committed) -> dict[str, Seen]:
    """What a transaction that was refused came upon."""
    if done.succeeded:
        return {}
    return seen_of(
        list(expected), [one for one in done.results if isinstance(one, KeyValue)]
    )


def revision_of(done: Committed | None) -> int:
    """The store's in a reply; 0 where there was none."""
    return 0 if done is None else done.revision


def balance(seen: Seen) -> int:
    """What is on an account."""
    return 0 if seen[0] is None else _amount(seen[0])


def _amount(value: bytes) -> int:
    return int(value.partition(b":")[0])
