"""`range`: one key, or many, at one revision, however large the answer is.

Law: the first page is read as fresh as was asked for, and all others at its revision;
by then this node has that revision, so that they need nobody else. What is held of an
answer is bounded: it leaves in pieces as its pages come, unless it has to be sorted.
What is read and not shown is counted, and bounded too. Between two pages others have
their turn, also where a page is there at once.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from aiohttp import web

from ....wire.frames import RequestKind
from ....wire.records import (
    RECORD_HEAD_BYTES,
    Record,
    decode_get_reply,
    decode_range_reply,
)
from ....wire.requests import (
    GetRequest,
    Level,
    RangeRequest,
    encode_get,
    encode_range,
)
from ..connections import ClientPort
from ..errors import Problem
from ..http_replies import add_common_headers
from ..http_requests import JSON_HEADERS, ask
from .documents import Range
from .errors import (
    RESOURCE_EXHAUSTED,
    TOO_LARGE,
    TOO_MANY_KEYS,
    EtcdProblem,
    invalid_argument,
)
from .replies import (
    Header,
    RangeReply,
    Speaker,
    encode,
    key_values,
    number,
    respond,
)
from .sorting import Sorting

# What is read for an answer and not in it: keys that are only counted, or left out.
COUNTED_KEYS_MAX: Final = 1_000_000
# What an answer that has to be sorted may hold: keys, values and what belongs to them.
SORTED_BYTES_MAX: Final = 64 << 20
# An answer that is larger leaves in pieces of about this size.
PIECE_BYTES: Final = 1 << 20
# Records that are merged, and become JSON, at a time.
_SLICE: Final = 1000
LIMIT_MAX: Final = 2**32 - 1


class Pages:
    """The pages of one range, all at the revision of the first."""

    def __init__(self, port: ClientPort, wanted: Range) -> None:
        assert wanted.end is not None
        self._port: ClientPort = port
        self._end: bytes = wanted.end
        self._start: bytes = wanted.key
        self._revision: int = wanted.revision
        self._level: Level = Level.LOCAL if wanted.serializable else Level.LINEARIZABLE
        # The store's, at the first page.
        self.revision: int = 0
        self.more: bool = True

    async def next(self, limit: int = 0, keys_only: bool = False) -> list[Record]:
        """The next page, of at most `limit` records unless that is 0."""
        if self.revision:
            await asyncio.sleep(0)
        request = RangeRequest(
            self._level,
            0,
            self.revision,
            self._start,
            self._end,
            limit,
            keys_only,
            self._revision,
        )
        body = await ask(self._port, RequestKind.RANGE, encode_range(request), 0)
        reply = decode_range_reply(body)
        if not self.revision:
            self.revision = reply.header.revision
            self._revision = self._revision or self.revision
            self._level = Level.LOCAL
        self.more = reply.more
        if reply.records:
            self._start = reply.records[-1].key + b"\0"
        return reply.records

    def rest(self) -> "Pages":
        """The pages from here on, once more."""
        assert self.revision, "the first page says at which revision"
        other = Pages.__new__(Pages)
        other.__dict__.update(self.__dict__)
        return other


async def read_key(port: ClientPort, wanted: Range) -> tuple[int, Record | None]:
    """The store's revision, and what it has of a single key."""
    level = Level.LOCAL if wanted.serializable else Level.LINEARIZABLE
    request = GetRequest(level, 0, 0, wanted.key, wanted.revision)
    body = await ask(port, RequestKind.GET, encode_get(request), 0)
    reply = decode_get_reply(body)
    return reply.header.revision, reply.record


class Found(NamedTuple):
    """What a range shows, in order, and how many keys it has."""

    shown: list[Record]
    more: bool
    keys: int


async def collect(port: ClientPort, wanted: Range, bytes_max: int) -> Found:
    """All that a range shows, held at once.

    Raises Problem when what has to be held is more than `bytes_max`, or when too much
    has to be counted.
    """
    if wanted.end is None:
        _, record = await read_key(port, wanted)
        found = [] if record is None else [record]
        return Found(*wanted.select(found), len(found))
    pages = Pages(port, wanted)
    # What is to be sorted has to be there first.
    limit = 0 if wanted.sorted else wanted.limit
    kept: list[Record] = []
    size = seen = 0
    more = False
    while pages.more and not wanted.count_only and not 0 < limit <= len(kept):
        room = limit - len(kept)
        asked = 0 if wanted.filtered or not limit else min(room, LIMIT_MAX)
        page = await pages.next(asked, wanted.needs_no_values)
        seen += len(page)
        found = wanted.filter(page)
        if limit:
            more = len(found) > room
            found = found[:room]
        size += sum(RECORD_HEAD_BYTES + len(r.key) + len(r.value) for r in found)
        if size > bytes_max:
            raise invalid_argument(TOO_LARGE)
        kept += found
        if seen - len(kept) > COUNTED_KEYS_MAX:
            raise too_many_keys()
    rest = await _skip(pages, wanted)
    count = seen + rest.keys
    if wanted.count_only:
        return Found([], False, count)
    shown, cut = wanted.select(kept)
    return Found(shown, more or cut or rest.wanted > 0, count)


def reply_of(wanted: Range, records: list[Record], header: Header) -> RangeReply:
    """The whole answer to a range that has these records."""
    shown, more = wanted.select(records)
    kvs = key_values(shown, wanted.keys_only)
    return RangeReply(header, kvs, more, number(len(records)))


def too_many_keys() -> Problem:
    return EtcdProblem(RESOURCE_EXHAUSTED, TOO_MANY_KEYS)


class Ranges:
    """The handler of /v3/kv/range."""

    def __init__(self, port: ClientPort, speaker: Speaker) -> None:
        self._port: ClientPort = port
        self._speaker: Speaker = speaker

    async def answer(
        self, request: web.BaseRequest, wanted: Range
    ) -> web.StreamResponse:
        """Serve a range; raises Problem."""
        if wanted.end is None:
            revision, record = await read_key(self._port, wanted)
            header = self._speaker.header(revision)
            found = [] if record is None else [record]
            return respond(reply_of(wanted, found, header))
        if wanted.count_only:
            return await self._count(wanted)
        out = _Out(self._port, request, self._speaker, wanted)
        try:
            if wanted.sorted:
                return await self._in_other_order(wanted, out)
            return await self._in_order(wanted, out)
        except Problem:
            out.break_off()
            raise

    async def _count(self, wanted: Range) -> web.StreamResponse:
        pages = Pages(self._port, wanted)
        first = await pages.next(keys_only=True)
        rest = await _skip(pages, wanted)
        header = self._speaker.header(pages.revision)
        return respond(RangeReply(header, count=number(len(first) + rest.keys)))

    async def _in_other_order(self, wanted: Range, out: "_Out") -> web.StreamResponse:
        """Nothing leaves before all is there."""
        pages = Pages(self._port, wanted)
        with Sorting(self._port.sorting, wanted, SORTED_BYTES_MAX) as sorting:
            while pages.more:
                sorting.take(await pages.next(keys_only=wanted.needs_no_values))
                if sorting.left_out > COUNTED_KEYS_MAX:
                    raise too_many_keys()
            out.take(pages.revision, [])
            for piece in sorting.slices(_SLICE):
                await asyncio.sleep(0)
                out.take(pages.revision, piece)
                await out.flush()
            return await out.end(sorting.more, sorting.count)

    async def _in_order(self, wanted: Range, out: "_Out") -> web.StreamResponse:
        """Each page leaves when it is there."""
        pages = Pages(self._port, wanted)
        room = wanted.limit
        seen = left_out = 0
        total: int | None = None
        more = False
        while pages.more and (room or not wanted.limit):
            # Where all is shown, a page is not larger than what is missing.
            limit = 0 if wanted.filtered else min(room, LIMIT_MAX)
            page = await pages.next(limit, wanted.keys_only)
            seen += len(page)
            kept = wanted.filter(page)
            left_out += len(page) - len(kept)
            if left_out > COUNTED_KEYS_MAX:
                raise too_many_keys()
            if wanted.limit:
                more = more or len(kept) > room
                kept = kept[:room]
                room -= len(kept)
            out.take(pages.revision, kept)
            if wanted.limit and total is None and out.overflows:
                # Whether the rest can be counted is found out before the first piece.
                rest = await _skip(pages.rest(), wanted)
                total = seen + rest.keys
                more = more or rest.wanted > room
            await out.flush()
        if total is None:
            rest = await _skip(pages, wanted)
            total = seen + rest.keys
            more = more or rest.wanted > 0
        return await out.end(more, total)


class _Skipped(NamedTuple):
    """What was counted and not shown: keys, and those of them that were wanted."""

    keys: int
    wanted: int


async def _skip(pages: Pages, wanted: Range) -> _Skipped:
    """Count the pages that are left."""
    keys = matching = 0
    while pages.more:
        page = await pages.next(keys_only=True)
        keys += len(page)
        matching += sum(map(wanted.wants, page)) if wanted.filtered else len(page)
        if keys > COUNTED_KEYS_MAX:
            raise too_many_keys()
    return _Skipped(keys, matching)


class _Out:
    """An answer on its way: in one piece while it is small."""

    def __init__(
        self,
        port: ClientPort,
        request: web.BaseRequest,
        speaker: Speaker,
        wanted: Range,
    ) -> None:
        self._port: ClientPort = port
        self._request: web.BaseRequest = request
        self._speaker: Speaker = speaker
        self._keys_only: bool = wanted.keys_only
        self._response: web.StreamResponse | None = None
        self._pending: bytearray = bytearray()
        self._empty: bool = True

    @property
    def overflows(self) -> bool:
        return len(self._pending) >= PIECE_BYTES

    def take(self, revision: int, records: Sequence[Record]) -> None:
        """Add records to what is to be sent."""
        if not self._pending and self._response is None:
            header = encode(self._speaker.header(revision))
            self._pending += b'{"header":' + header
        if not records:
            return
        self._pending += b',"kvs":[' if self._empty else b","
        self._empty = False
        self._pending += encode(key_values(records, self._keys_only))[1:-1]

    async def flush(self) -> None:
        """Send what is there, if it is much."""
        if not self.overflows:
            return
        if self._response is None:
            self._response = web.StreamResponse(headers=JSON_HEADERS)
            add_common_headers(self._response, self._port)
            await self._response.prepare(self._request)
        piece, self._pending = bytes(self._pending), bytearray()
        await self._response.write(piece)

    async def end(self, more: bool, count: int) -> web.StreamResponse:
        """Send the rest, or all of it."""
        self._pending += b"" if self._empty else b"]"
        self._pending += b',"more":true' if more else b""
        self._pending += b',"count":"%d"}' % count if count else b"}"
        if self._response is None:
            return web.Response(body=bytes(self._pending), headers=JSON_HEADERS)
        await self._response.write_eof(bytes(self._pending))
        return self._response

    def break_off(self) -> None:
        """What was begun can't become an error: it ends so that it can't seem whole."""
        if self._response is not None and self._request.transport is not None:
            self._request.transport.abort()
