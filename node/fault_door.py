"""The door through which a harness hurts a node that it has started.

Law: closed unless the environment names a pipe and the node has a lifeline; a node that
a user runs has no such door. Commands come as lines of JSON through a named pipe, each
with everything that holds from now on; for each a line goes to the file beside it,
`PIPE.told`, which also says how often rules have been met.
"""

import asyncio
import os
import signal
import time
from typing import Final

import msgspec

from ..storage.env import Env
from ..storage.faulty_env import Faults, FaultyEnv, Rules
from .node import Node

FAULTS: Final = "QUORATE_FAULTS"
_READ_BYTES: Final = 1 << 16


class Command(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What holds from now on; `stall_s` once holds the event loop for so long.

    `wall_offset_s` is by how much this node's wall clock is wrong.
    """

    number: int
    rules: Rules
    stall_s: float = 0.0
    wall_offset_s: float = 0.0


class Done(msgspec.Struct, frozen=True):
    """The command of that number holds; so often rules have been met until now."""

    number: int
    hits: int


class FaultDoor:
    """One process's faults, and the pipe by which they are said."""

    def __init__(self, pipe: str) -> None:
        self.faults = Faults(time.sleep, die)
        self._pipe = pipe
        self._told = f"{pipe}.told"
        self._fd = -1
        self._rest = b""

    def env(self, inner: Env) -> FaultyEnv:
        """The disk that fails as it is told to."""
        return FaultyEnv(inner, self.faults)

    def open(self, node: Node) -> None:
        """Take commands from now on, until `close`."""
        # Both ways: the pipe must not end when a writer goes.
        self._fd = os.open(self._pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._fd, self._readable, node)

    def close(self) -> None:
        """Take no more; a second call does nothing."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self, node: Node) -> None:
        try:
            data = self._rest + os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            self._obey(msgspec.json.decode(line, type=Command), node)

    def _obey(self, command: Command, node: Node) -> None:
        self.faults.rules = command.rules
        node.loop.wall_offset_ms = round(command.wall_offset_s * 1000)
        done = Done(command.number, self.faults.hits)
        # One write: who reads it sees whole lines.
        with open(self._told, "ab", buffering=0) as told:
            told.write(msgspec.json.encode(done) + b"\n")
        if command.stall_s:
            time.sleep(command.stall_s)


def die() -> None:
    """End as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)
