"""Small histories of transactions, beside a twin that tries every explanation."""

from collections.abc import Mapping
from itertools import product
from random import Random

import msgspec
import pytest
from quorate.chaos.histories.transactions import (
    NOTHING,
    Seen,
    Transaction,
    check_transactions,
    describe_transaction,
)

KEYS: tuple[bytes, ...] = (b"a", b"b")
# So many writes of unknown outcome are placed in all ways.
UNKNOWN_MAX = 3


def right(dice: Random) -> list[Transaction]:
    """What clients of a right store were told; each happened between start and end."""
    drawn: list[tuple[float, Transaction]] = []
    for client in range(dice.randint(2, 6)):
        keys = dice.choice([KEYS[:1], KEYS[1:], KEYS])
        start, length = dice.randint(0, 40), dice.randint(1, 15)
        reads = dice.random() < 0.4
        writes = {} if reads else {key: b"%d%s" % (client, key) for key in keys}
        expected = dict.fromkeys(keys, 0) if dice.random() < 0.3 and writes else {}
        one = Transaction(client, start, expected, writes, start + length)
        drawn.append((dice.uniform(start, start + length), one))
    revision, state = 1, dict.fromkeys(KEYS, NOTHING)
    told: dict[bytes, list[int]] = {key: [0] for key in KEYS}
    for _, one in sorted(drawn, key=lambda pair: pair[0]):
        keys = tuple(one.writes or dice.choice([KEYS[:1], KEYS]))
        one.expected = {key: dice.choice(told[key][-2:]) for key in one.expected}
        lost = dice.random() < 0.3
        if lost:
            one.end = None
            if dice.random() < 0.4:
                continue
        done = all(state[key][1] == at for key, at in one.expected.items())
        found: dict[bytes, Seen] = {}
        if one.writes and done:
            revision += 1
            state |= {key: (value, revision) for key, value in one.writes.items()}
        else:
            found = {key: state[key] for key in keys}
        if not lost:
            one.outcome, one.revision = "ok" if done else "refused", revision
            one.found = found
            for key in keys:
                told[key].append(state[key][1])
    return [one for _, one in drawn]


def damaged(dice: Random, history: list[Transaction]) -> list[Transaction]:
    """One reply says something else, or was over at another time."""
    copy = [msgspec.structs.replace(one) for one in history]
    one = dice.choice([each for each in copy if each.end is not None] or copy)
    match dice.randrange(3):
        case 0 if one.found:
            told = [seen for each in copy for seen in each.found.values()]
            told += [
                (value, each.revision)
                for each in copy
                for value in each.writes.values()
                if each.revision
            ]
            one.found = {**one.found, dice.choice(list(one.found)): dice.choice(told)}
        case 1 if one.end is not None:
            length = one.end - one.start
            one.start = dice.randint(0, 50)
            one.end = one.start + length
        case _ if one.revision:
            one.revision = max(1, one.revision + dice.choice([-1, 1]))
        case _:
            pass
    return copy


def explained(history: list[Transaction]) -> bool:
    """Is there a revision for each write of unknown outcome, or none, with which all
    that was told is right?"""
    sure = {
        id(one): one.revision for one in history if one.writes and one.outcome == "ok"
    }
    lost = [one for one in history if one.writes and one.outcome == "unknown"]
    last = max(one.revision for one in history) + len(lost)
    choices = [0, *range(2, last + 1)]
    return any(
        _holds(
            history,
            sure | {id(one): at for one, at in zip(lost, places, strict=True) if at},
        )
        for places in product(choices, repeat=len(lost))
    )


def _holds(history: list[Transaction], places: Mapping[int, int]) -> bool:
    by_revision = {places[id(one)]: one for one in history if id(one) in places}
    if len(by_revision) < len(places) or min(by_revision, default=2) < 2:
        return False

    def at(revision: int) -> dict[bytes, Seen]:
        state = dict.fromkeys(KEYS, NOTHING)
        for made in sorted(each for each in by_revision if each <= revision):
            writes = by_revision[made].writes.items()
            state |= {key: (value, made) for key, value in writes}
        return state

    def met(one: Transaction, revision: int) -> bool:
        state = at(revision)
        return all(state[key][1] == known for key, known in one.expected.items())

    if not all(met(one, made - 1) for made, one in by_revision.items()):
        return False
    for one in history:
        state = at(one.revision)
        if any(state[key] != seen for key, seen in one.found.items()):
            return False
        if one.outcome == "refused" and met(one, one.revision):
            return False
    return not any(
        one.end is not None and one.end < other.start and _backwards(one, other, places)
        for one in history
        for other in history
    )


def _backwards(one: Transaction, other: Transaction, places: Mapping[int, int]) -> bool:
    """`other` began later: what it wrote is newer, what it was told not older."""
    if id(other) in places:
        return places[id(other)] <= one.revision
    return other.end is not None and other.revision < one.revision


@pytest.mark.parametrize("block", range(20))
def test_it_objects_if_and_only_if_nothing_explains_the_history(block: int) -> None:
    for seed in range(20 * block, 20 * block + 20):
        dice = Random(seed)
        history = right(dice)
        assert check_transactions(history) is None
        wrong = damaged(dice, history)
        if sum(one.outcome == "unknown" for one in wrong) > UNKNOWN_MAX:
            continue
        shown = "\n".join(map(describe_transaction, wrong))
        assert (check_transactions(wrong) is None) == explained(wrong), shown


def test_there_are_enough_wrong_histories_among_them() -> None:
    wrong = 0
    for seed in range(400):
        dice = Random(seed)
        wrong += check_transactions(damaged(dice, right(dice))) is not None
    assert wrong > 50
