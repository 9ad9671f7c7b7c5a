"""The ledger, fed with right histories and with some that are wrong on purpose."""

from collections.abc import Callable
from random import Random

import pytest
from quorate.chaos.harness.ledger import (
    Attempt,
    Found,
    Ledger,
    make_value,
    read_counter,
)
from quorate.chaos.harness.verdict import Violation

SIZE = 64
KEY = "chaos/w001/0000"


class Books:
    """A ledger with a clock of its own: every call is a second after the one before."""

    def __init__(self) -> None:
        self.ledger = Ledger(SIZE)
        self.now_s = 0.0

    def tick(self) -> float:
        self.now_s += 1.0
        return self.now_s

    def begin(self, key: str = KEY) -> Attempt:
        return self.ledger.write_begins(key, "n1", self.tick())

    def ack(self, attempt: Attempt, revision: int) -> Violation | None:
        return self.ledger.write_acknowledged(attempt, revision, self.tick())

    def put(self, revision: int, key: str = KEY) -> Attempt:
        attempt = self.begin(key)
        assert self.ack(attempt, revision) is None
        return attempt

    def unknown(self, key: str = KEY) -> Attempt:
        attempt = self.begin(key)
        self.ledger.write_unknown(attempt, self.tick())
        return attempt

    def rejected(self, key: str = KEY) -> Attempt:
        attempt = self.begin(key)
        assert self.ledger.write_rejected(attempt, self.tick()) is None
        return attempt

    def found(self, attempt: Attempt, revision: int, version: int) -> Found:
        return Found(self.ledger.value(attempt), revision, version)

    def get(self, found: Found | None, key: str = KEY) -> Violation | None:
        reading = self.ledger.read_begins(key, self.tick())
        return self.ledger.read_ends(reading, "n2", found, self.tick())

    def final(self, found: Found | None, key: str = KEY) -> Violation | None:
        return self.ledger.check_final(key, "n3", found, self.tick())


@pytest.fixture
def books() -> Books:
    return Books()


def kind(violation: Violation | None) -> str | None:
    return violation.kind if violation else None


# -- histories that are right --------------------------------------------------------


def test_the_last_acknowledged_value_may_be_found(books: Books) -> None:
    books.put(2)
    last = books.put(3)
    assert books.get(books.found(last, 3, 2)) is None
    assert books.final(books.found(last, 3, 2)) is None


def test_a_key_that_nobody_wrote_may_be_absent(books: Books) -> None:
    assert books.get(None) is None


def test_an_unknown_write_may_have_happened_or_not(books: Books) -> None:
    first = books.put(2)
    lost = books.unknown()
    assert books.final(books.found(first, 2, 1)) is None
    assert books.final(books.found(lost, 9, 2)) is None


def test_a_first_write_of_unknown_outcome_may_be_absent(books: Books) -> None:
    books.unknown()
    assert books.final(None) is None


def test_a_read_beside_a_write_may_find_the_old_or_the_new(books: Books) -> None:
    first = books.put(2)
    slow = books.ledger.read_begins(KEY, books.tick())
    second = books.put(3)
    assert (
        books.ledger.read_ends(slow, "n2", books.found(first, 2, 1), books.tick())
        is None
    )
    assert books.get(books.found(second, 3, 2)) is None


def test_a_refused_write_leaves_no_trace_in_the_version(books: Books) -> None:
    books.put(2)
    books.rejected()
    third = books.put(5)
    assert books.get(books.found(third, 5, 2)) is None


def test_a_condition_may_fail_on_an_own_write_of_unknown_outcome(books: Books) -> None:
    books.put(2)
    books.unknown()
    attempt = books.begin()
    assert books.ledger.condition_failed(attempt, 2, 7, books.tick()) is None


def test_a_condition_may_fail_on_a_lost_write_that_a_reader_found_meanwhile(
    books: Books,
) -> None:
    books.put(2)
    lost = books.unknown()
    attempt = books.begin()
    assert books.get(books.found(lost, 7, 2)) is None
    assert books.ledger.condition_failed(attempt, 2, 7, books.tick()) is None


def test_a_read_without_an_answer_says_nothing(books: Books) -> None:
    first = books.put(2)
    books.ledger.read_failed(books.ledger.read_begins(KEY, books.tick()))
    assert books.get(books.found(first, 2, 1)) is None


def test_what_a_slow_read_may_find_is_kept_for_it(books: Books) -> None:
    first = books.put(2)
    slow = books.ledger.read_begins(KEY, books.tick())
    for revision in range(3, 1003):
        books.put(revision)
    found = books.found(first, 2, 1)
    assert books.ledger.read_ends(slow, "n2", found, books.tick()) is None


# -- histories that are wrong --------------------------------------------------------


def test_an_acknowledged_key_that_is_gone_is_a_lost_write(books: Books) -> None:
    books.put(2)
    violation = books.final(None)
    assert violation is not None
    assert violation.kind == "lost write"
    assert violation.subject == KEY
    assert "counter 1" in violation.expected
    assert "revision 2 via n1 at 2.000 s" in violation.expected
    assert violation.found.startswith("nothing via n3")


def test_an_older_value_at_the_end_is_a_lost_write(books: Books) -> None:
    first = books.put(2)
    books.put(3)
    assert kind(books.final(books.found(first, 2, 1))) == "lost write"


def test_an_older_value_during_the_run_is_a_stale_read(books: Books) -> None:
    first = books.put(2)
    books.put(3)
    assert kind(books.get(books.found(first, 2, 1))) == "stale read"


def test_reads_never_go_back_behind_an_unknown_write_that_was_read(
    books: Books,
) -> None:
    first = books.put(2)
    lost = books.unknown()
    assert books.get(books.found(lost, 3, 2)) is None
    assert kind(books.get(books.found(first, 2, 1))) == "stale read"
    assert kind(books.get(None)) == "stale read"


def test_reads_never_go_back_behind_a_write_in_flight_that_was_read(
    books: Books,
) -> None:
    first = books.put(2)
    second = books.begin()
    assert books.get(books.found(second, 3, 2)) is None
    assert kind(books.get(books.found(first, 2, 1))) == "stale read"


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda value: value[:-1],
    lambda value: value + b"!",
    lambda value: value[:-1] + b"\x00",
    lambda value: b"",
    lambda value: b"garbage",
    lambda value: value.replace(b":1:", b":2:"),
    lambda value: value.replace(b":1:", b":01:"),
    lambda value: value.replace(b":1:", b":-1:"),
    lambda value: value.replace(b"w001", b"w002"),
    lambda value: make_value(KEY, 99, SIZE),
    lambda value: make_value(KEY, 0, SIZE),
]


@pytest.mark.parametrize("change", DAMAGES)
def test_a_value_that_nobody_wrote_is_a_phantom(
    books: Books, change: Callable[[bytes], bytes]
) -> None:
    attempt = books.put(2)
    found = Found(change(books.ledger.value(attempt)), 2, 1)
    assert kind(books.final(found)) == "phantom value"


def test_a_key_that_nobody_wrote_is_a_phantom(books: Books) -> None:
    assert kind(books.final(Found(b"x", 2, 1), "chaos/other")) == "phantom key"


def test_a_refused_write_that_is_found_was_not_refused(books: Books) -> None:
    books.put(2)
    refused = books.rejected()
    assert kind(books.final(books.found(refused, 3, 2))) == "refused write applied"


def test_a_write_that_was_read_can_not_be_refused(books: Books) -> None:
    attempt = books.begin()
    assert books.get(books.found(attempt, 2, 1)) is None
    violation = books.ledger.write_rejected(attempt, books.tick())
    assert kind(violation) == "refused write applied"


def test_a_record_at_another_revision_than_acknowledged_is_wrong(books: Books) -> None:
    attempt = books.put(2)
    assert kind(books.final(books.found(attempt, 3, 1))) == "wrong revision"


def test_a_write_read_at_one_revision_is_not_acknowledged_at_another(
    books: Books,
) -> None:
    attempt = books.begin()
    assert books.get(books.found(attempt, 2, 1)) is None
    assert kind(books.ack(attempt, 3)) == "wrong revision"


def test_a_lost_write_that_is_read_at_two_revisions_is_wrong(books: Books) -> None:
    lost = books.unknown()
    assert books.get(books.found(lost, 4, 1)) is None
    assert kind(books.get(books.found(lost, 5, 1))) == "wrong revision"


def test_a_later_write_has_a_later_revision_whatever_its_key(books: Books) -> None:
    books.put(7)
    attempt = books.begin("chaos/w002/0000")
    assert kind(books.ack(attempt, 6)) == "wrong revision"


def test_a_read_revision_is_later_than_those_before_its_write(books: Books) -> None:
    books.put(7, "chaos/w002/0000")
    lost = books.unknown()
    assert kind(books.get(books.found(lost, 7, 1))) == "wrong revision"


def test_two_writes_never_share_a_revision(books: Books) -> None:
    one, other = books.begin(), books.begin("chaos/w002/0000")
    assert books.ack(one, 2) is None
    violation = books.ack(other, 2)
    assert violation is not None
    assert violation.kind == "wrong revision"
    assert KEY in violation.expected


def test_two_writes_never_share_a_revision_after_many_others(books: Books) -> None:
    slow = books.begin("chaos/w002/0000")
    for revision in range(2, 9000):
        books.put(revision)
    assert kind(books.ack(slow, 5000)) == "wrong revision"


def test_a_write_that_was_applied_twice_shows_in_the_version(books: Books) -> None:
    attempt = books.put(2)
    assert kind(books.get(books.found(attempt, 2, 2))) == "wrong version"


def test_a_condition_that_nothing_broke_can_not_fail(books: Books) -> None:
    books.put(2)
    attempt = books.begin()
    violation = books.ledger.condition_failed(attempt, 2, 0, books.tick())
    assert kind(violation) == "condition wrongly refused"


def test_a_condition_fails_only_on_a_later_revision(books: Books) -> None:
    books.put(5)
    books.unknown()
    attempt = books.begin()
    violation = books.ledger.condition_failed(attempt, 5, 4, books.tick())
    assert kind(violation) == "condition wrongly refused"


# -- values and the whole ------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 40, 94, 95, 1000])
def test_a_value_has_its_size_and_tells_its_counter(size: int) -> None:
    for counter in (1, 9, 10, 10**12):
        value = make_value(KEY, counter, size)
        assert len(value) == max(size, len(f"{KEY}:{counter}:"))
        assert read_counter(KEY, value, size) == counter


def test_garbage_has_no_counter() -> None:
    dice = Random(1)
    for _ in range(2000):
        tail = dice.randbytes(dice.randrange(40))
        assert read_counter(KEY, f"{KEY}:".encode() + tail, SIZE) is None


@pytest.mark.parametrize("seed", range(40))
def test_no_run_of_a_right_store_is_objected_to(seed: int) -> None:
    """A store that loses answers, applies late, and is otherwise right."""
    dice = Random(seed)
    books = Books()
    ledger = books.ledger
    store: dict[str, Found] = {}
    late: list[tuple[Attempt, int]] = []
    revision = 1

    def apply(attempt: Attempt, expected: int) -> bool:
        nonlocal revision
        before = store.get(attempt.key, Found(b"", 0, 0))
        if before.revision != expected:
            return False
        revision += 1
        store[attempt.key] = Found(ledger.value(attempt), revision, before.version + 1)
        return True

    for _ in range(400):
        key = f"chaos/w{dice.randrange(3):03d}/0000"
        reading = ledger.read_begins(key, books.tick())
        seen = store.get(key)
        if late and dice.random() < 0.5:
            apply(*late.pop(dice.randrange(len(late))))
        assert ledger.read_ends(reading, "n2", seen, books.tick()) is None
        expected = ledger.expected_revision(key)
        attempt = books.begin(key)
        match dice.randrange(4):
            case 0:
                late.append((attempt, expected))
                ledger.write_unknown(attempt, books.tick())
            case 1:
                assert ledger.write_rejected(attempt, books.tick()) is None
            case _ if apply(attempt, expected):
                assert books.ack(attempt, revision) is None
            case _:
                at = store[key].revision
                now_s = books.tick()
                assert ledger.condition_failed(attempt, expected, at, now_s) is None
    for key in ledger.keys:
        assert books.final(store.get(key), key) is None
