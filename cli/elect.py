"""`quorate elect`: lead, or see who leads."""

import asyncio
from typing import TYPE_CHECKING

import click

from .lease import time_to_live
from .lock import Signals, held
from .output import print_json, record, stdout, while_read
from .settings import (
    Settings,
    connection_options,
    current_settings,
    exit_codes,
    to_bytes,
    wait_option,
)

if TYPE_CHECKING:
    from ..client import KeyValue


@click.command("elect")
@click.argument("name")
@click.argument("value", required=False)
@click.option("--listen", is_flag=True, help="See who leads, instead of campaigning.")
@click.option(
    "--ttl",
    type=time_to_live,
    default="10s",
    metavar="TTL",
    help="Others may lead when we can't be reached for so long (default 10s).",
)
@wait_option
@connection_options()
def command(
    name: str, value: str | None, listen: bool, ttl: float, wait: float | None
) -> None:
    """Campaign in the election NAME with VALUE, and lead until Ctrl-C.

    When we lead, the key and the value are printed, and the token that writes may
    carry (--fence). The exit code is 4 when the lead was lost, or was not to be had
    within --wait.

    With --listen the key and the value of whoever leads are printed, now and
    whenever somebody else does or says something else, until Ctrl-C.
    """
    if listen and (value is not None or wait is not None):
        raise click.UsageError("--listen takes no VALUE and no --wait")
    settings = current_settings()
    key = to_bytes(name)
    with exit_codes():
        if listen:
            asyncio.run(_listen(settings, key))
        else:
            said = b"" if value is None else to_bytes(value)
            asyncio.run(_lead(settings, key, said, ttl, wait))


async def _lead(
    settings: Settings, name: bytes, value: bytes, ttl: float, wait: float | None
) -> None:
    signals = Signals()
    async with settings.connect() as client, client.election(name, ttl=ttl) as election:

        async def campaign() -> bool:
            await election.campaign(value, wait=wait)
            return True

        if not await signals.unless(campaign()):
            return
        leader = await election.leader()
        if leader is not None:
            _show(settings, leader, election.token)
        await held(election.lost, signals)


async def _listen(settings: Settings, name: bytes) -> None:
    signals = Signals()

    async def listen() -> None:
        async with client.election(name).observe() as leaders:
            async for leader in leaders:
                if leader is not None:
                    _show(settings, leader, None)
                elif settings.output == "json":
                    print_json({"leader": None})
                stdout().flush()

    async with while_read(), settings.connect() as client:
        await signals.unless(listen())


def _show(settings: Settings, leader: "KeyValue", token: str | None) -> None:
    if settings.output == "json":
        shown: dict[str, object] = {"leader": record(leader, keys_only=False)}
        if token is not None:
            shown["token"] = token
        print_json(shown)
    else:
        lines = [leader.key, leader.value]
        if token is not None:
            lines.append(token.encode())
        stdout().write(b"".join(line + b"\n" for line in lines))
    stdout().flush()
