"""`quorate chaos run`: a real cluster under load and faults, and a verdict.

Law: a thin face of chaos/harness; decides nothing. Exit codes: 0 valid, 1 violated, 3
void.
"""

import asyncio
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .chaos_attach import attach
from .chaos_output import (
    EXIT_CODES,
    print_summary,
    stop_by_signal,
    teller,
    usable_folders,
)
from .settings import duration, run_time

if TYPE_CHECKING:
    from ..chaos.harness import (
        HarnessOptions,
        Mix,
        Suite,
        Summary,
    )

ROUNDS_DEFAULT = 10
WRITERS_DEFAULT = 64
VALUE_BYTES_MAX = 1 << 20


@click.group("chaos")
def command() -> None:
    """Check the promises on this machine, with real processes and real faults."""


command.add_command(attach)


@command.command("run")
@click.option(
    "--suite",
    metavar="NAME",
    help="A run with a name: quick, processes, partitions, links, disk, membership,"
    " mixed, soak.",
)
@click.option(
    "--faults",
    metavar="NAME,…",
    help="Kinds, or groups of them: kill (the default), stop, pause, partition, links,"
    " clients, disk, machine, members, all.",
)
@click.option("--nodes", type=click.IntRange(1, 9), help="How many (default 3).")
@click.option(
    "--replicas", type=click.IntRange(0, 10), help="How many more that do not vote."
)
@click.option(
    "--load",
    metavar="NAME[=RATE],…",
    help="Workloads beside the writers, with operations a second: all (the default),"
    " none, or transfers, lists, hot-key, levels, watches, locks, leases,"
    " large-values.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100_000),
    help=f"How many rounds (default {ROUNDS_DEFAULT}, unless there is a duration).",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 8),
    help="So many kinds of fault in each round (default 1), of processes one at most.",
)
@click.option("--duration", "duration_s", type=run_time, help="Faults for that long.")
@click.option("--seed", type=click.IntRange(0), help="Draws the schedule.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep a page about the run, history, schedule, summary and logs here.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the nodes here; by default a temporary folder.",
)
@click.option(
    "--writers",
    type=click.IntRange(0, 4096),
    help=f"Writers at once (default {WRITERS_DEFAULT}; none for kill-leader alone).",
)
@click.option(
    "--rest",
    "rest_s",
    type=duration,
    help="Writers and readers rest so long after each operation (default 0s).",
)
@click.option(
    "--value-bytes",
    type=click.IntRange(1, VALUE_BYTES_MAX),
    default=256,
    show_default=True,
)
@click.option(
    "--power-loss", is_flag=True, help="What was not synced is lost by a kill."
)
@click.option("--mutant", metavar="NAME", help="Break a safety rule of every node.")
def run(
    suite: str | None,
    faults: str | None,
    nodes: int | None,
    replicas: int | None,
    load: str | None,
    rounds: int | None,
    at_once: int | None,
    duration_s: float | None,
    seed: int | None,
    report: Path | None,
    directory: Path | None,
    writers: int | None,
    rest_s: float | None,
    value_bytes: int,
    power_loss: bool,
    mutant: str | None,
) -> None:
    """Hurt a cluster under load, and check that its promises hold.

    With --faults kill-leader alone nothing but probers runs, a put every 5 ms through
    each node: it measures how long writes are refused after the leader's death. Exit
    code: 0 valid, 1 violated, 3 void (too little was tried to say so).
    """
    from ..chaos.harness import HarnessOptions

    base = _suite(suite)
    nodes = base.nodes if nodes is None else nodes
    names = base.faults if faults is None else _names(faults)
    _check_usable(names, nodes)
    measures = suite is None and names == ("kill-leader",)
    if writers is None:
        writers = 0 if measures else base.writers
    if rounds is None and duration_s is None:
        rounds, duration_s = base.rounds, base.duration_s
    options = HarnessOptions(
        seed=random.SystemRandom().getrandbits(32) if seed is None else seed,
        faults=names,
        nodes=nodes,
        replicas=base.replicas if replicas is None else replicas,
        load=_load(load, {} if measures else base.load),
        rounds=rounds,
        at_once=base.at_once if at_once is None else at_once,
        duration_s=duration_s,
        writers=writers,
        rest_s=base.rest_s if rest_s is None else rest_s,
        value_bytes=value_bytes,
        power_loss=power_loss or base.power_loss,
        mutant=mutant,
        command=None if mutant is None else _mutated(mutant),
        directory=directory,
        report=report,
    )
    click.echo(f"seed {options.seed}")
    with usable_folders():
        summary = asyncio.run(_run(options))
    print_summary(summary)
    click.get_current_context().exit(EXIT_CODES[summary.verdict])


def _suite(name: str | None) -> "Suite":
    """The suite of that name; without a name the defaults of a run."""
    from ..chaos.harness import SUITES, Suite

    if name is None:
        return Suite(
            about="",
            faults=("kill",),
            rounds=ROUNDS_DEFAULT,
            writers=WRITERS_DEFAULT,
            replicas=0,
            power_loss=False,
        )
    if name not in SUITES:
        raise click.BadParameter(
            f"--suite: no such suite: {name} ({', '.join(SUITES)})"
        )
    return SUITES[name]


def _names(faults: str) -> tuple[str, ...]:
    """The names in `--faults`, each of which must exist."""
    from ..chaos.harness import FAULTS

    names = tuple(dict.fromkeys(name.strip() for name in faults.split(",")))
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise click.BadParameter(
            f"--faults: no such fault: {', '.join(unknown)} ({', '.join(FAULTS)})"
        )
    return names


def _load(text: str | None, usual: "Mapping[str, float]") -> "Mix":
    """The workloads in `--load`, each of which must exist."""
    from ..chaos.harness import parse_mix

    if text is None:
        return dict(usual)
    try:
        return parse_mix(text)
    except ValueError as error:
        raise click.BadParameter(f"--load: {error}") from error


def _check_usable(names: tuple[str, ...], nodes: int) -> None:
    """Refuse what means nothing in a cluster of that size."""
    from ..chaos.harness import FAULTS, usable

    for name in names:
        if not usable(FAULTS[name], nodes):
            raise click.BadParameter(f"--faults: {name} needs more than {nodes} nodes")


def _mutated(name: str) -> tuple[str, ...]:
    """The command of a node with a broken rule."""
    from ..chaos.simulator.mutants import MUTANTS

    if name not in MUTANTS:
        raise click.BadParameter(
            f"--mutant: no such mutant: {name} ({', '.join(MUTANTS)})"
        )
    module = "quorate.chaos.simulator.mutated_node"
    return (sys.executable, "-P", "-m", module, name)


async def _run(options: "HarnessOptions") -> "Summary":
    from ..chaos.harness import run_harness

    return await run_harness(options, teller(), stop_by_signal())
