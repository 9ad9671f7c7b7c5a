"""More than a node admits: what becomes of the writes that it does admit.

    python -m quorate.benchmarks.overload [--limit 64] [--times 3] [--rounds 7]

Law: nodes take `--limit` requests at a time (limits.requests_in_flight_max), and wrk
writes as JSON through the leader: over so many connections, then over `--times` as
many, each of which asks again at once when it is refused, and then over so many again.
How long an admitted write took is what the leader says in its metrics, from its
reception to its answer.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from . import machine, tools
from .clusters import BenchmarkFailed, Quorate, metrics_of
from .histograms import between, parse_counts
from .pairs import PAIRS_MIN, met, spread

OPERATION: Final = "etcd_put"
PERCENTILE: Final = 0.99
RECOVERED: Final = 0.8
RECOVER_SECONDS_MAX: Final = 30.0
RECOVER_LEG_SECONDS: Final = 1.0


class Leg(msgspec.Struct, frozen=True):
    """What was written in a while, and what was turned away."""

    per_second: float
    refused_per_second: float
    p99_s: float


class Round(msgspec.Struct, frozen=True):
    """As much as is admitted, more than that, and how soon all was as before."""

    normal: Leg
    overload: Leg
    recovered_s: float


def parse_writes(metrics: str) -> dict[float, float]:
    """Of writes that were done: how many took at most so many seconds, by bound."""
    labels = f'operation="{OPERATION}",result="ok"'
    return parse_counts(metrics, "quorate_http_request_duration_seconds", labels)


def percentile_s(
    before: dict[float, float], after: dict[float, float], share: float
) -> float:
    """The time below which this share of those in between was, within its bucket.

    As Prometheus' histogram_quantile: what a bucket holds is spread evenly in it.
    """
    lower_s, below = 0.0, 0.0
    counts = between(before, after)
    if not counts or not max(counts.values()):
        raise BenchmarkFailed("not one write was done")
    wanted = share * max(counts.values())
    for upper_s, count in counts.items():
        if count >= wanted:
            inside = (wanted - below) / (count - below)
            return lower_s + (upper_s - lower_s) * inside
        lower_s, below = upper_s, count
    raise AssertionError("the last bucket holds all")


class Overload:
    """Legs against one cluster's leader."""

    def __init__(self, system: Quorate, limit: int, times: int, seconds: float) -> None:
        self._leader = system.places()[system.leader()]
        self._limit = limit
        self._times = times
        self._seconds = seconds

    def leg(self, connections: int, seconds: float) -> Leg:
        port = self._leader.port
        before = parse_writes(metrics_of(port))
        told = tools.wrk(self._leader.url, "v3put", connections, seconds, refused=True)
        after = parse_writes(metrics_of(port))
        refused = told.refused / told.requests * told.per_second
        return Leg(
            told.per_second - refused,
            refused,
            percentile_s(before, after, PERCENTILE),
        )

    def round(self) -> Round:
        normal = self.leg(self._limit, self._seconds)
        overload = self.leg(self._limit * self._times, self._seconds)
        began_s = time.monotonic()
        while True:
            since_s = time.monotonic() - began_s
            leg = self.leg(self._limit, RECOVER_LEG_SECONDS)
            if leg.per_second >= RECOVERED * normal.per_second:
                return Round(normal, overload, since_s)
            if since_s > RECOVER_SECONDS_MAX:
                raise BenchmarkFailed("it does not recover")


def lines_of(rounds: list[Round], elections: int) -> list[str]:
    """What is printed, with what is aimed at."""
    normal = [each.normal for each in rounds]
    more = [each.overload for each in rounds]
    pairs = list(zip(more, normal, strict=True))
    written = spread(over.per_second / usual.per_second for over, usual in pairs)
    slower = spread(over.p99_s / usual.p99_s for over, usual in pairs)
    recovered_s = max(each.recovered_s for each in rounds)
    rate = statistics.median(leg.per_second for leg in normal)
    p99_ms = statistics.median(leg.p99_s for leg in normal) * 1e3
    refused = statistics.median(leg.refused_per_second for leg in more)
    return [
        f"as many as are admitted: {rate:,.0f} writes/s, p99 {p99_ms:.1f} ms",
        f"more: {refused:,.0f} refused a second",
        f"writes/s, ratio {written}; aim ≥ 0.8: {met(written.median >= 0.8)}",
        f"p99 of those admitted, ratio {slower}; aim ≤ 5: {met(slower.median <= 5)}",
        f"as before after {recovered_s:.1f} s at most; aim ≤ 10 s:"
        f" {met(recovered_s <= 10)}",
        f"elections: {elections}; aim 0: {met(not elections)}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="More than a node admits.")
    parser.add_argument("--limit", type=int, default=64, help="requests at a time")
    parser.add_argument("--times", type=int, default=3, help="as many connections")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each leg")
    parser.add_argument("--rounds", type=int, default=PAIRS_MIN)
    parser.add_argument("--directory", help="on a real disk, for the data")
    given = parser.parse_args()
    print("\n".join(f"{name}: {text}" for name, text in machine.describe().items()))
    with tempfile.TemporaryDirectory(prefix="overload-", dir=given.directory) as folder:
        limits = {"QUORATE_LIMITS_REQUESTS_IN_FLIGHT_MAX": str(given.limit)}
        system = Quorate(Path(folder) / "quorate", environment=limits)
        try:
            terms = system.terms()
            overload = Overload(system, given.limit, given.times, given.seconds)
            rounds = [overload.round() for _ in range(given.rounds)]
            elections = max(system.terms()) - max(terms)
        finally:
            system.stop()
    print("\n".join(lines_of(rounds, elections)))


if __name__ == "__main__":
    main()
