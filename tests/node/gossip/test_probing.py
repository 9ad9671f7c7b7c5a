"""Whom a member asks next: everybody in a round, and its next ones on a ring."""

import random
from itertools import pairwise

import pytest
from quorate.node.gossip.limits import RING_MEMBERS
from quorate.node.gossip.probing import Rounds

MEMBERS = list(range(100, 140))


def others(own: int) -> list[int]:
    live = [member for member in MEMBERS if member != own]
    random.Random(own).shuffle(live)
    return live


def rounds(own: int) -> Rounds:
    return Rounds(own, random.Random(own).randrange)


def test_three_ask_after_everybody_within_three_seconds() -> None:
    """Six probes are three seconds. By chance alone, one of 40 was left for 6.5 s.

    All had asked it late in one round and late in the next; it was known to be dead
    everywhere after 11.4 s (`quorate simulate --world gossip-deaths`, 40 members, seed
    1313600261).
    """
    askers: dict[int, set[int]] = {member: set() for member in MEMBERS}
    for own in MEMBERS:
        order, live = rounds(own), others(own)
        for _ in range(own % 7):
            order.next(live)
        for _ in range(2 * RING_MEMBERS):
            askers[order.next(live)].add(own)
    assert min(len(each) for each in askers.values()) >= RING_MEMBERS


@pytest.mark.parametrize("own", [100, 120, 139])
def test_everybody_is_asked_once_in_a_round(own: int) -> None:
    order, live = rounds(own), others(own)
    by_chance = [order.next(live) for _ in range(4 * len(live))][::2]
    first, second = by_chance[: len(live)], by_chance[len(live) :]
    assert sorted(first) == sorted(second) == sorted(live)
    assert first != second
    assert any(after < before for before, after in pairwise(first))


def test_the_ring_goes_on_from_the_highest_to_the_lowest_and_past_the_dead() -> None:
    order, live = rounds(138), others(138)
    asked = [order.next(live) for _ in range(12)][1::2]
    assert set(asked) == {139, 100, 101}
    live.remove(139)
    asked = [order.next(live) for _ in range(12)][1::2]
    assert set(asked) == {100, 101, 102}


def test_two_ask_each_other_and_one_alone_asks_nobody() -> None:
    order = rounds(100)
    assert {order.next([101]) for _ in range(9)} == {101}
    assert order.next([]) == 0
