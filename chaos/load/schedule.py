"""When operations are due in an open loop.

Law: pure, and blind to how the cluster does: the moments depend on rate and seed alone.
Process k of p takes every p-th moment of the one schedule (constant), or has a Poisson
process of its own at 1/p of the rate, which together are one of the whole rate.
"""

from collections.abc import Iterator
from random import Random
from typing import Final, Literal, TypeAlias, get_args

Arrivals: TypeAlias = Literal["constant", "poisson"]
ARRIVALS: Final[tuple[Arrivals, ...]] = get_args(Arrivals)


def due_times(
    arrivals: Arrivals,
    begin_s: float,
    rate: float,
    dice: Random,
    *,
    process: int = 0,
    processes: int = 1,
) -> Iterator[float]:
    """When one of several processes has something to do, without an end."""
    if arrivals == "constant":
        number = process
        while True:
            # Multiplied and not added up, so that no error does.
            yield begin_s + number / rate
            number += processes
    due_s = begin_s
    while True:
        due_s += dice.expovariate(rate / processes)
        yield due_s
