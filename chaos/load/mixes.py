"""What is done: kinds of operations in their proportions, on which keys.

Law: pure: the seed's dice decide. The letters are YCSB's core workloads, with the
shares and distributions of its files; `put`, `get` and `mixed` are plain.
"""

from collections.abc import Mapping
from random import Random
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from .distributions import Distribution, make_chooser

Kind: TypeAlias = Literal["get", "put", "insert", "scan", "read-modify-write"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
# As in YCSB's workload E: lengths of scans are uniform from 1 to this.
SCAN_KEYS_MAX: Final = 100
# Digits of a key's number: more keys than anybody will bench with.
KEY_DIGITS: Final = 12


class Mix(NamedTuple):
    """Shares of kinds, which sum up to 1, and the distribution of keys."""

    shares: Mapping[Kind, float]
    distribution: Distribution = "uniform"

    @property
    def reads(self) -> bool:
        """Whether it needs keys that are there already."""
        return any(kind not in ("put", "insert") for kind in self.shares)


WORKLOADS: Final[Mapping[str, Mix]] = MappingProxyType(
    {
        "put": Mix({"put": 1.0}),
        "get": Mix({"get": 1.0}),
        "mixed": Mix({"get": 0.5, "put": 0.5}),
        "A": Mix({"get": 0.5, "put": 0.5}, "zipf"),
        "B": Mix({"get": 0.95, "put": 0.05}, "zipf"),
        "C": Mix({"get": 1.0}, "zipf"),
        "D": Mix({"get": 0.95, "insert": 0.05}, "latest"),
        "E": Mix({"scan": 0.95, "insert": 0.05}, "zipf"),
        "F": Mix({"get": 0.5, "read-modify-write": 0.5}, "zipf"),
    }
)


class Operation(NamedTuple):
    """One thing to do; `length` is how many keys a scan wants."""

    kind: Kind
    number: int
    length: int = 0


def key_of(prefix: bytes, number: int) -> bytes:
    """The key with this number."""
    return b"%skey%0*d" % (prefix, KEY_DIGITS, number)


class Stream:
    """The operations of one of several client processes, one after the other.

    New keys of process k of p are numbered keys + k, keys + k + p, …, so that no two
    make the same. A process knows of its own alone, and chooses one only after
    `inserted` said that it is there.
    """

    def __init__(
        self,
        mix: Mix,
        distribution: Distribution,
        keys: int,
        dice: Random,
        *,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self._kinds: list[Kind] = list(mix.shares)
        self._shares: list[float] = list(mix.shares.values())
        self._keys: int = keys
        self._draw = dice.random
        self._choose = make_chooser(distribution, keys, dice)
        self._new: int = keys + process
        self._step: int = processes
        self._inserted: list[int] = []

    def next(self) -> Operation:
        """The next operation."""
        kind = self._kind()
        if kind == "insert":
            number = self._new
            self._new += self._step
            return Operation(kind, number)
        position = self._choose(self._keys + len(self._inserted))
        if position >= self._keys:
            position = self._inserted[position - self._keys]
        if kind == "scan":
            return Operation(kind, position, 1 + int(self._draw() * SCAN_KEYS_MAX))
        return Operation(kind, position)

    def inserted(self, number: int) -> None:
        """This new key is there now."""
        self._inserted.append(number)

    def _kind(self) -> Kind:
        if len(self._kinds) == 1:
            return self._kinds[0]
        chance = self._draw()
        for kind, share in zip(self._kinds, self._shares, strict=True):
            chance -= share
            if chance < 0:
                return kind
        return self._kinds[-1]  # what rounding has left over


class Values:
    """Values of one size that do not compress: pieces of one random string."""

    # So many different values, before one comes again.
    _OFFSETS: Final = 4096

    def __init__(self, size: int, dice: Random) -> None:
        self._size: int = size
        self._draw = dice.random
        self._pool: bytes = dice.randbytes(size + self._OFFSETS)

    def next(self) -> bytes:
        """The next value."""
        start = int(self._draw() * self._OFFSETS)
        return self._pool[start : start + self._size]
