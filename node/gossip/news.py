"""What is new and how often it was passed on: claims that ride on other messages.

Law: one claim about a member at a time, but for a suspicion one from each accuser; what
was told often enough is forgotten (I-76).
"""

from . import rules
from .limits import NEWS_CLAIMS_MAX, NEWS_TICKS, transmissions_max
from .messages import Claim, State


class _Item:
    __slots__ = ("claim", "since", "times")

    def __init__(self, claim: Claim, since: int) -> None:
        self.claim = claim
        self.since = since
        self.times = 0


class NewsQueue:
    """The claims to pass on, those first that were told least."""

    def __init__(self) -> None:
        self.items: list[_Item] = []

    def __bool__(self) -> bool:
        return bool(self.items)

    def add(self, claim: Claim, now: int) -> None:
        """Instead of all that it makes old."""
        if self.items:
            self.items = [i for i in self.items if not _replaces(claim, i.claim)]
        self.items.append(_Item(claim, now))

    def forget(self, member: int) -> None:
        self.items = [item for item in self.items if item.claim.member != member]

    def pick(self, live: int, now: int) -> list[Claim]:
        """What the next message takes with it."""
        times_max = transmissions_max(live)
        self.items = [
            item
            for item in self.items
            if rules.worth_telling(item.times, times_max, now - item.since, NEWS_TICKS)
        ]
        chosen = self.items
        if len(chosen) > NEWS_CLAIMS_MAX:
            chosen = sorted(chosen, key=_times)[:NEWS_CLAIMS_MAX]
        for item in chosen:
            item.times += 1
        return [item.claim for item in chosen]


def _times(item: _Item) -> int:
    return item.times


def _replaces(claim: Claim, other: Claim) -> bool:
    if claim.member != other.member:
        return False
    if claim.state is State.SUSPECT and other.state is State.SUSPECT:
        later = claim.incarnation > other.incarnation
        return later or claim.accuser == other.accuser
    return True
