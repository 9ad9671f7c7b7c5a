"""Watches that last for the whole run: one at each node, and one that roams.

Law: who watches is told by the client that users have, which finds its way by itself.
The agreed log is what every node tells in the end of all revisions there were; all of
them have to tell the same, with every acknowledged write in it. Beside it each watch is
judged by the rules that the simulator's are judged by.
"""

import asyncio
import contextlib
from itertools import groupby
from typing import Final

from ....client import AsyncClient, Compacted, KeyValue, QuorateError, Unavailable
from ....client import Event as ClientEvent
from ....client import Watch as ClientWatch
from ...histories import (
    Before,
    Change,
    Created,
    Ended,
    Event,
    Events,
    Facts,
    Watch,
    check_complete,
    check_watch,
)
from ..errors import Violated
from ..history import Input, Output
from ..served import Endpoint
from ..verdict import Violation
from ..workload import wrong_refusal
from .shared import LAST_SECONDS_MAX, SECONDS_MAX, Shared, must, object_to

NAME: Final = "watches"
PREFIX: Final = "load/"
_END: Final = "load0"
LAST: Final = "load/last"
# Kept for each; what comes later is not looked at.
EVENTS_MAX: Final = 100_000
# As much as a client has. A fault that a user has written down may last longer.
PATIENCE_SECONDS: Final = 600.0
TOLD_SECONDS_MAX: Final = 60.0
FIRST_CLIENT: Final = 8000


class Watcher:
    """One watch, from the moment at which a node took it."""

    def __init__(
        self, who: str, client: AsyncClient, node: Endpoint | None, *, previous: bool
    ) -> None:
        self.who = who
        self.node = node
        self.client = client
        self.previous = previous
        self.created = 0
        self.events: list[Event] = []
        self.revisions: list[int] = []
        # Told of no more: of enough, or its node has left for good.
        self.over = False
        # The revision that was compacted to, where that was why it ended.
        self.compacted = 0
        self._closed = False
        self._watch: ClientWatch | None = None

    @property
    def reached(self) -> int:
        return self.revisions[-1] if self.revisions else self.created

    async def run(self, shared: Shared) -> None:
        """Until it is closed, or over. Raises Violated when it ends by itself."""
        first = 0
        while (watch := await self._begin(shared, first)) is not None:
            first = await self._listen(watch, shared)
            if not first:
                return
        self.over = True

    async def _begin(self, shared: Shared, behind: int) -> ClientWatch | None:
        """From a revision on (0: the next one); None when the load has ended."""
        while not shared.stopping:
            first = behind or await self._next_revision(shared)
            watch = self.client.watch(
                f"{shared.prefix}{PREFIX}",
                revision=first,
                previous=self.previous,
                timeout=SECONDS_MAX,
                patience=PATIENCE_SECONDS,
            )
            try:
                await watch.begin()
            except QuorateError as error:
                await watch.close()
                if behind and self._is_lost(error, first):
                    return None
                # The next revision may be an old one by now.
                expected = () if behind else (Compacted,)
                refused = wrong_refusal(
                    *(shared.prefix, self.who, error, shared.now(), expected)
                )
                if refused is not None and self._is_there(shared):
                    raise Violated(refused) from error
                await shared.rest(0.1)
                continue
            if self._closed:
                await watch.close()
                break
            self._watch, self.created = watch, self.created or first - 1
            return watch
        return None

    async def _next_revision(self, shared: Shared) -> int:
        """Named, so that it is known where it begins: else at the first of all."""
        try:
            told = await self.client.status(timeout=SECONDS_MAX)
        except QuorateError:
            return shared.first_revision
        revision = told["revision"]
        assert isinstance(revision, int)
        return revision + 1

    async def _listen(self, watch: ClientWatch, shared: Shared) -> int:
        """Where it has to go on: when nobody was there for longer than a client waits.

        0 when it does not go on: it was closed, or is over.
        """
        try:
            async for event in watch:
                self.events.append(event_of(event))
                self.revisions.append(event.revision)
                shared.tally(NAME).ok += 1
                shared.tally(NAME).changes += 1
                # A revision is delivered whole: a part of one would be missing.
                if len(self.events) >= EVENTS_MAX:
                    self.over = True
                    self._drop_last()
                    break
        except QuorateError as error:
            needed = watch.revision + 1
            # A fault may last as long as a client waits, and be over by now: whether it
            # is told everything shows in the end.
            if isinstance(error, Unavailable) and self._is_there(shared):
                await watch.close()
                return needed
            if not self._is_lost(error, needed) and self._is_there(shared):
                found = f"{type(error).__name__}: {error.reason}"
                raise Violated(
                    Violation("wrong watch", self.who, "a watch that goes on", found)
                ) from error
            self.over = True
        await watch.close()
        return 0

    def _is_there(self, shared: Shared) -> bool:
        """Whether its node is a member; one that roams finds another one."""
        return self.node is None or self.node in shared.cluster.nodes

    def _is_lost(self, error: QuorateError, needed: int) -> bool:
        """Whether it is said that what it needs next was compacted meanwhile."""
        if not isinstance(error, Compacted) or error.revision <= needed:
            return False
        self.compacted = error.revision
        return True

    def _drop_last(self) -> None:
        last = self.revisions[-1]
        while self.revisions and self.revisions[-1] == last:
            self.revisions.pop()
            self.events.pop()

    async def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            await self._watch.close()

    def told(self, last: int, before: str) -> Watch:
        """As the checkers take it, up to a revision; `before` begins all keys."""
        first = self.created + 1
        start, end = f"{before}{PREFIX}".encode(), f"{before}{_END}".encode()
        watch = Watch(start, end, first, previous=self.previous)
        watch.told = [Created(self.created)]
        pairs = [
            pair
            for pair in zip(self.revisions, self.events, strict=True)
            if pair[0] <= last
        ]
        for revision, those in groupby(pairs, key=lambda pair: pair[0]):
            watch.told.append(Events(revision, tuple(event for _, event in those)))
        return watch


class Watchers:
    """All who watch in a run."""

    def __init__(self, shared: Shared, rate: float) -> None:
        del rate  # they are told what others do
        self.shared = shared
        self.prefix = f"{shared.prefix}{PREFIX}"
        self.all: list[Watcher] = []
        self.logs: list[tuple[str, list[Change]]] = []
        self.compacted = False
        self.last = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, group: asyncio.TaskGroup) -> None:
        for number, node in enumerate(self.shared.cluster.nodes):
            watcher = Watcher(node.name, node.client(0), node, previous=number % 2 == 0)
            self.all.append(watcher)
        roaming = self.shared.roaming(len(self.all))
        self.all.append(Watcher("any node", roaming, None, previous=True))
        self._tasks = [
            group.create_task(watcher.run(self.shared)) for watcher in self.all
        ]
        # They go on after the load has ended, until they have been told all of it.
        group.create_task(self._end_with_the_load())

    async def _end_with_the_load(self) -> None:
        await self.shared.busy.stopping.wait()
        # Behind all that is in flight, so that its log has all that is acknowledged.
        while self.shared.busy.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await self._write_last()
        deadline_s = self.shared.now() + TOLD_SECONDS_MAX
        while any(w.reached < self.last for w in self._lasting):
            if self.shared.now() > deadline_s:
                break
            await asyncio.sleep(0.05)
        for watcher in self.all:
            await watcher.close()

    @property
    def _staying(self) -> list[Watcher]:
        """Those whose node is still a member."""
        nodes = (None, *self.shared.cluster.nodes)
        return [watcher for watcher in self.all if watcher.node in nodes]

    @property
    def _lasting(self) -> list[Watcher]:
        """Those that are told everything: who watches at a node that was removed,
        or has been told enough, is not."""
        return [w for w in self._staying if w.created and not w.over]

    @property
    def _begun(self) -> list[Watcher]:
        return [watcher for watcher in self.all if watcher.created]

    async def _write_last(self) -> None:
        """One more change, behind everything that the load has done.

        Raises Violated when nobody makes it, though somebody is there to ask.
        """
        client = self.shared.roaming(0)
        key = f"{self.shared.prefix}{LAST}"
        deadline_s = self.shared.now() + TOLD_SECONDS_MAX
        while not self.last:
            ended = await self.shared.do(
                *(NAME, "put", key, None, FIRST_CLIENT, Input(f"{key}:1")),
                client.put(key, "1", timeout=LAST_SECONDS_MAX),
                lambda revision: Output(revision=revision),
            )
            self.last = ended.result or 0
            if self.shared.now() > deadline_s:
                if not ended.result and not await self._anybody():
                    return
                must(ended, f"a write of {key}", "any node")
            await asyncio.sleep(0.05)

    async def _anybody(self) -> bool:
        """Does any node answer? What was told is not judged when all have gone."""
        try:
            await self.shared.roaming(0).status(timeout=SECONDS_MAX)
        except QuorateError:
            return False
        return True

    # -- the end -----------------------------------------------------------------------

    async def finish(self) -> None:
        """What each node tells of all revisions."""
        for node in self.shared.cluster.nodes:
            changes = await self._read_log(node)
            if changes is not None:
                self.logs.append((node.name, changes))

    async def _read_log(self, node: Endpoint) -> list[Change] | None:
        """Everything up to the last change; None when it is not kept any more."""
        changes: list[Change] = []

        last = f"{self.shared.prefix}{LAST}".encode()

        async def read() -> int:
            watch = node.client(0).watch(
                self.prefix,
                revision=self.shared.first_revision,
                timeout=LAST_SECONDS_MAX,
            )
            async with watch, asyncio.timeout(TOLD_SECONDS_MAX):
                async for event in watch:
                    value = None if event.kv is None else event.kv.value
                    changes.append(Change(event.revision, event.key, value))
                    if event.key == last:
                        return event.revision
            return 0

        with contextlib.suppress(TimeoutError):
            ended = await self.shared.do(
                *(NAME, "log", self.prefix, node, FIRST_CLIENT, Input(), read()),
                lambda revision: Output(revision=revision),
                expected=(Compacted,),
                reads=True,
            )
            if isinstance(ended.error, Compacted):
                self.compacted = True
                return None
            must(ended, "all revisions", node.name)
            return changes
        expected = f"all revisions within {TOLD_SECONDS_MAX:g} s"
        found = f"{len(changes)} changes, not that of revision {self.last}"
        raise Violated(Violation("no progress", node.name, expected, found))

    def check(self) -> str:
        """Judge it; what was looked at. Raises Violated."""
        if not self.logs:
            compacted = "the first revisions were compacted"
            why = compacted if self.compacted else "nobody told all revisions"
            self.shared.tally(NAME).unjudged = why
            return f"{NAME}: nothing, {why}"
        first, changes = self.logs[0]
        for other, those in self.logs[1:]:
            if those != changes:
                raise Violated(_differ(self.prefix, first, changes, other, those))
        self._check_acknowledged(changes)
        never = [watcher.who for watcher in self._staying if not watcher.created]
        if never:
            who = ", ".join(never)
            self.shared.tally(NAME).unjudged = f"no watch ever began at {who}"
        facts = Facts(changes, self.shared.first_revision, self.last)
        for watcher in self._begun:
            watch = watcher.told(self.last, self.shared.prefix)
            if watcher.compacted and watcher in self._staying and not self.compacted:
                # All nodes tell everything now: then it was there before, too.
                watch.told.append(Ended("compacted", watcher.compacted))
            wanted = f"all changes of {self.prefix}, each once, in order"
            object_to(check_watch(watch, facts), watcher.who, wanted)
            if watcher in self._lasting:
                object_to(check_complete(watch, facts), watcher.who, wanted)
        events = sum(len(watcher.events) for watcher in self.all)
        return (
            f"{NAME}: {len(self._begun)} of them were told {events} changes, as"
            f" {len(self.logs)} nodes tell them in the end"
        )

    def _check_acknowledged(self, changes: list[Change]) -> None:
        made = {(change.revision, change.key) for change in changes}
        for revision, key in self.shared.written:
            if (revision, key.encode()) not in made:
                expected = f"a change at revision {revision}, which was acknowledged"
                found = "none in what all nodes tell"
                raise Violated(Violation("lost write", key, expected, found))


def event_of(event: ClientEvent) -> Event:
    """As the checkers take it."""
    kv, before = event.kv, event.previous
    previous = None if before is None else _before(before)
    if kv is None:
        return Event(event.key, None, previous=previous)
    return Event(event.key, kv.value, kv.create_revision, kv.version, previous)


def _before(kv: KeyValue) -> Before:
    return Before(kv.value, kv.create_revision, kv.mod_revision, kv.version)


def _differ(
    prefix: str,
    first: str,
    changes: list[Change],
    other: str,
    those: list[Change],
) -> Violation:
    """Where two nodes begin to tell different things."""
    pairs = enumerate(zip(changes, those, strict=False))
    short = min(len(changes), len(those))
    at = next((place for place, (a, b) in pairs if a != b), short)
    left, right = changes[at : at + 1], those[at : at + 1]
    return Violation(
        "nodes tell different histories",
        prefix,
        f"what {first} tells: {left}",
        f"{other} tells {right}",
    )
