"""Where the prompt is: replies above, and on a terminal some rows below that live.

Law: what is being typed is never touched. The rows below are outside of the region that
scrolls; they are drawn in one write that puts the cursor back where it was. News that
nobody asked for go there, too. Without a terminal there are no such rows, and news are
lines like others.
"""

import os
import shutil
from collections.abc import Sequence
from typing import Final, TextIO

PROMPT: Final = "quorate> "
ROWS: Final = 4
# A terminal that is lower shows replies only.
HEIGHT_MIN: Final = 12
_SAVE, _RESTORE = "\x1b7", "\x1b8"


class Screen:
    """The output of a prompt; `echo` repeats lines that nobody sees being typed."""

    def __init__(self, out: TextIO, *, live: bool, echo: bool) -> None:
        self.broken = False
        self._out = out
        self._live = live
        self._echo = echo
        self._size: tuple[int, int] | None = None
        self._news = ""

    def say(self, text: str) -> None:
        """A reply, or anything else that stays."""
        self._write(f"{text}\n")

    def ask(self) -> None:
        """The next line may be typed."""
        if not self._echo:
            self._write(PROMPT)

    def heard(self, line: str) -> None:
        """A line has come."""
        if self._echo:
            self._write(f"{PROMPT}{line}\n")

    def note(self, news: str) -> None:
        """Something has happened that is no reply."""
        if self._size is None:
            self.say(news)
        else:
            self._news = news

    def show(self, rows: Sequence[str]) -> None:
        """How things are now; does nothing without a terminal."""
        if not self._live or self.broken:
            return
        columns, lines = shutil.get_terminal_size()
        if (columns, lines) != self._size:
            self._fit(columns, lines)
        if self._size is None:
            return
        drawn = ["─" * columns, *rows, self._news][:ROWS]
        first = lines - ROWS + 1
        text = "".join(
            f"\x1b[{first + place};1H\x1b[2K{row[:columns]}"
            for place, row in enumerate(drawn)
        )
        self._write(f"{_SAVE}{text}{_RESTORE}")

    def close(self) -> None:
        """The terminal as it was: all of it scrolls, and the rows are gone."""
        if self._size is not None:
            first = self._size[1] - ROWS + 1
            self._size = None
            self._write(f"{_SAVE}\x1b[r\x1b[{first};1H\x1b[J{_RESTORE}")

    def _fit(self, columns: int, lines: int) -> None:
        """Make room for the rows in a terminal of this size."""
        before, self._size = self._size, None
        if before is not None:
            self._write(f"{_SAVE}\x1b[r{_RESTORE}")
        if lines < HEIGHT_MIN:
            return
        self._size = columns, lines
        # New lines first: the cursor may stand where the rows are to be.
        room = "\n" * ROWS + f"\x1b[{ROWS}A" if before is None else ""
        self._write(f"{room}{_SAVE}\x1b[1;{lines - ROWS}r{_RESTORE}")

    def _write(self, text: str) -> None:
        if self.broken:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:
            self.broken = True
            # What is left in the buffer must not be tried again at the end.
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, self._out.fileno())
            os.close(devnull)
