"""A range whose order is not that of its keys: sorted page by page, then merged.

Law: nobody waits for a sort, as no step of it is larger than a page. What is held until
it has left is counted against the budget that all sorts of a port share.
"""

from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import Self

from ....wire.records import RECORD_HEAD_BYTES, Record
from ..budget import SharedBudget
from .documents import Range, SortOrder
from .errors import RESOURCE_EXHAUSTED, TOO_MANY_KEYS, TOO_MANY_REQUESTS, EtcdProblem


class Sorting:
    """What one answer holds while it is sorted and sent; a context, that lets go."""

    def __init__(self, budget: SharedBudget, wanted: Range, bytes_max: int) -> None:
        self._budget: SharedBudget = budget
        self._wanted: Range = wanted
        self._bytes_max: int = bytes_max
        # Each of them is sorted.
        self._pages: list[list[Record]] = []
        self._held_bytes: int = 0
        self._held: int = 0
        # All that the range has, and what of it was not wanted.
        self.count: int = 0
        self.left_out: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pages.clear()
        self._budget.release(self._held_bytes)
        self._held_bytes = 0

    @property
    def more(self) -> bool:
        """Is not all shown that is wanted?"""
        return 0 < self._wanted.limit < self._held

    def take(self, page: list[Record]) -> None:
        """Add what is wanted of a page; raises Problem when it does not fit."""
        kept = self._wanted.sort(self._wanted.filter(page))
        size = sum(RECORD_HEAD_BYTES + len(each.key) + len(each.value) for each in kept)
        if self._held_bytes + size > self._bytes_max:
            raise EtcdProblem(RESOURCE_EXHAUSTED, TOO_MANY_KEYS)
        if not self._budget.reserve(size):
            raise EtcdProblem(RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS)
        self._held_bytes += size
        self._held += len(kept)
        self.count += len(page)
        self.left_out += len(page) - len(kept)
        if kept:
            self._pages.append(kept)

    def slices(self, size: int) -> Iterator[list[Record]]:
        """What is shown, in order, so many records at a time."""
        # Of what is alike the merge leaves the order of pages, which is that of keys.
        reverse = self._wanted.order is SortOrder.DESCEND
        merged = merge(*self._pages, key=self._wanted.place, reverse=reverse)
        shown = islice(merged, self._wanted.limit or None)
        while piece := list(islice(shown, size)):
            yield piece
