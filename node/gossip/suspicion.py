"""A suspicion: who accuses a member, and how long it has to answer.

Law: the more accuse independently, the shorter; never shorter than the least time, and
whoever accuses twice counts once.
"""

from math import log

from . import rules
from .limits import CONFIRMATIONS, SUSPICION_MAX_MULT, suspicion_ticks_min


class Suspicion:
    """Begun by one accuser at a time, among so many live members."""

    def __init__(self, began: int, accuser: int, live: int) -> None:
        self.began = began
        self.accusers = (accuser,)
        self.least = suspicion_ticks_min(live)
        # Neither the suspect nor the first accuser can confirm.
        self.wanted = max(0, min(CONFIRMATIONS, live - 2))
        self.confirmations = 0
        self.deadline = began + self._ticks()

    def confirm(self, accuser: int) -> bool:
        """True when that is news: one more accuser, and not more than matter."""
        if self.confirmations >= self.wanted:
            return False
        if not rules.is_confirmation(accuser, self.accusers):
            return False
        self.accusers = (*self.accusers, accuser)
        self.confirmations += 1
        self.deadline = self.began + self._ticks()
        return True

    def delay(self, ticks: int) -> None:
        """So long nobody could be heard here."""
        self.began += ticks
        self.deadline += ticks

    def _ticks(self) -> int:
        if not self.wanted:
            return self.least
        most = self.least * SUSPICION_MAX_MULT
        part = log(self.confirmations + 1) / log(self.wanted + 1)
        return max(self.least, int(most - (most - self.least) * part))
