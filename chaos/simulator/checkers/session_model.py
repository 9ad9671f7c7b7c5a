"""Sessions as the agreed log makes them, in a few plain lines.

Law: no import of the database. Nothing is forgotten here, so that what was done before
is known however long ago that was.
"""

from ....wire import CloseSession, OpenSession, Place


class SessionModel:
    """Which sessions are open, and which of their numbers were carried out."""

    def __init__(self) -> None:
        # The index of each one's opening, by its id.
        self.open: dict[bytes, int] = {}
        self.lowest: dict[int, int] = {}
        self.done: set[tuple[int, int]] = set()

    def change(self, command: OpenSession | CloseSession, index: int) -> None:
        match command:
            case OpenSession(session):
                since = self.open.setdefault(session, index)
                self.lowest.setdefault(since, 1)
            case CloseSession(session, since):
                if self.open.get(session) == since:
                    del self.open[session]

    def takes(self, place: Place) -> bool:
        """Is this to be carried out? From now on it was."""
        if self.open.get(place.session) != place.since:
            return False
        if place.sequence < self.lowest[place.since]:
            return False
        self.lowest[place.since] = max(place.lowest, self.lowest[place.since])
        at = (place.since, place.sequence)
        if at in self.done:
            return False
        self.done.add(at)
        return True
