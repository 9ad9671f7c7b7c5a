"""How late the shell's loop is, second by second, as the shell measures it.

Law: pure: the time and how late it is are told. One long hold is one late second,
whatever it took; only a loop that is late again and again is a bad place to lead from.
"""

from typing import Final

from . import rules

WINDOW_MS: Final = 1_000
# So many late seconds in a row.
WINDOWS: Final = 5


class Lateness:
    """`most_ms` is the most of the late seconds until now that follow each other."""

    def __init__(self) -> None:
        self.most_ms = 0
        self._began_ms = 0
        self._worst_ms = 0
        self._windows = 0

    def took(self, now_ms: int, late_ms: int, bound_ms: int) -> None:
        """A turn came so late; `bound_ms` is how much is too much, 0 is never."""
        self._worst_ms = max(self._worst_ms, late_ms)
        if now_ms - self._began_ms < WINDOW_MS:
            return
        if rules.loop_is_late(self._worst_ms, bound_ms):
            self._windows += 1
            self.most_ms = max(self.most_ms, self._worst_ms)
        else:
            self._windows = self.most_ms = 0
        self._worst_ms, self._began_ms = 0, now_ms

    def for_long(self) -> bool:
        return rules.late_for_long(self._windows, WINDOWS)

    def forget(self) -> None:
        """Count anew."""
        self.most_ms = self._windows = self._worst_ms = 0
