"""`quorate export`: write keys as files into a folder.

Law: keys are other people's data and never lead out of the folder: a key whose rest
behind the prefix is no plain relative path (an empty segment, `.`, `..`, a NUL, a
leading slash) is refused, and each folder on the way is opened without following
symbolic links. A file that exists is left alone; with --force it is replaced, so that a
link in its place is replaced and not written through. Each file is written beside its
place and takes it whole: who is interrupted leaves no part of a value under its name.
Files are on the disk before they have their names, and names before it says that it is
done.
"""

import asyncio
import os
import secrets
from contextlib import suppress
from pathlib import Path

import click

from .import_files import Tally
from .new_files import NEW_FILE, take_place
from .settings import (
    Failure,
    Settings,
    connection_options,
    current_settings,
    exit_codes,
    to_bytes,
)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


Folders = dict[tuple[bytes, ...], None]


class UnsafeKey(Exception):
    """The key would not become a file below the folder."""


@click.command("export")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--prefix", default="", help="Export the keys that begin with this.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@connection_options()
def command(directory: Path, prefix: str, force: bool) -> None:
    """Write each key that begins with PREFIX as a file: DIR/ + the rest of the key.

    All keys are written as they were at one revision, whatever changes during the
    export. The exit code is 1 when a key could not be written; the others are written
    all the same.
    """
    new = next((n for n, at in enumerate(_upwards(directory)) if at.exists()), 0)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The folder itself may be reached through a link: the user named it.
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(f"{directory}: {error.strerror}") from error
    tally = Tally("exported")
    # Those that got a name, as paths below the root; an ordered set.
    folders: Folders = {}
    try:
        with exit_codes():
            asyncio.run(
                _export(
                    current_settings(), root, to_bytes(prefix), force, tally, folders
                )
            )
        try:
            for path in folders:
                sync_below(root, path)
            # And what had to be made for the folder itself.
            for levels in range(1, new + 1):
                sync_below(root, (b"..",) * levels)
        except OSError as error:
            what = "can't be made durable"
            raise Failure(f"{directory}: {what}: {error.strerror}") from error
    finally:
        os.close(root)
    tally.finish()


def _upwards(directory: Path) -> list[Path]:
    absolute = directory.absolute()
    return [absolute, *absolute.parents]


async def _export(
    settings: Settings,
    root: int,
    prefix: bytes,
    force: bool,
    tally: Tally,
    folders: Folders,
) -> None:
    async with settings.connect() as client:
        async for entry in client.range(prefix=prefix):
            try:
                path = safe_path(entry.key[len(prefix) :])
                write_below(root, path, entry.value, force=force)
            except UnsafeKey as error:
                tally.failed(entry.key, str(error))
            except OSError as error:
                tally.failed(entry.key, error.strerror or str(error))
            else:
                tally.done(len(entry.value))
                for depth in range(len(path)):
                    folders[tuple(path[:depth])] = None


def safe_path(name: bytes) -> list[bytes]:
    """The segments of the relative path that `name` is; `UnsafeKey` if it is none."""
    if b"\0" in name:
        raise UnsafeKey("holds a NUL, which no file name can")
    segments = name.split(b"/")
    for segment in segments:
        if segment in (b"", b".", b".."):
            shown = segment.decode()
            raise UnsafeKey(f"has the path segment {shown!r}, which names no file")
    return segments


def write_below(root: int, path: list[bytes], data: bytes, *, force: bool) -> None:
    """Write a file below the open folder `root`, making the folders on its way."""
    folder = os.dup(root)
    try:
        for segment in path[:-1]:
            # If something is there, opening it tells whether it is a folder.
            with suppress(FileExistsError):
                os.mkdir(segment, 0o700, dir_fd=folder)
            folder = _into(folder, segment)
        _write(folder, path[-1], data, force=force)
    finally:
        os.close(folder)


def sync_below(root: int, path: tuple[bytes, ...]) -> None:
    """Make the names in a folder below the open folder `root` durable."""
    folder = os.dup(root)
    try:
        for segment in path:
            folder = _into(folder, segment)
        os.fsync(folder)
    finally:
        os.close(folder)


def _into(folder: int, segment: bytes) -> int:
    """Open a folder in an open one, which is closed."""
    inner = os.open(segment, _DIRECTORY, dir_fd=folder)
    os.close(folder)
    return inner


def _write(folder: int, name: bytes, data: bytes, *, force: bool) -> None:
    """Beside its place first: half a file would pass for the value."""
    temporary = b".quorate-" + secrets.token_hex(8).encode()
    descriptor = os.open(temporary, NEW_FILE, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            take_place(temporary, name, folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise
