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
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import msgspec

from ..storage.env import Env
from ..storage.faulty_env import Faults, FaultyEnv, Rules
from .drifting import DriftingClock
from .node import Node

P = ParamSpec("P")
T = TypeVar("T")

FAULTS: Final = "QUORATE_FAULTS"
# Places between two steps of the loop at which a process can be made to die; they have
# the simulator's names.
STEPS: Final = (
    "batch-synced",
    "batch-acknowledged",
    "entries-applied",
    "messages-sent",
)
_READ_BYTES: Final = 1 << 16


class Command(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What holds from now on; `stall_s` once holds the event loop for so long.

    `wall_offset_s` is by how much this node's wall clock is wrong, and `drift` by which
    share its monotonic clock, by which all times are counted, runs fast. At the step
    `die_at` the process dies.
    """

    number: int
    rules: Rules
    stall_s: float = 0.0
    wall_offset_s: float = 0.0
    drift: float = 0.0
    die_at: str = ""


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
        self._clock = DriftingClock()
        self._die_at = ""

    def env(self, inner: Env) -> FaultyEnv:
        """The disk that fails as it is told to."""
        return FaultyEnv(inner, self.faults)

    def open(self, node: Node) -> None:
        """Take commands from now on, until `close`."""
        # Both ways: the pipe must not end when a writer goes.
        self._fd = os.open(self._pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._fd, self._readable, node)
        self._clock.give_to(node.loop)
        self._watch_steps(node)

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
        self._clock.run_at(1.0 + command.drift)
        assert not command.die_at or command.die_at in STEPS, command.die_at
        self._die_at = command.die_at
        done = Done(command.number, self.faults.hits)
        # One write: who reads it sees whole lines.
        with open(self._told, "ab", buffering=0) as told:
            told.write(msgspec.json.encode(done) + b"\n")
        if command.stall_s:
            time.sleep(command.stall_s)

    # -- steps -----------------------------------------------------------------------

    def _watch_steps(self, node: Node) -> None:
        """From now on the process can die right after each of them."""
        loop, replica = node.loop, node.loop.replica
        loop.stable.persist = self._then_die(loop.stable.persist, "batch-synced")
        replica.persisted = self._then_die(replica.persisted, "batch-acknowledged")
        replica.turn = self._then_die(replica.turn, "entries-applied")
        loop.send = self._then_die(loop.send, "messages-sent")

    def _then_die(self, do: Callable[P, T], step: str) -> Callable[P, T]:
        def done(*args: P.args, **kwargs: P.kwargs) -> T:
            result = do(*args, **kwargs)
            if self._die_at == step:
                die()
            return result

        return done


def die() -> None:
    """End as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)
