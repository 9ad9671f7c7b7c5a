"""Faults of clocks: wall clocks jump, all clocks run a little fast or slow.

Law: each function starts one fault and answers how to end it, or None. A monotonic
clock never jumps, and no rate leaves the range that the promises name.
"""

from random import Random

from ..world import MILLISECOND
from .ground import Ground, Undo
from .plan import Fault

_JUMPS_MS = (2_000, 3_600_000, 60 * 365 * 86_400_000)


def wall_jump(ground: Ground, fault: Fault, dice: Random) -> None:
    """Seconds, hours or years, forward or back."""
    for node in ground.choose(fault, dice):
        jump = _JUMPS_MS[fault.strength] * dice.choice((-1, 1))
        node.clock.wall_offset_ms += jump


def wall_strobe(ground: Ground, fault: Fault, dice: Random) -> Undo:
    """Back and forth, many times a second."""
    nodes = ground.choose(fault, dice)
    ended = False

    def strobe(offset_ms: int) -> None:
        for node in nodes:
            node.clock.wall_offset_ms += offset_ms
        if not ended:
            ground.later(dice.randrange(5, 100) * MILLISECOND, strobe, -offset_ms)

    def end() -> None:
        nonlocal ended
        ended = True

    strobe(_JUMPS_MS[fault.strength])
    return end


def drift(ground: Ground, fault: Fault, dice: Random) -> Undo:
    nodes = ground.choose(fault, dice)
    amount = (0.001, 0.01, 0.05)[fault.strength]
    for node in nodes:
        rate = 1.0 + amount * dice.choice((-1, 1))
        node.clock.run_at(rate, ground.world.now_us)

    def end() -> None:
        for node in nodes:
            node.clock.run_at(1.0, ground.world.now_us)

    return end
