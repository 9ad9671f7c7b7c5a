"""`quorate token`: by which new members may join.

Law: the text of a token is shown once, on standard output, and nowhere else: it has the
secret in it. Later only its id is known.
"""

from typing import TYPE_CHECKING

import click
import msgspec

from .lease import time_to_live
from .output import print_json, print_table
from .settings import (
    Failure,
    NotThere,
    ask,
    connection_options,
    current_settings,
)

if TYPE_CHECKING:
    from ..client import AsyncClient, Members
    from ..wire import JoinRole

_HINT = (
    "DIR is the new member's folder. Add --peer HOST:PORT, where the others reach it;"
    " on a machine with another member --client HOST:PORT, too."
)


@click.group("token")
def command() -> None:
    """Make, list and drop tokens, by which new members join."""


@command.command("create")
@click.option(
    "--role",
    type=click.Choice(["voter", "replica", "spare"]),
    default="voter",
    help="What new members shall be (default voter).",
)
@click.option(
    "--ttl", type=time_to_live, default="1h", help="How long it is good (default 1h)."
)
@click.option(
    "--uses",
    type=click.IntRange(min=1),
    default=1,
    help="How many may join by it (default 1).",
)
@connection_options()
def create_command(role: "JoinRole", ttl: float, uses: int) -> None:
    """Print the line that starts a new member, with a token in it.

    DIR, which the line names, is the new member's folder. It may be absent, and is
    made then; add --peer HOST:PORT where the others reach it from other machines.
    """

    async def create(client: "AsyncClient") -> tuple[str, str]:
        contact = _contact(await client.members())
        return contact, await client.create_token(role, ttl=ttl, uses=uses)

    settings = current_settings()
    contact, token = ask(settings, create)
    line = f"quorate node --dir DIR --join {contact} --token {token}"
    if settings.output == "json":
        print_json({"token": token, "join": contact, "command": line})
    else:
        click.echo(line)
        click.echo(_HINT, err=True)


def _contact(known: "Members") -> str:
    """Where to ask: the leader, if it is known, else somebody."""
    leading = sorted(known.members, key=lambda each: not each.leads)
    for each in leading:
        if each.peer:
            return each.peer
    raise Failure("no member has said where peers reach it")


@command.command("list")
@connection_options()
def list_command() -> None:
    """Show the tokens that are good: their ids, and nothing of their secrets."""
    settings = current_settings()
    tokens = ask(settings, lambda client: client.members()).tokens
    if settings.output == "json":
        print_json(msgspec.to_builtins(tokens))
        return
    rows = [
        [each.id, each.role, str(each.uses), f"{each.ends_in_ms / 1000:.0f}s"]
        for each in tokens
    ]
    print_table(["ID", "ROLE", "USES", "ENDS IN"], rows)


@command.command("drop")
@click.argument("token", metavar="ID")
@connection_options()
def drop_command(token: str) -> None:
    """Let nobody in by a token any more; who has joined stays."""
    if not token:
        raise click.BadParameter("it is empty", param_hint="ID")

    async def drop(client: "AsyncClient") -> str:
        known = (await client.members()).tokens
        found = [each.id for each in known if each.id.startswith(token.lower())]
        if len(found) != 1:
            raise NotThere(f"{len(found)} tokens have an id that begins with {token!r}")
        await client.drop_token(found[0])
        return found[0]

    settings = current_settings()
    dropped = ask(settings, drop)
    if settings.output == "json":
        print_json({"id": dropped, "result": "dropped"})
    else:
        click.echo(f"token {dropped} dropped")
