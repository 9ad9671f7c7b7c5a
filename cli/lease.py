"""`quorate lease`: leases, on which keys hang, and with which they go.

Law: ids are read and shown as etcdctl does it, in hex; leading zeros may be left out.
"""

import asyncio
import re
from typing import TYPE_CHECKING

import click

from .output import lease_name, print_json, print_table, stdout, to_key, to_text
from .settings import Settings, ask, connection_options, current_settings

if TYPE_CHECKING:
    from ..client import AsyncClient, LeaseInfo

_ID = re.compile(r"[0-9a-fA-F]{1,16}")
_TOO_LONG = re.compile(r"[0-9]{17,20}")
_TTL = re.compile(r"([0-9]{1,10}(?:\.[0-9]{1,9})?)(s|m|h)?", re.ASCII)
_SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
# As etcd has it.
_SECONDS_MAX = 9e9


def lease_id(value: str) -> int:
    """An id, from up to 16 hex digits."""
    if _ID.fullmatch(value) is None or not int(value, 16):
        reason = f"{value!r} is not up to 16 hex digits, not all 0"
        if _TOO_LONG.fullmatch(value) and int(value) < 2**64:
            # Python and etcd's API show the number.
            reason += f"; that number is {lease_name(int(value))} here"
        raise click.BadParameter(reason)
    return int(value, 16)


def time_to_live(value: str) -> float:
    """Seconds, from `10`, `1.5`, `10s`, `5m` or `2h`."""
    match = _TTL.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a time such as 10, 10s or 5m")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 1 <= seconds <= _SECONDS_MAX:
        raise click.BadParameter(f"{value!r} is not from 1s to {_SECONDS_MAX:.0f}s")
    return seconds


@click.group("lease")
def command() -> None:
    """Leases: keys that are put with one go when it ends.

    ID is up to 16 hex digits, TTL a time such as 10, 10s or 5m.
    """


@command.command("grant")
@click.argument("ttl", type=time_to_live)
@click.option(
    "--id", "lease", type=lease_id, metavar="ID", help="By default a random one."
)
@connection_options()
def grant_command(ttl: float, lease: int | None) -> None:
    """Make a lease, which ends after TTL unless it is kept alive."""

    async def grant(client: "AsyncClient") -> int:
        made = await client.lease(ttl, lease=lease or 0).grant()
        # From here on it is on its own.
        await made.abandon()
        return made.id

    settings = current_settings()
    name = lease_name(ask(settings, grant))
    match settings.output:
        case "json":
            print_json({"lease": name, "ttl": ttl})
        case "table":
            print_table(["LEASE", "TTL"], [[name, f"{ttl:g}s"]])
        case _:
            click.echo(f"lease {name} granted with TTL({ttl:g}s)")


@command.command("revoke")
@click.argument("lease", type=lease_id, metavar="ID")
@connection_options()
def revoke_command(lease: int) -> None:
    """End a lease now, and delete its keys, all at one revision."""
    settings = current_settings()
    ask(settings, lambda client: client.revoke(lease))
    _say(settings, lease, "revoked")


@command.command("keep-alive")
@click.argument("lease", type=lease_id, metavar="ID")
@click.option("--once", is_flag=True, help="Once, instead of until Ctrl-C.")
@connection_options()
def keep_alive_command(lease: int, once: bool) -> None:
    """Keep a lease alive until Ctrl-C, and print a line each time.

    The exit code is 3 as soon as there is no such lease any more.
    """
    settings = current_settings()
    try:
        ask(settings, lambda client: _keep_alive(settings, client, lease, once))
    except KeyboardInterrupt:
        # How it is meant to end.
        return


async def _keep_alive(
    settings: Settings, client: "AsyncClient", lease: int, once: bool
) -> None:
    from ..client import LeaseNotFound, QuorateError
    from ..client.leases import now

    first, until, pause = True, 0.0, 0.0
    while True:
        begun = now()
        try:
            info = await client.keep_alive(lease)
        except LeaseNotFound:
            raise
        except QuorateError as error:
            # The first failure is told by its exit code; later ones pass, perhaps.
            if first or once or now() >= until:
                raise
            click.echo(f"{error}; trying again", err=True)
            await asyncio.sleep(min(pause, 1.0))
            continue
        _show_kept(settings, info)
        if once:
            return
        first, until, pause = False, begun + info.ttl, info.ttl / 3
        await asyncio.sleep(max(0.0, begun + pause - now()))


def _show_kept(settings: Settings, info: "LeaseInfo") -> None:
    name = lease_name(info.id)
    if settings.output == "json":
        print_json({"lease": name, "ttl": info.ttl, "left": info.left})
    else:
        click.echo(f"lease {name} keepalived with TTL({info.ttl:g}s)")
    # Others may read this through a pipe.
    stdout().flush()


@command.command("timetolive")
@click.argument("lease", type=lease_id, metavar="ID")
@click.option("--keys", is_flag=True, help="Also the keys that hang on it.")
@connection_options()
def timetolive_command(lease: int, keys: bool) -> None:
    """Show how long a lease has left."""
    settings = current_settings()
    info = ask(settings, lambda client: client.lease_info(lease, keys=keys))
    name = lease_name(info.id)
    match settings.output:
        case "json":
            shown: dict[str, object] = {
                "lease": name,
                "ttl": info.ttl,
                "left": info.left,
            }
            if keys:
                shown["keys"] = [to_key(key) for key in info.keys]
            print_json(shown)
        case "table":
            head = ["LEASE", "TTL", "LEFT", *(["KEY"] if keys else [])]
            row = [name, f"{info.ttl:g}s", f"{info.left:g}s"]
            rows = [[*row, to_text(key)] for key in info.keys] if keys else [row]
            print_table(head, rows or [[*row, ""]])
        case _:
            told = f"lease {name} granted with TTL({info.ttl:g}s)"
            out = stdout()
            out.write(f"{told}, remaining({info.left:g}s)\n".encode())
            for key in info.keys:
                out.write(key + b"\n")
            out.flush()


@command.command("list")
@connection_options()
def list_command() -> None:
    """Show the ids of all leases, one a line."""
    settings = current_settings()
    leases = ask(settings, lambda client: client.leases())
    names = [lease_name(lease) for lease in leases]
    match settings.output:
        case "json":
            print_json({"leases": names})
        case "table":
            print_table(["LEASE"], [[name] for name in names])
        case _:
            for name in names:
                click.echo(name)


def _say(settings: Settings, lease: int, done: str) -> None:
    if settings.output == "json":
        print_json({"lease": lease_name(lease), "result": done})
    else:
        click.echo(f"lease {lease_name(lease)} {done}")
