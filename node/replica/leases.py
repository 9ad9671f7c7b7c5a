"""Who leads keeps the time of all leases; the others know only which there are.

Law: pure. Time is counted in ticks, so that a pause of the process prolongs a lease and
never shortens it; no wall clock is asked. Whoever begins to lead gives every lease its
whole time, from then on (I-64). The end of a lease is written to the log, and from that
moment until it is applied the lease is not found any more. A lease is kept alive from
the moment at which a quorum was asked whether this one still leads, so that nobody who
leads later can end it earlier than its keeper was told.

An id may be given again: it is the index of its grant that tells one lease from another
(`since`), here and where its end is applied (I-63).
"""

from collections.abc import Iterator
from heapq import heappop, heappush, heapreplace
from typing import Final

from ..database import Database
from . import rules

# So many leases are looked at in one tick: a new leader learns of so many, of so many
# it is seen that their time has begun anew or that they are gone, and so many are
# forgotten by who led before.
_A_TICK: Final = 2000
# So many may be on their way to their end, and so many keys with those of one entry: an
# end costs every replica about as much as a write for the lease and each key, and a
# hundred thousand at once must leave time for heartbeats.
_ENDING: Final = 100
_ENDING_KEYS: Final = 256
# So many more than there are may be remembered that are none any more.
_GONE_MAX: Final = 1000


class Leases:
    """The deadlines of one replica's leases, while it leads; else nothing."""

    def __init__(self, database: Database, tick_ms: int) -> None:
        self.database = database
        self.tick_ms = tick_ms
        self.ticks = 0
        self._leading_since_ms = 0
        # (since, deadline)
        self._deadlines: dict[int, tuple[int, int]] = {}
        # (deadline, lease, since); a lease that was kept alive has an old one in here.
        self._queue: list[tuple[int, int, int]] = []
        # What was in there when too many were gone, on its way back without them.
        self._untidy: list[tuple[int, int, int]] = []
        # Those whose end is in the log and not applied yet: since when they were.
        self._ending: dict[int, int] = {}
        self._to_learn: Iterator[int] = iter(())
        # Of leads that are over, on their way out of the memory.
        self._outdated: list[dict[int, tuple[int, int]] | list[tuple[int, int, int]]]
        self._outdated = []

    @property
    def now_ms(self) -> int:
        return self.ticks * self.tick_ms

    def lead(self) -> None:
        """From now on this replica keeps the time."""
        self.resign()
        self._leading_since_ms = self.now_ms
        # Those that it has not learnt of yet have no deadline, and so do not end.
        self._to_learn = iter(list(self.database.lease_table.leases))

    def resign(self) -> None:
        """Somebody else leads. What was known of a hundred thousand goes by and by."""
        left = [self._deadlines, self._queue, self._untidy]
        self._outdated += [each for each in left if each]
        self._deadlines, self._ending = {}, {}
        self._queue, self._untidy = [], []
        self._to_learn = iter(())

    def tick(self) -> None:
        self.ticks += 1
        if self._outdated:
            self._let_go()

    def _let_go(self) -> None:
        outdated = self._outdated[-1]
        if isinstance(outdated, list):
            del outdated[-_A_TICK:]
        else:
            for _ in range(min(_A_TICK, len(outdated))):
                outdated.popitem()
        if not outdated:
            del self._outdated[-1]

    def learn(self) -> None:
        """What was granted, and what there is to be learnt of after an election."""
        granted = self.database.lease_table.granted
        for lease in granted:
            known = self.database.lease_table.leases.get(lease)
            if known is not None and known.ends_in_parts:
                # Its end goes on at once, whoever has written the first part.
                self._ending.pop(lease, None)
                self._deadlines.pop(lease, None)
            self._begin(lease, self.now_ms)
        granted.clear()
        self._tidy()
        for _, lease in zip(range(_A_TICK), self._to_learn, strict=False):
            if lease not in self._deadlines:
                self._begin(lease, rules.inherited_from_ms(self.now_ms))

    def _begin(self, lease: int, from_ms: int) -> None:
        """It has its whole time from then on, or more, if it had more."""
        known = self.database.lease_table.leases.get(lease)
        if known is None:
            return
        deadline = from_ms + known.ttl_ms
        since, before = self._deadlines.get(lease, (0, 0))
        if since != known.since:
            heappush(self._queue, (deadline, lease, known.since))
        elif deadline <= before:
            return
        self._deadlines[lease] = (known.since, deadline)

    def _tidy(self) -> None:
        """Forget those that were revoked, whose time would be over in days perhaps.

        By and by: a hundred thousand at once hold the loop for half a second. A heap
        without its last ones is a heap, so both stay good to look for ends in.
        """
        queue, untidy = self._queue, self._untidy
        if not untidy:
            there = len(self.database.lease_table.leases)
            if len(queue) <= 2 * there + _GONE_MAX:
                return
            queue, untidy = self._queue, self._untidy = untidy, queue
        for _ in range(min(_A_TICK, len(untidy))):
            each = untidy.pop()
            _, lease, since = each
            if self._is_there(lease, since):
                heappush(queue, each)
            else:
                self._drop(lease, since)

    def _is_there(self, lease: int, since: int) -> bool:
        known = self.database.lease_table.leases.get(lease)
        return known is not None and known.since == since

    def due(self) -> list[tuple[int, int]]:
        """Leases whose time is over, to be written to the log now."""
        self._forget()
        ended: list[tuple[int, int]] = []
        keys, room = 0, _ENDING - len(self._ending)
        for _ in range(_A_TICK):
            queue = self._next_queue()
            if len(ended) >= room or not queue:
                break
            before, lease, since = queue[0]
            if not rules.is_over(before, self.now_ms):
                break
            known = self.database.lease_table.leases.get(lease)
            if known is None or known.since != since:
                heappop(queue)
                self._drop(lease, since)
                continue
            _, deadline = self._deadlines[lease]
            if not rules.is_over(deadline, self.now_ms):
                heapreplace(queue, (deadline, lease, since))
                continue
            keys += known.keys
            if ended and keys > _ENDING_KEYS:
                break
            heappop(queue)
            ended.append((lease, since))
        return ended

    def _next_queue(self) -> list[tuple[int, int, int]]:
        """The one whose first one is due first, if there is any."""
        queue, untidy = self._queue, self._untidy
        if untidy and not (queue and queue[0] < untidy[0]):
            return untidy
        return queue

    def ending(self, leases: list[tuple[int, int]]) -> None:
        """Their end is in the log."""
        self._ending.update(leases)

    def again(self, leases: list[tuple[int, int]]) -> None:
        """Their end could not be written: it is due again."""
        for lease, since in leases:
            _, deadline = self._deadlines[lease]
            heappush(self._queue, (deadline, lease, since))

    def _forget(self) -> None:
        """What has ended."""
        for lease, since in list(self._ending.items()):
            if not self._is_there(lease, since):
                del self._ending[lease]
                self._drop(lease, since)

    def _drop(self, lease: int, since: int) -> None:
        if self._deadlines.get(lease, (0, 0))[0] == since:
            del self._deadlines[lease]

    # -- questions ---------------------------------------------------------------------

    def alive(self, lease: int) -> bool:
        """Is there such a lease, whose end is not decided?"""
        known = self.database.lease_table.leases.get(lease)
        if known is None or known.ends_in_parts:
            return False
        return self._ending.get(lease) != known.since

    def keep(self, lease: int, asked_ms: int) -> int:
        """Begin its time anew at `asked_ms`; what is left of it now.

        A question may be older than this lead, and others may have led meanwhile.
        """
        since_ms = rules.renewed_from_ms(asked_ms, self._leading_since_ms)
        self._begin(lease, since_ms)
        return self.left_ms(lease)

    def left_ms(self, lease: int) -> int:
        """What is left; the whole time of a lease that was not learnt of yet."""
        known = self.database.lease_table.leases[lease]
        since, deadline = self._deadlines.get(lease, (0, 0))
        if since != known.since:
            return known.ttl_ms
        return max(0, deadline - self.now_ms)
