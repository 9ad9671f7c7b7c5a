"""`quorate put`: store a value under a key."""

import asyncio

import click

from .input import read_input
from .output import print_json
from .settings import (
    Failure,
    Settings,
    connection_options,
    current_settings,
    exit_codes,
    to_bytes,
)


@click.command("put")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--if-revision", type=click.IntRange(min=0), metavar="N")
@click.option("--if-absent", is_flag=True, help="Only if the key does not exist.")
@connection_options()
def command(
    key: str, value: str | None, if_revision: int | None, if_absent: bool
) -> None:
    """Store VALUE under KEY; both are any bytes.

    VALUE may be `-` or left out, which reads standard input to its end, or `@FILE`,
    which reads a file. (A value that begins with `@` comes through standard input.)
    --if-revision stores only if the key's modification revision is N.
    """
    if if_absent and if_revision is not None:
        raise click.UsageError("give --if-revision or --if-absent")
    settings = current_settings()
    data = _read_value(value)
    with exit_codes():
        revision = asyncio.run(_put(settings, key, data, if_revision, if_absent))
    if settings.output == "json":
        print_json({"revision": revision})
    else:
        click.echo("OK")


async def _put(
    settings: Settings, key: str, value: bytes, if_revision: int | None, if_absent: bool
) -> int:
    async with settings.connect() as client:
        return await client.put(
            to_bytes(key), value, if_revision=if_revision, if_absent=if_absent
        )


def _read_value(value: str | None) -> bytes:
    from ..wire.limits import DEFAULT_LIMITS

    most = DEFAULT_LIMITS.value_bytes_max
    if value is None or value == "-":
        return read_input(None, "value", most)
    if value.startswith("@"):
        return read_input(value[1:], "value", most)
    data = to_bytes(value)
    if len(data) > most:
        raise Failure(f"the value is larger than {most} bytes")
    return data
