"""What a database has in memory of its store: all leases and sessions, read in steps.

Law: reads only. A hundred thousand leases take a fifth of a second, and nobody who
holds up a node may take so long; so a state that arrives is read before it is
installed, and each step may be made in a thread.
"""

from collections.abc import Iterator
from typing import Final
from weakref import WeakKeyDictionary

from ...storage.engine import Engine, Incoming, View
from ...storage.errors import CorruptionError
from . import layout
from .leases import Lease, decode_lease
from .sessions import Session, decode_session

_STEP_ENTRIES: Final = 500


class Known:
    """The leases and sessions of a state; all of them once it is `whole`."""

    def __init__(self) -> None:
        self.leases: dict[int, Lease] = {}
        # In the order of their last commands' times.
        self.sessions: dict[bytes, Session] = {}
        self.whole = False

    def read(self, view: View) -> Iterator[int]:
        """Yields how many entries each step had. Raises `CorruptionError`."""
        sessions: dict[bytes, Session] = {}
        count = 0
        for at, data in view.scan(*layout.lease_bounds()):
            self.leases[layout.number_of(at)] = decode_lease(data)
            count += 1
            if count % _STEP_ENTRIES == 0:
                yield _STEP_ENTRIES
        for at, data in view.scan(*layout.session_bounds()):
            number = layout.session_of(at)
            sessions[number] = decode_session(number, data)
            count += 1
            if count % _STEP_ENTRIES == 0:
                yield _STEP_ENTRIES
        order = sorted(sessions.items(), key=lambda each: each[1].active_ms)
        self.sessions = dict(order)
        self.whole = True
        yield count % _STEP_ENTRIES


def known_of(store: Engine) -> Known:
    """All of it at once; nothing, where the store is damaged."""
    known = Known()
    if store.damage is None:
        try:
            for _ in known.read(store.view()):
                pass
        except CorruptionError as damage:
            # As everywhere: the replica sees it and heals, or ends.
            store.condemn(damage)
            return Known()
    return known


class Arrivals:
    """What was read of states that have arrived, for as long as they are held."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Incoming, Known] = WeakKeyDictionary()

    def read(self, incoming: Incoming) -> Iterator[int]:
        """Read what is in memory of a state that was received and checked.

        Where nobody has taken all steps it is read when it is installed, all at once.
        Raises `CorruptionError`.
        """
        known = self._known[incoming] = Known()
        return known.read(incoming.view())

    def taken(self, incoming: Incoming) -> Known | None:
        """What was read of it, if all of that was, for whoever installs it."""
        known = self._known.pop(incoming, None)
        return known if known is not None and known.whole else None
