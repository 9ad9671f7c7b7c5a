"""Sessions as the agreed log makes them, in a few plain lines.

Law: no import of the database. Nothing is forgotten here, so that what was done before
is known however long ago that was.
"""

from typing import NamedTuple

from ....wire import CloseSession, ErrorCode, OpenSession, Place


class Came(NamedTuple):
    """What a command came to, and how many keys it changed.

    `revision` is the key's where its condition failed.
    """

    code: ErrorCode | None
    revision: int
    keys: int


class SessionModel:
    """Which sessions are open, and what their numbers came to."""

    def __init__(self) -> None:
        # The index of each one's opening, by its id.
        self.open: dict[bytes, int] = {}
        self.lowest: dict[int, int] = {}
        # By session and number: what was carried out.
        self.done: dict[tuple[int, int], Came] = {}

    def change(self, command: OpenSession | CloseSession, index: int) -> None:
        match command:
            case OpenSession(session):
                since = self.open.setdefault(session, index)
                self.lowest.setdefault(since, 1)
            case CloseSession(session, since):
                if self.open.get(session) == since:
                    del self.open[session]

    def knows(self, place: Place) -> bool:
        """Is the session open, and its client not done with the number?"""
        if self.open.get(place.session) != place.since:
            return False
        return place.sequence >= self.lowest[place.since]

    def takes(self, place: Place) -> bool:
        """Is this to be carried out? Then somebody has to say what it `came` to."""
        if not self.knows(place):
            return False
        self.lowest[place.since] = max(place.lowest, self.lowest[place.since])
        return (place.since, place.sequence) not in self.done

    def came(self, place: Place, to: Came) -> None:
        self.done[place.since, place.sequence] = to
