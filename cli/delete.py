"""`quorate del`: delete a key or a range of keys."""

import asyncio
from typing import NamedTuple

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


class Removal(NamedTuple):
    """What is to be deleted."""

    key: bytes
    prefix: bool
    from_key: bool
    range_end: bytes | None
    if_revision: int | None
    fence: str | None

    @property
    def single(self) -> bool:
        """Is one key meant?"""
        return not (self.prefix or self.from_key or self.range_end is not None)


@click.command("del")
@click.argument("key")
@click.option("--prefix", is_flag=True, help="All keys that begin with KEY.")
@click.option("--from-key", is_flag=True, help="All keys from KEY on.")
@click.option("--range-end", metavar="END", help="All keys from KEY to before END.")
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
    if sum([prefix, from_key, range_end is not None]) > 1:
        raise click.UsageError("give one of --prefix, --from-key and --range-end")
    end = None if range_end is None else to_bytes(range_end)
    removal = Removal(to_bytes(key), prefix, from_key, end, if_revision, fence)
    if if_revision is not None and not removal.single:
        raise click.UsageError("--if-revision is for a single key")
    settings = current_settings()
    with exit_codes():
        deleted = asyncio.run(_delete(settings, removal))
    if settings.output == "json":
        print_json({"deleted": deleted})
    else:
        click.echo(deleted)


async def _delete(settings: Settings, removal: Removal) -> int:
    key, end, fence = removal.key, removal.range_end, removal.fence
    if end is not None and end <= key:
        # An empty end would mean "no end" to the server, and a lower one is an error.
        return 0
    async with settings.connect() as client:
        if removal.single:
            revision = removal.if_revision
            return int(await client.delete(key, if_revision=revision, fence=fence))
        if removal.prefix:
            return await client.delete_range(key, fence=fence)
        return await client.delete_range(start=key, end=end, fence=fence)
