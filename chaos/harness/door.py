"""The harness's side of a node's fault door (node/fault_door tells what it means).

Law: what is said takes the place of what was said before, and is done when its answer
has come, or when the node has ended: then nobody is there to hurt.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from .errors import HarnessError

# Names an environment variable of node/process.
FAULTS: Final = "QUORATE_FAULTS"
PIPE: Final = "faults"
ANSWER_SECONDS_MAX: Final = 60.0
_POLL_SECONDS: Final = 0.02


class Rules(msgspec.Struct, frozen=True, omit_defaults=True):
    """What fails on a disk, as storage/faulty_env has it."""

    reads: int = 0
    writes: int = 0
    syncs: int = 0
    full: bool = False
    sync_delay_s: float = 0.0
    tear: float = 0.0
    die_before: str = ""


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds from now on."""

    number: int
    rules: Rules
    stall_s: float = 0.0
    wall_offset_s: float = 0.0
    drift: float = 0.0
    die_at: str = ""


class Done(msgspec.Struct, frozen=True):
    """The answer to one."""

    number: int
    hits: int


class DoorStuck(HarnessError):
    """A node runs and does not answer at its door."""


class Door:
    """The way into one node."""

    def __init__(self, directory: Path) -> None:
        self.pipe = directory / PIPE
        self._told = directory / f"{PIPE}.told"
        self._number = 0
        os.mkfifo(self.pipe, 0o600)

    async def say(
        self,
        rules: Rules,
        alive: Callable[[], bool],
        *,
        stall_s: float = 0.0,
        wall_offset_s: float = 0.0,
        drift: float = 0.0,
        die_at: str = "",
    ) -> int | None:
        """How often rules have been met since its start; None when it has ended."""
        self._number += 1
        command = Command(self._number, rules, stall_s, wall_offset_s, drift, die_at)
        data = msgspec.json.encode(command) + b"\n"
        deadline_s = time.monotonic() + ANSWER_SECONDS_MAX
        sent = False
        while alive():
            sent = sent or self._send(data)
            hits = self._answer()
            if hits is not None:
                return hits
            if time.monotonic() > deadline_s:
                raise DoorStuck(f"{self.pipe}: no answer in {ANSWER_SECONDS_MAX:g} s")
            await asyncio.sleep(_POLL_SECONDS)
        return None

    def _send(self, data: bytes) -> bool:
        """Whether somebody is there to read it."""
        try:
            fd = os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            os.write(fd, data)
        except BrokenPipeError:
            return False
        finally:
            os.close(fd)
        return True

    def _answer(self) -> int | None:
        if not self._told.exists():
            return None
        for line in self._told.read_bytes().splitlines():
            done = msgspec.json.decode(line, type=Done)
            if done.number == self._number:
                return done.hits
        return None
