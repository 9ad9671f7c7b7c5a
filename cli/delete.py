"""`quorate del`: delete a key or a range of keys."""

import asyncio

import click

from .output import print_json
from .ranges import Keys, keys_of, range_options
from .settings import (
    Settings,
    connection_options,
    current_settings,
    exit_codes,
    fence_option,
)


@click.command("del")
@click.argument("key")
@range_options
@click.option("--if-revision", type=click.IntRange(min=1), metavar="N")
@fence_option
@connection_options()
def command(
    key: str,
    prefix: bool,
    from_key: bool,
    range_end: str | None,
    if_revision: int | None,
    fence: str | None,
) -> None:
    """Delete KEY, or a range, and print how many keys there were to delete.

    --if-revision deletes only if the key's modification revision is N. A range is
    deleted at one revision, and has 10,000 keys at most. `quorate del "" --prefix`
    deletes everything.
    """
    keys = keys_of(key, prefix, from_key, range_end)
    if if_revision is not None and not keys.single:
        raise click.UsageError("--if-revision is for a single key")
    settings = current_settings()
    with exit_codes():
        deleted = asyncio.run(_delete(settings, keys, if_revision, fence))
    if settings.output == "json":
        print_json({"deleted": deleted})
    else:
        click.echo(deleted)


async def _delete(
    settings: Settings, keys: Keys, if_revision: int | None, fence: str | None
) -> int:
    if keys.none:
        return 0
    key = keys.key
    async with settings.connect() as client:
        if keys.single:
            return int(await client.delete(key, if_revision=if_revision, fence=fence))
        if keys.prefix:
            return await client.delete_range(key, fence=fence)
        return await client.delete_range(start=key, end=keys.end, fence=fence)
