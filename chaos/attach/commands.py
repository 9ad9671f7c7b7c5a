"""The user's commands: run by a shell, for so long at most, with what they said kept.

Law: what a command has started and left running goes on (it may be a node); a command
that takes too long is killed with everything that it has started.
"""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, STDOUT
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

TAIL_BYTES: Final = 2048


class Ran(msgspec.Struct, frozen=True):
    """A command that is over; `code` is None when it took too long."""

    code: int | None
    said: str

    @property
    def failed(self) -> bool:
        """Whether it did not do what it was for."""
        return self.code != 0

    def __str__(self) -> str:
        how = "it took too long" if self.code is None else f"exit code {self.code}"
        return f"{how}: {self.said}" if self.said else how


async def run_command(command: str, seconds: float, output: Path) -> Ran:
    """Run it; what it says goes to `output`."""
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", command),
            stdin=DEVNULL,
            # No pipe: who is left running by it would hold that open, or die of it.
            stdout=file,
            stderr=STDOUT,
            # A Ctrl-C at the terminal is for us.
            start_new_session=True,
        )
    code: int | None = None
    try:
        async with asyncio.timeout(seconds):
            code = await process.wait()
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Ran(code, _tail(output))


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        return file.read(TAIL_BYTES).decode(errors="replace").strip()
