"""`quorate member`: who shall belong to the cluster, and in which role.

Law: what a command says is a wish: done is that it is written down. `quorate members`
shows how far the leader is with it.
"""

from typing import TYPE_CHECKING

import click

from . import members
from .output import print_json
from .settings import Settings, ask, connection_options, current_settings

if TYPE_CHECKING:
    from ..client import AsyncClient


@click.group("member")
def command() -> None:
    """Show, promote, demote, spare, replace and remove members.

    MEMBER is a name, an id, or the beginning of an id.
    """


command.add_command(members.command, "list")


@command.command("promote")
@click.argument("member")
@connection_options()
def promote_command(member: str) -> None:
    """Let a replica vote, as soon as it has caught up."""

    async def promote(client: "AsyncClient") -> str:
        found = members.find(await client.members(), member)
        await client.promote_member(found)
        return found

    settings = current_settings()
    _say(settings, ask(settings, promote), "voter", "shall vote")


@command.command("demote")
@click.argument("member")
@connection_options()
def demote_command(member: str) -> None:
    """Make a replica of a voter: it keeps all data, and has no vote."""

    async def demote(client: "AsyncClient") -> str:
        found = members.find(await client.members(), member)
        await client.demote_member(found)
        return found

    settings = current_settings()
    _say(settings, ask(settings, demote), "replica", "shall be a replica")


@command.command("spare")
@click.argument("member")
@connection_options()
def spare_command(member: str) -> None:
    """Make a spare of a member: a replica that the caretaker lets vote when needed."""

    async def spare(client: "AsyncClient") -> str:
        found = members.find(await client.members(), member)
        await client.spare_member(found)
        return found

    settings = current_settings()
    _say(settings, ask(settings, spare), "spare", "shall be a spare")


@command.command("remove")
@click.argument("member")
@connection_options()
def remove_command(member: str) -> None:
    """Let a member go, for ever; its process ends, and its folder is of no more use."""

    async def remove(client: "AsyncClient") -> str:
        found = members.find(await client.members(), member)
        await client.remove_member(found)
        return found

    settings = current_settings()
    _say(settings, ask(settings, remove), "leaving", "shall leave")


@command.command("replace")
@click.argument("old", metavar="MEMBER")
@click.argument("new", metavar="WITH")
@connection_options()
def replace_command(old: str, new: str) -> None:
    """Let WITH vote in the place of MEMBER, which leaves as soon as it does."""

    async def replace(client: "AsyncClient") -> tuple[str, str]:
        known = await client.members()
        leaves, comes = members.find(known, old), members.find(known, new)
        await client.replace_member(leaves, comes)
        return leaves, comes

    settings = current_settings()
    leaves, comes = ask(settings, replace)
    _say(settings, leaves, "leaving", f"shall leave once {comes} votes")


def _say(settings: Settings, member: str, wanted: str, text: str) -> None:
    if settings.output == "json":
        print_json({"id": member, "wanted": wanted})
    else:
        click.echo(f"member {member} {text}")
