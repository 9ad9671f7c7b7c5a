"""Clients that do not wait for one answer before they ask the next thing.

Law: what was asked is remembered with its node, so that nothing is believed that comes
after the connection to that node broke. What an answer means is the heir's business.
"""

from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar

from ...node.replica import Request
from ...wire import DEFAULT_LIMITS, OK, ErrorReply, RequestKind, decode_error
from .node import Node
from .shape import Shape
from .world import MILLISECOND, SECOND, World

T = TypeVar("T")

TIMEOUT_US: Final = 3 * SECOND


class Asker(ABC, Generic[T]):
    """One such client; T is what it remembers of a request."""

    def __init__(
        self, world: World, name: str, nodes: list[Node], shape: Shape
    ) -> None:
        self.world = world
        self.name = name
        self.nodes = nodes
        self.pause_us = shape.pause_us
        self.stopped = False
        self.requests = 0
        self.completed = 0
        self.asked: dict[int, tuple[Node, T]] = {}

    def start(self) -> None:
        self.world.at(self.world.below(self.pause_us + 1), self._next)

    @abstractmethod
    def _next(self) -> None:
        """Do something, and plan when to do the next thing."""

    @abstractmethod
    def _answered(self, asked: T, body: bytes) -> None:
        """This came of it."""

    @abstractmethod
    def _refused(self, asked: T, error: ErrorReply) -> None:
        """It came to this error."""

    @abstractmethod
    def _shown(self, asked: T) -> str:
        """What the timeline says of it."""

    def _ask(self, node: Node, asked: T, kind: RequestKind, body: bytes) -> None:
        self.requests += 1
        self.asked[self.requests] = node, asked
        timeout_ms = TIMEOUT_US // MILLISECOND
        node.submit(Request(self, self.requests, kind, body, timeout_ms))

    def went_down(self, node: Node) -> None:
        """Nobody knows what became of what it was asked."""
        self.asked = {n: a for n, a in self.asked.items() if a[0] is not node}

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        del kind
        found = self.asked.pop(request_id, None)
        if found is None:
            return
        _, asked = found
        if status == OK:
            self.completed += 1
            self._answered(asked, body)
        else:
            self._refused(asked, decode_error(body, DEFAULT_LIMITS))
        ending = "ok" if status == OK else "refused"
        self.world.trace(self.name, ending, self._shown(asked))
