"""Which key is next: uniform, zipf and latest, as YCSB has them.

Law: pure: chance comes in as a number from [0, 1), positions go out. The keys that
exist are numbered from the oldest (0) to the newest.

`zipf` is YCSB's scrambled one: ranks of ten thousand million items are drawn, whatever
the number of keys is, and scattered by FNV-1a, so that the favourites lie anywhere and
stay the same while keys are added. The most popular key gets 3.8 % of the operations.
`latest` draws from the keys that there are, and the newest is the most popular.
"""

from collections.abc import Callable
from random import Random
from typing import Final, Literal, TypeAlias, get_args

THETA: Final = 0.99
SCRAMBLED_ITEMS: Final = 10_000_000_000
# Summed up one by one; the rest of the series is an integral with two corrections.
_ZETA_EXACT: Final = 1000
_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 1_099_511_628_211
_MASK: Final = 2**64 - 1

Distribution: TypeAlias = Literal["uniform", "zipf", "latest"]
DISTRIBUTIONS: Final[tuple[Distribution, ...]] = get_args(Distribution)
# From the number of keys that there are to the position of one of them.
Chooser: TypeAlias = Callable[[int], int]


def zeta(count: int, theta: float = THETA) -> float:
    """The sum of 1/i^theta for i from 1 to `count`, to ten digits."""
    exact = min(count, _ZETA_EXACT)
    total = sum(i**-theta for i in range(1, exact + 1))
    if count > exact:
        # Euler-Maclaurin.
        power = 1 - theta
        total += (count**power - exact**power) / power
        total += (count**-theta - exact**-theta) / 2
        total += theta / 12 * (exact ** (-theta - 1) - count ** (-theta - 1))
    return total


class Zipf:
    """Ranks from 0, of which rank r is drawn in proportion to 1/(r + 1)^theta.

    By the method of Gray et al. ("Quickly generating billion-record synthetic
    databases"), as in YCSB: exact for the first two ranks, close for the others.
    """

    def __init__(self, count: int, theta: float = THETA) -> None:
        assert count > 0
        assert 0 < theta < 1
        self._theta: float = theta
        self._alpha: float = 1 / (1 - theta)
        self._second: float = 1 + 0.5**theta
        self.count: int = count
        self._zeta: float = zeta(count, theta)
        self._eta: float = self._make_eta()

    def _make_eta(self) -> float:
        if self.count <= 2:
            return 0.0  # the first two ranks are all there is
        first = 1 - (2 / self.count) ** (1 - self._theta)
        return first / (1 - self._second / self._zeta)

    def grow(self, count: int) -> None:
        """There are more items now."""
        if count == self.count:
            return
        assert count > self.count
        for i in range(self.count + 1, count + 1):
            self._zeta += i**-self._theta
        self.count = count
        self._eta = self._make_eta()

    def rank(self, chance: float) -> int:
        """The rank at this point of [0, 1)."""
        scaled = chance * self._zeta
        if scaled < 1.0:
            return 0
        if scaled < self._second:
            return min(1, self.count - 1)
        spread = (self._eta * chance - self._eta + 1) ** self._alpha
        return min(int(self.count * spread), self.count - 1)


def scramble(rank: int) -> int:
    """64 bits of FNV-1a over the eight bytes of a rank, as YCSB takes them."""
    hashed = _FNV_OFFSET
    for byte in rank.to_bytes(8, "little"):
        hashed = (hashed ^ byte) * _FNV_PRIME & _MASK
    return hashed - 2**64 if hashed >= 2**63 else hashed


def make_chooser(distribution: Distribution, keys: int, dice: Random) -> Chooser:
    """Chooses among the keys there are, of which there are `keys` at first."""
    draw = dice.random
    if distribution == "uniform":
        return lambda count: int(draw() * count)
    if distribution == "zipf":
        items = Zipf(SCRAMBLED_ITEMS)
        return lambda count: abs(scramble(items.rank(draw()))) % count
    newest = Zipf(keys)

    def latest(count: int) -> int:
        newest.grow(count)
        return count - 1 - newest.rank(draw())

    return latest
