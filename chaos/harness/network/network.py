"""The parent's side of the network: faults put their rules on it and take them off.

Law: what holds now is the sum of what all faults have put, so that one may be healed
while another goes on. A command is done when its answer has come; the next one waits
for that.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from typing import Final

import msgspec

from ....node.launcher import free_ports
from ..errors import NetworkFailed
from .rules import Rule, Way, merge_tables
from .worker import LINE_BYTES_MAX, Aim, Command, Follow, Listen, Port, Told

HOST: Final = "127.0.0.1"
# Who dials client ports: all clients of a run.
CLIENTS: Final = "clients"
ANSWER_SECONDS_MAX: Final = 15.0
# -P: a file in the current folder must not pass for a module of ours.
COMMAND: Final = (sys.executable, "-P", "-m", "quorate.chaos.harness.network")
_encoder = msgspec.json.Encoder()
_answers = msgspec.json.Decoder(Told)


class Network:
    """All links of a cluster: `nodes` among each other, and clients to each of them."""

    def __init__(self, nodes: Sequence[str], seed: int) -> None:
        self.nodes = tuple(nodes)
        self.seed = seed
        self.ways: list[Way] = [*permutations(nodes, 2), *((CLIENTS, n) for n in nodes)]
        self.ports: dict[Way, int] = {}
        self._process: Process | None = None
        self._tables: dict[object, Mapping[Way, Rule]] = {}
        self._away: set[str] = set()
        self._busy = asyncio.Lock()
        # Answers that are still to come, also to whoever was cancelled meanwhile.
        self._owed = 0

    async def start(self) -> None:
        """Start the child; from now on there is a port for each way."""
        self.ports = dict(zip(self.ways, free_ports(len(self.ways), HOST), strict=True))
        self._process = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            limit=LINE_BYTES_MAX,
            # A Ctrl-C at the terminal is for us; the child ends with its input.
            start_new_session=True,
        )
        await self._call(Listen(tuple(self._ports({})), self.seed))

    async def aim(self, targets: Mapping[Way, int]) -> None:
        """Say where each way leads to."""
        await self._call(Aim(tuple(self._ports(targets))))

    def address(self, way: Way) -> str:
        """Where to dial in order to go this way."""
        return f"{HOST}:{self.ports[way]}"

    async def put(self, fault: object, table: Mapping[Way, Rule]) -> Told:
        """From now on these are the rules of `fault`, instead of what it had put."""
        self._tables[fault] = table
        return await self._follow()

    async def heal(self, fault: object) -> Told:
        """Take the rules of `fault` off."""
        self._tables.pop(fault, None)
        return await self._follow()

    async def told(self) -> Told:
        """What has happened until now."""
        return await self._follow()

    async def away(self, nodes: Iterable[str]) -> None:
        """Nobody listens at these nodes: dials are refused, as a system would do it."""
        self._away.update(nodes)
        await self._follow()

    async def back(self, node: str) -> None:
        """Dials of the node are passed on again."""
        self._away.discard(node)
        await self._follow()

    def check(self) -> None:
        """Raises NetworkFailed when the child has ended although nobody asked it to."""
        if self._process is not None and self._process.returncode is not None:
            raise NetworkFailed("the relays' process has ended")

    async def close(self) -> None:
        """End the child; safe to repeat."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        self._process = None

    def _ports(self, targets: Mapping[Way, int]) -> Iterable[Port]:
        for way, port in self.ports.items():
            yield Port(way, (HOST, port), (HOST, targets.get(way, 0)))

    async def _follow(self) -> Told:
        rules = merge_tables(self._tables.values())
        return await self._call(Follow(tuple(rules.items()), tuple(sorted(self._away))))

    async def _call(self, command: Command) -> Told:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        line = b""
        async with self._busy:
            try:
                process.stdin.write(_encoder.encode(command) + b"\n")
                self._owed += 1
                async with asyncio.timeout(ANSWER_SECONDS_MAX):
                    await process.stdin.drain()
                    while self._owed:
                        line = await process.stdout.readline()
                        self._owed -= 1
            except (OSError, TimeoutError) as error:
                raise NetworkFailed(f"the relays do not answer: {error!r}") from error
        if not line.endswith(b"\n"):
            raise NetworkFailed("the relays' process has ended")
        return _answers.decode(line)


def touched(before: Told, after: Told, ways: Iterable[Way]) -> int:
    """How often a rule was met on `ways` between two answers."""
    counts, wanted = dict(before.touched), frozenset(ways)
    return sum(n - counts[way] for way, n in after.touched if way in wanted)
