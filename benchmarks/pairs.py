"""Two systems in turn, and what may be said of the two: the ratio of each pair.

Law: pure. Absolute figures of a shared machine say little and drift within minutes, so
two things are compared only within a pair, whose legs follow each other at once, and
the order of the legs turns from pair to pair (A-B-B-A), so that a drift hurts both.
A median is never told without its spread.
"""

import statistics
from collections.abc import Callable, Generator, Iterable
from typing import Literal, TypeAlias

import msgspec

PAIRS_MIN = 7

Side: TypeAlias = Literal["left", "right"]


class Leg(msgspec.Struct, frozen=True):
    """One run of one system. `figure` is what is compared, in the row's unit.

    The costs are all node processes' together, workers included, for one operation.
    """

    figure: float
    operations: int = 0
    cpu_us: float = 0.0
    written_bytes: float = 0.0
    syncs: float = 0.0
    client_cpu_us: float = 0.0
    anonymous_mb: float = 0.0


class Spread(msgspec.Struct, frozen=True):
    """A median, and from where to where the values go."""

    median: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def turns(pairs: int) -> Generator[Side]:
    """Whose turn it is: left, right, right, left, left, right, …"""
    for number in range(pairs):
        yield from ("left", "right") if number % 2 == 0 else ("right", "left")


def alternate(
    pairs: int, left: Callable[[], Leg], right: Callable[[], Leg]
) -> tuple[list[Leg], list[Leg]]:
    """Run both in turn; the legs of a pair have the same number."""
    legs: dict[Side, list[Leg]] = {"left": [], "right": []}
    for side in turns(pairs):
        legs[side].append(left() if side == "left" else right())
    return legs["left"], legs["right"]


def spread(values: Iterable[float]) -> Spread:
    """Of at least one value."""
    some = sorted(values)
    return Spread(statistics.median(some), some[0], some[-1], len(some))


def met(holds: bool) -> str:
    """What is said of an aim."""
    return "met" if holds else "missed"


def ratios(left: list[Leg], right: list[Leg]) -> Spread:
    """Of the figures, pair by pair: how much of right's left has."""
    return spread(a.figure / b.figure for a, b in zip(left, right, strict=True))


def cost_ratios(left: list[Leg], right: list[Leg]) -> Spread | None:
    """The same of processor time of the nodes; None where it was not measured."""
    pairs = [(a.cpu_us, b.cpu_us) for a, b in zip(left, right, strict=True)]
    if not all(a > 0 and b > 0 for a, b in pairs):
        return None
    return spread(a / b for a, b in pairs)
