"""`quorate watch`: print what changes, as it changes."""

import asyncio
import json
from typing import TYPE_CHECKING, NamedTuple

import click

from .output import record, stdout, to_key, while_read
from .settings import (
    Settings,
    connection_options,
    current_settings,
    exit_codes,
    to_bytes,
)

if TYPE_CHECKING:
    from ..client import AsyncClient, Event, Watch


class Query(NamedTuple):
    """What is watched, from when on, and how many events of it."""

    key: bytes | None
    prefix: bool
    revision: int
    previous: bool
    events_max: int | None


@click.command("watch")
@click.argument("key", required=False)
@click.option("--prefix", is_flag=True, help="All keys that begin with KEY.")
@click.option(
    "--rev",
    type=click.IntRange(min=1),
    metavar="N",
    help="From this revision of the store on, by default from now on.",
)
@click.option("--previous", is_flag=True, help="Also what was there before.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.")
@connection_options()
def command(
    key: str | None, prefix: bool, rev: int | None, previous: bool, count: int | None
) -> None:
    """Print each change of KEY, or of all keys, once and in order, until Ctrl-C.

    PUT or DELETE, the key and the value, each followed by a new line; the value of a
    deleted key is empty. With --previous, the key and the value that were there before
    come first, if there were any. With -o json, one object a line.

    When a node is lost, it goes on at another one. The exit code is 1 when what is
    still to be told was compacted.
    """
    if prefix and key is None:
        raise click.UsageError("--prefix needs KEY")
    name = None if key is None else to_bytes(key)
    query = Query(name, prefix, rev or 0, previous, count)
    settings = current_settings()
    try:
        with exit_codes():
            asyncio.run(_watch(settings, query))
    except KeyboardInterrupt:
        # This is how it ends.
        return


async def _watch(settings: Settings, query: Query) -> None:
    show = _show_json if settings.output == "json" else _show_simple
    async with (
        while_read(),
        settings.connect() as client,
        _begin(client, query) as watch,
    ):
        seen = 0
        async for event in watch:
            show(event)
            stdout().flush()
            seen += 1
            if seen == query.events_max:
                return


def _begin(client: "AsyncClient", query: Query) -> "Watch":
    everything = query.key is None
    return client.watch(
        query.key if query.prefix else None,
        key=None if query.prefix or everything else query.key,
        revision=query.revision,
        previous=query.previous,
    )


def _show_simple(event: "Event") -> None:
    lines = [b"DELETE" if event.deleted else b"PUT"]
    if event.previous is not None:
        lines += [event.previous.key, event.previous.value]
    lines += [event.key, b"" if event.kv is None else event.kv.value]
    stdout().write(b"".join(line + b"\n" for line in lines))


def _show_json(event: "Event") -> None:
    shown: dict[str, object] = {
        "type": "delete" if event.kv is None else "put",
        "revision": event.revision,
    }
    if event.kv is not None:
        shown["kv"] = record(event.kv, keys_only=False)
    else:
        shown |= to_key(event.key)
    if event.previous is not None:
        shown["previous"] = record(event.previous, keys_only=False)
    stdout().write(json.dumps(shown).encode() + b"\n")
