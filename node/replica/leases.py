"""Who leads keeps the time of all leases; the others know only which there are.

Law: pure. Time is counted in ticks, so that a pause of the process prolongs a lease and
never shortens it; no wall clock is asked. Whoever begins to lead gives every lease its
whole time, from then on (I-60). The end of a lease is written to the log, and from that
moment until it is applied the lease is not found any more. A lease is kept alive from
the moment at which a quorum was asked whether this one still leads, so that nobody who
leads later can end it earlier than its keeper was told.
"""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

from ...wire import KEYS_MAX
from ..database import Database

# New leaders learn of so many leases in one tick; and so many end in one entry.
_LEARNT: Final = 2000
_ENDED: Final = 1000


class Leases:
    """The deadlines of one replica's leases, while it leads; else nothing."""

    def __init__(self, database: Database, tick_ms: int) -> None:
        self.database = database
        self.tick_ms = tick_ms
        self.ticks = 0
        self._deadlines: dict[int, int] = {}
        # (deadline, lease); a lease that was kept alive has an old one in here.
        self._queue: list[tuple[int, int]] = []
        # Those whose end is in the log and not applied yet.
        self._ending: dict[int, None] = {}
        self._to_learn: Iterator[int] = iter(())

    @property
    def now_ms(self) -> int:
        return self.ticks * self.tick_ms

    def lead(self) -> None:
        """From now on this replica keeps the time."""
        self.resign()
        # Those that it has not learnt of yet have no deadline, and so do not end.
        self._to_learn = iter(list(self.database.lease_table.leases))

    def resign(self) -> None:
        self._deadlines, self._queue, self._ending = {}, [], {}
        self._to_learn = iter(())

    def tick(self) -> None:
        self.ticks += 1

    def learn(self) -> None:
        """What was granted, and what there is to be learnt of after an election."""
        granted = self.database.lease_table.granted
        for lease in granted:
            self._begin(lease, self.now_ms)
        granted.clear()
        for _, lease in zip(range(_LEARNT), self._to_learn, strict=False):
            if lease not in self._deadlines:
                self._begin(lease, self.now_ms)

    def _begin(self, lease: int, at_ms: int) -> None:
        known = self.database.lease_table.leases.get(lease)
        if known is None:
            return
        deadline = at_ms + known.ttl_ms
        before = self._deadlines.get(lease)
        if before is None:
            heappush(self._queue, (deadline, lease))
        self._deadlines[lease] = max(deadline, before or 0)

    def due(self) -> list[int]:
        """Leases whose time is over, to be written to the log now."""
        self._forget()
        known = self.database.lease_table.leases
        ended: list[int] = []
        keys = 0
        while self._queue and self._queue[0][0] <= self.now_ms and len(ended) < _ENDED:
            deadline, lease = self._queue[0]
            now = self._deadlines.get(lease)
            if now is None or lease not in known:
                heappop(self._queue)
                self._deadlines.pop(lease, None)
                continue
            if now > deadline:
                heappop(self._queue)
                heappush(self._queue, (now, lease))
                continue
            keys += known[lease].keys
            if ended and keys > KEYS_MAX:
                break
            heappop(self._queue)
            ended.append(lease)
        return ended

    def ending(self, leases: list[int]) -> None:
        """Their end is in the log."""
        self._ending.update(dict.fromkeys(leases))

    def again(self, leases: list[int]) -> None:
        """Their end could not be written: it is due again."""
        for lease in leases:
            heappush(self._queue, (self._deadlines[lease], lease))

    def _forget(self) -> None:
        known = self.database.lease_table.leases
        for lease in [lease for lease in self._ending if lease not in known]:
            del self._ending[lease]
            self._deadlines.pop(lease, None)

    # -- questions ---------------------------------------------------------------------

    def alive(self, lease: int) -> bool:
        """Is there such a lease, whose end is not decided?"""
        return lease in self.database.lease_table.leases and lease not in self._ending

    def keep(self, lease: int, asked_ms: int) -> int:
        """Begin its time anew at `asked_ms`; what is left of it now."""
        self._begin(lease, asked_ms)
        return self.left_ms(lease)

    def left_ms(self, lease: int) -> int:
        """What is left; the whole time of a lease that was not learnt of yet."""
        deadline = self._deadlines.get(lease)
        if deadline is None:
            return self.database.lease_table.leases[lease].ttl_ms
        return max(0, deadline - self.now_ms)
