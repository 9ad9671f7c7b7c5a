"""Long random walks over the events of test_random.py, from numbered seeds.

A seed gives the same walk for ever. A walk that breaks a promise is cut down to the
events that are needed, and printed as lines of Python. `QUORATE_WALKS=A..B` walks other
seeds, as many as there is time for; `QUORATE_WALK_EVENTS` says how far.
"""

import os
from collections.abc import Callable
from random import Random
from typing import TypeAlias

import msgspec
import pytest
from quorate.raft import rules

from .network import ELECTION_TICKS
from .test_random import MEMBERS, Cluster, DamagedCluster

Argument: TypeAlias = int | bool | set[int] | list[int] | list[tuple[int, bool]]
Draw: TypeAlias = Callable[[Random], Argument]


class Event(msgspec.Struct):
    """One call of an event's method."""

    name: str
    arguments: dict[str, Argument]

    def __str__(self) -> str:
        return f"cluster.{self.name}(**{self.arguments!r})"


def _number(low: int, high: int) -> Draw:
    return lambda chance: chance.randint(low, high)


def _some(low: int, high: int) -> Draw:
    return lambda chance: set(chance.sample(MEMBERS, chance.randint(low, high)))


def _flag(chance: Random) -> bool:
    return chance.random() < 0.5


def _mostly(chance: Random) -> bool:
    return chance.random() < 0.8


def _picks(chance: Random) -> list[tuple[int, bool]]:
    count = chance.randint(1, 8)
    return [(chance.randrange(1000), chance.random() < 0.3) for _ in range(count)]


def _losses(chance: Random) -> list[int]:
    return [chance.randrange(1000) for _ in range(chance.randint(1, 8))]


ONE = _number(1, len(MEMBERS))

# How often, which event, and what is drawn for it.
EVENTS: list[tuple[int, str, dict[str, Draw]]] = [
    (6, "time_passes", {"ticks": _number(1, 2 * ELECTION_TICKS)}),
    (
        3,
        "time_passes_for_one",
        {"member": ONE, "ticks": _number(1, 2 * ELECTION_TICKS), "turn": _flag},
    ),
    (12, "all_take_turns_and_hear_each_other_once", {}),
    (12, "messages_arrive_in_any_order", {"picks": _picks}),
    (4, "messages_are_lost", {"picks": _losses}),
    (5, "one_campaigns", {"member": ONE, "settle": _flag}),
    (
        10,
        "the_leaders_are_written_to",
        {"count": _number(1, 4), "settle": _flag},
    ),
    (5, "one_asks_to_read", {"member": ONE, "settle": _flag}),
    (4, "one_crashes", {"member": ONE, "back": _mostly}),
    (1, "all_crash_and_come_back", {}),
    (3, "all_come_back", {}),
    (3, "disks_hang", {"members": _some(1, 3)}),
    (3, "one_disk_finishes_a_batch", {"member": ONE}),
    (3, "all_disks_work_again", {}),
    (2, "one_makes_a_checkpoint", {"member": ONE, "keep": _number(0, 4)}),
    (3, "the_network_splits", {"side": _some(1, 3), "write": _flag}),
    (1, "a_link_fails_one_way", {"sender": ONE, "to": ONE}),
    (1, "a_connection_breaks", {"sender": ONE, "to": ONE}),
    (4, "the_network_heals", {}),
    (
        1,
        "the_configuration_changes",
        {"voters": _some(2, 5), "learners": _some(0, 2), "settle": _flag},
    ),
    (1, "leadership_is_handed_over", {"heir": ONE}),
]

DAMAGE: list[tuple[int, str, dict[str, Draw]]] = [
    (3, "one_crashes_with_a_torn_batch", {"member": ONE}),
    (3, "one_crashes_and_its_last_batch_is_damaged", {"member": ONE}),
]


def _walk(seed: int, length: int, damage: bool) -> list[Event]:
    chance = Random(seed)
    start = Event(
        "start",
        {"voters": chance.randint(3, 5), "learner": _flag(chance), "leader": True},
    )
    table = EVENTS + DAMAGE if damage else EVENTS
    weights = [weight for weight, _, _ in table]
    chosen = chance.choices(table, weights, k=length)
    return [start] + [
        Event(name, {key: draw(chance) for key, draw in draws.items()})
        for _, name, draws in chosen
    ]


def _follow(events: list[Event], damage: bool) -> str | None:
    """What went wrong on the way, if anything."""
    cluster = DamagedCluster() if damage else Cluster()
    try:
        for event in events:
            _happens(cluster, event)
            cluster.what_is_committed_is_the_same_everywhere_and_stays()
            cluster.logs_that_share_an_entry_share_all_before_it()
        cluster.teardown()
    except AssertionError as error:
        return str(error).split("\n")[0] or "assertion"
    return None


def _happens(cluster: Cluster, event: Event) -> None:
    """What needs a waiting message does nothing when there is none."""
    if "messages" in event.name and not cluster.network.sent:
        return
    method: Callable[..., None] = getattr(cluster, event.name)
    method(**event.arguments)


def _shorten(events: list[Event], wrong: str, damage: bool) -> list[Event]:
    """Leave out all that is not needed for the same failure; the start stays."""
    size = len(events) // 2
    while size:
        position = 1
        while position < len(events):
            fewer = events[:position] + events[position + size :]
            if _follow(fewer, damage) == wrong:
                events = fewer
            else:
                position += size
        size //= 2
    return events


def _seeds() -> range:
    first, _, last = os.environ.get("QUORATE_WALKS", "1..40").partition("..")
    return range(int(first), int(last) + 1)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [False, True], ids=["whole", "damaged"])
def test_no_walk_breaks_a_promise(damage: bool) -> None:
    length = int(os.environ.get("QUORATE_WALK_EVENTS", "120"))
    for seed in _seeds():
        events = _walk(seed, length, damage)
        wrong = _follow(events, damage)
        if wrong is not None:
            needed = _shorten(events, wrong, damage)
            story = "\n".join(map(str, needed))
            pytest.fail(f"seed {seed}: {wrong}\n{story}")


def test_a_broken_rule_is_found_and_the_walk_cut_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The walks themselves: messages leave before the term is durable (I-2)."""

    def never(hard_state_durable: bool) -> bool:
        del hard_state_durable
        return False

    events = _walk(1, 60, damage=False)
    assert _follow(events, damage=False) is None
    monkeypatch.setattr(rules, "must_wait_for_disk", never)
    wrong = _follow(events, damage=False)
    assert wrong == "sent in a term that is not durable"
    needed = _shorten(events, wrong, damage=False)
    assert _follow(needed, damage=False) == wrong
    assert len(needed) <= 3


def test_the_same_seed_gives_the_same_walk() -> None:
    assert _walk(3, 50, damage=True) == _walk(3, 50, damage=True)
    assert _walk(3, 50, damage=True) != _walk(4, 50, damage=True)
