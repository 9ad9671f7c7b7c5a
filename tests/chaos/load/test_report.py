"""Reports: parts add up to the whole, and errors are counted by what they mean."""

import msgspec
import pytest
from quorate.chaos.load.report import OVERLOAD, Report, code_of
from quorate.client import (
    DeadlineExceeded,
    NoSpace,
    Overloaded,
    QuorateError,
    TooBusy,
    TooStale,
    Unavailable,
    Unknown,
)
from quorate.client.calls import _refusal
from quorate.client.endpoints import Endpoint
from quorate.client.links import Link
from quorate.client.tries import Call, TryNext
from quorate.wire import ErrorCode, ErrorReply, Outcome, RequestKind


def report(seed: int) -> Report:
    made = Report(delayed=seed, unsent=1, in_flight=9, cpu_s=0.5)
    made.begin_s, made.end_s = 10.0 + seed, 20.0 + seed
    made.late.record(seed)
    put = made.tally("put")
    put.latency.record(1000 * seed)
    put.errors = {"unknown": seed}
    if seed % 2:
        made.tally("get").absent = 1
    return made


def test_parts_add_up_to_the_whole() -> None:
    total = Report()
    for seed in (1, 2, 3):
        total.add(report(seed))
    assert (total.delayed, total.unsent, total.cpu_s) == (6, 3, 1.5)
    assert (total.begin_s, total.end_s, total.seconds) == (11.0, 23.0, 12.0)
    assert total.tallies["put"].latency.count == 3
    assert total.tallies["put"].errors == {"unknown": 6}
    assert total.tallies["get"].absent == 2
    assert total.total().errors == {"unknown": 6}
    assert total.late.count == 3
    assert Report().seconds == 0.0


def test_a_sum_does_not_share_what_it_adds_up() -> None:
    part = report(1)
    before = msgspec.json.encode(part)
    total = Report()
    total.add(part)
    total.add(part)
    total.total()
    assert msgspec.json.encode(part) == before
    assert Report().tallies == {}


def test_the_pace_is_told_by_when_operations_were_due_and_sent() -> None:
    assert Report().pace(100.0) == 1.0
    kept = Report(begin_s=10.0, due_s=19.99, sent_s=19.99, end_s=30.0)
    assert kept.pace(100.0) == 1.0
    lost = Report(begin_s=10.0, due_s=19.99, sent_s=29.99)
    lost.add(Report(begin_s=10.0, due_s=19.98, sent_s=19.98))
    assert lost.pace(100.0) == pytest.approx(0.5)
    # A single one has no pace that a moment's delay would halve.
    assert Report(begin_s=10.0, due_s=10.0, sent_s=10.0001).pace(10.0) > 0.99


def test_a_report_survives_json() -> None:
    made = report(3)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Report) == made


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unknown("?"), "unknown"),
        (DeadlineExceeded("late"), "deadline_exceeded"),
        (NoSpace("full"), "no_space"),
        (TooStale("old"), "too_stale"),
        (TooBusy("here"), OVERLOAD),
        (Overloaded("h:1: full"), OVERLOAD),
        (Unavailable("h:1: refused"), "unavailable"),
        (Unavailable("too_busy.example:1: refused"), "unavailable"),
    ],
)
def test_errors_are_counted_by_their_class(error: QuorateError, code: str) -> None:
    assert code_of(error) == code


@pytest.mark.parametrize("write", [True, False])
def test_what_a_busy_node_says_is_overload_also_after_the_last_try(
    write: bool,
) -> None:
    """And not because a reason has a word in it."""
    link = Link(Endpoint("h", 1), None, lambda _: None)
    reply = ErrorReply(
        ErrorCode.TOO_BUSY, Outcome.NOT_APPLIED, True, 0, "queue is full"
    )
    kind = RequestKind.WRITE if write else RequestKind.GET
    failed = _refusal(link, reply, Call(kind, b"", 0.0, bytes, write))
    assert isinstance(failed, TryNext)
    assert code_of(failed.verdict(f"h:1: {failed.reason}")) == OVERLOAD
