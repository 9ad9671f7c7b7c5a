"""What a run is told to do."""

from random import Random
from typing import Final

import msgspec

from ...client import AsyncClient, ReadLevel
from .distributions import Distribution
from .mixes import WORKLOADS, Mix
from .schedule import Arrivals

IN_FLIGHT_CLOSED: Final = 64
IN_FLIGHT_OPEN: Final = 10_000


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A run's arguments; at least one of `duration_s` and `operations` is given.

    With a `rate` (operations a second of all processes together) the loop is open, and
    `in_flight` is what one process may have in flight before operations wait; without
    one it is closed, and `in_flight` is how many each process keeps in flight.
    """

    workload: str
    distribution: Distribution
    seed: int
    processes: int = 1
    in_flight: int = IN_FLIGHT_CLOSED
    rate: float | None = None
    arrivals: Arrivals = "constant"
    duration_s: float | None = None
    operations: int | None = None
    warmup_s: float = 0.0
    value_bytes: int = 256
    keys: int = 100_000
    level: ReadLevel = "linearizable"
    max_staleness_s: float | None = None
    load: bool = False
    cleanup: bool = False
    prefix: bytes = b"bench/"

    @property
    def mix(self) -> Mix:
        """What is done."""
        return WORKLOADS[self.workload]

    def share(self, process: int) -> int | None:
        """How many operations one process does, if that was said."""
        if self.operations is None:
            return None
        return len(range(process, self.operations, self.processes))

    def dice(self, process: int, purpose: str) -> Random:
        """Dice of one process for one purpose."""
        return Random(f"{self.seed}:{process}:{purpose}")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster, as a process of its own needs to know it."""

    endpoints: tuple[str, ...]
    timeout_s: float = 5.0
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    token: str | None = None

    def connect(self, process: int) -> AsyncClient:
        """A client of one process; each begins at another endpoint."""
        first = process % len(self.endpoints)
        return AsyncClient(
            [*self.endpoints[first:], *self.endpoints[:first]],
            timeout=self.timeout_s,
            cafile=self.cafile,
            certfile=self.certfile,
            keyfile=self.keyfile,
            token=self.token,
        )
