"""`quorate status`: how the nodes are."""

import asyncio

import click

from .output import print_json, print_table
from .settings import (
    UNAVAILABLE,
    Settings,
    connection_options,
    current_settings,
    exit_codes,
)

# What a node says in its status (docs/http-api.md), and how the column is called.
_COLUMNS = {
    "name": "NAME",
    "id": "ID",
    "role": "ROLE",
    "leader": "LEADER",
    "term": "TERM",
    "commit_index": "COMMITTED",
    "applied_index": "APPLIED",
    "revision": "REVISION",
    "state_hash": "STATE HASH",
    "version": "VERSION",
}


@click.command("status")
@connection_options()
def command() -> None:
    """Ask each endpoint how it is; needs no quorum.

    The exit code is 5 when one of them can't be asked.
    """
    settings = current_settings()
    with exit_codes():
        states = asyncio.run(_ask_all(settings))
    failed = [endpoint for endpoint, state in states.items() if "error" in state]
    if settings.output == "json":
        print_json([{"endpoint": name, **state} for name, state in states.items()])
    else:
        head = ["ENDPOINT", *_COLUMNS.values()]
        rows = [_row(endpoint, state) for endpoint, state in states.items()]
        if settings.output == "table":
            print_table(head, rows)
        else:
            _print_simple(head, rows)
        for endpoint in failed:
            reason = str(states[endpoint]["error"]).removeprefix(f"{endpoint}: ")
            click.echo(f"{endpoint}: {reason}", err=True)
    if failed:
        click.get_current_context().exit(UNAVAILABLE)


async def _ask_all(settings: Settings) -> dict[str, dict[str, object]]:
    from ..client.errors import QuorateError

    endpoints = settings.endpoint_list()
    states: dict[str, dict[str, object]] = {}
    async with settings.connect() as client:

        async def ask(endpoint: str) -> None:
            try:
                states[endpoint] = await client.status(endpoint)
            except QuorateError as error:
                states[endpoint] = {"error": str(error)}

        await asyncio.gather(*map(ask, endpoints))
    return {endpoint: states[endpoint] for endpoint in endpoints}


def _row(endpoint: str, state: dict[str, object]) -> list[str]:
    values = [state.get(key) for key in _COLUMNS]
    return [endpoint, *("-" if value is None else str(value) for value in values)]


def _print_simple(head: list[str], rows: list[list[str]]) -> None:
    """The same without borders, for the eye and for awk."""
    words = [[cell.replace(" ", "_") for cell in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*words, strict=True)]
    for line in words:
        click.echo("  ".join(map(str.ljust, line, widths)).rstrip())
