"""Locks and tokens: right histories pass, each wrong one is rejected."""

import pytest
from quorate.chaos.histories import FencedWrite, Holding, check_fencing

FIRST = Holding(1, 10, 0, 1)
SECOND = Holding(2, 20, 0, 5)

BROKEN: dict[str, tuple[str, list[Holding], list[FencedWrite]]] = {
    "an old token after a new one": (
        "I-65",
        [FIRST, SECOND],
        [
            FencedWrite(2, 20, 6, 7, "ok", 30),
            FencedWrite(1, 10, 2, 9, "ok", 31),
        ],
    ),
    "one that nobody was told of, after a new one": (
        "I-65",
        [FIRST, SECOND],
        [
            FencedWrite(2, 20, 6, 7, "ok", 30),
            FencedWrite(1, 10, 2, None, "unknown", 31),
        ],
    ),
    "by time alone": (
        "I-65",
        [FIRST, SECOND],
        [FencedWrite(1, 10, 6, 7, "ok", 0)],
    ),
    "by time alone, one that nobody was told of": (
        "I-65",
        [FIRST, SECOND],
        [FencedWrite(1, 10, 6, None, "unknown", 31)],
    ),
    "a token that nobody was given": (
        "I-65",
        [FIRST],
        [FencedWrite(1, 11, 2, 3, "ok", 12)],
    ),
    "a token of another one": (
        "I-65",
        [FIRST],
        [FencedWrite(2, 10, 2, 3, "ok", 12)],
    ),
    "tokens go down": ("I-65", [SECOND, Holding(3, 15, 6, 7)], []),
    "one token for two": ("I-65", [FIRST, Holding(2, 10, 0, 5)], []),
    "another one has it while it is promised": (
        "I-65",
        [Holding(1, 10, 0, 1, 9), Holding(2, 20, 0, 5)],
        [],
    ),
    "the one behind the next has it while it is promised": (
        "I-65",
        [Holding(1, 10, 0, 1, 9), Holding(2, 20, 0, 12), Holding(3, 30, 2, 6)],
        [],
    ),
    "refused while it is promised": (
        "I-65",
        [Holding(1, 10, 0, 1, 9)],
        [FencedWrite(1, 10, 2, 3, "refused", fenced=True)],
    ),
    "a write when the lock had been given up": (
        "I-65",
        [Holding(1, 10, 0, 1, released=4)],
        [FencedWrite(1, 10, 5, 6, "ok", 12)],
    ),
    "one that nobody was told of, when the lock had been given up": (
        "I-65",
        [Holding(1, 10, 0, 1, released=4)],
        [FencedWrite(1, 10, 5, None, "unknown", 12)],
    ),
    "a write older than its token": (
        "I-65",
        [FIRST],
        [FencedWrite(1, 10, 2, 3, "ok", 9)],
    ),
    "a refused write took effect": (
        "I-54",
        [FIRST],
        [FencedWrite(1, 10, 2, 3, "refused", 12)],
    ),
}


def test_writes_in_the_order_of_their_tokens_are_not_objected_to() -> None:
    writes = [
        FencedWrite(1, 10, 2, 3, "ok", 12),
        FencedWrite(1, 10, 4, 9, "ok", 19),
        FencedWrite(2, 20, 6, 7, "ok", 21),
        FencedWrite(1, 10, 6, 8, "refused", 0),
        FencedWrite(2, 20, 9, None, "unknown", 0),
    ]
    assert check_fencing([FIRST, SECOND], writes) is None


def test_who_gave_it_up_or_let_it_end_has_it_no_more() -> None:
    holdings = [Holding(1, 10, 0, 1, 9), Holding(2, 20, 0, 9, 30)]
    writes = [
        FencedWrite(1, 10, 8, 10, "refused", fenced=True),
        FencedWrite(2, 20, 12, 13, "refused"),
    ]
    assert check_fencing(holdings, writes) is None


def test_one_that_is_told_late_of_an_older_token_has_lost_it_meanwhile() -> None:
    assert check_fencing([Holding(2, 20, 0, 5, 30), Holding(1, 10, 0, 7)], []) is None


def test_a_write_that_began_before_its_lock_was_given_up_may_be_done() -> None:
    holding = Holding(1, 10, 0, 1, released=4)
    assert check_fencing([holding], [FencedWrite(1, 10, 4, 9, "ok", 12)]) is None
    refused = FencedWrite(1, 10, 5, 6, "refused", fenced=True)
    assert check_fencing([holding], [refused]) is None


def test_so_much_is_forgiven_a_clock() -> None:
    holdings = [Holding(1, 10, 0, 1, 9), Holding(2, 20, 0, 7)]
    writes = [FencedWrite(1, 10, 6, 7, "refused", fenced=True)]
    assert check_fencing(holdings[:1], writes) is not None
    assert check_fencing(holdings, []) is not None
    assert check_fencing(holdings, writes, tolerance=2) is None


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_history_is_rejected(name: str) -> None:
    invariant, holdings, writes = BROKEN[name]
    objection = check_fencing(holdings, writes)
    assert objection is not None
    assert objection.invariant == invariant, objection
