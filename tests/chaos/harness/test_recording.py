"""What is kept of a run for the checkers of histories."""

from collections import Counter

import pytest
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.finale import check_recording
from quorate.chaos.harness.history import Recording
from quorate.chaos.harness.ledger import Attempt, Ledger
from quorate.chaos.histories import Operation, describe

KEY = "chaos/w001/0000"


class Run:
    """A ledger, and a recording beside it."""

    def __init__(self, operations_max: int = 100) -> None:
        self.ledger = Ledger(32)
        self.recording = Recording(operations_max)
        self.now_s = 0.0

    def tick(self) -> float:
        self.now_s += 1
        return self.now_s

    def begin(self, key: str = KEY, expected: int | None = None) -> Attempt:
        attempt = self.ledger.write_begins(key, "n1", self.tick())
        self.operation = self.recording.write_begins(attempt, expected, 1)
        return attempt

    def put(self, revision: int, expected: int | None = None) -> Operation:
        attempt = self.begin(KEY, expected)
        self.ledger.write_acknowledged(attempt, revision, self.tick())
        self.recording.write_ends(self.operation, attempt)
        return self.operation

    def get(self, counter: int | None, revision: int) -> Operation:
        operation = self.recording.read_begins(KEY, 2, self.tick())
        self.recording.read_ends(operation, counter, revision, self.tick())
        return operation

    def lines(self) -> list[str]:
        return [describe(o) for o in self.recording.operations]


def test_operations_are_kept_with_what_their_clients_were_told() -> None:
    run = Run()
    run.put(2)
    run.put(3, expected=2)
    refused = run.begin(expected=2)
    run.ledger.write_rejected(refused, run.tick())
    run.recording.write_ends(run.operation, refused, 3)
    unknown = run.begin()
    run.ledger.write_unknown(unknown, run.tick())
    run.recording.write_ends(run.operation, unknown)
    run.get(2, 3)
    assert run.lines() == [
        f"c1 1000000..2000000 put {KEY} {KEY}:1 ok r2",
        f"c1 3000000..4000000 cas {KEY} 2={KEY}:1 {KEY}:2 ok r3",
        f"c1 5000000..6000000 cas {KEY} 2={KEY}:2 {KEY}:3 refused m3",
        f"c1 7000000.. put {KEY} {KEY}:4 unknown",
        f"c2 9000000..10000000 get {KEY} -> {KEY}:2 ok m3",
    ]


def test_a_cas_on_a_key_that_nobody_wrote_expects_nothing() -> None:
    run = Run()
    run.put(2, expected=0)
    assert run.lines() == [f"c1 1000000..2000000 cas {KEY} 0=nothing {KEY}:1 ok r2"]


def test_a_read_without_an_answer_stays_unknown() -> None:
    run = Run()
    run.recording.read_begins(KEY, 2, run.tick())
    assert run.lines() == [f"c2 1000000.. get {KEY} unknown"]


def test_of_more_operations_than_may_be_kept_those_of_some_keys_are_all_there() -> None:
    run = Run(operations_max=30)
    keys = [f"{KEY}/{number}" for number in range(40)]
    begun: Counter[str] = Counter()
    for revision in range(2, 400):
        key = keys[revision % 13 + revision // 15]
        begun[key] += 1
        attempt = run.begin(key)
        run.ledger.write_acknowledged(attempt, revision, run.tick())
        run.recording.write_ends(run.operation, attempt)
        assert len(run.recording.operations) <= 30
    kept = Counter(operation.key.decode() for operation in run.recording.operations)
    assert kept
    assert all(kept[key] == begun[key] for key in kept)
    assert run.recording.left_out == begun.total() - kept.total()
    assert check_recording(run.recording) == (
        f"replay and linearizability each looked at {kept.total()} operations, 0 keys"
        f" undecided; {run.recording.left_out} operations left out, all but those of"
        f" one key in {run.recording.one_in}"
    )


@pytest.mark.parametrize("prefix", ["large/", "load/hot/", "load/guarded"])
def test_the_keys_of_workloads_stay_when_many_others_are_given_up(prefix: str) -> None:
    """Those of large values are all of one half: in no long run were they judged."""
    run = Run(operations_max=60)
    for number in range(200):
        key = f"{prefix}{number % 3}".encode()
        run.begin(f"{KEY}/{number}")
        if number % 10 == 0:
            run.recording.begin(Operation(1, "get", key, 0), run.tick())
        assert len(run.recording.operations) <= 60
    assert run.recording.one_in > 1
    assert run.recording.judged(prefix) == 20
    assert "and of workloads" in check_recording(run.recording)


def test_the_keys_of_workloads_go_with_the_others_where_they_are_most() -> None:
    run = Run(operations_max=60)
    for number in range(500):
        key = f"large/{number % 40}".encode()
        run.recording.begin(Operation(1, "get", key, 0), run.tick())
        assert len(run.recording.operations) <= 60
    assert not run.recording.spares
    kept = Counter(one.key for one in run.recording.operations)
    assert kept
    assert set(kept.values()) <= {12, 13}


def test_an_operation_whose_key_is_given_up_meanwhile_may_end() -> None:
    run = Run(operations_max=4)
    slow = run.recording.read_begins(KEY, 2, run.tick())
    for number in range(64):
        run.begin(f"{KEY}/{number}")
    run.recording.read_ends(slow, None, 0, run.tick())
    assert slow.outcome == "ok"
    assert run.recording.one_in > 1
    check_recording(run.recording)


@pytest.mark.parametrize(
    ("counter", "revision", "kind"),
    [
        (1, 2, "stale read"),
        (None, 0, "stale read"),
        (2, 4, "wrong revision"),
        (3, 4, "refused write applied"),
    ],
)
def test_what_contradicts_the_other_operations_is_a_violation(
    counter: int | None, revision: int, kind: str
) -> None:
    run = Run()
    run.put(2)
    run.put(3)
    check_recording(run.recording)
    read = run.get(counter, revision)
    with pytest.raises(Violated) as caught:
        check_recording(run.recording)
    violation = caught.value.violation
    assert violation.kind == kind
    assert violation.expected == ("an order of 3 operations that explains every answer")
    assert counter == 3 or describe(read) in violation.found
