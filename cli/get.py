"""`quorate get`: read a key or a range of keys."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

from .output import print_table, record, stdout, to_hex, to_text
from .ranges import Keys, keys_of, range_options
from .settings import (
    NOT_FOUND,
    Settings,
    connection_options,
    current_settings,
    exit_codes,
)

if TYPE_CHECKING:
    from ..client import AsyncClient, KeyValue

Level = Literal["linearizable", "local"]


class Query(NamedTuple):
    """What is asked for, and which parts of it are shown."""

    keys: Keys
    limit: int | None
    revision: int
    level: Level
    keys_only: bool
    value_only: bool
    hex: bool


@click.command("get")
@click.argument("key")
@range_options
@click.option("--limit", type=click.IntRange(min=1), help="At most so many keys.")
@click.option(
    "--rev",
    type=click.IntRange(min=1),
    metavar="N",
    help="As it was at this revision of the store.",
)
@click.option("--keys-only", is_flag=True, help="Show no values.")
@click.option("--print-value-only", is_flag=True, help="Show no keys.")
@click.option("--hex", "as_hex", is_flag=True, help=r"Show bytes as \x68\x69.")
@click.option(
    "--consistency",
    type=click.Choice(["linearizable", "local"]),
    default="linearizable",
    show_default=True,
    help="local reads what the asked node has, however old.",
)
@connection_options()
def command(
    key: str,
    prefix: bool,
    from_key: bool,
    range_end: str | None,
    limit: int | None,
    rev: int | None,
    keys_only: bool,
    print_value_only: bool,
    as_hex: bool,
    consistency: Level,
) -> None:
    """Print KEY and its value, each followed by a new line.

    The exit code is 3 when KEY does not exist. A range that holds no keys prints
    nothing and is no error; `quorate get "" --prefix` reads everything. All keys of a
    range are shown as they were at one revision.
    """
    keys = keys_of(key, prefix, from_key, range_end)
    if keys_only and print_value_only:
        raise click.UsageError("give --keys-only or --print-value-only")
    query = Query(
        keys,
        limit,
        rev or 0,
        consistency,
        keys_only,
        print_value_only,
        as_hex,
    )
    settings = current_settings()
    with exit_codes():
        count = asyncio.run(_get(settings, query))
    # Whose absence is worth an exit code.
    if keys.single and not count:
        click.echo("not found", err=True)
        click.get_current_context().exit(NOT_FOUND)


async def _get(settings: Settings, query: Query) -> int:
    async with settings.connect() as client, aclosing(_entries(client, query)) as found:
        match settings.output:
            case "json":
                return await _show_json(found, query)
            case "table":
                return await _show_table(found, query)
            case _:
                return await _show_simple(found, query)


async def _entries(
    client: "AsyncClient", query: Query
) -> "AsyncGenerator[KeyValue, None]":
    keys = query.keys
    if keys.single:
        entry = await client.get(keys.key, level=query.level, revision=query.revision)
        if entry is not None:
            yield entry
        return
    if keys.none:
        return
    async for entry in client.range(
        prefix=keys.key if keys.prefix else None,
        start=None if keys.prefix else keys.key,
        end=keys.end,
        limit=query.limit,
        keys_only=query.keys_only,
        level=query.level,
        revision=query.revision,
    ):
        yield entry


async def _show_simple(found: "AsyncGenerator[KeyValue, None]", query: Query) -> int:
    count = 0
    out = stdout()
    async for entry in found:
        count += 1
        parts = [] if query.value_only else [entry.key]
        parts += [] if query.keys_only else [entry.value]
        for part in parts:
            out.write((to_hex(part) if query.hex else part) + b"\n")
    out.flush()
    return count


async def _show_json(found: "AsyncGenerator[KeyValue, None]", query: Query) -> int:
    # Written piece by piece: a range may be larger than the memory.
    count = 0
    out = stdout()
    out.write(b'{"kvs": [')
    async for entry in found:
        text = json.dumps(record(entry, keys_only=query.keys_only))
        out.write((", " if count else "").encode() + text.encode())
        count += 1
    out.write(b'], "count": %d}\n' % count)
    out.flush()
    return count


async def _show_table(found: "AsyncGenerator[KeyValue, None]", query: Query) -> int:
    rows: list[list[str]] = []
    async for entry in found:
        numbers = map(str, (entry.create_revision, entry.mod_revision, entry.version))
        value = [] if query.keys_only else [to_text(entry.value)]
        rows.append([to_text(entry.key), *value, *numbers])
    value = [] if query.keys_only else ["VALUE"]
    print_table(["KEY", *value, "CREATED", "MODIFIED", "VERSION"], rows)
    return len(rows)
