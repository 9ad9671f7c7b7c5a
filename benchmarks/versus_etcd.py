"""quorate beside etcd: both on this machine, in one run, pair by pair.

    python -m quorate.benchmarks.versus_etcd [--rows put-1000,json-put] [--json FILE]

Three nodes each, peers under mutual TLS, every write synced, values of 256 bytes, data
on a real disk. A row is measured in pairs of legs in A-B-B-A order; what is printed is
the median of the pairs' ratios with the lowest and the highest one. README.md says
which tools it needs; a row whose tool is missing says so and is left out.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import msgspec

from . import machine, tools
from .clusters import Etcd, Quorate
from .frames import RunFailed
from .pairs import PAIRS_MIN, Leg, Spread, alternate, cost_ratios, met, ratios, spread
from .rows import Bench, Row, all_rows, prepare


class Measured(msgspec.Struct):
    """A row as it stands in the JSON."""

    name: str
    what: str
    unit: str
    aim: str
    left_name: str
    right_name: str
    left: list[Leg] = []
    right: list[Leg] = []
    ratio: Spread | None = None
    cpu_ratio: Spread | None = None
    met: bool | None = None
    skipped: str = ""


class Table(msgspec.Struct):
    """All that was measured, and where."""

    machine: dict[str, str]
    load_after: str
    command: str
    rows: list[Measured]


def measure(row: Row, pairs: int) -> Measured:
    """A row without figures when its tool is missing or it can't be done."""
    aim = f"{row.bound} {row.aim:g}×"
    measured = Measured(
        row.name, row.what, row.unit, aim, row.left_name, row.right_name
    )
    try:
        measured.left, measured.right = alternate(pairs, row.left, row.right)
    except (tools.Missing, tools.ToolFailed, RunFailed) as error:
        measured.skipped = str(error)
        return measured
    measured.ratio = ratios(measured.left, measured.right)
    measured.cpu_ratio = cost_ratios(measured.left, measured.right)
    measured.met = row.met(measured.ratio.median)
    return measured


def lines_of(row: Measured) -> list[str]:
    """A row as it is printed."""
    title = f"{row.name:16} {row.what}: {row.left_name} / {row.right_name}"
    if row.ratio is None:
        return [title, f"{'':16} not measured: {row.skipped}"]
    verdict = met(bool(row.met))
    ratio = f"{row.ratio}  of {row.ratio.pairs} pairs; aim {row.aim}: {verdict}"
    lines = [title, f"{'':16} ratio {ratio}"]
    for name, legs in ((row.left_name, row.left), (row.right_name, row.right)):
        lines.append(f"{'':16} {name:16} {_costs(row.unit, legs)}")
    if row.cpu_ratio is not None:
        lines.append(f"{'':16} processor time of the nodes: ratio {row.cpu_ratio}")
    return lines


def _costs(unit: str, legs: Sequence[Leg]) -> str:
    """Medians of one side; costs only where they were taken."""

    def median(name: str) -> float:
        return spread(float(getattr(leg, name)) for leg in legs).median

    figures = spread(leg.figure for leg in legs)
    digits = 0 if figures.median >= 100 else 2
    low, high = f"{figures.low:,.{digits}f}", f"{figures.high:,.{digits}f}"
    text = f"{figures.median:>9,.{digits}f} {unit} ({low}–{high})"
    if not median("cpu_us"):
        return text
    return (
        f"{text}; for each: {median('cpu_us'):.1f} µs of the nodes,"
        f" {median('client_cpu_us'):.1f} of the client,"
        f" {median('written_bytes'):,.0f} bytes, {median('syncs'):.3f} syncs;"
        f" {median('anonymous_mb'):.0f} MB at most"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="quorate beside etcd, in one run.")
    parser.add_argument("--rows", help="names, separated by commas; default: all")
    parser.add_argument("--pairs", type=int, default=PAIRS_MIN)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each leg")
    parser.add_argument("--processes", type=int, default=1, help="of quorate's client")
    parser.add_argument("--rounds", type=int, help="of failover; default: --pairs")
    parser.add_argument("--directory", type=Path, help="on a real disk, for the data")
    parser.add_argument(
        "--tools", type=Path, default=tools.TOOLS, help="where etcd lies"
    )
    parser.add_argument("--json", type=Path, help="write all figures there")
    return parser.parse_args()


def run(given: argparse.Namespace) -> Table:
    """Start both, measure, print, and end both."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="versus-", dir=given.directory)
            )
        )
        quorate = Quorate(folder / "quorate")
        stack.callback(quorate.stop)
        etcd = None
        try:
            etcd = Etcd(folder / "etcd", tools.need("etcd", given.tools))
            stack.callback(etcd.stop)
        except tools.Missing as missing:
            print(missing, file=sys.stderr)
        bench = Bench(
            quorate, etcd, folder, given.tools, given.seconds, given.processes
        )
        return _measure_all(bench, given)


def _measure_all(bench: Bench, given: argparse.Namespace) -> Table:
    rows = all_rows(bench)
    known = {row.name for row in rows}
    wanted = set(given.rows.split(",")) if given.rows else known
    if unknown := wanted - known:
        raise SystemExit(f"no such row: {', '.join(sorted(unknown))}")
    table = Table(machine.describe(), "", " ".join(sys.argv[1:]), [])
    print("\n".join(f"{name}: {text}" for name, text in table.machine.items()))
    prepare(bench, wanted)
    for row in rows:
        if row.name in wanted:
            pairs = given.rounds if row.name == "failover" else None
            table.rows.append(measure(row, pairs or given.pairs))
            print("\n".join(lines_of(table.rows[-1])), flush=True)
    table.load_after = machine.describe()["load"]
    print(f"load afterwards: {table.load_after}")
    return table


def _ended(number: int, _: object) -> NoReturn:
    """Like Ctrl-C, so that everything is ended in order."""
    raise SystemExit(128 + number)


def main() -> None:
    signal.signal(signal.SIGTERM, _ended)
    given = _arguments()
    table = run(given)
    if given.json is not None:
        given.json.write_bytes(
            msgspec.json.format(msgspec.json.encode(table), indent=2)
        )


if __name__ == "__main__":
    main()
