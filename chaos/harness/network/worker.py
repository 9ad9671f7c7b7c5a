"""The child that relays: one command a line on its standard input, one answer each.

Law: it knows names, ports and rules, and nothing of faults or nodes. It ends when its
standard input does, and everything that it holds is sockets: so nothing is left of it.
"""

import asyncio
import os
import sys
from random import Random
from typing import Final, TypeAlias

import msgspec

from .relay import Relay, Tally
from .rules import PASS, Rule, Way

LINE_BYTES_MAX: Final = 4 * 1024 * 1024


class Port(msgspec.Struct, frozen=True):
    """Where dials of one way arrive, and where they are meant to go."""

    way: Way
    listen: tuple[str, int]
    target: tuple[str, int] = ("", 0)


class Listen(msgspec.Struct, tag=True):
    """The first command: relays for these ports."""

    ports: tuple[Port, ...]
    seed: int


class Aim(msgspec.Struct, tag=True):
    """The second: now it is known where each of them leads to."""

    ports: tuple[Port, ...]


class Follow(msgspec.Struct, tag=True):
    """These rules hold from now on, and none else; those nodes are away."""

    rules: tuple[tuple[Way, Rule], ...]
    away: tuple[str, ...]


class Told(msgspec.Struct):
    """Every command's answer: what has happened on each way until now.

    `touched` counts pieces that met a rule, `flipped` the connections one of whose bits
    was flipped, `flipped_alive` those of them that nobody has ended.
    """

    touched: list[tuple[Way, int]]
    flipped: int
    flipped_alive: int


Command: TypeAlias = Listen | Aim | Follow
_commands = msgspec.json.Decoder(Command)
_encoder = msgspec.json.Encoder()


class Worker:
    """All relays of the child."""

    def __init__(self) -> None:
        self.relays: dict[Way, Relay] = {}
        self.tallies: dict[Way, Tally] = {}

    async def obey(self, command: Command) -> None:
        """Do it; it is done when this returns."""
        match command:
            case Listen():
                dice = Random(command.seed)
                for port in command.ports:
                    for way in (port.way, (port.way[1], port.way[0])):
                        self.tallies.setdefault(way, Tally())
                    relay = Relay(
                        port.way, port.listen, port.target, self.tallies, dice
                    )
                    self.relays[port.way] = relay
                    await relay.follow()
            case Aim():
                for port in command.ports:
                    self.relays[port.way].target = port.target
            case Follow():
                await self._follow(dict(command.rules), frozenset(command.away))

    async def _follow(self, rules: dict[Way, Rule], away: frozenset[str]) -> None:
        for way, relay in self.relays.items():
            relay.away = way[1] in away
            rule, rule_back = rules.get(way, PASS), rules.get(relay.way_back, PASS)
            await relay.change(rule, rule_back)

    def told(self) -> Told:
        """What has happened until now."""
        connections = [c for relay in self.relays.values() for c in relay.connections]
        return Told(
            [(way, tally.touched) for way, tally in self.tallies.items()],
            sum(tally.flipped for tally in self.tallies.values()),
            sum(connection.flipped for connection in connections),
        )


async def serve() -> None:
    """Obey until the standard input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LINE_BYTES_MAX)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    worker = Worker()
    while line := await reader.readline():
        await worker.obey(_commands.decode(line))
        try:
            sys.stdout.buffer.write(_encoder.encode(worker.told()) + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # The harness was killed. An orderly end would try to say it once more.
            os._exit(1)


def main() -> None:
    """The whole child."""
    # Imported here: the parent needs the commands above and no event loop of its own.
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
