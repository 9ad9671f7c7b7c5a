"""`quorate lock`: hold a lock while a command runs.

Law: a command that runs must not go on as if nothing had happened once the lock is
lost: it gets SIGTERM. What it writes in the meantime is refused, if it carries the
token. Whoever ends us ends the command, and then the lock is released.
"""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from .lease import time_to_live
from .output import print_json, stdout, to_key
from .settings import (
    Failure,
    NotAsExpected,
    Settings,
    connection_options,
    current_settings,
    exit_codes,
    to_bytes,
    wait_option,
)

if TYPE_CHECKING:
    from ..client import Lock

T = TypeVar("T")

# What shells say of a command that a signal has ended.
_BY_SIGNAL = 128


@click.command("lock")
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[-- COMMAND…]", type=click.UNPROCESSED)
@click.option(
    "--ttl",
    type=time_to_live,
    default="10s",
    metavar="TTL",
    help="Others may have it when we can't be reached for so long (default 10s).",
)
@wait_option
@connection_options()
def command(name: str, words: tuple[str, ...], ttl: float, wait: float | None) -> None:
    """Take the lock NAME, run COMMAND, and release the lock.

    COMMAND finds the lock's token in QUORATE_LOCK_TOKEN, and its key in
    QUORATE_LOCK_KEY. A lock can be lost while it is held; then COMMAND gets SIGTERM.
    Give the token to whatever it writes, as `quorate put KEY VALUE --fence
    $QUORATE_LOCK_TOKEN`: that is refused from the moment at which the lock is lost.

    The exit code is COMMAND's; 4 when the lock was lost, or was not to be had within
    --wait. Without COMMAND the key and the token are printed, and the lock is held
    until Ctrl-C.
    """
    settings = current_settings()
    with exit_codes():
        code = asyncio.run(_lock(settings, to_bytes(name), ttl, wait, words))
    click.get_current_context().exit(code)


async def _lock(
    settings: Settings,
    name: bytes,
    ttl: float,
    wait: float | None,
    words: tuple[str, ...],
) -> int:
    signals = Signals()
    async with settings.connect() as client:
        lock = client.lock(name, ttl=ttl, wait=wait)
        if await signals.unless(lock.acquire()) is None:
            return _BY_SIGNAL + signals.number
        async with _released(lock):
            if words:
                return await _run(lock, words, signals)
            _show(settings, lock)
            return await held(lock.lost, signals)


class Signals:
    """SIGINT and SIGTERM, which end us in order from now on."""

    def __init__(self) -> None:
        self.number: int = 0
        self.come: asyncio.Event = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._take, number)

    def _take(self, number: int) -> None:
        self.number = number
        self.come.set()

    async def unless(self, coroutine: Coroutine[object, object, T]) -> T | None:
        """Its result; None when a signal came first, and it was ended."""
        task = asyncio.create_task(coroutine)
        come = asyncio.create_task(self.come.wait())
        try:
            await asyncio.wait({task, come}, return_when="FIRST_COMPLETED")
            return await task if task.done() else None
        finally:
            task.cancel()
            come.cancel()
            await asyncio.gather(task, come, return_exceptions=True)


async def held(lost: asyncio.Event, signals: Signals) -> int:
    """Wait for a signal, which is how it is meant to end, or for the loss."""
    if await signals.unless(lost.wait()) is None:
        return 0
    raise NotAsExpected("the lock was lost: its lease has ended")


@asynccontextmanager
async def _released(lock: "Lock") -> AsyncGenerator[None]:
    """Ends with the release of a lock that was acquired before."""
    from ..client import QuorateError

    try:
        yield
    finally:
        try:
            await lock.release()
        except QuorateError as error:
            # It ends by itself; what the command came to counts more.
            click.echo(f"the lock was not released: {error}", err=True)


async def _run(lock: "Lock", words: tuple[str, ...], signals: Signals) -> int:
    """Run a command as long as the lock is held; its exit code."""
    environment = {
        **os.environ,
        "QUORATE_LOCK_TOKEN": lock.token,
        "QUORATE_LOCK_KEY": os.fsdecode(lock.key),
    }
    try:
        child = await asyncio.create_subprocess_exec(*words, env=environment)
    except OSError as error:
        raise Failure(f"{words[0]}: {error.strerror}") from error
    ended = asyncio.create_task(child.wait())
    lost = asyncio.create_task(lock.lost.wait())
    come = asyncio.create_task(signals.come.wait())
    try:
        first = {ended, lost, come}
        await asyncio.wait(first, return_when="FIRST_COMPLETED")
        if not ended.done():
            # Ctrl-C reaches it by itself, and SIGTERM ends it as well.
            child.terminate()
            await ended
        if lost.done():
            raise NotAsExpected("the lock was lost: its lease has ended")
    finally:
        for task in (lost, come):
            task.cancel()
        await asyncio.gather(lost, come, return_exceptions=True)
    code = ended.result()
    return code if code >= 0 else _BY_SIGNAL - code


def _show(settings: Settings, lock: "Lock") -> None:
    if settings.output == "json":
        shown = to_key(lock.key)
        print_json({**shown, "token": lock.token, "revision": lock.revision})
    else:
        stdout().write(lock.key + b"\n" + lock.token.encode() + b"\n")
    # Others may read this through a pipe.
    stdout().flush()
