"""How results look: raw bytes, tables and JSON.

Law: keys and values are bytes. `simple` writes them untouched; a table and `--hex` only
show what can't harm a terminal; JSON carries them as base64 (`key64`, `value64`) and,
for the eye, the key as text.
"""

import asyncio
import base64
import errno
import fcntl
import json
import os
import stat
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..client import KeyValue


def stdout() -> IO[bytes]:
    """Standard output for bytes. Raises ClickException when it is closed."""
    if not sys.stdout:
        raise click.ClickException("standard output is closed")
    return sys.stdout.buffer


@asynccontextmanager
async def while_read() -> AsyncGenerator[None]:
    """End what is within when nobody reads standard output any more.

    Raises BrokenPipeError then, as the next write would, which may be long in coming.
    Of what is no pipe that can't be seen.
    """
    descriptor = _pipe()
    if descriptor is None:
        yield
        return
    loop = asyncio.get_running_loop()
    scope = asyncio.timeout(None)

    def gone() -> None:
        loop.remove_reader(descriptor)
        scope.reschedule(loop.time())

    try:
        async with scope:
            # Nothing is ever read at this end: what comes is that the other one closed.
            loop.add_reader(descriptor, gone)
            try:
                yield
            finally:
                loop.remove_reader(descriptor)
    except TimeoutError:
        if not scope.expired():
            raise
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None


def _pipe() -> int | None:
    """Standard output's descriptor, if it is the end of a pipe that is written to."""
    try:
        descriptor = stdout().fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        # It is kept in memory.
        return None
    return descriptor if is_pipe and access == os.O_WRONLY else None


def print_json(value: object) -> None:
    """One line of JSON."""
    click.echo(json.dumps(value))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with borders, as wide as its contents."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    shown = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    click.echo("\n".join([rule, shown[0], rule, *shown[1:], rule]))


def to_hex(data: bytes) -> bytes:
    r"""Bytes as `\x68\x69`."""
    return "".join(f"\\x{byte:02x}" for byte in data).encode()


def to_text(data: bytes) -> str:
    """Bytes for the eye: what is not printable text is escaped."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape").decode()
        for character in text
    )


def to_key(key: bytes) -> dict[str, object]:
    """A key for JSON."""
    return {
        "key": key.decode(errors="replace"),
        "key64": base64.b64encode(key).decode(),
    }


def record(entry: "KeyValue", *, keys_only: bool) -> dict[str, object]:
    """One key for JSON; `lease` is there when it hangs on one."""
    shown = to_key(entry.key)
    if not keys_only:
        shown["value64"] = base64.b64encode(entry.value).decode()
    shown |= {
        "create_revision": entry.create_revision,
        "mod_revision": entry.mod_revision,
        "version": entry.version,
    }
    return shown | {"lease": lease_name(entry.lease)} if entry.lease else shown


def lease_name(lease: int) -> str:
    """A lease's id, as it is shown everywhere."""
    return f"{lease:016x}"
