"""The page: complete in itself, escaped, and saying what the summary says."""

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from quorate.chaos.harness.history import (
    HISTORY_FILE,
    LAST_READER,
    Done,
    History,
    Input,
    Line,
    Output,
)
from quorate.chaos.harness.report import REPORT_FILE, write_page
from quorate.chaos.harness.report.drawing import Scale, round_step, show_ms
from quorate.chaos.harness.report.example import SHOWN_MAX, operations_of
from quorate.chaos.harness.verdict import (
    Counts,
    FaultResult,
    Summary,
    Verdict,
    Violation,
    WorkloadCount,
    count_faults,
)

STRIKE = FaultResult(
    number=1,
    kind="isolate-leader",
    targets=("n2",),
    leader_hit=True,
    at_s=1.0,
    until_s=3.5,
    touched=7,
    overlapped=42,
    gap_ms=500.0,
    longest_gap_ms=612.0,
    dying_ms=0.0,
)
LOST = Violation("lost write", "k", "counter 2 <b>", "nothing via n3 & others", 2.0)


class Reader(HTMLParser):
    """Fails on tags that do not close; keeps texts, and what is fetched."""

    void = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [name for name, _ in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def summary(
    verdict: Verdict = "valid",
    violations: Sequence[Violation] = (),
    reasons: Sequence[str] = (),
) -> Summary:
    return Summary(
        verdict=verdict,
        reasons=list(reasons),
        violations=list(violations),
        options={},
        command="quorate chaos run --seed 5",
        version="0",
        python="3",
        seconds=5.0,
        counts=Counts(acknowledged=1234, unknown=3, reads=7),
        keys=5,
        faults=count_faults(["isolate-leader", "flip"], [STRIKE]),
        strikes=[STRIKE],
        leader_gap_ms={},
        checks=["3 nodes at index 130"],
    )


def done(number: int, kind: str = "put", outcome: str = "ok", key: str = "k") -> Done:
    output = Output(revision=number) if outcome == "ok" else None
    return Done(
        *(number % 3, "n1", kind, key, number / 10, number / 10 + 0.05, outcome),
        Input(f"{key}:{number}"),
        output,
    )


def page(folder: Path, told: Summary, lines: Sequence[Line] = ()) -> Reader:
    if lines:
        with History(folder / HISTORY_FILE) as history:
            for one in lines:
                history.record(one)
    write_page(folder, told, ["n1", "n2", "n3"])
    reader = Reader()
    reader.feed((folder / REPORT_FILE).read_text())
    assert reader.open == []
    return reader


def test_a_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    reader = page(tmp_path, summary(), [done(n) for n in range(1, 40)])
    assert reader.fetched == []
    assert not reader.tags & {"link", "img", "iframe", "object"}
    text = (tmp_path / REPORT_FILE).read_text()
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("valid", "each kind of fault that was planned struck at least once"),
        ("void", "too little was tried"),
    ],
)
def test_the_verdict_is_the_first_thing_and_says_why(
    tmp_path: Path, verdict: Verdict, words: str
) -> None:
    reasons = ["the planned fault flip never struck"] if verdict == "void" else []
    reader = page(tmp_path, summary(verdict, reasons=reasons), [done(1)])
    texts = "\n".join(reader.texts)
    assert texts.index(verdict) < texts.index(words) < texts.index("The run")
    assert all(reason in texts for reason in reasons)
    assert "1,234" in texts
    assert "quorate chaos run --seed 5" in texts


def test_a_kind_that_never_struck_is_pointed_out(tmp_path: Path) -> None:
    reader = page(tmp_path, summary(), [done(1)])
    place = reader.texts.index("flip")
    assert reader.texts[place + 1 : place + 3] == ["never", "never"]


@pytest.mark.parametrize("touched", [0, 7])
def test_a_fault_that_met_nothing_is_told_as_such(tmp_path: Path, touched: int) -> None:
    told = summary()
    told.strikes = [msgspec.structs.replace(STRIKE, touched=touched)]
    texts = "\n".join(page(tmp_path, told, [done(1)]).texts)
    assert "round 1: isolate-leader at n2" in texts
    assert ("which met nothing" in texts) == (not touched)


def test_the_counter_example_is_told_and_drawn_and_escaped(tmp_path: Path) -> None:
    lines = [
        done(1),
        done(2, outcome="unknown"),
        done(3, "cas", "refused"),
        Done(LAST_READER, "n3", "get", "k", 2.0, 2.1, "ok", Input(), Output()),
        done(4, key="other"),
    ]
    reader = page(tmp_path, summary("violated", [LOST]), lines)
    texts = "\n".join(reader.texts)
    for words in (
        "counter 2 <b>",
        "nothing via n3 & others",
        "write #1: done at revision 1",
        "write #2: nobody knows",
        "last read, n3",
        "read: nothing there",
    ):
        assert words in texts
    assert "counter 2 &lt;b&gt;" in (tmp_path / REPORT_FILE).read_text()
    assert "write #4" not in texts


def test_a_run_that_never_began_has_a_page(tmp_path: Path) -> None:
    told = summary("void", reasons=["no such machine"])
    told.strikes, told.faults = [], {}
    reader = page(tmp_path, told)
    assert "no such machine" in reader.texts


def test_of_many_operations_those_around_the_moment_are_shown() -> None:
    lines = [done(n) for n in range(1, 100)]
    shown = operations_of(LOST, lines)
    assert len(shown) == SHOWN_MAX
    assert shown[0].start_s < 2.0 < shown[-1].start_s
    at_the_end = Violation("lost write", "k", "", "")
    assert operations_of(at_the_end, lines) == lines[-SHOWN_MAX:]


def test_scales_keep_to_the_picture_and_ticks_are_round() -> None:
    scale = Scale(0.0, 70.0)
    assert scale.x(-5.0) == scale.x(0.0) < scale.x(35.0) < scale.x(70.0) == scale.x(99)
    assert list(scale.ticks(11)) == [0, 10, 20, 30, 40, 50, 60, 70]
    assert [round_step(least) for least in (0.03, 1, 1.1, 340, 600)] == [
        *(0.05, 1, 2, 500, 1000),
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.00012, "0.1 ms"), (0.0405, "40.5 ms"), (0.5, "500 ms"), (2.345, "2.35 s")],
)
def test_lengths_of_time_are_shown_as_people_say_them(
    seconds: float, shown: str
) -> None:
    assert show_ms(seconds) in (shown, shown.replace("2.35", "2.34"))


def test_the_workloads_are_told_with_what_they_needed(tmp_path: Path) -> None:
    told = summary()
    write_page(tmp_path, told, ["n1"])
    assert "<h2>Workloads</h2>" not in (tmp_path / REPORT_FILE).read_text()
    told.workloads = {"locks": WorkloadCount(1234, 5, 6, 31)}
    write_page(tmp_path, told, ["n1"])
    cells = "<td>locks</td><td>1,234</td><td>5</td><td>6</td><td>31</td>"
    assert cells in (tmp_path / REPORT_FILE).read_text()


def test_names_of_nodes_and_faults_are_escaped(tmp_path: Path) -> None:
    told = summary()
    named = msgspec.structs.replace(STRIKE, kind="<img>", targets=("<img>",))
    told.strikes = [named]
    told.faults = count_faults([], [named])
    reader = page(tmp_path, told)
    assert "img" not in reader.tags
    assert "<img>" in reader.texts
