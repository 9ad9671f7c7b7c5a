"""The live rows leave alone what is being typed: seen on a terminal made of lists."""

import io
import os
import re

import pytest
from quorate.chaos.prompt.screen import HEIGHT_MIN, PROMPT, ROWS, Screen

COLUMNS, LINES = 40, 16
SEQUENCE = re.compile(r"\x1b(?:7|8|\[([0-9;]*)([A-Za-z]))|([^\x1b])")


class Terminal:
    """As much of a terminal as is needed: a cursor, a region that scrolls, clearing."""

    def __init__(self) -> None:
        self.cells = [[" "] * COLUMNS for _ in range(LINES)]
        self.row = self.column = 0
        self.saved = (0, 0)
        self.bottom = LINES

    def feed(self, text: str) -> None:
        for match in SEQUENCE.finditer(text):
            if match[3] is not None:
                self._put(match[3])
            elif match[2] is None:
                self._save_or_restore(match[0])
            else:
                numbers = [int(n) for n in match[1].split(";") if n]
                self._control(match[2], numbers)

    def _put(self, character: str) -> None:
        if character == "\n":
            self.column = 0
            self._down()
        else:
            self.cells[self.row][self.column] = character
            self.column += 1

    def _down(self) -> None:
        if self.row == self.bottom - 1:
            self.cells.insert(self.bottom, [" "] * COLUMNS)
            del self.cells[0]
        elif self.row < LINES - 1:
            self.row += 1

    def _save_or_restore(self, sequence: str) -> None:
        if sequence == "\x1b7":
            self.saved = (self.row, self.column)
        else:
            self.row, self.column = self.saved

    def _control(self, kind: str, numbers: list[int]) -> None:
        match kind:
            case "H":
                self.row, self.column = numbers[0] - 1, numbers[1] - 1
            case "A":
                self.row -= numbers[0]
            case "K":
                self.cells[self.row] = [" "] * COLUMNS
            case "J":
                for row in range(self.row, LINES):
                    self.cells[row] = [" "] * COLUMNS
            case _:
                assert kind == "r"
                self.bottom = numbers[1] if numbers else LINES
                # As a terminal does, which is why the cursor must be saved.
                self.row = self.column = 0

    def rows(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.cells]

    @property
    def typed(self) -> str:
        return self.rows()[self.row]


class Pipe(io.StringIO):
    """What a screen writes goes to the terminal at once."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self.terminal = terminal

    def write(self, text: str, /) -> int:
        self.terminal.feed(text)
        return len(text)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setenv("LINES", str(LINES))
    return Terminal()


def test_rows_come_and_go_while_a_line_is_being_typed(terminal: Terminal) -> None:
    screen = Screen(Pipe(terminal), live=True, echo=False)
    for number in range(30):
        screen.say(f"line {number}")
    screen.show(["first", "second"])
    screen.ask()
    for place, character in enumerate("kill,2"):
        terminal.feed(character)
        screen.show([f"cluster {place}", "load " * 20])
        screen.note(f"n{place} has ended")
        assert terminal.typed == PROMPT + "kill,2"[: place + 1]
    screen.show(["cluster", "load"])
    assert terminal.rows()[-ROWS:] == ["─" * COLUMNS, "cluster", "load", "n5 has ended"]
    terminal.feed("\n")
    for number in range(30):
        screen.say(f"reply {number}")
        screen.show(["cluster", "load"])
    # Replies scroll above the rows, and nothing of them is lost below.
    replies = [f"reply {number}" for number in range(30)][-(LINES - ROWS - 1) :]
    assert terminal.rows()[: LINES - ROWS] == [*replies, ""]
    assert terminal.rows()[-ROWS + 1] == "cluster"
    screen.close()
    assert terminal.rows() == [*replies, "", *[""] * ROWS]
    assert terminal.bottom == LINES


def test_a_terminal_that_changes_its_size_gets_its_rows_elsewhere(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(Pipe(terminal), live=True, echo=False)
    screen.show(["cluster", "load"])
    monkeypatch.setenv("LINES", str(HEIGHT_MIN))
    screen.show(["cluster", "load"])
    assert terminal.bottom == HEIGHT_MIN - ROWS
    monkeypatch.setenv("LINES", str(HEIGHT_MIN - 1))
    screen.show(["cluster", "load"])
    assert terminal.bottom == LINES


def test_without_a_terminal_there_are_lines_and_nothing_else() -> None:
    out = io.StringIO()
    screen = Screen(out, live=False, echo=True)
    screen.ask()
    screen.heard("kill 2")
    screen.show(["cluster"])
    screen.note("n2 has ended")
    screen.close()
    assert out.getvalue() == f"{PROMPT}kill 2\nn2 has ended\n"


def test_a_reader_that_has_gone_is_noticed_and_nothing_more_is_written() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        screen = Screen(out, live=False, echo=True)
        screen.say("hello")
        assert screen.broken
        screen.say("more")
