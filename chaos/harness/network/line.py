"""Bytes on their way through a relay: what has to wait, and for how long.

Law: pure; time and chance are arguments. Bytes of one direction of one connection stay
in their order, and none is lost: a stream without some of its bytes would be no network
but a bug.
"""

from collections import deque
from random import Random
from typing import Final

from .rules import PASS, Rule

# A trickle comes in drops of so long.
DROP_SECONDS: Final = 0.05
FLIP_SHARE: Final = 0.1


class Line:
    """One direction of one connection."""

    def __init__(self, dice: Random, rule: Rule = PASS) -> None:
        self.rule = rule
        self.dice = dice
        self.queued_bytes = 0
        self.flipped = False
        self._queue: deque[tuple[float, bytes]] = deque()
        self._last_due_s = 0.0
        self._free_s = 0.0

    @property
    def idle(self) -> bool:
        """Whether bytes that come now may pass at once."""
        rule = self.rule
        return not (self._queue or rule.mode == "hold" or rule.slows or rule.flip)

    def put(self, data: bytes, now_s: float) -> None:
        """Bytes have come."""
        rule = self.rule
        if rule.flip and not self.flipped and self.dice.random() < FLIP_SHARE:
            # The last byte: of a TLS record's seal, in most cases.
            data = data[:-1] + bytes([data[-1] ^ (1 << self.dice.randrange(8))])
            self.flipped = True
        late_ms = rule.delay_ms + rule.jitter_ms * self.dice.random()
        self._last_due_s = max(self._last_due_s, now_s + late_ms / 1000)
        self._queue.append((self._last_due_s, data))
        self.queued_bytes += len(data)

    def take(self, now_s: float) -> bytes:
        """The bytes whose time has come."""
        if self.rule.mode == "hold":
            return b""
        taken: list[bytes] = []
        rate = self.rule.bytes_per_second
        while self._queue and self._queue[0][0] <= now_s:
            if rate and self._free_s > now_s:
                break
            taken.append(self._pop(max(1, int(rate * DROP_SECONDS)) if rate else None))
            if rate:
                self._free_s = max(self._free_s, now_s) + len(taken[-1]) / rate
        return b"".join(taken)

    def _pop(self, size: int | None) -> bytes:
        due_s, data = self._queue.popleft()
        if size is not None and len(data) > size:
            self._queue.appendleft((due_s, data[size:]))
            data = data[:size]
        self.queued_bytes -= len(data)
        return data

    def next_due(self) -> float | None:
        """When to `take` again; None when only another rule or more bytes help."""
        if not self._queue or self.rule.mode == "hold":
            return None
        due_s = self._queue[0][0]
        return max(due_s, self._free_s) if self.rule.bytes_per_second else due_s
