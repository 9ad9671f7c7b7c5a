"""Links between nodes: delay, loss, repetition, reordering, and cuts of any shape.

Law: Raft's messages may be lost, repeated and reordered; forwarded requests travel on a
connection of their own, so they are only ever lost, together with that connection.
"""

from collections.abc import Callable

from ...node.replica import ForwardReply, ForwardRequest, PeerMessage
from .world import MILLISECOND, World

Deliver = Callable[[int, PeerMessage], None]


class Network:
    """All directed links. `cut` holds the pairs (from, to) that carry nothing."""

    def __init__(self, world: World, deliver: Deliver) -> None:
        self.world = world
        self.deliver = deliver
        self.cut: set[tuple[int, int]] = set()
        self.delay_us = (100, 2 * MILLISECOND)
        self.loss = 0.0
        self.repeat = 0.0
        self.tail = 0.0
        self.sent = 0
        self.lost = 0
        self.repeated = 0

    def send(self, message: PeerMessage) -> None:
        world = self.world
        self.sent += 1
        pair = (message.sender, message.to)
        if pair in self.cut or world.chance(self.loss):
            self.lost += 1
            return
        self._put(pair, message)
        forwarded = isinstance(message, ForwardRequest | ForwardReply)
        if self.repeat and not forwarded and world.chance(self.repeat):
            self.repeated += 1
            self._put(pair, message)

    def _put(self, pair: tuple[int, int], message: PeerMessage) -> None:
        world = self.world
        delay = world.random.randint(*self.delay_us)
        if self.tail and world.chance(self.tail):
            delay *= 50

        def arrive() -> None:
            # A cut also swallows what is under way, as a dead link does.
            if pair in self.cut:
                self.lost += 1
            else:
                self.deliver(pair[1], message)

        world.at(delay, arrive)

    def isolate(self, inside: set[int], everyone: set[int]) -> None:
        """Cut both ways between `inside` and the rest."""
        for a in sorted(inside):
            for b in sorted(everyone - inside):
                self.cut.add((a, b))
                self.cut.add((b, a))

    def heal(self) -> None:
        self.cut.clear()
