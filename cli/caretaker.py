"""`quorate caretaker`: what keeps as many voters as are wanted.

Law: what it is told is written to the log, and every leader goes by it. Why it does
something, or waits, is in `status`, in `quorate members`, and in the nodes' logs.
"""

from typing import TYPE_CHECKING

import click
import msgspec

from . import members
from .lease import time_to_live
from .output import print_json, print_table
from .settings import ask, connection_options, current_settings, waiting

if TYPE_CHECKING:
    from ..client import AsyncClient


@click.group("caretaker")
def command() -> None:
    """It lets spares vote: when too few do, and in the place of a dead voter."""


@command.command("status")
@connection_options()
def status_command() -> None:
    """Show what the caretaker goes by, what it waits for, and what it did last."""
    settings = current_settings()
    known = ask(settings, lambda client: client.members())
    told = known.caretaker
    if settings.output == "json":
        print_json(msgspec.to_builtins(told))
        return
    print_table(
        ["PAUSED", "VOTERS", "SILENCE", "STABLE", "LAG"],
        [
            [
                "yes" if told.paused else "no",
                str(told.voters),
                f"{told.silence_ms / 1000:g}s",
                f"{told.stable_ms / 1000:g}s",
                f"{told.lag_ms}ms" if told.lag_ms else "never",
            ]
        ],
    )
    for line in members.caretaker_lines(known, len(told.decisions)):
        click.echo(line)
    if known.leader != known.told_by:
        click.echo("the leader was not asked: nobody knows what it waits for", err=True)


@command.command("pause")
@connection_options()
def pause_command() -> None:
    """Let the caretaker do nothing any more, whoever leads."""
    _pause(True)


@command.command("resume")
@connection_options()
def resume_command() -> None:
    """Let the caretaker go on."""
    _pause(False)


def _pause(paused: bool) -> None:
    settings = current_settings()
    ask(settings, lambda client: client.set_caretaker(paused=paused))
    if settings.output == "json":
        print_json({"paused": paused})
    else:
        click.echo("the caretaker is paused" if paused else "the caretaker goes on")


@command.command("set")
@click.option("--voters", type=int, help="How many shall vote: 1, 3, 5 or 7.")
@click.option(
    "--silence",
    type=time_to_live,
    metavar="DURATION",
    help="A voter that is not heard for so long is replaced.",
)
@click.option(
    "--stable",
    type=time_to_live,
    metavar="DURATION",
    help="A spare votes once it was heard for so long without a break.",
)
@click.option(
    "--lag",
    type=waiting,
    metavar="DURATION",
    help="A leader that is late by so much, again and again, hands over; 0 is never.",
)
@connection_options()
def set_command(
    voters: int | None, silence: float | None, stable: float | None, lag: float | None
) -> None:
    """Change what the caretaker goes by; what is left out stays as it is."""

    async def tell(client: "AsyncClient") -> None:
        await client.set_caretaker(
            voters=voters, silence=silence, stable=stable, lag=lag
        )

    settings = current_settings()
    ask(settings, tell)
    if settings.output == "json":
        given = {"voters": voters, "silence": silence, "stable": stable, "lag": lag}
        print_json({name: value for name, value in given.items() if value is not None})
    else:
        click.echo("the caretaker was told")
