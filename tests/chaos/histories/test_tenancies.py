"""Leases as holders see them: right histories pass, each wrong one is rejected."""

import pytest
from quorate.chaos.histories import Question, Tenancy, check_tenancy

GRANT = Question("grant", 0, 5, "kept")
READ = Question("read", 10, 11, "kept")


def tenancy(*questions: Question, hung: int | None = 6) -> Tenancy:
    return Tenancy(1, 100, hung, list(questions))


SOUND = {
    "gone when its time is over": tenancy(GRANT, Question("read", 100, 101, "gone")),
    "kept alive": tenancy(
        GRANT,
        Question("keep-alive", 80, 90, "kept"),
        Question("read", 150, 151, "kept"),
        Question("read", 190, 191, "gone"),
    ),
    "there for longer": tenancy(GRANT, Question("read", 900, 901, "kept")),
    "its key may not have been there yet": tenancy(
        GRANT, Question("read", 10, 11, "gone"), READ, hung=None
    ),
    "revoked": tenancy(
        GRANT,
        Question("revoke", 10, 20, "unknown"),
        Question("read", 30, 31, "gone"),
    ),
    "revoked, and gone": tenancy(
        GRANT,
        Question("revoke", 10, 20, "done"),
        Question("keep-alive", 30, 31, "gone"),
        Question("read", 30, 31, "gone"),
    ),
    "perhaps not revoked": tenancy(
        GRANT, Question("revoke", 10, 20, "unknown"), Question("read", 30, 31, "kept")
    ),
    "called gone while it ends": tenancy(
        GRANT,
        Question("keep-alive", 120, 121, "gone"),
        Question("read", 130, 131, "kept"),
    ),
}
BROKEN = {
    "over early": ("I-63", tenancy(GRANT, Question("read", 50, 51, "gone"))),
    "over although it was kept alive": (
        "I-63",
        tenancy(
            GRANT,
            Question("keep-alive", 80, 90, "kept"),
            Question("read", 150, 151, "gone"),
        ),
    ),
    "called gone while it is promised": (
        "I-63",
        tenancy(GRANT, Question("keep-alive", 50, 51, "gone")),
    ),
    "called gone when it is revoked while it is promised": (
        "I-63",
        tenancy(GRANT, Question("revoke", 50, 51, "gone"), hung=None),
    ),
    "revoked after its end": (
        "I-64",
        tenancy(
            GRANT,
            Question("read", 110, 111, "gone"),
            Question("revoke", 120, 121, "done"),
        ),
    ),
    "kept alive after its end": (
        "I-64",
        tenancy(
            GRANT,
            Question("read", 110, 111, "gone"),
            Question("keep-alive", 120, 121, "kept"),
        ),
    ),
    "there although it was revoked": (
        "I-64",
        tenancy(
            GRANT, Question("revoke", 10, 20, "done"), Question("read", 30, 31, "kept")
        ),
    ),
    "kept alive although it was revoked": (
        "I-64",
        tenancy(
            GRANT,
            Question("revoke", 10, 20, "done"),
            Question("keep-alive", 30, 31, "kept"),
            hung=None,
        ),
    ),
    "there again": (
        "I-64",
        tenancy(
            GRANT,
            Question("read", 110, 111, "gone"),
            Question("read", 120, 121, "kept"),
        ),
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_right_history_is_not_objected_to(name: str) -> None:
    assert check_tenancy(SOUND[name]) is None


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_history_is_rejected(name: str) -> None:
    invariant, one = BROKEN[name]
    objection = check_tenancy(one)
    assert objection is not None
    assert objection.invariant == invariant, objection


def test_so_much_is_forgiven_a_clock() -> None:
    one = tenancy(GRANT, Question("read", 97, 98, "gone"))
    assert check_tenancy(one) is not None
    assert check_tenancy(one, tolerance=2) is None
