"""Client processes: one end of the pipe, and the other.

    parent → child   setup, then commands, one JSON document a line
    child → parent   Ready, then for each phase what it tells, and Done or Failed

Law: a child lives as long as its standard input is open, and so never longer than its
parent. It is in a session of its own: Ctrl-C is the parent's business, which tells it
to stop and still gets its results.

A child is `python -m quorate.chaos.load`.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import IO, Final, Protocol, Self, TypeAlias

import msgspec

from .clock import RealClock, new_loop
from .errors import PhaseFailed, WorkerLost
from .generator import Generator, Progress
from .options import LoadOptions, Target
from .report import Report

# -P: a file in the current folder must not pass for a module of ours.
COMMAND: Final = (sys.executable, "-P", "-m", "quorate.chaos.load")
# Several times what a report with every bucket in use takes.
LINE_BYTES_MAX: Final = 16 * 1024 * 1024
CLOSING_SECONDS_MAX: Final = 5.0


class Setup(msgspec.Struct):
    """The first line to a child."""

    target: Target
    options: LoadOptions
    process: int


class Load(msgspec.Struct, tag=True):
    """Put the keys."""


class Run(msgspec.Struct, tag=True):
    """Do operations, from this moment of the monotonic clock on."""

    begin_s: float


class Clean(msgspec.Struct, tag=True):
    """Delete what was written."""


class Stop(msgspec.Struct, tag=True):
    """Begin no more operations."""


class Ready(msgspec.Struct, tag=True):
    """It has started: what is sent now is heard at once."""


class Done(msgspec.Struct, tag=True):
    """The phase is over."""


class Failed(msgspec.Struct, tag=True):
    """The phase can't be done."""

    code: str
    reason: str


Phase: TypeAlias = Load | Run | Clean
Told: TypeAlias = Progress | Report
_encoder = msgspec.json.Encoder()
_setups = msgspec.json.Decoder(Setup)
_commands = msgspec.json.Decoder(Load | Run | Clean | Stop)
_messages = msgspec.json.Decoder(Progress | Report | Ready | Done | Failed)


class Worker(Protocol):
    """One client process, or what stands for it in this one."""

    async def load(self, tell: Callable[[Progress], None]) -> None:
        """Put its share of the keys."""
        ...

    async def run(self, begin_s: float, tell: Callable[[Report], None]) -> None:
        """Do operations from this moment on."""
        ...

    async def clean(self, tell: Callable[[Progress], None]) -> None:
        """Delete what it wrote."""
        ...

    def stop(self) -> None:
        """Begin nothing more; what is in flight ends by itself."""
        ...


class ChildWorker:
    """The parent's end."""

    def __init__(self, child: Process, process: int) -> None:
        self._child: Process = child
        self._process: int = process

    @classmethod
    async def start(
        cls,
        target: Target,
        options: LoadOptions,
        process: int,
        command: Sequence[str] = COMMAND,
    ) -> Self:
        """Start a child; its errors go where ours go."""
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            limit=LINE_BYTES_MAX,
            start_new_session=True,
        )
        worker = cls(child, process)
        worker._send(Setup(target, options, process))
        return worker

    async def ready(self) -> None:
        """Wait until it hears what it is told; one that ended is found out later.

        A run that begins earlier has less of its time, or none.
        """
        stdout = self._child.stdout
        assert stdout is not None
        while line := await stdout.readline():
            if isinstance(_messages.decode(line), Ready):
                return

    async def load(self, tell: Callable[[Progress], None]) -> None:
        def take(message: Told) -> None:
            if isinstance(message, Progress):
                tell(message)

        await self._phase(Load(), take)

    async def run(self, begin_s: float, tell: Callable[[Report], None]) -> None:
        def take(message: Told) -> None:
            if isinstance(message, Report):
                tell(message)

        await self._phase(Run(begin_s), take)

    async def clean(self, tell: Callable[[Progress], None]) -> None:
        def take(message: Told) -> None:
            if isinstance(message, Progress):
                tell(message)

        await self._phase(Clean(), take)

    def stop(self) -> None:
        self._send(Stop())

    async def close(self) -> None:
        """End the child, by force if it takes long."""
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.close()
        try:
            async with asyncio.timeout(CLOSING_SECONDS_MAX):
                while await stdout.read(LINE_BYTES_MAX):
                    continue
                await self._child.wait()
        except TimeoutError:
            self._child.kill()
            await stdout.read()
            await self._child.wait()

    async def _phase(self, command: Phase, tell: Callable[[Told], None]) -> None:
        stdout = self._child.stdout
        assert stdout is not None
        self._send(command)
        while line := await stdout.readline():
            message = _messages.decode(line)
            match message:
                case Done():
                    return
                case Failed(code, reason):
                    raise PhaseFailed(code, reason)
                case Ready():
                    continue
                case _:
                    tell(message)
        code = await self._child.wait()
        raise WorkerLost(f"client process {self._process} ended with code {code}")

    def _send(self, command: "Setup | Phase | Stop") -> None:
        stdin = self._child.stdin
        assert stdin is not None
        # To a child that is gone this does nothing: its end is noticed by reading.
        if not stdin.is_closing():
            stdin.write(_encoder.encode(command) + b"\n")


# -- the child's end -----------------------------------------------------------------


def main() -> None:
    """Read what to do, do it, and tell, until standard input ends."""
    # Unbuffered: what comes behind the first line is for the event loop.
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        line = stdin.readline()
        if not line:
            return
        setup = _setups.decode(line)
        open_loop = setup.options.rate is not None
        with asyncio.Runner(loop_factory=lambda: new_loop(open_loop=open_loop)) as on:
            on.run(_serve(setup, stdin))


async def _serve(setup: Setup, stdin: IO[bytes]) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LINE_BYTES_MAX)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), stdin
    )
    phase: asyncio.Task[None] | None = None
    async with setup.target.connect(setup.process) as client:
        generator = Generator(client, setup.options, setup.process, RealClock())
        _tell(Ready())
        # A bug in a phase ends the group, and with it the process.
        async with asyncio.TaskGroup() as group:
            while line := await reader.readline():
                command = _commands.decode(line)
                if isinstance(command, Stop):
                    generator.stop()
                else:
                    phase = group.create_task(_do(generator, command))
            if phase is not None:
                phase.cancel()
    transport.close()


async def start_children(
    target: Target, options: LoadOptions, stack: AsyncExitStack
) -> "list[ChildWorker]":
    """`options.processes` of them, all of which listen; the stack ends them."""
    children: list[ChildWorker] = []
    for process in range(options.processes):
        child = await ChildWorker.start(target, options, process)
        stack.push_async_callback(child.close)
        children.append(child)
    for child in children:
        await child.ready()
    return children


async def _do(generator: Generator, command: Phase) -> None:
    try:
        match command:
            case Load():
                await generator.load(_tell)
            case Run(begin_s):
                await generator.run(begin_s, _tell)
            case Clean():
                await generator.clean(_tell)
    except PhaseFailed as failed:
        _tell(Failed(failed.code, failed.reason))
    else:
        _tell(Done())


def _tell(message: "Told | Ready | Done | Failed") -> None:
    # The parent does nothing but read: it takes this faster than it is made.
    sys.stdout.buffer.write(_encoder.encode(message) + b"\n")
    sys.stdout.buffer.flush()
