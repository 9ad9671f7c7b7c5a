"""Transactions over several keys: right histories pass, each wrong one is rejected."""

import pytest
from quorate.chaos.histories import (
    Transaction,
    check_conserved,
    check_transactions,
)
from quorate.chaos.histories.operations import Outcome
from quorate.chaos.histories.transactions import Seen


def wrote(
    start: int,
    end: int | None,
    revision: int,
    writes: dict[str, str],
    expected: dict[str, int] | None = None,
    outcome: Outcome = "ok",
) -> Transaction:
    return Transaction(
        1,
        start,
        {key.encode(): at for key, at in (expected or {}).items()},
        {key.encode(): value.encode() for key, value in writes.items()},
        end,
        outcome,
        revision=revision,
    )


def read(start: int, end: int, revision: int, **found: tuple[str, int]) -> Transaction:
    seen: dict[bytes, Seen] = {
        key.encode(): (value.encode() or None, at) for key, (value, at) in found.items()
    }
    return Transaction(2, start, {}, {}, end, "ok", seen, revision)


OPENED = wrote(0, 1, 2, {"a": "100:1", "b": "100:1"})
MOVED = wrote(2, 3, 5, {"a": "70:2", "b": "130:2"}, {"a": 2, "b": 2})
UNKNOWN = wrote(4, None, 0, {"a": "60:3", "b": "140:3"}, {"a": 5, "b": 5}, "unknown")
REFUSED = wrote(4, 5, 0, {"a": "60:4", "b": "140:4"}, {"a": 2, "b": 2}, "refused")

SOUND = {
    "nothing": [],
    "one after the other": [
        OPENED,
        MOVED,
        read(4, 5, 5, a=("70:2", 5), b=("130:2", 5)),
    ],
    "one that nobody was told of is seen whole": [
        *(OPENED, MOVED, UNKNOWN),
        read(5, 6, 9, a=("60:3", 8), b=("140:3", 8)),
    ],
    "one that nobody was told of never happens": [
        *(OPENED, MOVED, UNKNOWN),
        read(5, 6, 9, a=("70:2", 5), b=("130:2", 5)),
    ],
    "at the same time as another": [
        OPENED,
        wrote(2, 9, 5, {"a": "70:2", "b": "130:2"}, {"a": 2, "b": 2}),
        read(3, 4, 4, a=("100:1", 2), b=("100:1", 2)),
    ],
}
BROKEN = {
    "half of it is seen": (
        "I-36",
        [OPENED, MOVED, read(4, 5, 5, a=("70:2", 5), b=("100:1", 2))],
    ),
    "half of one that nobody was told of is seen": (
        "I-36",
        [*(OPENED, MOVED, UNKNOWN), read(5, 6, 9, a=("60:3", 8), b=("130:2", 5))],
    ),
    "its halves are of two revisions": (
        "I-36",
        [*(OPENED, MOVED, UNKNOWN), read(5, 6, 9, a=("60:3", 8), b=("140:3", 9))],
    ),
    "it is lost": (
        "I-36",
        [OPENED, MOVED, read(4, 5, 9, a=("100:1", 2), b=("100:1", 2))],
    ),
    "a stale read": (
        "I-40",
        [OPENED, MOVED, read(4, 5, 4, a=("100:1", 2), b=("100:1", 2))],
    ),
    "a refused one took effect": (
        "I-54",
        [*(OPENED, MOVED, REFUSED), read(6, 7, 9, a=("60:4", 8), b=("140:4", 8))],
    ),
    "nobody wrote it": ("I-54", [OPENED, read(6, 7, 9, a=("5:9", 8), b=("100:1", 2))]),
    "its condition did not hold": (
        "I-44",
        [
            *(OPENED, MOVED),
            wrote(4, 5, 6, {"a": "90:5", "b": "110:5"}, {"a": 2, "b": 2}),
        ],
    ),
    "refused although its condition held": (
        "I-44",
        [
            OPENED,
            Transaction(
                *(1, 2, {b"a": 2}, {b"a": b"90:5"}, 3, "refused"),
                {b"a": (b"100:1", 2)},
                2,
            ),
        ],
    ),
    "two of one revision": ("I-44", [OPENED, wrote(0, 1, 2, {"c": "1:6"})]),
    "made at a revision that was there before": (
        "I-40",
        [OPENED, MOVED, wrote(9, 10, 4, {"c": "1:6"})],
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_right_history_is_not_objected_to(name: str) -> None:
    assert check_transactions(SOUND[name]) is None


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_history_is_rejected(name: str) -> None:
    invariant, history = BROKEN[name]
    objection = check_transactions(history)
    assert objection is not None
    assert objection.invariant == invariant, objection


def amount(value: bytes) -> int:
    return int(value.partition(b":")[0])


def test_what_is_lost_on_the_way_is_noticed_without_revisions() -> None:
    keys = [b"a", b"b"]
    whole = read(4, 5, 0, a=("70:2", 0), b=("130:2", 0))
    assert check_conserved([whole], keys, amount, 200) is None
    part = read(4, 5, 0, a=("70:2", 0))
    assert check_conserved([part], keys, amount, 200) is None
    torn = read(4, 5, 0, a=("70:2", 0), b=("100:1", 0))
    objection = check_conserved([torn], keys, amount, 200)
    assert objection is not None
    assert "all amounts make 170, not 200" in objection.detail
