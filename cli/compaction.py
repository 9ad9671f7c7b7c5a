"""`quorate compaction`: let go of what only old revisions show."""

import asyncio

import click

from .output import print_json
from .settings import Settings, connection_options, current_settings, exit_codes


@click.command("compaction")
@click.argument("revision", type=click.IntRange(min=1))
@connection_options()
def command(revision: int) -> None:
    """Let go of what only revisions before REVISION show.

    REVISION itself can still be read, and what is there now is not touched. It can't
    be undone. The disk space comes back little by little.
    """
    settings = current_settings()
    with exit_codes():
        asyncio.run(_compact(settings, revision))
    if settings.output == "json":
        print_json({"compacted": revision})
    else:
        click.echo(f"compacted revision {revision}")


async def _compact(settings: Settings, revision: int) -> None:
    async with settings.connect() as client:
        await client.compact(revision)
