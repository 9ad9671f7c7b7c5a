"""Faults: data aimed at named sets, on a plan that the seed draws.

Law: every kind stands in the table below with the sets it may be aimed at. The world
counts how often each struck, and how often it struck while an operation was in flight:
a fault that never did has tested nothing.
"""

from collections import Counter
from collections.abc import Callable
from random import Random

import msgspec

from . import clocks, disk, leadership, members, network, process
from .ground import Ground, Undo
from .plan import (
    ALL,
    FEW,
    LEADER,
    MAJORITY,
    MANY,
    MEMBERS,
    MINORITY,
    ONE,
    Fault,
    Plan,
)

__all__ = ["KINDS", "MEMBERS", "MEMBER_KINDS", "Fault", "Faults", "Ground", "Plan"]


class _Kind(msgspec.Struct, frozen=True):
    strike: Callable[[Ground, Fault, Random], Undo | None]
    targets: tuple[str, ...]


_SOME = (ONE, LEADER, MINORITY, MAJORITY)

_TABLE: dict[str, _Kind] = {
    "partition": _Kind(network.partition, _SOME),
    "one_way_out": _Kind(network.one_way_out, _SOME),
    "one_way_in": _Kind(network.one_way_in, _SOME),
    "some_links": _Kind(network.some_links, (ALL,)),
    "bridge": _Kind(network.bridge, (ALL,)),
    "ring": _Kind(network.ring, (ALL,)),
    "chain": _Kind(network.chain, (ALL,)),
    "star": _Kind(network.star, (ONE, LEADER)),
    "flapping": _Kind(network.flapping, FEW),
    "swizzle": _Kind(network.swizzle, FEW),
    "lossy": _Kind(network.lossy, (ALL,)),
    "repeating": _Kind(network.repeating, (ALL,)),
    "reordering": _Kind(network.reordering, (ALL,)),
    "slow_network": _Kind(network.slow_network, (ALL,)),
    **{name: _Kind(network.mute, FEW) for name in network.MUTES},
    "reset": _Kind(network.reset, FEW),
    "kill": _Kind(process.kill, MANY),
    "power": _Kind(process.power, MANY),
    "failpoint": _Kind(process.failpoint, (ONE, LEADER)),
    "pause": _Kind(process.pause, _SOME),
    "stall": _Kind(process.stall, MANY),
    "restart_storm": _Kind(process.restart_storm, MANY),
    "stop": _Kind(process.stop, FEW),
    "transfer": _Kind(process.transfer, (LEADER,)),
    "heirs": _Kind(leadership.heirs, (LEADER,)),
    "stranded_leader": _Kind(leadership.stranded_leader, (LEADER,)),
    "bit_flip": _Kind(disk.bit_flip, (ONE,)),
    "rotten_tail": _Kind(disk.rotten_tail, (ONE,)),
    "rotten_table": _Kind(disk.rotten_table, (ONE,)),
    "lonely_tail": _Kind(disk.lonely_tail, (ONE,)),
    "lost_sector": _Kind(disk.lost_sector, (ONE,)),
    "misdirected_read": _Kind(disk.misdirected_read, (ONE,)),
    "lost_write": _Kind(disk.lost_write, (ONE,)),
    **{name: _Kind(disk.error, (ONE, LEADER)) for name in disk.ERRORS},
    "full_disk": _Kind(disk.full_disk, MANY),
    "slow_disk": _Kind(disk.slow_disk, MANY),
    "wall_jump": _Kind(clocks.wall_jump, MANY),
    "wall_strobe": _Kind(clocks.wall_strobe, MANY),
    "drift": _Kind(clocks.drift, MANY),
}
_MEMBER_TABLE: dict[str, _Kind] = {
    "add_voter": _Kind(members.add_voter, (ONE,)),
    "add_replica": _Kind(members.add_replica, (ONE,)),
    "promote": _Kind(members.promote, (ONE,)),
    "demote": _Kind(members.demote, (ONE, LEADER)),
    "remove": _Kind(members.remove, (ONE, LEADER)),
    "replace": _Kind(members.replace, (ONE, LEADER)),
    "move_leader": _Kind(members.move_leader, (LEADER,)),
    "grow": _Kind(members.grow, (MINORITY,)),
    "shrink": _Kind(members.shrink, (MINORITY,)),
    "two_operators": _Kind(members.two_operators, (ONE, LEADER)),
    "wipe": _Kind(members.wipe, (ONE, LEADER)),
    "return_removed": _Kind(members.return_removed, (ONE,)),
    "hasty": _Kind(members.hasty, (LEADER,)),
}
KINDS: dict[str, tuple[str, ...]] = {name: k.targets for name, k in _TABLE.items()}
# Only in worlds whose members change; an operator does them.
MEMBER_KINDS: dict[str, tuple[str, ...]] = {
    name: k.targets for name, k in _MEMBER_TABLE.items()
}


class Faults:
    """Makes a plan's faults happen, and ends those that last."""

    def __init__(self, ground: Ground, in_flight: Callable[[], bool]) -> None:
        self.ground = ground
        self.in_flight = in_flight
        self.fired: Counter[str] = Counter()
        self.overlapped: Counter[str] = Counter()
        self.lasting: dict[int, Undo] = {}
        self.struck: list[Fault] = []
        ground.acts = self._count

    def schedule(self, faults: list[Fault]) -> None:
        now_us = self.ground.world.now_us
        for fault in faults:
            self.ground.world.at(fault.at_us - now_us, self._strike, fault)

    def _strike(self, fault: Fault) -> None:
        if not self.ground.active:
            return
        world = self.ground.world
        self.struck.append(fault)
        world.trace("fault", "begins", fault.describe())
        kind = _TABLE.get(fault.kind)
        if kind is None:
            # They count themselves, once there is something to be done.
            kind = _MEMBER_TABLE[fault.kind]
        else:
            self._count(fault.kind)
        undo = kind.strike(self.ground, fault, Random(fault.salt))
        if undo is not None:
            self.lasting[fault.number] = undo
            world.at(fault.duration_us, self._end, fault)

    def _count(self, kind: str) -> None:
        self.fired[kind] += 1
        self.overlapped[kind] += self.in_flight()

    def _end(self, fault: Fault) -> None:
        undo = self.lasting.pop(fault.number, None)
        if undo is not None:
            self.ground.world.trace("fault", "ends", f"#{fault.number} {fault.kind}")
            undo()

    def end_all(self) -> None:
        """Everything that still lasts ends now, in the order in which it began."""
        self.ground.active = False
        for number in sorted(self.lasting):
            self.lasting.pop(number)()
        for undo in self.ground.at_end:
            undo()
        self.ground.at_end.clear()
