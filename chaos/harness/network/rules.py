"""What the network does to bytes, as values: one rule for each direction of a link.

Law: pure. A way is (from, to): the direction of bytes, whoever dialled. A rule says
what happens on a way from now on; where several hold, the worst mode wins, delays add
up and the slowest rate counts.

`hold` is a cable that was pulled: nothing arrives, nothing is told, and what was sent
comes when it is healed, if the connection lives that long. `reset` ends the connections
that were dialled in this direction and refuses new ones. `half-open` takes the far end
of those connections away, without a word to the near one, until it is healed.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

Mode: TypeAlias = Literal["pass", "half-open", "hold", "reset"]
Way: TypeAlias = tuple[str, str]

_HARDNESS: Final[dict[Mode, int]] = {"pass": 0, "half-open": 1, "hold": 2, "reset": 3}


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """How bytes of one way are treated; the default lets them pass.

    `bytes_per_second` 0 is no limit. With `flip` a bit of each connection is flipped,
    once, some time after the rule has begun to hold.
    """

    mode: Mode = "pass"
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    bytes_per_second: int = 0
    flip: bool = False

    @property
    def slows(self) -> bool:
        """Whether bytes arrive later than they could."""
        return self.delay_ms > 0 or self.jitter_ms > 0 or self.bytes_per_second > 0


PASS: Final = Rule()


def merge(one: Rule, other: Rule) -> Rule:
    """Both at once."""
    harder = _HARDNESS[one.mode] >= _HARDNESS[other.mode]
    rates = [r for r in (one.bytes_per_second, other.bytes_per_second) if r]
    return Rule(
        one.mode if harder else other.mode,
        one.delay_ms + other.delay_ms,
        one.jitter_ms + other.jitter_ms,
        min(rates, default=0),
        one.flip or other.flip,
    )


def merge_tables(tables: Iterable[Mapping[Way, Rule]]) -> dict[Way, Rule]:
    """The rules of all faults that hold now, as one table."""
    merged: dict[Way, Rule] = {}
    for table in tables:
        for way, rule in table.items():
            merged[way] = merge(merged.get(way, PASS), rule)
    return merged
