"""One thing changed at a time, beside etcd: nodes, value size, clients, watches.

    python -m quorate.benchmarks.sweeps [--axes nodes,value] [--plots FOLDER]

Law: all but one thing stays as it is in the rows of the table (three nodes, 256 bytes,
mutual TLS between peers, every write synced). The legs of a point follow each other at
once, A-B-B-A. A point whose leg can't be done is left out and said. Watches are
quorate's alone: writes come at a fixed rate, and what is told is their p99.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from . import frames, grpc_bodies, machine, tools, watchers
from .clusters import Etcd, Place, Quorate, System
from .frames import RunFailed
from .pairs import Leg, alternate, ratios, spread
from .rows import GRPC_KEY, VALUE_BYTES, costed

IN_FLIGHT: Final = 1024
CONNECTIONS_MAX: Final = 64
# Of all values on their way together, so that large ones measure no queue.
FLYING_BYTES: Final = 4_000_000
WATCHED_RATE: Final = 300.0


class Point(msgspec.Struct, frozen=True):
    """What was measured at one place of an axis."""

    at: int
    quorate: list[Leg]
    etcd: list[Leg] = []


class Sweep(msgspec.Struct, frozen=True):
    """An axis with its points, as it stands in the JSON."""

    name: str
    along: str
    figure: str
    points: list[Point]


class Report(msgspec.Struct, frozen=True):
    """All that was measured, and where."""

    machine: dict[str, str]
    load_after: str
    sweeps: list[Sweep]


class Bench(NamedTuple):
    """What axes need; without `etcd`'s program quorate is measured alone."""

    folder: Path
    etcd: str | None
    seconds: float
    pairs: int


class Axis(NamedTuple):
    """`measured` yields a point as soon as it is done."""

    name: str
    along: str
    figure: str
    measured: Callable[[Bench], Generator[Point]]


def spread_over(in_flight: int) -> tuple[int, int]:
    """So many connections, and requests on each of them."""
    connections = min(in_flight, CONNECTIONS_MAX)
    return connections, in_flight // connections


def in_flight_of(value_bytes: int) -> int:
    """As many puts as one connection each, fewer when they are large."""
    return max(1, min(CONNECTIONS_MAX, FLYING_BYTES // value_bytes))


class Pair:
    """Both systems with so many nodes, and legs of puts."""

    def __init__(self, bench: Bench, stack: ExitStack, nodes: int) -> None:
        self._bench = bench
        self._folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix=f"{nodes}-", dir=bench.folder)
            )
        )
        self._quorate: System = Quorate(self._folder / "quorate", nodes)
        stack.callback(self._quorate.stop)
        self._etcd: System | None = None
        if bench.etcd is not None:
            self._etcd = Etcd(self._folder / "etcd", bench.etcd, nodes)
            stack.callback(self._etcd.stop)

    def puts(self, at: int, in_flight: int, value_bytes: int = VALUE_BYTES) -> Point:
        """The point of an axis `at` which puts are like this."""
        connections, streams = spread_over(in_flight)
        requests = frames.puts(in_flight, value_bytes)
        body = grpc_bodies.put(GRPC_KEY, b"v" * value_bytes)
        seconds, etcd = self._bench.seconds, self._etcd

        def ours(place: Place) -> Leg:
            return frames.drive(place.port, requests, connections, seconds)

        def theirs(place: Place) -> Leg:
            told = tools.h2load(
                place.url, body, self._folder, connections, streams, seconds
            )
            return tools.leg_of(told)

        if etcd is None:
            pairs = range(self._bench.pairs)
            return Point(at, [costed(self._quorate, ours) for _ in pairs])
        left, right = alternate(
            self._bench.pairs,
            lambda: costed(self._quorate, ours),
            lambda: costed(etcd, theirs),
        )
        return Point(at, left, right)


def _nodes(bench: Bench) -> Generator[Point]:
    for nodes in (1, 3, 5, 7):
        with ExitStack() as stack:
            yield Pair(bench, stack, nodes).puts(nodes, IN_FLIGHT)


def _values(bench: Bench) -> Generator[Point]:
    with ExitStack() as stack:
        pair = Pair(bench, stack, 3)
        for value_bytes in (16, 256, 4_096, 65_536, 1_000_000):
            yield pair.puts(value_bytes, in_flight_of(value_bytes), value_bytes)


def _clients(bench: Bench) -> Generator[Point]:
    with ExitStack() as stack:
        pair = Pair(bench, stack, 3)
        for in_flight in (1, 4, 16, 64, 256, 1024):
            yield pair.puts(in_flight, in_flight)


def _watches(bench: Bench) -> Generator[Point]:
    with ExitStack() as stack:
        system = Quorate(bench.folder / "watched")
        stack.callback(system.stop)
        writes = watchers.Bench(system, WATCHED_RATE, bench.seconds)
        writes.without()
        for connections in (0, 1, 10, 100):
            legs = [
                writes.with_watchers(connections) if connections else writes.without()
                for _ in range(bench.pairs)
            ]
            yield Point(connections * watchers.WATCHES, legs)


AXES: Final = (
    Axis("nodes", f"nodes; puts, {IN_FLIGHT:,} in flight", "puts/s", _nodes),
    Axis("value", "bytes of a value; puts, up to 64 in flight", "puts/s", _values),
    Axis("in-flight", "puts in flight", "puts/s", _clients),
    Axis(
        "watches",
        f"watches; writes at {WATCHED_RATE:.0f} a second",
        "ms, p99 of a write",
        _watches,
    ),
)


def line_of(point: Point, figure: str) -> str:
    """A point as it is printed: medians, and of both the ratio with its spread."""

    def told(legs: Sequence[Leg]) -> str:
        rate = spread(leg.figure for leg in legs).median
        cpu = spread(leg.cpu_us for leg in legs).median
        digits = 0 if rate >= 100 else 2
        return f"{rate:,.{digits}f} {figure}, {cpu:,.0f} µs of the nodes each"

    text = f"{point.at:>9,}  {told(point.quorate)}"
    if point.etcd:
        ratio = ratios(point.quorate, point.etcd)
        text += f"; etcd {told(point.etcd)}; ratio {ratio}"
    return text


def sweep(axis: Axis, bench: Bench) -> Sweep:
    """All points that can be measured, each printed when it is."""
    print(f"{axis.name}: {axis.along}", flush=True)
    points: list[Point] = []
    try:
        for point in axis.measured(bench):
            points.append(point)
            print(line_of(point, axis.figure), flush=True)
    except (tools.Missing, tools.ToolFailed, RunFailed) as error:
        print(f"the rest is not measured: {error}", flush=True)
    return Sweep(axis.name, axis.along, axis.figure, points)


def draw(report: Report, folder: Path, where: Path) -> None:
    """A picture of each sweep, by the matplotlib of the environment of the tools."""
    python = tools.need("python", where)
    if not tools.imports(python, "matplotlib"):
        raise tools.Missing("matplotlib")
    folder.mkdir(parents=True, exist_ok=True)
    script = Path(__file__).with_name("plots.py")
    subprocess.run(
        [python, str(script), str(folder)],
        input=msgspec.json.encode(report),
        check=True,
    )


def run(given: argparse.Namespace, axes: Sequence[Axis]) -> Report:
    """What is not installed is left out."""
    etcd = tools.find_etcd(given.tools, "h2load")
    about = machine.describe()
    print("\n".join(f"{name}: {text}" for name, text in about.items()))
    with tempfile.TemporaryDirectory(prefix="sweeps-", dir=given.directory) as folder:
        bench = Bench(Path(folder), etcd, given.seconds, given.pairs)
        sweeps = [sweep(axis, bench) for axis in axes]
    return Report(about, machine.describe()["load"], sweeps)


def main() -> None:
    parser = argparse.ArgumentParser(description="One thing changed at a time.")
    parser.add_argument("--axes", help="names, separated by commas; default: all")
    parser.add_argument("--pairs", type=int, default=3, help="of legs, for each point")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each leg")
    parser.add_argument("--directory", type=Path, help="on a real disk, for the data")
    parser.add_argument("--tools", type=Path, default=tools.TOOLS)
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--plots", type=Path, help="a folder for pictures (SVG)")
    given = parser.parse_args()
    known = {axis.name: axis for axis in AXES}
    names = given.axes.split(",") if given.axes else list(known)
    if unknown := set(names) - set(known):
        parser.error(f"no such axis: {', '.join(sorted(unknown))}")
    report = run(given, [known[name] for name in names])
    if given.json is not None:
        text = msgspec.json.format(msgspec.json.encode(report), indent=2)
        given.json.write_bytes(text)
    if given.plots is not None:
        draw(report, given.plots, given.tools)


if __name__ == "__main__":
    main()
