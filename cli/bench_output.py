"""How a benchmark looks: live lines, the table, notes and JSON.

Law: what is shown is computed from the report alone. What makes figures better than the
cluster was is said beside them, and never left for the reader to find.
"""

import math
import platform
import sys
from typing import TYPE_CHECKING

import click

from .. import __version__
from .output import print_json, print_table, to_text

if TYPE_CHECKING:
    from ..chaos.load import Histogram, LoadOptions, Moment, Report, Result, Tally

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
HEAD = ["KIND", "COUNT", "OPS/S", "MEAN", "P50", "P90", "P99", "P99.9", "MAX", "ERRORS"]
# A process this busy is likely to be what limits the figures.
BUSY_SHARE = 0.9
# Below this share of the asked rate it was not the asked load.
RATE_SHARE = 0.99


def milliseconds(value_ns: float) -> str:
    """Three digits that mean something, in milliseconds."""
    value = value_ns / 1e6
    whole = max(math.floor(math.log10(value)) + 1, 1) if value >= 1 else 1
    return f"{value:.{max(3 - whole, 0) + (value < 1)}f}"


class Screen:
    """The live line on standard error, over itself on a terminal."""

    def __init__(self, options: "LoadOptions") -> None:
        self._live: bool = sys.stderr.isatty()
        self._shown: bool = False
        loop = (
            f"closed loop, {options.in_flight} in flight"
            if options.rate is None
            else f"open loop, {options.rate:g}/s, {options.arrivals} arrivals"
        )
        click.echo(
            f"workload {options.workload}, {options.distribution} over {options.keys}"
            f" keys, {options.value_bytes} bytes; {loop}, {options.processes}"
            f" process{'es' if options.processes > 1 else ''}; seed {options.seed}",
            err=True,
        )

    def tell(self, moment: "Moment") -> None:
        """Show it."""
        from ..chaos.load import BulkMoment

        if isinstance(moment, BulkMoment):
            line = f"{moment.phase:5}  {moment.done} of {moment.total} keys"
        else:
            line = f"{moment.at_s:6.1f} s  {_window(moment.window, moment.window_s)}"
        click.echo(f"\r\x1b[K{line}" if self._live else line, err=True, nl=False)
        if not self._live:
            click.echo(err=True)
        self._shown = True

    def close(self) -> None:
        """Leave the line."""
        if self._live and self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)


def _window(window: "Report", window_s: float) -> str:
    if window.warm:
        return "warming up"
    total = window.total()
    rate = total.latency.count / window_s if window_s else 0.0
    notes = "".join(
        f"  {count} {what}"
        for count, what in ((window.delayed, "delayed"), (window.unsent, "unsent"))
        if count
    )
    return (
        f"{rate:8.0f}/s  p50 {milliseconds(total.latency.percentile_ns(50.0))} ms"
        f"  p99 {milliseconds(total.latency.percentile_ns(99.0))} ms"
        f"  errors {sum(total.errors.values())}  in flight {window.in_flight}{notes}"
    )


def print_result(
    options: "LoadOptions", result: "Result", version: str, *, json: bool
) -> None:
    """The table with its notes, or one JSON document."""
    if json:
        print_json(_document(options, result, version))
        return
    report = result.report
    seconds = report.seconds
    tallies = _in_order(report)
    rows = [_row(kind, tally, seconds) for kind, tally in tallies.items()]
    if len(rows) > 1:
        rows.append(_row("all", report.total(), seconds))
    if not rows:
        click.echo("nothing was measured")
        return
    print_table(HEAD, rows)
    interrupted = ", interrupted" if result.interrupted else ""
    click.echo(f"latencies in ms; {seconds:.1f} s{interrupted}; seed {options.seed}")
    for kind, tally in tallies.items():
        for code, count in sorted(tally.errors.items()):
            click.echo(f"{kind}: {count} {code}")
        if tally.absent:
            click.echo(f"{kind}: {tally.absent} found no key")
    for note in notes_on(options, report):
        click.echo(f"note: {note}")


def _in_order(report: "Report") -> "dict[str, Tally]":
    from ..chaos.load import KINDS

    return {kind: report.tallies[kind] for kind in KINDS if kind in report.tallies}


def _row(kind: str, tally: "Tally", seconds: float) -> list[str]:
    latency = tally.latency
    rate = latency.count / seconds if seconds else 0.0
    return [
        kind,
        str(latency.count),
        f"{rate:.0f}",
        milliseconds(latency.mean_ns),
        *(milliseconds(latency.percentile_ns(percent)) for percent in PERCENTILES),
        milliseconds(latency.max_ns),
        str(sum(tally.errors.values())),
    ]


def notes_on(options: "LoadOptions", report: "Report") -> list[str]:
    """What a reader of the figures must know."""
    notes: list[str] = []
    seconds = report.seconds
    if options.rate is not None:
        late = report.late
        notes.append(
            "sent after their time (part of the latencies):"
            f" p50 {milliseconds(late.percentile_ns(50.0))} ms,"
            f" p99 {milliseconds(late.percentile_ns(99.0))} ms,"
            f" max {milliseconds(late.max_ns)} ms"
        )
        if report.delayed:
            notes.append(
                f"{report.delayed} operations waited to be sent, because"
                f" {options.in_flight} of their process were in flight; their latencies"
                " count from when they were due"
            )
        if report.unsent:
            notes.append(
                f"{report.unsent} operations were due and never sent, because"
                f" {options.in_flight} of their process were in flight to the end; the"
                " latencies are better than the truth"
            )
        pace = report.pace(options.rate)
        if pace < RATE_SHARE:
            sent = pace * options.rate
            notes.append(f"{sent:.0f} operations a second were sent, fewer than asked")
    if seconds and report.cpu_s > BUSY_SHARE * seconds * options.processes:
        notes.append(
            "the client processes had no time to spare: more --processes may show more"
        )
    return notes


def _document(
    options: "LoadOptions", result: "Result", version: str
) -> dict[str, object]:
    import msgspec

    report = result.report
    shown: dict[str, object] = msgspec.to_builtins(options)
    # Like a key: base64 for programs, and text for the eye.
    shown["prefix64"] = shown.pop("prefix")
    shown["prefix"] = to_text(options.prefix)
    seconds = report.seconds
    return {
        "versions": {
            "bench": __version__,
            "cluster": version,
            "python": platform.python_version(),
        },
        "options": shown,
        "interrupted": result.interrupted,
        "failures": [str(failure) for failure in result.failures],
        "seconds": seconds,
        "cpu_seconds": report.cpu_s,
        "delayed": report.delayed,
        "unsent": report.unsent,
        "sent_late": _latency(report.late),
        "kinds": {
            kind: _tally(tally, seconds) for kind, tally in _in_order(report).items()
        },
        "all": _tally(report.total(), seconds),
        "notes": notes_on(options, report),
    }


def _tally(tally: "Tally", seconds: float) -> dict[str, object]:
    return {
        "count": tally.latency.count,
        "per_second": tally.latency.count / seconds if seconds else 0.0,
        "errors": tally.errors,
        "absent": tally.absent,
        "latency": _latency(tally.latency),
    }


def _latency(latency: "Histogram") -> dict[str, object]:
    return {
        "mean_ns": latency.mean_ns,
        **{f"p{p:g}_ns": latency.percentile_ns(p) for p in PERCENTILES},
        "max_ns": latency.max_ns,
        # Buckets that are in use, in order: number and count.
        "histogram": sorted(latency.counts.items()),
    }
