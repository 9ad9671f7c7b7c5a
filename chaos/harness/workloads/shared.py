"""What all workloads share: the cluster, the clock, and how an operation is noted.

Law: an operation is in the history as its client saw it, whatever it was. A cluster
under faults may be away, busy or full; every other refusal has to be one that the
caller expects, or it is a violation.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from ....client import AsyncClient, QuorateError, Unknown
from ....client.options import ClientOptions
from ...histories import Objection, Outcome
from ..errors import Violated
from ..history import MICROSECONDS, Done, History, Input, Output, Recording
from ..served import Endpoint, Front
from ..verdict import Counts, Violation, WorkloadCount
from ..workload import wrong_refusal

T = TypeVar("T")

SECONDS_MAX: Final = 5.0
# The last questions come when nothing is hurt any more; a slow machine is no fault.
LAST_SECONDS_MAX: Final = 30.0
REFUSED_SECONDS: Final = 0.05
# By so many microseconds a lease may be over too soon: the leader counts milliseconds,
# and the machine has one monotonic clock.
TOLERANCE: Final = MICROSECONDS // 50
# What an invariant that does not hold is called.
KINDS: Final = {
    "I-16": "lost write",
    "I-36": "transaction in parts",
    "I-40": "stale read",
    "I-43": "a state older than one that was named",
    "I-44": "wrong revision",
    "I-54": "refused write applied",
    "I-58": "wrong watch",
    "I-59": "wrong watch",
    "I-60": "wrong watch",
    "I-61": "wrong watch",
    "I-63": "lease over early",
    "I-64": "lease neither over nor there",
    "I-65": "a lock that does not hold",
    "staleness": "bounded read without its bound",
    "linearizability": "not linearizable",
}


class Ended(msgspec.Struct, Generic[T]):
    """An operation that is over: what it returned, or how it failed."""

    start_s: float
    end_s: float
    outcome: Outcome
    result: T | None
    error: QuorateError | None

    @property
    def start(self) -> int:
        return microseconds(self.start_s)

    @property
    def end(self) -> int:
        return microseconds(self.end_s)


class Busy(Protocol):
    """What counts the operations of a run that are in flight."""

    begun: int
    in_flight: int
    stopping: asyncio.Event


class Shared:
    """One run's cluster, clock, history and keys, for all workloads."""

    def __init__(
        self,
        cluster: Front,
        now: Callable[[], float],
        history: History,
        counts: Counts,
        busy: Busy,
        seed: int,
        prefix: str = "",
        first_revision: int = 2,
        drift: float = 0.0,
    ) -> None:
        self.cluster = cluster
        self.now = now
        self.history = history
        self.counts = counts
        self.busy = busy
        self.seed = seed
        # Before all keys, where they are not the only ones.
        self.prefix = prefix
        # By which share of the true time clocks of nodes may be wrong.
        self.drift = drift
        # Nothing below the prefix is older.
        self.first_revision = first_revision
        self.tallies: dict[str, WorkloadCount] = {}
        # Acknowledged changes below load/: revision and key.
        self.written: list[tuple[int, str]] = []
        self._roaming: list[AsyncClient] = []

    @property
    def stopping(self) -> bool:
        return self.busy.stopping.is_set()

    def dice(self, who: str) -> Random:
        """Chance of its own for each client."""
        return Random(f"{self.seed}:{who}")

    def wrote(self, revision: int, key: str) -> None:
        """A change was acknowledged: whoever watches has to be told of it."""
        self.written.append((revision, key))

    def roaming(self, first: int) -> AsyncClient:
        """A client of its own that finds its way among all nodes; each other balances.

        It learns who leads, as users' clients do.
        """
        nodes = self.cluster.nodes
        turn = first % len(nodes)
        addresses = [node.address for node in (*nodes[turn:], *nodes[:turn])]
        options: ClientOptions = {
            **nodes[0].options,
            "learn": True,
            "balance": first % 2 == 1,
        }
        self._roaming.append(AsyncClient(addresses, **options))
        return self._roaming[-1]

    async def close(self) -> None:
        """End the clients that were made here."""
        for client in self._roaming:
            await client.close()

    def tally(self, name: str) -> WorkloadCount:
        """The figures of one workload."""
        return self.tallies.setdefault(name, WorkloadCount())

    async def rest(self, seconds: float) -> bool:
        """Wait, but not beyond the end of the load; whether it goes on."""
        try:
            async with asyncio.timeout(seconds):
                await self.busy.stopping.wait()
        except TimeoutError:
            return True
        return False

    async def do(
        self,
        workload: str,
        kind: str,
        key: str,
        node: Endpoint | None,
        client: int,
        asked: Input,
        sending: Awaitable[T],
        told: Callable[[T], Output | None],
        *,
        expected: tuple[type[QuorateError], ...] = (),
        reads: bool = False,
        refused: Callable[[T], bool] = lambda _: False,
    ) -> Ended[T]:
        """One operation through `node` (None: any), noted and counted.

        `told` is what of its result the history has. `expected` are the refusals that
        may come; `refused` says of a result that it is one. Raises Violated.
        """
        tally = self.tally(workload)
        self.busy.begun += 1
        self.busy.in_flight += 1
        start_s = self.now()
        result: T | None = None
        error: QuorateError | None = None
        outcome: Outcome = "unknown"
        try:
            result = await sending
            outcome = "refused" if refused(result) else "ok"
        except QuorateError as failed:
            error = failed
            outcome = "unknown" if isinstance(failed, Unknown) or reads else "refused"
        finally:
            self.busy.in_flight -= 1
        end_s = self.now()
        self._count(tally, outcome, reads)
        via = node.name if node is not None else ""
        reason = "" if error is None else f"{type(error).__name__}: {error.reason}"
        output = None if result is None else told(result)
        self.history.record(
            Done(
                *(client, via, kind, key, start_s, end_s, outcome, asked, output),
                error=reason,
                workload=workload,
            )
        )
        if error is not None:
            allowed = (Unknown, *expected)
            problem = wrong_refusal(key, via, error, end_s, allowed)
            if problem is not None:
                raise Violated(problem)
        return Ended(start_s, end_s, outcome, result, error)

    def _count(self, tally: WorkloadCount, outcome: Outcome, reads: bool) -> None:
        setattr(tally, outcome, getattr(tally, outcome) + 1)
        tally.changes += outcome == "ok" and not reads
        counts = self.counts
        if reads:
            counts.reads += outcome == "ok"
            counts.reads_failed += outcome != "ok"
        else:
            counts.acknowledged += outcome == "ok"
            counts.rejected += outcome == "refused"
            counts.unknown += outcome == "unknown"


class Beat:
    """So many operations a second, by `clients` of them; none is made up for."""

    def __init__(self, shared: Shared, rate: float, clients: int, dice: Random) -> None:
        self._shared = shared
        self._period_s = clients / rate
        self._due_s = time.monotonic() + dice.random() * self._period_s

    async def next(self) -> bool:
        """Wait for the next beat; False at the end of the load."""
        now_s = time.monotonic()
        self._due_s = max(self._due_s, now_s - self._period_s) + self._period_s
        return await self._shared.rest(max(0.0, self._due_s - now_s))


def never_written(key: str, revision: int, node: str) -> Violated:
    """What was found there is no value that anybody sent."""
    expected = "the bytes of some value that was sent"
    found = f"others, of revision {revision}, via {node or 'any node'}"
    return Violated(Violation("phantom value", key, expected, found))


def text_of(value: bytes) -> str:
    """A value as a history has it, whatever its bytes are."""
    return value.decode(errors="backslashreplace")


def microseconds(seconds: float) -> int:
    """As the checkers count."""
    return int(seconds * MICROSECONDS)


def object_to(objection: Objection | None, key: str, expected: str) -> None:
    """Raise Violated when a checker objects."""
    if objection is not None:
        kind = KINDS[objection.invariant]
        raise Violated(Violation(kind, key, expected, str(objection)))


def judged_with_the_others(
    shared: Shared, name: str, recording: Recording, prefix: str
) -> str:
    """How many operations of a workload were among those that were judged together.

    Where there are none nobody has judged it.
    """
    count = recording.judged(prefix)
    if not count:
        shared.tally(name).unjudged = "its keys are none of those that were kept"
    return f"{count} operations judged with the others"


def must(ended: Ended[T], what: str, node: str) -> Ended[T]:
    """In the end everything is answered. Raises Violated."""
    if ended.error is not None:
        raise Violated(
            Violation(
                "no progress",
                node,
                f"{what} within {LAST_SECONDS_MAX:g} s",
                f"{type(ended.error).__name__}: {ended.error.reason}",
            )
        )
    return ended
