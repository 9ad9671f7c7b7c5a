"""What a fault of links does to the network: its rules, step by step.

Law: pure. A plan is a list of steps, each with the second (since the fault struck) from
which its table of rules holds in place of the one before; after `hold_s` all is healed.
Partitions are drawn by cutting links, for both directions of bytes unless a kind says
otherwise; a silent cut holds what is sent, the other one resets and refuses.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations, product
from random import Random
from typing import Final, TypeAlias

from .faults import Fault
from .network import CLIENTS, Rule, Way

Table: TypeAlias = dict[Way, Rule]
Step: TypeAlias = tuple[float, Table]

HOLD: Final = Rule("hold")
# Slow links: from a neighbouring town's to worse than another continent's.
DELAY_MS: Final = (10.0, 250.0)
# From a modem's to one on which a batch takes a second.
TRICKLE_BYTES: Final = (2_000, 200_000)
FLAP_SECONDS: Final = (0.1, 0.7)
RESET_SECONDS: Final = 0.3


def plan_steps(fault: Fault, names: Sequence[str], leader: int) -> list[Step]:
    """The steps of a fault of links, from second 0 on."""
    order = [names[number] for number in fault.along(leader)]
    target, others = order[0], order[1:]
    cut = HOLD if fault.silent else Rule("reset")
    around = [*product([target], others), *product(others, [target])]
    match fault.kind:
        case "isolate-one" | "isolate-leader":
            return [(0.0, dict.fromkeys(around, cut))]
        case "halves":
            few = order[: (len(order) - 1) // 2]
            return [(0.0, dict.fromkeys(_between(few, order[len(few) :]), cut))]
        case "bridge":
            left = others[: len(others) // 2]
            right = others[len(left) :]
            return [(0.0, dict.fromkeys(_between(left, right), cut))]
        case "star":
            return [(0.0, dict.fromkeys(permutations(others, 2), cut))]
        case "chain":
            return [(0.0, _all_but(order, zip(order, others, strict=False), cut))]
        case "ring":
            pairs = zip(order, [*others, target], strict=True)
            return [(0.0, _all_but(order, pairs, cut))]
        case "one-way-out":
            return [(0.0, dict.fromkeys(product([target], others), HOLD))]
        case "one-way-in":
            return [(0.0, dict.fromkeys(product(others, [target]), HOLD))]
        case "flapping":
            return _flapping(fault, dict.fromkeys(around, cut))
        case "swizzle":
            return _swizzle(fault, order)
        case "slow":
            return [(0.0, dict.fromkeys(permutations(order, 2), _slow(fault)))]
        case "trickle":
            low, high = TRICKLE_BYTES
            rate = int(low * (high / low) ** fault.strength)
            rule = Rule(bytes_per_second=rate)
            return [(0.0, dict.fromkeys(permutations(order, 2), rule))]
        case "reset":
            return _resets(fault, permutations(order, 2))
        case "half-open":
            return [(0.0, dict.fromkeys(around, Rule("half-open")))]
        case "flip":
            return [(0.0, dict.fromkeys(permutations(order, 2), Rule(flip=True)))]
        case "client-cut":
            return [(0.0, dict.fromkeys(_clients([target]), cut))]
        case "client-reset":
            return _resets(fault, _clients(order))
        case "client-slow":
            return [(0.0, dict.fromkeys(_clients(order), _slow(fault)))]
        case _:
            raise AssertionError(f"{fault.kind} is nothing of links")


def ways_of(steps: Iterable[Step]) -> frozenset[Way]:
    """All ways on which a plan does something at some time."""
    return frozenset(way for _, table in steps for way in table)


def _between(left: Sequence[str], right: Sequence[str]) -> list[Way]:
    return [*product(left, right), *product(right, left)]


def _clients(nodes: Sequence[str]) -> list[Way]:
    return [*product([CLIENTS], nodes), *product(nodes, [CLIENTS])]


def _all_but(order: Sequence[str], kept: Iterable[Way], cut: Rule) -> Table:
    left = {way for a, b in kept for way in ((a, b), (b, a))}
    return {way: cut for way in permutations(order, 2) if way not in left}


def _slow(fault: Fault) -> Rule:
    low, high = DELAY_MS
    delay_ms = round(low * (high / low) ** fault.strength, 1)
    return Rule(delay_ms=delay_ms / 2, jitter_ms=delay_ms)


def _flapping(fault: Fault, table: Table) -> list[Step]:
    """Links that go down and up, for times drawn by the fault's own dice."""
    dice = Random(f"{fault.order}:{fault.strength}")
    steps: list[Step] = []
    at_s, down = 0.0, True
    while at_s < fault.hold_s:
        steps.append((round(at_s, 3), table if down else {}))
        at_s, down = at_s + dice.uniform(*FLAP_SECONDS), not down
    return steps


def _swizzle(fault: Fault, order: Sequence[str]) -> list[Step]:
    """Nodes are cut off one by one, and come back in another order."""
    dice = Random(f"{fault.order}:{fault.strength}")
    gone: list[str] = []
    steps: list[Step] = []
    moves = [(node, True) for node in order]
    moves += [(node, False) for node in dice.sample(order, len(order))]
    for place, (node, leaves) in enumerate(moves):
        if leaves:
            gone.append(node)
        else:
            gone.remove(node)
        table = {w: HOLD for w in permutations(order, 2) if not {*w}.isdisjoint(gone)}
        steps.append((round(place * fault.hold_s / len(moves), 3), table))
    return steps


def _resets(fault: Fault, ways: Iterable[Way]) -> list[Step]:
    """All connections break, again and again; the next one is taken at once."""
    table: Mapping[Way, Rule] = dict.fromkeys(ways, Rule("reset"))
    steps: list[Step] = []
    at_s = 0.0
    while at_s < fault.hold_s:
        steps += [(round(at_s, 3), dict(table)), (round(at_s + 0.02, 3), {})]
        at_s += RESET_SECONDS
    return steps
