"""Links between nodes: delay, loss, repetition, reordering, and cuts of any shape.

Law: Raft's messages may be lost, repeated and reordered. Forwarded requests travel on a
connection of their own (TCP): in order, once, late when the link is cut for a while,
and lost only together with that connection. A goodbye comes behind the last answer.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from ...node.replica import ForwardReply, ForwardRequest, PeerMessage
from .world import MILLISECOND, World

Deliver = Callable[[int, PeerMessage], None]
Pair = tuple[int, int]

USUAL_DELAY_US: Final = (100, 2 * MILLISECOND)
_FORWARDS = (ForwardRequest, ForwardReply)
_LATE_TIMES = 50
_RESEND_US = 150 * MILLISECOND


class Network:
    """All directed links between `members`.

    `cut` counts, for each pair (from, to), the faults that close it; `mute` does so for
    each type of message. Faults overlap, so each takes back only its own.
    """

    def __init__(self, world: World, members: Iterable[int], deliver: Deliver) -> None:
        self.world = world
        self.members = tuple(members)
        self.deliver = deliver
        self.cut: Counter[Pair] = Counter()
        self.mute: Counter[tuple[type, int, int]] = Counter()
        self.delay_us: tuple[int, int] = USUAL_DELAY_US
        self.loss = 0.0
        self.repeat = 0.0
        self.late = 0.0
        # The generation of a connection: what is under way dies with it.
        self.broken: dict[Pair, int] = {}
        self.streams: dict[Pair, deque[Callable[[], None]]] = {}
        # Connections whose other end is gone, of which the sender has yet to hear: what
        # it sends is lost, and does not wait for the next process there.
        self.dead: set[Pair] = set()

    def send(self, message: PeerMessage) -> None:
        world = self.world
        pair = (message.sender, message.to)
        if isinstance(message, _FORWARDS):
            self.stream(pair, partial(self.deliver, message.to, message))
            return
        if self.cut and self.cut[pair]:
            return
        if self.mute and self.mute[type(message), *pair]:
            return
        if self.loss and world.chance(self.loss):
            return
        self._put(pair, message)
        while self.repeat and world.chance(self.repeat):
            self._put(pair, message)

    def _delay_us(self) -> int:
        low, high = self.delay_us
        return low + self.world.below(high - low)

    # -- connections -------------------------------------------------------------------

    def stream(self, pair: Pair, arrive: Callable[[], None]) -> None:
        """Let something arrive behind all that was sent before on this connection."""
        if pair in self.dead:
            return
        waiting = self.streams.setdefault(pair, deque())
        waiting.append(arrive)
        if len(waiting) == 1:
            generation = self.broken.get(pair, 0)
            self.world.at(self._delay_us(), self._flow, pair, generation)

    def _flow(self, pair: Pair, generation: int) -> None:
        if self.broken.get(pair, 0) != generation:
            return
        if self.cut[pair] or self.mute[ForwardRequest, *pair]:
            self.world.at(_RESEND_US, self._flow, pair, generation)
            return
        waiting = self.streams[pair]
        waiting.popleft()()
        if waiting and self.broken.get(pair, 0) == generation:
            self.world.at(self._delay_us(), self._flow, pair, generation)

    def break_connection(self, pair: Pair) -> bool:
        """What is under way is lost; was anything? Both may connect again."""
        self.dead.discard(pair)
        self.broken[pair] = self.broken.get(pair, 0) + 1
        return bool(self.streams.pop(pair, None))

    def _put(self, pair: Pair, message: PeerMessage) -> None:
        delay = self._delay_us()
        if self.late and self.world.chance(self.late):
            delay *= self.world.below(_LATE_TIMES) + 1
        self.world.at(delay, self._arrive, pair, message, self.broken.get(pair, 0))

    def _arrive(self, pair: Pair, message: PeerMessage, generation: int) -> None:
        # A cut also swallows what is under way, as a dead link does.
        if (self.cut and self.cut[pair]) or self.broken.get(pair, 0) != generation:
            return
        self.deliver(pair[1], message)

    # -- faults ----------------------------------------------------------------------

    def close(self, pairs: Iterable[Pair]) -> Callable[[], None]:
        """Let nothing through these pairs; the answer opens them again, once."""
        closed = [pair for pair in pairs if pair[0] != pair[1]]
        self.cut.update(closed)

        def open_again() -> None:
            self.cut.subtract(closed)
            self.cut += Counter()  # forgets what is at zero
            closed.clear()

        return open_again

    def silence(
        self, kinds: Iterable[type], pairs: Iterable[Pair]
    ) -> Callable[[], None]:
        """Lose all messages of these types between these pairs."""
        wanted = list(pairs)
        muted = [(kind, *pair) for kind in kinds for pair in wanted]
        self.mute.update(muted)

        def speak_again() -> None:
            self.mute.subtract(muted)
            self.mute += Counter()
            muted.clear()

        return speak_again

    def connected(self, a: int, b: int) -> bool:
        """Do messages get through both ways?"""
        return not (self.cut[a, b] or self.cut[b, a])

    def between(self, inside: Iterable[int]) -> list[Pair]:
        """Both directions of every link between `inside` and the others."""
        group = sorted(inside)
        rest = [member for member in self.members if member not in group]
        return [pair for a in group for b in rest for pair in ((a, b), (b, a))]

    def heal(self) -> None:
        """All faults of the network end. What took them out must not be undone."""
        self.cut.clear()
        self.mute.clear()
        self.loss = self.repeat = self.late = 0.0
