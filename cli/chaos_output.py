"""What `quorate chaos` prints, whoever's nodes are hurt.

Law: prints what the harness tells, one line a round, the live line only on a terminal;
decides nothing.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .output import print_table

if TYPE_CHECKING:
    from ..chaos.harness import FaultResult, Moment, Started, Summary
    from ..chaos.prompt import Outcome

EXIT_CODES = {"valid": 0, "violated": 1, "void": 3}
# A killed process that takes longer to go was held, most likely by a sync of its disk.
DYING_MS_TOLD = 200.0


@contextmanager
def usable_folders() -> Generator[None, None, None]:
    """What was named for a run may be of no use: then that is said, and no verdict."""
    from ..chaos.harness.errors import SetupFailed

    try:
        yield
    except SetupFailed as error:
        raise click.UsageError(str(error)) from error


def stop_by_signal() -> asyncio.Event:
    """What is set when somebody wants the run to end."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup a closed terminal is to be ignored.
        if (number, signal.getsignal(number)) != (signal.SIGHUP, signal.SIG_IGN):
            loop.add_signal_handler(number, stop.set)
    return stop


def teller(
    *, quiet: bool = False
) -> "Callable[[Started | Moment | FaultResult], None]":
    """Prints what happens, or only the live line, which is for terminals."""
    from ..chaos.harness import FaultResult, Moment

    live = sys.stderr.isatty()

    def tell(event: "Started | Moment | FaultResult") -> None:
        if isinstance(event, Moment):
            if live:
                click.echo(f"\r\x1b[K{_moment(event)}", err=True, nl=False)
            return
        if live:
            click.echo("\r\x1b[K", err=True, nl=False)
        if quiet:
            return
        if isinstance(event, FaultResult):
            click.echo(_strike(event))
        else:
            note = " (in memory: its syncs cost nothing)" if event.in_memory else ""
            click.echo(f"{event.command}\n{event.where}{note}")

    return tell


def _moment(event: "Moment") -> str:
    return (
        f"{event.seconds:6.1f} s  {event.rounds} rounds  {event.acknowledged}"
        f" acknowledged  {event.unknown} unknown  {event.doing}"
    )


def _strike(result: "FaultResult") -> str:
    who = ",".join(result.targets)
    leader = " (leader)" if result.leader_hit and len(result.targets) == 1 else ""
    slow = result.dying_ms > DYING_MS_TOLD
    note = f" (dead only after {result.dying_ms:.0f} ms)" if slow else ""
    note += "" if result.touched else " (it met nothing)"
    over_ms = (result.until_s - result.at_s) * 1000
    return (
        f"round {result.number:3}  {result.kind:<14}  {who + leader:<14}"
        f"  writes again after {result.gap_ms:7.1f} ms"
        f"  longest gap {result.longest_gap_ms:7.1f} ms"
        f"  over after {over_ms:7.1f} ms{note}"
    )


def print_summary(summary: "Summary") -> None:
    counts = summary.counts
    rows = [
        ["operations", str(counts.operations)],
        ["acknowledged", str(counts.acknowledged)],
        ["unknown", str(counts.unknown)],
        ["rejected", str(counts.rejected)],
        ["reads", f"{counts.reads} ({counts.reads_failed} not answered)"],
        ["keys", str(summary.keys)],
        *(
            [name, f"{count.ok} done, {count.refused} refused, {count.unknown} unknown"]
            for name, count in summary.workloads.items()
        ),
        *(
            [kind, f"{count.fired} ({count.overlapped} during operations)"]
            for kind, count in sorted(summary.faults.items())
        ),
        *(
            [f"gap after leader kills, {name}", f"{summary.leader_gap_ms[name]:.1f} ms"]
            for name in ("median", "p90", "max")
            if name in summary.leader_gap_ms
        ),
        ["seconds", f"{summary.seconds:.1f}"],
        ["verdict", summary.verdict],
    ]
    print_table(["WHAT", "HOW MUCH"], rows)
    print_findings(summary)
    if summary.violations:
        click.echo(f"try it again: {summary.command}")
    if summary.files is not None:
        click.echo(f"files: {summary.files}")


def print_findings(found: "Summary | Outcome") -> None:
    """What was checked and held, what did not, and what makes it void."""
    for line in found.checks:
        click.echo(f"agreed: {line}")
    for violation in found.violations:
        click.echo(str(violation))
    for reason in found.reasons:
        click.echo(f"void: {reason}")
