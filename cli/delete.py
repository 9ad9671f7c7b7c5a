"""`quorate del`: delete a key."""

import asyncio

import click

from .output import print_json
from .settings import (
    Settings,
    connection_options,
    current_settings,
    exit_codes,
    fence_option,
    to_bytes,
)


@click.command("del")
@click.argument("key")
@click.option("--if-revision", type=click.IntRange(min=1), metavar="N")
@fence_option
@connection_options()
def command(key: str, if_revision: int | None, fence: str | None) -> None:
    """Delete KEY and print how many keys there were to delete: 1 or 0.

    --if-revision deletes only if the key's modification revision is N.
    """
    settings = current_settings()
    with exit_codes():
        deleted = asyncio.run(_delete(settings, key, if_revision, fence))
    if settings.output == "json":
        print_json({"deleted": int(deleted)})
    else:
        click.echo(int(deleted))


async def _delete(
    settings: Settings, key: str, if_revision: int | None, fence: str | None
) -> bool:
    async with settings.connect() as client:
        return await client.delete(to_bytes(key), if_revision=if_revision, fence=fence)
