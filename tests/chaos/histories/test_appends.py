"""Lists: right histories pass, each wrong one is rejected without any revision."""

from random import Random

import pytest
from quorate.chaos.histories import Append, check_appends
from quorate.chaos.histories.appends import List, find_circle
from quorate.chaos.histories.operations import Outcome

from .brute import appends_explainable


def append(
    start: int,
    end: int | None,
    added: dict[str, str],
    outcome: Outcome = "ok",
    **read: str,
) -> Append:
    """`read` has lists as words, each in the place of its elements."""
    lists: dict[bytes, List] = {
        key.encode(): tuple(elements.encode().split()) for key, elements in read.items()
    }
    elements = {key.encode(): element.encode() for key, element in added.items()}
    return Append(1, start, elements, end, outcome, lists)


def seen(start: int, end: int, **read: str) -> Append:
    return append(start, end, {}, "ok", **read)


SOUND = {
    "one after the other": [
        append(0, 1, {"x": "1"}, x=""),
        append(2, 3, {"x": "2"}, x="1"),
        seen(4, 5, x="1 2"),
    ],
    "unknown, and seen": [
        append(0, None, {"x": "1"}, "unknown"),
        seen(4, 5, x="1"),
    ],
    "unknown, and never seen": [
        append(0, None, {"x": "1"}, "unknown"),
        seen(4, 5, x=""),
    ],
    "two lists in one order": [
        append(0, 9, {"x": "1", "y": "2"}, x="", y=""),
        seen(1, 2, x="", y=""),
        seen(3, 4, x="1", y="2"),
    ],
    "refused, and never seen": [
        append(0, 1, {"x": "1"}, "refused"),
        seen(2, 3, x=""),
    ],
}
BROKEN = {
    "an append is lost": (
        "linearizability",
        [append(0, 1, {"x": "1"}, x=""), seen(2, 3, x="")],
    ),
    "a stale read": (
        "linearizability",
        [
            append(0, 1, {"x": "1"}, x=""),
            append(2, 3, {"x": "2"}, x="1"),
            seen(4, 5, x="1"),
            seen(6, 7, x="1 2"),
        ],
    ),
    "reads go back": (
        "linearizability",
        [
            append(0, None, {"x": "1"}, "unknown"),
            seen(4, 5, x="1"),
            seen(6, 7, x=""),
        ],
    ),
    "two orders": (
        "linearizability",
        [
            append(0, 9, {"x": "1"}, x=""),
            append(0, 9, {"x": "2"}, x="1"),
            seen(2, 3, x="1 2"),
            seen(2, 3, x="2"),
        ],
    ),
    "an order against time": (
        "linearizability",
        [
            append(0, 1, {"x": "1"}),
            append(2, 3, {"x": "2"}),
            seen(4, 5, x="2 1"),
        ],
    ),
    "two lists, each read before the other was written": (
        "linearizability",
        [
            append(0, 9, {"x": "1"}, y=""),
            append(0, 9, {"y": "2"}, x=""),
            seen(10, 11, x="1", y="2"),
        ],
    ),
    "half of a transaction is seen": (
        "linearizability",
        [
            append(0, 9, {"x": "1", "y": "2"}, x="", y=""),
            seen(1, 2, x="1", y=""),
        ],
    ),
    "half of a transaction that nobody was told of is seen": (
        "linearizability",
        [
            append(0, None, {"x": "1", "y": "2"}, "unknown"),
            seen(1, 2, x="1", y=""),
        ],
    ),
    "a lost update": (
        "linearizability",
        [
            append(0, 9, {"x": "1"}, x=""),
            append(0, 9, {"x": "2"}, x=""),
            seen(10, 11, x="2"),
        ],
    ),
    "twice": ("I-54", [append(0, 1, {"x": "1"}, x=""), seen(2, 3, x="1 1")]),
    "nobody appended it": ("I-54", [seen(2, 3, x="1")]),
    "a refused one took effect": (
        "I-54",
        [append(0, 1, {"x": "1"}, "refused"), seen(2, 3, x="1")],
    ),
    "read before it was appended": ("I-54", [append(0, 1, {"x": "1"}, x="1")]),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_right_history_is_not_objected_to(name: str) -> None:
    assert check_appends(SOUND[name]) is None


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_history_is_rejected(name: str) -> None:
    invariant, history = BROKEN[name]
    objection = check_appends(history)
    assert objection is not None
    assert objection.invariant == invariant, objection


def test_a_long_history_of_a_right_store_is_not_objected_to() -> None:
    """Each takes effect at a moment between its start and its end."""
    dice = Random(1)
    lists: dict[str, list[str]] = {"x": [], "y": []}
    history: list[Append] = []
    for moment in range(1, 3000):
        start, end = moment * 10 - dice.randrange(60), moment * 10 + dice.randrange(60)
        keys = dice.sample(["x", "y"], dice.randint(1, 2))
        read = {key: " ".join(lists[key]) for key in keys}
        added = {key: f"{moment}" for key in keys if dice.random() < 0.03}
        one = append(start, end, added)
        one.read = {k.encode(): tuple(v.encode().split()) for k, v in read.items()}
        history.append(one)
        for key, element in added.items():
            lists[key].append(element)
    assert check_appends(history) is None
    late = next(one for one in history[1500:] if one.appended and one.end)
    late.start += 10_000
    late.end = (late.end or 0) + 10_000
    assert check_appends(history) is not None


OUTCOMES: tuple[Outcome, ...] = ("ok", "unknown", "refused")


def drawn(dice: Random) -> list[Append]:
    """A few transactions, and what may or may not have been read."""
    history: list[Append] = []
    made: dict[bytes, list[bytes]] = {b"x": [], b"y": []}
    for client in range(dice.randint(2, 5)):
        added: dict[bytes, bytes] = {}
        for key, elements in made.items():
            if dice.random() < 0.45:
                added[key] = b"%d%s" % (client, key)
                elements.append(added[key])
        start = dice.randrange(12)
        one = Append(client, start, added, start + dice.randrange(8), "ok")
        one.outcome = dice.choices(OUTCOMES, [75, 17, 8])[0]
        if one.outcome == "unknown":
            one.end = None
        history.append(one)
    for one in history:
        if one.outcome == "ok":
            read: dict[bytes, List] = {}
            for key, elements in made.items():
                if dice.random() < 0.7:
                    found = [e for e in elements if e != one.appended.get(key)]
                    if dice.random() < 0.3:
                        dice.shuffle(found)
                    read[key] = tuple(found[: dice.randint(0, len(found))])
            one.read = read
    return history


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_it_objects_if_and_only_if_no_order_explains_the_lists(seed: int) -> None:
    dice = Random(seed)
    right = 0
    for _ in range(1000):
        history = drawn(dice)
        explained = appends_explainable(history)
        right += explained
        assert (check_appends(history) is None) == explained, history
    assert 200 < right < 800


def test_the_shortest_circle_is_found_and_where_there_is_none_none() -> None:
    assert find_circle({}) is None
    assert find_circle({1: [2, 3], 2: [3], 3: [4]}) is None
    found = find_circle({1: [2], 2: [3, 4], 3: [1], 4: [5], 5: [6], 6: [2]})
    assert found is not None
    assert sorted(found) == [1, 2, 3]


def test_a_circle_is_found_behind_however_many_that_are_on_none() -> None:
    between = {place: [place + 1] for place in range(10, 500)}
    graph = {**between, 500: [501], 501: [500], 1: [2], 2: [3], 3: [1, 10]}
    found = find_circle(graph)
    assert found is not None
    assert sorted(found) == [500, 501]
