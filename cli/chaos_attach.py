"""`quorate chaos attach`: loads and checks against a cluster that is running already.

Law: a thin face of chaos/attach. Nothing is hurt but by commands from the user's file.
Exit codes: 0 valid, 1 violated, 3 void.
"""

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from .chaos_output import (
    EXIT_CODES,
    print_summary,
    stop_by_signal,
    teller,
    usable_folders,
)
from .settings import connection_options, current_settings, duration, run_time

if TYPE_CHECKING:
    from ..chaos.attach import AttachOptions, FaultFile
    from ..chaos.harness import Mix, Summary
    from ..client.options import ClientOptions

ROUNDS_DEFAULT = 10
CALM_SECONDS_DEFAULT = 30.0
VALUE_BYTES_MAX = 1 << 20


@click.command("attach")
@click.argument("where", metavar="[HOST:PORT,…]", required=False)
@click.option(
    "--faults",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Commands that begin and end faults, as TOML; without it there are none.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100_000),
    help=f"How many faults (default {ROUNDS_DEFAULT}, unless there is a duration).",
)
@click.option(
    "--duration",
    "duration_s",
    type=run_time,
    help=f"For that long (default {CALM_SECONDS_DEFAULT:g}s without faults).",
)
@click.option(
    "--recover",
    "recover_s",
    type=duration,
    default="30s",
    show_default=True,
    help="How long writes may be refused after a fault has ended.",
)
@click.option(
    "--load",
    metavar="NAME[=RATE],…",
    help="Workloads beside the writers, as in chaos run: all (the default), none, ….",
)
@click.option("--writers", type=click.IntRange(1, 4096), default=16, show_default=True)
@click.option(
    "--value-bytes",
    type=click.IntRange(1, VALUE_BYTES_MAX),
    default=256,
    show_default=True,
)
@click.option("--seed", type=click.IntRange(0), help="Draws the plan.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep a page, history, plan, summary and what the commands said here.",
)
@connection_options()
def attach(
    where: str | None,
    faults: Path | None,
    rounds: int | None,
    duration_s: float | None,
    recover_s: float,
    load: str | None,
    writers: int,
    value_bytes: int,
    seed: int | None,
    report: Path | None,
) -> None:
    """Put a load on a running cluster, and check that its promises hold.

    Every node that is named is written to and asked; give all of them. Keys are below a
    prefix of the run's own and are deleted in the end. Faults are what your commands
    do. Exit code: 0 valid, 1 violated, 3 void (too little was tried to say so).
    """
    from ..chaos.attach import AttachOptions

    settings = current_settings()
    if where is not None:
        settings.endpoints = where
    if duration_s is None and rounds is None:
        rounds = None if faults is None else ROUNDS_DEFAULT
        duration_s = CALM_SECONDS_DEFAULT if faults is None else None
    if faults is None and rounds is not None:
        raise click.UsageError("--rounds: without --faults there are none")
    options = AttachOptions(
        seed=random.SystemRandom().getrandbits(32) if seed is None else seed,
        endpoints=tuple(settings.endpoint_list()),
        faults=_faults(faults),
        rounds=rounds,
        duration_s=duration_s,
        recover_s=recover_s,
        patience_s=settings.timeout,
        writers=writers,
        value_bytes=value_bytes,
        load=_load(load),
    )
    client: ClientOptions = {
        "cafile": settings.cacert,
        "certfile": settings.cert,
        "keyfile": settings.key_file,
        "token": settings.token(),
    }
    as_json = settings.output == "json"
    if not as_json:
        click.echo(f"seed {options.seed}")
    with usable_folders():
        summary = asyncio.run(_run(options, client, report, quiet=as_json))
    if as_json:
        click.echo(msgspec.json.encode(summary))
    else:
        print_summary(summary)
    click.get_current_context().exit(EXIT_CODES[summary.verdict])


def _load(text: str | None) -> "Mix":
    """The workloads that were asked for, each of which must exist."""
    from ..chaos.harness import DEFAULT_MIX, parse_mix

    try:
        return dict(DEFAULT_MIX) if text is None else parse_mix(text)
    except ValueError as error:
        raise click.BadParameter(f"--load: {error}") from error


def _faults(path: Path | None) -> "FaultFile":
    from ..chaos.attach import FaultFile, load_faults
    from ..chaos.attach.errors import FaultFileError

    try:
        return FaultFile() if path is None else load_faults(path)
    except FaultFileError as error:
        raise click.UsageError(str(error)) from error


async def _run(
    options: "AttachOptions",
    client: "ClientOptions",
    report: Path | None,
    *,
    quiet: bool,
) -> "Summary":
    from ..chaos.attach import run_attached

    tell = teller(quiet=quiet)
    return await run_attached(options, client, report, tell, stop_by_signal())
