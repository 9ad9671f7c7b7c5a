"""Reads at each level: right histories pass, each wrong one is rejected."""

import pytest
from quorate.chaos.histories import LevelRead, Version, check_levels

VERSIONS = [
    Version(1, 0, 10, "ok", 5),
    Version(2, 20, 30, "ok", 8),
    Version(3, 40, None, "unknown", 0),
    Version(4, 60, 61, "refused", 0),
    Version(5, 70, 80, "ok", 15),
]

SOUND = {
    "the newest": LevelRead("n1", "linearizable", 31, 35, 2, 8),
    "one that nobody was told of": LevelRead("n1", "linearizable", 50, 55, 3, 11),
    "a bounded one within its bound": LevelRead("n1", "bounded", 35, 36, 1, 5, 20),
    "a local one of long ago": LevelRead("n1", "local", 500, 501, 1, 5),
    "nothing yet": LevelRead("n1", "local", 500, 501, 0, 0),
    "one that is named": LevelRead("n1", "local", 500, 501, 2, 8, 0, 8),
}
BROKEN = {
    "a stale read": ("I-40", LevelRead("n1", "linearizable", 31, 35, 1, 5)),
    "older than its bound": ("staleness", LevelRead("n1", "bounded", 60, 61, 1, 5, 20)),
    "older than what it names": ("I-43", LevelRead("n1", "local", 90, 91, 1, 5, 0, 8)),
    "from the future": ("I-54", LevelRead("n1", "local", 5, 6, 2, 8)),
    "nobody wrote it": ("I-54", LevelRead("n1", "local", 90, 91, 6, 20)),
    "refused": ("I-54", LevelRead("n1", "local", 90, 91, 4, 12)),
    "of another revision": ("I-44", LevelRead("n1", "local", 90, 91, 2, 9)),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_read_that_may_be_is_not_objected_to(name: str) -> None:
    assert check_levels(VERSIONS, [SOUND[name]]) is None


@pytest.mark.parametrize("name", BROKEN)
def test_a_read_that_can_not_be_is_rejected(name: str) -> None:
    invariant, read = BROKEN[name]
    objection = check_levels(VERSIONS, [read])
    assert objection is not None
    assert objection.invariant == invariant, objection


def test_one_number_is_of_one_revision() -> None:
    reads = [
        LevelRead("n1", "local", 90, 91, 3, 11),
        LevelRead("n2", "local", 90, 91, 3, 12),
    ]
    assert check_levels(VERSIONS, reads[:1]) is None
    assert check_levels(VERSIONS, reads) is not None


def test_nothing_is_of_the_revision_that_an_empty_store_has() -> None:
    first = [Version(1, 0)]
    read = LevelRead("n1", "linearizable", 4, 7, 1, 2)
    assert check_levels(first, [read]) is None
    objection = check_levels(first, [LevelRead("n1", "linearizable", 4, 7, 1, 1)])
    assert objection is not None
    assert objection.invariant == "I-44"


# A write of unknown outcome that somebody has read, at whatever level.
SEEN = [
    LevelRead("n1", "linearizable", 45, 46, 3, 11),
    LevelRead("n1", "bounded", 45, 46, 3, 11, 20),
    LevelRead("n1", "local", 45, 46, 3, 11),
]
BACK = {
    "linearizable": ("I-40", LevelRead("n2", "linearizable", 50, 51, 2, 8)),
    "bounded": ("staleness", LevelRead("n2", "bounded", 67, 68, 2, 8, 20)),
    "of its revision": ("I-43", LevelRead("n2", "local", 50, 51, 2, 8, 0, 12)),
}
OLDER = {
    "linearizable, begun before": LevelRead("n2", "linearizable", 45, 51, 2, 8),
    "bounded, within its bound": LevelRead("n2", "bounded", 65, 66, 2, 8, 20),
    "local": LevelRead("n2", "local", 65, 66, 2, 8),
}


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("name", BACK)
def test_what_somebody_has_read_is_there(seen: LevelRead, name: str) -> None:
    invariant, back = BACK[name]
    assert check_levels(VERSIONS, [back]) is None
    objection = check_levels(VERSIONS, [seen, back])
    assert objection is not None
    assert objection.invariant == invariant, objection


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("name", OLDER)
def test_what_may_miss_what_was_read_may_be(seen: LevelRead, name: str) -> None:
    assert check_levels(VERSIONS, [seen, OLDER[name]]) is None


def test_one_that_was_only_read_is_of_a_higher_revision_than_those_before() -> None:
    early = LevelRead("n1", "linearizable", 45, 46, 3, 7)
    objection = check_levels(VERSIONS, [early])
    assert objection is not None
    assert objection.invariant == "I-44"


@pytest.mark.parametrize("revision", [5, 4])
def test_what_is_written_later_is_of_a_higher_revision(revision: int) -> None:
    versions = [Version(1, 0, 1, "ok", 5), Version(2, 2, 3, "ok", revision)]
    objection = check_levels(versions, [])
    assert objection is not None
    assert objection.invariant == "I-44"
