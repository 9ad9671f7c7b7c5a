"""Which workloads there are, how many operations a second each has, and what a mix is.

Law: data, and the one place that knows all of them. The plain reads and writes of
harness/workload are none of them: they go as fast as they can.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

import msgspec

from ..history import Recording
from .hot_key import HotKey
from .large import LargeValues
from .leases import Leases
from .levels import Levels
from .lists import Lists
from .locks import Locks
from .shared import Shared
from .transfers import Transfers
from .watchers import Watchers

# Of a workload so many operations have to be done, and so many in each round; of them
# one has to be no read, and one more in so many rounds.
NEEDED: Final = 5
NEEDED_PER_ROUND: Final = 2
ROUNDS_PER_CHANGE: Final = 2


class Load(Protocol):
    """One workload of a run."""

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin; its tasks end when the load is stopped."""
        ...

    async def finish(self) -> None:
        """Ask what has to be asked when nothing is hurt any more. Raises Violated."""
        ...

    def check(self) -> str:
        """Judge it, and say what was looked at. Raises Violated."""
        ...


_Make: TypeAlias = Callable[[Shared, Recording, float], Load]


class Workload(msgspec.Struct, frozen=True):
    """A kind of load: how many operations a second it has unless told otherwise."""

    about: str
    rate: float
    make: _Make


WORKLOADS: Final[Mapping[str, Workload]] = MappingProxyType(
    {
        "transfers": Workload(
            "transactions between accounts, and reads of all of them",
            30.0,
            lambda shared, _, rate: Transfers(shared, rate),
        ),
        "lists": Workload(
            "elements appended to one or two lists at once",
            20.0,
            lambda shared, _, rate: Lists(shared, rate),
        ),
        "hot-key": Workload("compare-and-set of one key by all", 30.0, HotKey),
        "levels": Workload(
            "reads at each level through every node",
            60.0,
            lambda shared, _, rate: Levels(shared, rate),
        ),
        "watches": Workload(
            "one at each node and one that roams, for the whole run",
            0.0,
            lambda shared, _, rate: Watchers(shared, rate),
        ),
        "locks": Workload("a lock, and writes by its token", 10.0, Locks),
        "leases": Workload(
            "granted, kept alive, revoked, left to their end",
            20.0,
            lambda shared, _, rate: Leases(shared, rate),
        ),
        "large-values": Workload("values of up to a megabyte", 2.0, LargeValues),
    }
)
# By name the operations a second.
Mix: TypeAlias = dict[str, float]
DEFAULT_MIX: Final[Mapping[str, float]] = MappingProxyType(
    {name: one.rate for name, one in WORKLOADS.items()}
)


def parse_mix(text: str) -> Mix:
    """`all`, `none`, or names with or without a rate: `transfers=50,locks`.

    Raises ValueError with what is wrong.
    """
    if text == "none":
        return {}
    mix: Mix = {}
    for part in text.split(","):
        name, equals, rate = part.strip().partition("=")
        if name == "all" and not equals:
            mix |= DEFAULT_MIX
            continue
        if name not in WORKLOADS:
            raise ValueError(f"no such workload: {name} ({', '.join(WORKLOADS)})")
        mix[name] = WORKLOADS[name].rate
        if equals:
            mix[name] = _rate(name, rate)
    return mix


def _rate(name: str, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 10_000:
        raise ValueError(f"{name}: {text!r} is no number of operations a second")
    return rate


def format_mix(mix: Mapping[str, float]) -> str:
    """What `parse_mix` reads."""
    if dict(mix) == dict(DEFAULT_MIX):
        return "all"
    parts = [
        name if rate == WORKLOADS[name].rate else f"{name}={rate:g}"
        for name, rate in mix.items()
    ]
    return ",".join(parts) or "none"


class Loads:
    """The workloads of a run, together."""

    def __init__(
        self, shared: Shared, recording: Recording, mix: Mapping[str, float]
    ) -> None:
        self.shared = shared
        self._loads: dict[str, Load] = {}
        for name, rate in mix.items():
            shared.tally(name)
            self._loads[name] = WORKLOADS[name].make(shared, recording, rate)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin all of them."""
        for load in self._loads.values():
            load.start(group)

    def need(self, rounds: int) -> None:
        """After so many rounds so much has to be done."""
        for name in self._loads:
            tally = self.shared.tally(name)
            tally.needed = NEEDED + NEEDED_PER_ROUND * rounds
            tally.changes_needed = 1 + rounds // ROUNDS_PER_CHANGE

    async def finish(self) -> None:
        """Ask the last questions of each. Raises Violated."""
        for load in self._loads.values():
            await load.finish()

    def check(self) -> Sequence[str]:
        """Judge each; what was looked at. Raises Violated."""
        return [load.check() for load in self._loads.values()]
