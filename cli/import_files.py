"""`quorate import`: store the files of a folder.

Law: a file's key is the prefix and its path below the folder, as bytes, separated by
slashes. Only regular files are read, and no symbolic link is followed, neither to a
file nor to a folder. Putting the same bytes again changes nothing that matters, so a
file whose fate was lost is put again.
"""

import asyncio
import errno
import os
import random
import stat
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .settings import (
    Failure,
    Settings,
    connection_options,
    current_settings,
    duration,
    exit_codes,
    to_bytes,
)

if TYPE_CHECKING:
    from ..client import AsyncClient

IN_FLIGHT_DEFAULT = 64
BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 2.0
# More failures than these say nothing new.
FAILURES_SHOWN_MAX = 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tally:
    """What was done so far, and what could not be; shows it on a terminal."""

    def __init__(self, verb: str) -> None:
        self.files = 0
        self.size = 0
        self.failures = 0
        self.skipped = 0
        self._verb = verb
        self._shown_at = 0.0

    def done(self, size: int) -> None:
        """One file more, of `size` bytes."""
        self.files += 1
        self.size += size
        now = time.monotonic()
        if now - self._shown_at > 0.1 and sys.stderr.isatty():
            self._shown_at = now
            click.echo(f"\r\x1b[K{self}", err=True, nl=False)

    def failed(self, what: bytes, reason: str) -> None:
        """One file that could not be done."""
        self.failures += 1
        if self.failures <= FAILURES_SHOWN_MAX:
            name = what.decode("utf-8", "backslashreplace")
            click.echo(f"{_fresh_line()}{name!r}: {reason}", err=True)

    def finish(self) -> None:
        """Print the sum; `Failure` when there were failures."""
        if sys.stderr.isatty():
            click.echo(_fresh_line(), err=True, nl=False)
        click.echo(str(self))
        if self.skipped:
            click.echo(f"skipped {self.skipped} links and special files", err=True)
        if self.failures:
            raise Failure(f"{self.failures} failed")

    def __str__(self) -> str:
        return f"{self._verb} {self.files} files, {self.size} bytes"


def _fresh_line() -> str:
    return "\r\x1b[K" if sys.stderr.isatty() else ""


@click.command("import")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--prefix", default="", help="What the keys begin with.")
@click.option(
    "--in-flight",
    type=click.IntRange(1, 1024),
    default=IN_FLIGHT_DEFAULT,
    show_default=True,
    help="How many files are on their way at once.",
)
@click.option(
    "--retry-for",
    type=duration,
    default="60s",
    show_default=True,
    help="How long to retry a file when nobody answers.",
)
@connection_options()
def command(directory: Path, prefix: str, in_flight: int, retry_for: float) -> None:
    """Store each regular file below DIR under the key PREFIX + its path below DIR.

    Symbolic links are not followed. The exit code is 1 when a file could not be stored;
    the others are stored all the same.
    """
    try:
        # The folder itself may be reached through a link: the user named it.
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise Failure(f"{directory}: not a folder") from error
    except OSError as error:
        raise Failure(f"{directory}: {error.strerror}") from error
    tally = Tally("imported")
    settings = current_settings()
    try:
        with exit_codes():
            asyncio.run(
                _import(settings, root, to_bytes(prefix), in_flight, retry_for, tally)
            )
    finally:
        os.close(root)
    tally.finish()


async def _import(
    settings: Settings,
    root: int,
    prefix: bytes,
    in_flight: int,
    retry_for: float,
    tally: Tally,
) -> None:
    # All workers draw from one walk, so that only so many files are in memory.
    paths = walk(root, tally)

    async with settings.connect() as client:

        async def work() -> None:
            for path in paths:
                key = prefix + path.replace(os.sep.encode(), b"/")
                try:
                    data = read_regular_file(root, path)
                except OSError as error:
                    tally.failed(path, error.strerror or str(error))
                    continue
                await _store(client, key, data, retry_for, tally)

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(work())


def walk(root: int, tally: Tally) -> Iterator[bytes]:
    """The paths below the open folder `root` of all regular files, in order."""
    pending = [b""]
    while pending:
        folder = pending.pop()
        try:
            with _opened(root, folder) as opened, os.scandir(opened) as found:
                # While it is open: an entry may have to be looked at.
                entries = sorted(
                    (os.fsencode(entry.name), *_kind(entry)) for entry in found
                )
        except OSError as error:
            tally.failed(folder, error.strerror or str(error))
            continue
        folders: list[bytes] = []
        for name, is_folder, is_file in entries:
            path = os.path.join(folder, name)
            if is_folder:
                folders.append(path)
            elif is_file:
                yield path
            else:
                tally.skipped += 1
        pending += reversed(folders)


def _kind(entry: "os.DirEntry[str]") -> tuple[bool, bool]:
    """Is it a folder, is it a regular file? A link is neither."""
    return entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)


@contextmanager
def _opened(root: int, path: bytes) -> Generator[int]:
    """A folder below `root`, where no link is followed on the way."""
    folder = os.dup(root)
    try:
        for segment in filter(None, path.split(b"/")):
            inner = os.open(segment, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def read_regular_file(root: int, path: bytes) -> bytes:
    """A file's bytes, if it is (still) a regular file and no larger than a value."""
    from ..wire.limits import DEFAULT_LIMITS

    folder, name = os.path.split(path)
    # Without O_NONBLOCK a pipe put in its place would hold us for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with _opened(root, folder) as opened:
        descriptor = os.open(name, flags, dir_fd=opened)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file any more")
        data = file.read(DEFAULT_LIMITS.value_bytes_max + 1)
    if len(data) > DEFAULT_LIMITS.value_bytes_max:
        most = DEFAULT_LIMITS.value_bytes_max
        raise OSError(errno.EFBIG, f"larger than a value may be ({most} bytes)")
    return data


async def _store(
    client: "AsyncClient", key: bytes, data: bytes, retry_for: float, tally: Tally
) -> None:
    """Put one file, again and again while its fate or the cluster is lost."""
    from ..client.errors import QuorateError, Unknown

    deadline = time.monotonic() + retry_for
    pause = BACKOFF_SECONDS_MIN
    while True:
        try:
            await client.put(key, data)
        except QuorateError as error:
            again = error.retryable or isinstance(error, Unknown)
            if not again or time.monotonic() + pause > deadline:
                tally.failed(key, str(error))
                return
        else:
            tally.done(len(data))
            return
        # Spread, so that what failed together does not come back together.
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, BACKOFF_SECONDS_MAX)
