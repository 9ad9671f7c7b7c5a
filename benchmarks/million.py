"""A million puts beside etcd: what they cost when all debt is paid, and what is left.

    python -m quorate.benchmarks.million [--puts 1000000] [--keys 1000000] [--pairs 1]

Law: each leg has a cluster of its own, three nodes with nothing in them. Both get the
same keys in no order, so that every table meets every other, from the cheapest client
in Python that speaks to them. The time and the processors that flushes and compactions
take after the last put count. Then each node is killed and started again.
"""

import argparse
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from . import frames, grpc_bodies, machine, tools
from .clusters import BenchmarkFailed, Etcd, Quorate, System, metrics_of
from .grpc_frames import drive_calls
from .histograms import between, parse_counts
from .pairs import Spread, met, spread, turns
from .rows import CONNECTIONS, VALUE_BYTES

IN_FLIGHT: Final = 1000
# Workers that use less of a processor than this have nothing left to do.
IDLE_SHARE: Final = 0.02
IDLE_SECONDS: Final = 1.0
DEBT_SECONDS_MAX: Final = 300.0
LATE: Final = 0.999


class Leg(msgspec.Struct, frozen=True):
    """What a million puts were for one system; the last three of quorate alone."""

    per_second: float
    per_second_paid: float
    cpu_us: float
    anonymous_mb: float
    restart_s: float
    longest_gap_s: float = 0.0
    late_s: float = 0.0
    late_s_max: float = 0.0


class Lag(NamedTuple):
    """Of a loop's ticks so far: how many were at most so late, by bound in seconds."""

    counts: dict[float, float]
    longest_s: float


def parse_lag(metrics: str) -> Lag:
    """The two figures of a node's loop in its metrics."""
    counts = parse_counts(metrics, "quorate_process_loop_lag_seconds")
    longest = re.search(
        r"^quorate_process_loop_lag_max_seconds (\S+)$", metrics, re.MULTILINE
    )
    if not counts or longest is None:
        raise BenchmarkFailed("the metrics do not tell how late the loop was")
    return Lag(counts, float(longest[1]))


def late_at_most(before: Lag, after: Lag, share: float) -> float:
    """The bound below which this share of the ticks in between was."""
    counts = between(before.counts, after.counts)
    total = max(counts.values())
    return min(le for le, count in counts.items() if count >= share * total)


def pay_debt(system: System, seconds_max: float = DEBT_SECONDS_MAX) -> float:
    """Wait until workers have nothing to do; how many seconds they had."""
    pids = [place.pid for place in system.places()]
    began_s = time.monotonic()
    while True:
        workers = set(machine.family(pids)) - set(pids)
        used_s, since_s = machine.cpu_seconds(workers), time.monotonic()
        time.sleep(IDLE_SECONDS)
        used_s = machine.cpu_seconds(workers) - used_s
        if used_s < IDLE_SHARE * (time.monotonic() - since_s):
            return since_s - began_s
        if since_s - began_s > seconds_max:
            raise BenchmarkFailed("the workers do not come to an end")


def restart_all(system: System) -> float:
    """Kill each node in turn and start it again: the longest time until it serves."""
    longest_s = 0.0
    for number in range(len(system.places())):
        longest_s = max(longest_s, restart(system, number))
        system.leader()
    return longest_s


def restart(system: System, number: int) -> float:
    """Kill one node and start it again: how long until it serves."""
    system.kill(number)
    began_s = time.monotonic()
    system.restart(number)
    return time.monotonic() - began_s


class Put(NamedTuple):
    """What the puts themselves were: how many in what time."""

    operations: int
    took_s: float
    longest_gap_s: float = 0.0


def measure(system: System, put: Callable[[int], Put]) -> Leg:
    """All of one leg; `put` is given the port of the leader."""
    places = system.places()
    pids = [place.pid for place in places]
    before = _lags(system)
    cpu_s = machine.cpu_seconds(pids)
    done = put(places[system.leader()].port)
    debt_s = pay_debt(system)
    cpu_s = machine.cpu_seconds(pids) - cpu_s
    after = _lags(system)
    late = [late_at_most(*each, LATE) for each in zip(before, after, strict=True)]
    return Leg(
        per_second=done.operations / done.took_s,
        per_second_paid=done.operations / (done.took_s + debt_s),
        cpu_us=cpu_s / done.operations * 1e6,
        anonymous_mb=max(map(machine.anonymous_bytes, pids)) / 1e6,
        restart_s=restart_all(system),
        longest_gap_s=done.longest_gap_s,
        late_s=max(late, default=0.0),
        late_s_max=max((lag.longest_s for lag in after), default=0.0),
    )


def _lags(system: System) -> list[Lag]:
    """Of each node; of others' systems nobody knows."""
    if not isinstance(system, Quorate):
        return []
    return [parse_lag(metrics_of(place.port)) for place in system.places()]


def quorate_leg(folder: Path, puts: int, keys: int, seed: int) -> Leg:
    requests = frames.scattered_puts(IN_FLIGHT, VALUE_BYTES, keys, seed)

    def put(port: int) -> Put:
        done = frames.drive_until(
            port, requests, CONNECTIONS, lambda answered, _: answered >= puts
        )
        return Put(done.leg.operations, done.took_s, done.longest_gap_s)

    system = Quorate(folder)
    try:
        return measure(system, put)
    finally:
        system.stop()


def etcd_leg(folder: Path, program: str, puts: int, keys: int, seed: int) -> Leg:
    messages = grpc_bodies.puts(frames.drawn(keys, seed), b"v" * VALUE_BYTES)

    def put(port: int) -> Put:
        done = drive_calls(
            *(port, grpc_bodies.PUT, messages, IN_FLIGHT, CONNECTIONS),
            lambda answered, _: answered >= puts,
        )
        return Put(done.leg.operations, done.took_s, done.longest_gap_s)

    system = Etcd(folder, program)
    try:
        return measure(system, put)
    finally:
        system.stop()


def lines_of(ours: list[Leg], theirs: list[Leg]) -> list[str]:
    """What is printed in the end; without etcd only what quorate did."""

    def median(name: str, legs: list[Leg]) -> float:
        return statistics.median(getattr(leg, name) for leg in legs)

    def ratio(name: str, over: str | None = None) -> Spread:
        pairs = zip(ours, theirs, strict=True)
        return spread(getattr(a, name) / getattr(b, over or name) for a, b in pairs)

    lines: list[str] = []
    for name, legs in (("quorate", ours), ("etcd", theirs)):
        if legs:
            lines.append(
                f"{name:8} {median('per_second', legs):,.0f} puts/s,"
                f" {median('per_second_paid', legs):,.0f} with all debt paid;"
                f" {median('cpu_us', legs):.1f} µs of all nodes each;"
                f" {median('anonymous_mb', legs):.0f} MB the largest;"
                f" killed and serving again in {median('restart_s', legs):.2f} s"
            )
    if theirs:
        paid = ratio("per_second_paid", "per_second")
        lines.append(
            f"puts with the debt paid {paid}; aim ≥ 3×: {met(paid.median >= 3)}"
        )
        cpu = ratio("cpu_us")
        lines.append(
            f"processor time of the nodes {cpu}; aim ≤ 0.4×: {met(cpu.median <= 0.4)}"
        )
    for what, name, unit, scale, aim in (
        ("longest time without an answer", "longest_gap_s", "s", 1.0, 1.0),
        ("largest node, worker included", "anonymous_mb", "MB", 1.0, 256.0),
        ("killed and serving again", "restart_s", "s", 1.0, 2.0),
        ("loop late, 999 of 1000 ticks at most", "late_s", "ms", 1e3, 50.0),
    ):
        worst = max(getattr(leg, name) for leg in ours) * scale
        told = f"{what}: {worst:.2f} {unit}; aim ≤ {aim:g} {unit}"
        lines.append(f"{told}: {met(worst <= aim)}")
    longest_ms = max(leg.late_s_max for leg in ours) * 1e3
    return [*lines, f"loop late at most: {longest_ms:.0f} ms"]


def run(given: argparse.Namespace) -> tuple[list[Leg], list[Leg]]:
    """All pairs; what is not installed is left out."""
    etcd = tools.find_etcd(given.tools)
    ours: list[Leg] = []
    theirs: list[Leg] = []
    for number, side in enumerate(turns(given.pairs)):
        with tempfile.TemporaryDirectory(
            prefix="million-", dir=given.directory
        ) as folder:
            if side == "left":
                ours.append(quorate_leg(Path(folder), given.puts, given.keys, number))
            elif etcd is not None:
                theirs.append(
                    etcd_leg(Path(folder), etcd, given.puts, given.keys, number)
                )
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description="A million puts, and what is left.")
    parser.add_argument("--puts", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--directory", help="on a real disk, for the data")
    parser.add_argument("--tools", type=Path, default=tools.TOOLS)
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()
    print("\n".join(f"{name}: {text}" for name, text in machine.describe().items()))
    ours, theirs = run(given)
    print("\n".join(lines_of(ours, theirs)))
    if given.json is not None:
        told = msgspec.to_builtins({"quorate": ours, "etcd": theirs})
        given.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
