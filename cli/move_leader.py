"""`quorate move-leader`: somebody else shall lead."""

from typing import TYPE_CHECKING

import click

from . import members
from .output import print_json
from .settings import ask, connection_options, current_settings

if TYPE_CHECKING:
    from ..client import AsyncClient


@click.command("move-leader")
@click.argument("to", metavar="[MEMBER]", required=False)
@connection_options()
def command(to: str | None) -> None:
    """Hand the leadership to MEMBER, or to the voter that is furthest.

    It has begun when this returns; `quorate status` shows who leads.
    """

    async def move(client: "AsyncClient") -> str | None:
        found = None if to is None else members.find(await client.members(), to)
        await client.move_leader(found)
        return found

    settings = current_settings()
    found = ask(settings, move)
    if settings.output == "json":
        print_json({"to": found})
    else:
        click.echo(f"the leadership goes to {found or 'the voter that is furthest'}")
