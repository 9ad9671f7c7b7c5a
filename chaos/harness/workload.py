"""The load: writers, conditional writers, readers and probers, through all nodes.

Law: every operation is in the ledger before its first byte leaves and after its last
has come, in one thread, so that the ledger's order is the order of real time.

A blind writer leaves a key for ever once a write's outcome is unknown: nobody could say
what may be there later. A conditional one reads, and goes on from what it found.
Probers do not wait for answers: each sends a put every 5 ms whatever became of the
last, so that a gap in the service is measured and not slept through.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from random import Random
from typing import Final, TypeAlias

import msgspec

from ...client import (
    DeadlineExceeded,
    NoSpace,
    PreconditionFailed,
    QuorateError,
    TooBusy,
    Unavailable,
    Unknown,
)
from ..histories import NOT_TOLD
from .errors import Violated
from .history import Done, History, Input, Output, Recording, record_get, value_name
from .ledger import Attempt, Found, Ledger
from .served import Endpoint, Front
from .verdict import Counts, Violation

PREFIX: Final = "chaos/"
WRITE_SECONDS_MAX: Final = 5.0
READ_SECONDS_MAX: Final = 5.0
PROBE_SECONDS: Final = 0.005
# As many as are sent while one waits for its deadline.
PROBES_IN_FLIGHT_MAX: Final = int(WRITE_SECONDS_MAX / PROBE_SECONDS)
KEYS_PER_WRITER: Final = 4
# One in so many writers is conditional; one reader for so many writers.
CONDITIONAL_SHARE: Final = 4
WRITERS_PER_READER: Final = 8
_REFUSED_SECONDS: Final = 0.01
# How the ledger's outcomes are called in a history.
OUTCOMES: Final = {"acknowledged": "ok", "rejected": "refused", "unknown": "unknown"}

_Write: TypeAlias = Callable[[str, Endpoint, int, Random], Coroutine[None, None, bool]]


class Clock:
    """Seconds since the start of the run."""

    def __init__(self) -> None:
        self._zero_s = time.monotonic()

    def now(self) -> float:
        """This moment."""
        return time.monotonic() - self._zero_s

    def at(self, monotonic_s: float) -> float:
        """A moment of the machine's monotonic clock."""
        return monotonic_s - self._zero_s


class Pace(msgspec.Struct, frozen=True):
    """How often a prober sends, and how long the others rest after each operation."""

    probe_s: float
    rest_s: float = 0.0


PACE: Final = Pace(PROBE_SECONDS)


def rested(rest_s: float) -> Pace:
    """The pace of a run whose writers and readers rest, and whose probers do, too."""
    return Pace(max(PROBE_SECONDS, rest_s), rest_s)


class Gap:
    """The longest time between two acknowledgements, from `since_s` on."""

    def __init__(self, since_s: float) -> None:
        self.restart(since_s)

    def restart(self, since_s: float) -> None:
        """Count from here."""
        self.longest_s = 0.0
        self._last_s = since_s

    def until(self, now_s: float) -> float:
        """The longest, if nothing is acknowledged until then."""
        return max(self.longest_s, now_s - self._last_s)

    def note(self, now_s: float) -> None:
        """A write was acknowledged, or it is the end."""
        self.longest_s = max(self.longest_s, now_s - self._last_s)
        self._last_s = now_s


class Workload:
    """All operations of a run; `start` begins them and `stop` lets them end."""

    def __init__(
        self,
        cluster: Front,
        ledger: Ledger,
        history: History,
        recording: Recording,
        clock: Clock,
        counts: Counts,
        *,
        seed: int,
        writers: int,
        prefix: str = "",
        pace: Pace = PACE,
    ) -> None:
        self.cluster = cluster
        self.ledger = ledger
        self.history = history
        self.recording = recording
        self.clock = clock
        self.seed = seed
        self.writers = writers
        self.prefix = f"{prefix}{PREFIX}"
        self.pace = pace
        self.counts = counts
        self.begun = 0
        self.in_flight = 0
        self.stopping = asyncio.Event()
        self._read_keys: list[str] = []
        self._waiters: list[tuple[float, asyncio.Future[float]]] = []
        self._gaps: list[Gap] = []

    @contextmanager
    def measured_gap(self) -> Generator["Gap"]:
        """The longest time without an acknowledged write while the block runs."""
        gap = Gap(self.clock.now())
        self._gaps.append(gap)
        try:
            yield gap
        finally:
            self._gaps.remove(gap)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start all tasks of the load; they end after `stop`, or with Violated."""
        for number in range(self.writers):
            conditional = number % CONDITIONAL_SHARE == CONDITIONAL_SHARE - 1
            write = self._write_conditionally if conditional else self._write_blindly
            group.create_task(self._repeat(write, number))
        for number in range(self._readers):
            group.create_task(self._read_on(number))
        for number, node in enumerate(self.cluster.nodes):
            group.create_task(self._probe_on(group, number, node))

    @property
    def _readers(self) -> int:
        return -(-self.writers // WRITERS_PER_READER)

    def stop(self) -> None:
        """Begin no more operations; those in flight end by themselves."""
        self.stopping.set()

    async def next_acknowledgement(
        self, after_s: float, seconds: float | None
    ) -> float:
        """When the first write that begins after `after_s` is acknowledged.

        Raises Violated when that takes longer than `seconds`; None: however long.
        """
        waiter: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiters.append((after_s, waiter))
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            assert seconds is not None
            raise Violated(
                Violation(
                    "no progress",
                    "all nodes",
                    f"an acknowledged write within {seconds:g} s of {after_s:.3f} s",
                    f"none until {self.clock.now():.3f} s",
                )
            ) from None

    # -- who does what ---------------------------------------------------------------

    async def _repeat(self, write: _Write, number: int) -> None:
        dice = Random(f"{self.seed}:writer:{number}")
        keys = [self._key("w", number, i) for i in range(KEYS_PER_WRITER)]
        self._read_keys += keys
        made = KEYS_PER_WRITER
        while not self.stopping.is_set():
            node = await self.cluster.pick(dice)
            slot = dice.randrange(KEYS_PER_WRITER)
            if not await write(keys[slot], node, number, dice):
                fresh = self._key("w", number, made)
                made += 1
                self._read_keys[self._read_keys.index(keys[slot])] = fresh
                keys[slot] = fresh
            await self._rest()

    async def _write_blindly(
        self, key: str, node: Endpoint, number: int, dice: Random
    ) -> bool:
        """One put; whether the key may be used again."""
        del dice
        attempt = await self.put(key, node, number)
        if attempt.outcome == "rejected":
            await asyncio.sleep(_REFUSED_SECONDS)
        return attempt.outcome != "unknown"

    async def _write_conditionally(
        self, key: str, node: Endpoint, number: int, dice: Random
    ) -> bool:
        """One put on top of what is known, and a look if it did not go through."""
        expected = self.ledger.expected_revision(key)
        attempt = await self.put(key, node, number, expected)
        while attempt.outcome != "acknowledged" and not self.stopping.is_set():
            await asyncio.sleep(_REFUSED_SECONDS)
            if await self.get(key, await self.cluster.pick(dice), number):
                break
        return True

    async def _read_on(self, number: int) -> None:
        dice = Random(f"{self.seed}:reader:{number}")
        while not self.stopping.is_set():
            node = await self.cluster.pick(dice)
            key = dice.choice(self._read_keys)
            if not await self.get(key, node, self.writers + number):
                await asyncio.sleep(_REFUSED_SECONDS)
            await self._rest()

    async def _rest(self) -> None:
        # As fast as it goes, unless another pace was asked for.
        if self.pace.rest_s:
            await asyncio.sleep(self.pace.rest_s)

    async def _probe_on(
        self, group: asyncio.TaskGroup, number: int, node: Endpoint
    ) -> None:
        idle: list[str] = []
        made = in_flight = 0
        client = self.writers + self._readers + number

        async def probe(key: str) -> None:
            nonlocal in_flight
            in_flight += 1
            attempt = await self.put(key, node, client)
            in_flight -= 1
            if attempt.outcome != "unknown":
                idle.append(key)

        due_s = time.monotonic()
        while not self.stopping.is_set():
            if node.up.is_set() and in_flight < PROBES_IN_FLIGHT_MAX:
                if not idle:
                    idle.append(self._key("p", number, made))
                    made += 1
                group.create_task(probe(idle.pop()))
            # A beat that was missed is not made up for: others would be in its way.
            due_s = max(due_s + self.pace.probe_s, time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())

    def _key(self, kind: str, number: int, made: int) -> str:
        return f"{self.prefix}{kind}{number:03d}/{made:04d}"

    # -- operations ------------------------------------------------------------------

    async def put(
        self, key: str, node: Endpoint, number: int, expected: int | None = None
    ) -> Attempt:
        """One write through `node`, in the ledger and in the history."""
        attempt = self.ledger.write_begins(key, node.name, self.clock.now())
        operation = self.recording.write_begins(attempt, expected, number)
        met = NOT_TOLD
        value = self.ledger.value(attempt)
        client = node.client(number)
        self._begin()
        reason = ""
        try:
            if expected is None:
                sending = client.put(key, value, timeout=WRITE_SECONDS_MAX)
            else:
                sending = client.put(
                    key, value, if_revision=expected, timeout=WRITE_SECONDS_MAX
                )
            revision = await sending
            problem = self._acknowledged(attempt, revision)
        except QuorateError as error:
            reason = f"{type(error).__name__}: {error.reason}"
            problem = self._not_acknowledged(attempt, error, expected)
            if isinstance(error, PreconditionFailed):
                met = error.revision
        finally:
            self.in_flight -= 1
        self.recording.write_ends(operation, attempt, met)
        self._record_put(attempt, node, number, expected, met, reason)
        if problem is not None:
            raise Violated(problem)
        return attempt

    async def get(self, key: str, node: Endpoint, number: int) -> bool:
        """One linearizable read through `node`; whether there was an answer."""
        reading = self.ledger.read_begins(key, self.clock.now())
        operation = self.recording.read_begins(key, number, reading.began_s)
        found: Found | None = None
        reason = ""
        self._begin()
        try:
            entry = await node.client(number).get(key, timeout=READ_SECONDS_MAX)
            now_s = self.clock.now()
            if entry is not None:
                found = Found(entry.value, entry.mod_revision, entry.version)
            problem = self.ledger.read_ends(reading, node.name, found, now_s)
            self.counts.reads += 1
        except QuorateError as error:
            now_s = self.clock.now()
            reason = f"{type(error).__name__}: {error.reason}"
            problem = wrong_refusal(key, node.name, error, now_s)
            self.ledger.read_failed(reading)
            self.counts.reads_failed += 1
        finally:
            self.in_flight -= 1
        counter = record_get(
            *(self.history, number, node.name, key, reading.began_s, now_s),
            found,
            self.ledger.value_bytes,
            reason,
        )
        if problem is not None:
            raise Violated(problem)
        if not reason:
            revision = 0 if found is None else found.revision
            self.recording.read_ends(operation, counter, revision, now_s)
        return not reason

    def _record_put(
        self,
        attempt: Attempt,
        node: Endpoint,
        client: int,
        expected: int | None,
        met: int,
        reason: str,
    ) -> None:
        output = None
        if attempt.outcome == "acknowledged":
            output = Output(revision=attempt.revision)
        elif met != NOT_TOLD:
            output = Output(mod_revision=met)
        self.history.record(
            Done(
                client,
                node.name,
                "put" if expected is None else "cas",
                attempt.key,
                attempt.began_s,
                attempt.ended_s,
                OUTCOMES[attempt.outcome or "unknown"],
                Input(value_name(attempt.key, attempt.counter), expected),
                output,
                reason,
            )
        )

    def _begin(self) -> None:
        self.begun += 1
        self.in_flight += 1

    def _acknowledged(self, attempt: Attempt, revision: int) -> Violation | None:
        now_s = self.clock.now()
        self.counts.acknowledged += 1
        for gap in self._gaps:
            gap.note(now_s)
        for after_s, waiter in self._waiters:
            if attempt.began_s > after_s and not waiter.done():
                waiter.set_result(now_s)
        self._waiters = [w for w in self._waiters if not w[1].done()]
        return self.ledger.write_acknowledged(attempt, revision, now_s)

    def _not_acknowledged(
        self, attempt: Attempt, error: QuorateError, expected: int | None
    ) -> Violation | None:
        now_s = self.clock.now()
        if isinstance(error, Unknown):
            self.counts.unknown += 1
            self.ledger.write_unknown(attempt, now_s)
            return None
        self.counts.rejected += 1
        if isinstance(error, PreconditionFailed) and expected is not None:
            return self.ledger.condition_failed(
                attempt, expected, error.revision, now_s
            )
        refused = self.ledger.write_rejected(attempt, now_s)
        return refused or wrong_refusal(attempt.key, attempt.node, error, now_s)


def wrong_refusal(
    key: str,
    node: str,
    error: QuorateError,
    now_s: float,
    expected: tuple[type[QuorateError], ...] = (),
) -> Violation | None:
    """A cluster under faults may be away, busy or full; no more than that.

    `expected` are the refusals that this very call may meet.
    """
    away = (Unavailable, TooBusy, NoSpace, DeadlineExceeded, *expected)
    if isinstance(error, away):
        return None
    return Violation(
        "wrong refusal",
        key,
        "an answer, or that nobody can answer now",
        f"{type(error).__name__}: {error.reason}, via {node} at {now_s:.3f} s",
    )
