"""Ranges of any length, read page by page.

Law: nothing is skipped and nothing comes twice. A page must lie in what is left of the
range, in order, or it is not believed; the next one starts right behind its last key
and is of the same revision.
"""

from collections.abc import AsyncIterator
from typing import Self

from ..wire import (
    Level,
    ProtocolError,
    RangeReply,
    RangeRequest,
    ReadHeader,
    RequestKind,
    decode_range_reply,
    encode_range,
)
from .calls import Calls
from .values import KeyValue

_LIMIT_MAX = 2**32 - 1


class Pager(AsyncIterator[KeyValue]):
    """An asynchronous iterator over the records of a range."""

    def __init__(
        self, calls: Calls, request: RangeRequest, limit: int | None, timeout: float
    ) -> None:
        self._calls: Calls = calls
        self._request: RangeRequest = request
        self._left: int | None = limit
        self._timeout: float = timeout
        self._more: bool = limit != 0
        # The last page from its end, so that taking the next record is a pop.
        self._page: list[KeyValue] = []
        # What all pages show; 0 before the first one.
        self.revision: int = request.revision

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> KeyValue:
        if not self._page:
            self._page = await self.next_page()
            self._page.reverse()
        if not self._page:
            raise StopAsyncIteration
        return self._page.pop()

    async def next_page(self) -> list[KeyValue]:
        """The next records, empty at the end of the range."""
        if not self._more:
            return []
        asked = self._request
        limit = 0 if self._left is None else min(self._left, _LIMIT_MAX)
        request = RangeRequest(
            asked.level,
            asked.max_staleness_ms,
            asked.min_revision,
            asked.start,
            asked.end,
            limit,
            asked.keys_only,
            asked.revision,
        )
        reply = await self._calls.call(
            RequestKind.RANGE,
            encode_range(request),
            self._timeout,
            lambda body: _checked_page(body, request),
            near=asked.level is not Level.LINEARIZABLE,
        )
        self.revision = self.revision or reply.header.revision
        self._go_on(reply)
        return [KeyValue.of(record) for record in reply.records]

    def _go_on(self, reply: RangeReply) -> None:
        if self._left is not None:
            self._left -= len(reply.records)
        self._more = reply.more and self._left != 0
        if not self._more:
            return
        asked = self._request
        # All pages are of the revision that the first one was.
        revision = self.revision
        self._request = RangeRequest(
            asked.level,
            asked.max_staleness_ms,
            max(asked.min_revision, revision),
            reply.records[-1].key + b"\x00",
            asked.end,
            0,
            asked.keys_only,
            revision,
        )


def check_served(header: ReadHeader, level: Level, min_revision: int) -> None:
    """Refuse a read that was served weaker or older than it was asked for."""
    if header.level > level:
        raise ProtocolError(f"a read served as {header.level.name.lower()}")
    if header.revision < min_revision:
        raise ProtocolError(
            f"a read at revision {header.revision}, before {min_revision}"
        )


def _checked_page(body: bytes, request: RangeRequest) -> RangeReply:
    reply = decode_range_reply(body)
    check_served(reply.header, request.level, request.min_revision)
    if request.limit and len(reply.records) > request.limit:
        raise ProtocolError("a page with more records than asked for")
    before = None
    for record in reply.records:
        key = record.key
        if key < request.start or (request.end and key >= request.end):
            raise ProtocolError("a page with a key outside of its range")
        if before is not None and key <= before:
            raise ProtocolError("a page whose keys are not in order")
        before = key
    return reply
