"""`quorate put`: store a value under a key."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from .input import read_input
from .lease import lease_id, time_to_live
from .output import lease_name, print_json
from .settings import (
    Failure,
    Settings,
    connection_options,
    current_settings,
    exit_codes,
    fence_option,
    to_bytes,
)

if TYPE_CHECKING:
    from ..client import AsyncClient


@click.command("put")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--if-revision", type=click.IntRange(min=0), metavar="N")
@click.option("--if-absent", is_flag=True, help="Only if the key does not exist.")
@click.option(
    "--lease", type=lease_id, metavar="ID", help="The key goes when this one ends."
)
@click.option(
    "--ttl",
    type=time_to_live,
    metavar="TTL",
    help="The key goes so long from now, with its lease.",
)
@fence_option
@connection_options()
def command(
    key: str,
    value: str | None,
    if_revision: int | None,
    if_absent: bool,
    lease: int | None,
    ttl: float | None,
    fence: str | None,
) -> None:
    """Store VALUE under KEY; both are any bytes.

    VALUE may be `-` or left out, which reads standard input to its end, or `@FILE`,
    which reads a file. (A value that begins with `@` comes through standard input.)
    --if-revision stores only if the key's modification revision is N. --ttl makes a
    lease for this key and tells its id on standard error; `quorate lease keep-alive`
    prolongs it.
    """
    if if_absent and if_revision is not None:
        raise click.UsageError("give --if-revision or --if-absent")
    if lease is not None and ttl is not None:
        raise click.UsageError("give --lease or --ttl")
    settings = current_settings()
    data = _read_value(value)

    async def put(client: "AsyncClient", number: int) -> int:
        return await client.put(
            to_bytes(key),
            data,
            if_revision=if_revision,
            if_absent=if_absent,
            lease=number,
            fence=fence,
        )

    with exit_codes():
        revision, number = asyncio.run(_put(settings, put, lease or 0, ttl))
    if settings.output == "json":
        shown: dict[str, object] = {"revision": revision}
        if number:
            shown["lease"] = lease_name(number)
        print_json(shown)
        return
    click.echo("OK")
    if ttl is not None:
        click.echo(f"lease {lease_name(number)} granted with TTL({ttl:g}s)", err=True)


async def _put(
    settings: Settings,
    put: "Callable[[AsyncClient, int], Coroutine[object, object, int]]",
    lease: int,
    ttl: float | None,
) -> tuple[int, int]:
    """The revision, and the lease that the key hangs on, 0 for none."""
    from ..client.errors import QuorateError, Unknown

    async with settings.connect() as client:
        if ttl is None:
            return await put(client, lease), lease
        made = await client.lease(ttl).grant()
        try:
            revision = await put(client, made.id)
        except Unknown:
            # The key may be there, and then goes with it.
            await made.abandon()
            raise
        except QuorateError:
            # Nothing hangs on it. What is wrong with the put is what is told.
            with suppress(QuorateError):
                await made.revoke()
            raise
        await made.abandon()
        return revision, made.id


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
