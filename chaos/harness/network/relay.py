"""One port of the child: who dials it reaches the node behind it, as the rules allow.

Law: a shell around `Line`. A connection is two sides and a pump for each direction of
bytes; each pump follows the rule of its own way. What the system can't be told (a dial
that is lost on the way) becomes a connection that was accepted and stays silent.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from random import Random
from typing import Final, cast

from .line import Line
from .rules import PASS, Rule, Way

# When so much waits in one direction, its sender is not read from any more.
QUEUED_BYTES_MAX: Final = 256 * 1024
BACKLOG: Final = 512
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Tally:
    """What has happened on one way since the start."""

    def __init__(self) -> None:
        self.touched = 0
        self.flipped = 0


class Pump:
    """Bytes of one direction: from one side to the other, through a line."""

    def __init__(self, rule: Rule, dice: Random, tally: Tally) -> None:
        self.line = Line(dice, rule)
        self.tally = tally
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.ended = False
        self.sink_full = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, data: bytes) -> None:
        """Bytes have come from the source."""
        line = self.line
        sink = self.sink
        if sink is not None and line.idle and not sink.is_closing():
            sink.write(data)
            return
        flipped = line.flipped
        line.put(data, self._loop.time())
        self.tally.touched += line.rule != PASS
        self.tally.flipped += line.flipped and not flipped
        self.pour()

    def end(self) -> None:
        """The source has no more: the sink ends when it has had everything."""
        self.ended = True
        self.pour()

    def change(self, rule: Rule) -> None:
        """From now on another rule holds."""
        self.line.rule = rule
        self.pour()

    def pour(self) -> None:
        """Give the sink what is due, and come again when more is."""
        sink, line = self.sink, self.line
        if sink is None or sink.is_closing():
            return
        data = line.take(self._loop.time())
        if data:
            sink.write(data)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_s = line.next_due()
        if due_s is not None:
            self._timer = self._loop.call_at(due_s, self.pour)
        elif self.ended and not line.queued_bytes and line.rule.mode != "hold":
            sink.close()
        self.press()

    def press(self) -> None:
        """Read from the source only as fast as the sink takes it."""
        if self.source is None or self.ended or self.source.is_closing():
            return
        if (
            self.sink is None
            or self.sink_full
            or (self.line.queued_bytes >= QUEUED_BYTES_MAX)
        ):
            self.source.pause_reading()
        else:
            self.source.resume_reading()

    def drop(self) -> None:
        """No more of this direction."""
        self.sink = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Side(asyncio.Protocol):
    """One end of a connection: what it sends goes `out`, what it gets comes `back`."""

    def __init__(self, out: Pump, back: Pump, lost: Callable[["Side"], None]) -> None:
        self.out = out
        self.back = back
        self.lost = lost
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.out.source = self.back.sink = self.transport
        self.out.press()
        self.back.press()
        self.back.pour()

    def data_received(self, data: bytes) -> None:
        self.out.feed(data)

    def pause_writing(self) -> None:
        self.back.sink_full = True
        self.back.press()

    def resume_writing(self) -> None:
        self.back.sink_full = False
        self.back.press()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.back.drop()
        self.lost(self)

    def reset(self) -> None:
        """End it so that the other end learns that something was wrong."""
        if self.transport is not None:
            sock: socket.socket = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()


class Connection:
    """Two sides; the far one is dialled as soon as both ways let a dial pass."""

    def __init__(self, relay: "Relay") -> None:
        self.relay = relay
        tallies, seed = relay.tallies, relay.dice.random()
        self.there = Pump(relay.rule, Random(seed), tallies[relay.way])
        self.back = Pump(relay.rule_back, Random(seed + 1), tallies[relay.way_back])
        self.near = Side(self.there, self.back, self._lost)
        self.far = Side(self.back, self.there, self._lost)
        self.deaf = relay.rule.mode == "half-open"
        self.open = asyncio.Event()
        self.dialling = asyncio.ensure_future(self._dial())
        relay.connections.add(self)
        self.change()

    @property
    def flipped(self) -> bool:
        """Whether a bit was flipped on it."""
        return self.there.line.flipped or self.back.line.flipped

    def change(self) -> None:
        """Follow the rules as they are now."""
        rule, rule_back = self.relay.rule, self.relay.rule_back
        if rule.mode == "reset" or (self.deaf and rule.mode != "half-open"):
            self.reset()
            return
        if rule.mode == "half-open" and not self.deaf:
            self.deaf = True
            self.far.reset()
        self.there.change(rule)
        self.back.change(rule_back)
        if rule.mode == "pass" and rule_back.mode != "hold":
            self.open.set()

    def reset(self) -> None:
        """End both sides at once."""
        self.dialling.cancel()
        self.near.reset()
        self.far.reset()
        self.relay.connections.discard(self)

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        await self.open.wait()
        host, port = self.relay.target
        try:
            await loop.create_connection(lambda: self.far, host, port)
        except OSError:
            self.reset()

    def _lost(self, side: Side) -> None:
        if self.deaf and side is self.far:
            return  # nobody tells the near end
        side.out.end()
        if self.near.transport is None and self.far.transport is None:
            self.dialling.cancel()
            self.relay.connections.discard(self)


class Relay:
    """A listener for the dials of one way, and its connections."""

    def __init__(
        self,
        way: Way,
        listen: tuple[str, int],
        target: tuple[str, int],
        tallies: dict[Way, Tally],
        dice: Random,
    ) -> None:
        self.way = way
        self.way_back = (way[1], way[0])
        self.listen = listen
        self.target = target
        self.tallies = tallies
        self.dice = dice
        self.rule = self.rule_back = PASS
        self.away = False
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def change(self, rule: Rule, rule_back: Rule) -> None:
        """Follow other rules from now on."""
        self.rule, self.rule_back = rule, rule_back
        tally = self.tallies[self.way]
        if rule.mode in ("reset", "half-open"):
            tally.touched += len(self.connections)
        for connection in list(self.connections):
            connection.change()
        await self.follow()

    async def follow(self) -> None:
        """Listen, unless the node behind is away or dials are refused."""
        wanted = not self.away and self.rule.mode != "reset"
        if wanted and self._server is None:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: Connection(self).near,
                *self.listen,
                reuse_address=True,
                backlog=BACKLOG,
            )
        elif not wanted and self._server is not None:
            self._server.close()
            self._server = None
