"""Reads on their way: local at once, others after a read index (dissertation 6.4).

Law: pure. All reads that wait share one round; a lost round is asked again by a new id
(I-40). Staleness is counted on this node's own clock, from the moment of asking a
leader that a quorum then confirmed, and looked at again after the read. Replies are
made a turn's worth at a time: all of a round at once may be more than there is memory.
"""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, TypeAlias

import msgspec

from ...raft import Raft
from ...storage.errors import CorruptionError
from ...wire import (
    OK,
    ErrorCode,
    GetRequest,
    Level,
    ProtocolError,
    RangeRequest,
    ReadHeader,
    RequestKind,
    decode_get,
    decode_range,
    encode_get_head,
    encode_get_reply,
    encode_range_reply,
)
from ..database import Database
from ..database.reading import Page
from . import rules
from .effects import Reply
from .lease_keeper import LeaseKeeper, LeaseRead
from .options import ReplicaOptions
from .requests import Request, answer, refuse

_ROUNDS_MAX = 2
_STALENESS_MAX_MS = 0xFFFFFFFF
# Once the replies of a turn have so many bytes, the rest is for the next one. A record
# or key has at least so many, however short it is: it takes time, too.
_TURN_BYTES: Final = 16 << 20
ITEM_BYTES: Final = 512
# And as much as so many what a page of the past passes by at once.
_PASS_BYTES: Final = 2 << 20
# For each read: to look a member up in its class takes several times as long.
_LINEARIZABLE = Level.LINEARIZABLE
_BOUNDED = Level.BOUNDED
_GET = int(RequestKind.GET)
Wanted: TypeAlias = GetRequest | RangeRequest | LeaseRead


class Read(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A read and what it asks for."""

    request: Request
    wanted: Wanted


class Begun(msgspec.Struct, frozen=True, eq=False):
    """A page that takes more than a turn: of `revision`, and of what was known then."""

    read: Read
    wanted: RangeRequest
    as_of_ms: int | None
    revision: int
    page: Page


class Reads:
    """All reads of one replica that have not been answered."""

    def __init__(self, raft: Raft, database: Database, options: ReplicaOptions) -> None:
        self.raft = raft
        self.database = database
        self.options = options
        self.waiting: list[Read] = []
        self.rounds: dict[int, tuple[int, list[Read]]] = {}
        self.confirmed: list[tuple[int, int, list[Read]]] = []
        # How many reads are in rounds, confirmed or not.
        self.asked = 0
        # A heap: the revision that each waits for, its number, and the read.
        self.behind: list[tuple[int, int, Read]] = []
        self._numbers = count()
        self.begun: list[Begun] = []
        self.replies: list[Reply] = []
        # Of the replies of this turn; and whether some were left to the next one.
        self._made_bytes = 0
        self._left = False
        # Not empty: why nothing can be read here (the state machine is damaged).
        self.barred = ""
        self.damage: CorruptionError | None = None
        self.fresh_ms: int | None = None
        self.round_count = 0
        self.gets = 0
        self.keeper: LeaseKeeper | None = None
        # Questions that came back: somebody else leads now.
        self.elsewhere: list[Request] = []

    def count(self) -> int:
        return len(self.waiting) + len(self.behind) + len(self.begun) + self.asked

    def add(self, request: Request, now_ms: int) -> None:
        """Take a read; answers at once when its level allows it."""
        self.gets += 1
        try:
            wanted = self._decode(request)
        except ProtocolError as error:
            self.replies.append(refuse(request, error.code, error.reason))
            return
        if self.barred:
            self.replies.append(refuse(request, ErrorCode.DAMAGED, self.barred))
            return
        read = Read(request, wanted)
        bounded = wanted.level is _BOUNDED
        fresh = bounded and self._is_fresh(wanted, now_ms)
        if not (fresh or rules.answers_alone(wanted.level)):
            self._wait(read)
        elif not self._is_full() and rules.far_enough(
            self.database.revision, wanted.min_revision
        ):
            self._serve_or_wait(read, now_ms)
        elif self._has_room(read):
            self._fall_behind(read)

    def _has_room(self, read: Read) -> bool:
        """May one more wait? It is refused where not."""
        if self.count() < self.options.requests_max:
            return True
        reason = "too many reads are in flight"
        self.replies.append(refuse(read.request, ErrorCode.TOO_BUSY, reason))
        return False

    def _wait(self, read: Read) -> None:
        if self._has_room(read):
            self.waiting.append(read)

    def _fall_behind(self, read: Read) -> None:
        """It is served once its revision is there, in a turn that has room for it."""
        self._left = self._left or self._is_full()
        heappush(self.behind, (read.wanted.min_revision, next(self._numbers), read))

    def _is_full(self) -> bool:
        return self._made_bytes >= _TURN_BYTES

    def due(self) -> bool:
        """Could a turn answer anything now?"""
        return bool(self.replies) or self.left

    @property
    def left(self) -> bool:
        """Does any read wait for nothing but a turn?"""
        return bool(self.begun) or (self._left and bool(self.confirmed or self.behind))

    def take_replies(self) -> list[Reply]:
        """All that was made since the last time."""
        replies, self.replies, self._made_bytes = self.replies, [], 0
        return replies

    def ask(self, request: Request, wanted: LeaseRead) -> None:
        """Take a question for whoever leads, which was admitted as a write is."""
        if self.barred:
            self.replies.append(refuse(request, ErrorCode.DAMAGED, self.barred))
        elif rules.questions_are_confirmed():
            self._wait(Read(request, wanted))
        else:
            self._answer_question(request, wanted)

    def _decode(self, request: Request) -> GetRequest | RangeRequest:
        if request.kind == _GET:
            return decode_get(request.body, self.options.limits)
        return decode_range(request.body, self.options.limits)

    def _is_fresh(self, wanted: Wanted, now_ms: int) -> bool:
        staleness = self._staleness_ms(now_ms)
        return staleness is not None and rules.fresh_enough(
            staleness, wanted.max_staleness_ms
        )

    def _staleness_ms(self, now_ms: int) -> int | None:
        return None if self.fresh_ms is None else max(0, now_ms - self.fresh_ms)

    # -- rounds ----------------------------------------------------------------------

    def can_send(self) -> bool:
        """Does anything wait that somebody could be asked about now?"""
        known = self.raft.leader_id != 0
        return bool(self.waiting) and known and len(self.rounds) < _ROUNDS_MAX

    def send(self, now_ms: int) -> None:
        """Ask for a read index for everything that waits."""
        if not self.can_send():
            return
        read_id = self.raft.read_index()
        if read_id is not None:
            self.round_count += 1
            self.rounds[read_id] = (now_ms, self.waiting)
            self.asked += len(self.waiting)
            self.waiting = []

    def confirm(self, read_id: int, index: int) -> None:
        found = self.rounds.pop(read_id, None)
        if found is not None:
            asked_ms, reads = found
            self.confirmed.append((index, asked_ms, reads))

    def fail(self, read_id: int) -> None:
        """The round is lost; its reads take part in the next one."""
        found = self.rounds.pop(read_id, None)
        if found is not None:
            self.asked -= len(found[1])
            self.waiting = found[1] + self.waiting

    def applied(self, now_ms: int) -> None:
        """Serve what the state machine has reached, as far as there is room."""
        self._left = False
        if self.confirmed:
            left: list[tuple[int, int, list[Read]]] = []
            for index, asked_ms, reads in self.confirmed:
                if not rules.serves_read(self.database.applied_index, index):
                    left.append((index, asked_ms, reads))
                    continue
                if self.fresh_ms is None or asked_ms > self.fresh_ms:
                    self.fresh_ms = asked_ms
                served = self._serve_all(reads, now_ms, asked_ms)
                self.asked -= served
                if served < len(reads):
                    self._left = True
                    left.append((index, asked_ms, reads[served:]))
            self.confirmed = left
        behind, revision = self.behind, self.database.revision
        while behind and rules.far_enough(revision, behind[0][0]):
            if self._is_full():
                self._left = True
                break
            self._serve_or_wait(heappop(behind)[2], now_ms)
        self._read_on(now_ms)

    def _read_on(self, now_ms: int) -> None:
        """Pages come last, or others would wait for them; but one goes on each turn."""
        begun, self.begun = self.begun, []
        for position, each in enumerate(begun):
            if position and self._is_full():
                # Who had no turn now has the first one next time.
                self.begun = begun[position:] + self.begun
                break
            self._go_on(each, now_ms)

    # -- serving -----------------------------------------------------------------------

    def _serve_all(self, reads: list[Read], now_ms: int, asked_ms: int) -> int:
        """As each alone, and shorter for what almost all are: gets of what is newest.

        All of one round are told the same revision and staleness. How many were
        served: the others had no room.
        """
        database, replies = self.database, self.replies
        staleness = min(max(0, now_ms - asked_ms), _STALENESS_MAX_MS)
        header = ReadHeader(database.revision, staleness, _LINEARIZABLE)
        found = encode_get_head(header, found=True)
        for position, read in enumerate(reads):
            if self._made_bytes >= _TURN_BYTES:
                return position
            request, wanted = read.request, read.wanted
            if (
                type(wanted) is not GetRequest
                or wanted.level is not _LINEARIZABLE
                or wanted.revision
                or not rules.far_enough(database.revision, wanted.min_revision)
            ):
                self._serve_or_wait(read, now_ms, asked_ms)
                continue
            try:
                record = database.told(wanted.key)
            except CorruptionError as error:
                replies.append(self._damaged(request, error))
                continue
            if record is None:
                body = encode_get_head(header, found=False)
            else:
                body = found + record
            self._made_bytes += len(body)
            replies.append(Reply(request.sink, request.request_id, _GET, OK, body))
        return len(reads)

    def _damaged(self, request: Request, error: CorruptionError) -> Reply:
        """Said, never guessed; the replica looks at this and heals, or ends."""
        self.damage = error
        return refuse(request, ErrorCode.DAMAGED, str(error))

    def _serve_or_wait(
        self, read: Read, now_ms: int, asked_ms: int | None = None
    ) -> None:
        wanted = read.wanted
        if not rules.far_enough(self.database.revision, wanted.min_revision):
            self._fall_behind(read)
            return
        as_of_ms = self.fresh_ms
        if wanted.level is _LINEARIZABLE:
            if asked_ms is not None:
                as_of_ms = asked_ms
        elif wanted.level is _BOUNDED and not self._is_fresh(wanted, now_ms):
            # It was fresh when it was asked, or its round took too long: ask again.
            self.waiting.append(read)
            return
        if isinstance(wanted, LeaseRead):
            self._answer_question(read.request, wanted)
            return
        unreadable = self.database.readable(wanted.revision)
        if unreadable is not None:
            self.replies.append(self._unreadable(read, unreadable))
            return
        revision = self.database.revision
        if isinstance(wanted, RangeRequest):
            begun = Begun(read, wanted, as_of_ms, revision, self._page(wanted))
            self._go_on(begun, now_ms)
            return
        header = ReadHeader(revision, _shown(as_of_ms, now_ms), wanted.level)
        try:
            record = self.database.get(wanted.key, wanted.revision)
            reply = answer(read.request, encode_get_reply(header, record))
        except CorruptionError as error:
            reply = self._damaged(read.request, error)
        self._made_bytes += len(reply.body)
        self.replies.append(reply)

    def _go_on(self, begun: Begun, now_ms: int) -> None:
        """Read a page on; answer once it is whole, and still as fresh as was asked."""
        request, wanted, page = begun.read.request, begun.wanted, begun.page
        before, room = page.passes, _TURN_BYTES - self._made_bytes
        try:
            whole = page.read(max(1, room // _PASS_BYTES))
        except CorruptionError as error:
            self.replies.append(self._damaged(request, error))
            return
        self._made_bytes += (page.passes - before) * _PASS_BYTES
        if not whole:
            self.begun.append(begun)
            return
        staleness = _shown(begun.as_of_ms, now_ms)
        if wanted.level is _BOUNDED and not rules.fresh_enough(
            staleness, wanted.max_staleness_ms
        ):
            self.waiting.append(begun.read)
            return
        header = ReadHeader(begun.revision, staleness, wanted.level)
        reply = answer(request, encode_range_reply(header, page.records, page.more))
        if wanted.keys_only:
            # Values were read, perhaps so many bytes of them.
            self._made_bytes += self.options.limits.range_bytes_max
        else:
            self._made_bytes += len(page.records) * ITEM_BYTES
        self._made_bytes += len(reply.body)
        self.replies.append(reply)

    def _page(self, wanted: RangeRequest) -> Page:
        limits = self.options.limits
        most = limits.range_records_max
        return self.database.page(
            wanted.start,
            wanted.end or None,
            records_max=min(wanted.limit or most, most),
            bytes_max=limits.range_bytes_max,
            keys_only=wanted.keys_only,
            revision=wanted.revision,
        )

    def _answer_question(self, request: Request, wanted: LeaseRead) -> None:
        assert self.keeper is not None
        try:
            reply = self.keeper.answer(request, wanted)
        except CorruptionError as error:
            reply = self._damaged(request, error)
        if reply is None:
            self.elsewhere.append(request)
        else:
            items = self.keeper.items(wanted.question)
            self._made_bytes += max(len(reply.body), items * ITEM_BYTES)
            self.replies.append(reply)

    def _unreadable(self, read: Read, code: ErrorCode) -> Reply:
        asked, database = read.wanted.revision, self.database
        if code is ErrorCode.COMPACTED:
            reason = f"revision {asked} was compacted; {database.compacted} is kept"
            return refuse(read.request, code, reason, database.compacted)
        reason = f"revision {asked} is not there yet; {database.revision} is the newest"
        return refuse(read.request, code, reason, database.revision)

    # -- deadlines ---------------------------------------------------------------------

    def expire(self, now_ms: int) -> None:
        self.waiting = self._alive(self.waiting, now_ms)
        alive = set(self._alive([read for *_, read in self.behind], now_ms))
        self.behind = [each for each in self.behind if each[2] in alive]
        heapify(self.behind)
        going = set(self._alive([each.read for each in self.begun], now_ms))
        self.begun = [each for each in self.begun if each.read in going]
        for read_id, (asked_ms, reads) in self.rounds.items():
            self.rounds[read_id] = (asked_ms, self._alive(reads, now_ms))
        self.confirmed = [
            (index, asked_ms, self._alive(reads, now_ms))
            for index, asked_ms, reads in self.confirmed
        ]
        groups = [reads for _, reads in self.rounds.values()]
        groups += [reads for _, _, reads in self.confirmed]
        self.asked = sum(map(len, groups))

    def _alive(self, reads: Sequence[Read], now_ms: int) -> list[Read]:
        for read in reads:
            if read.request.deadline_ms <= now_ms:
                self._end(read)
        return [read for read in reads if read.request.deadline_ms > now_ms]

    def _end(self, read: Read) -> None:
        wanted = read.wanted
        if wanted.level is not _LINEARIZABLE:
            reason = "this node could not become as fresh as asked before the deadline"
            self.replies.append(refuse(read.request, ErrorCode.TOO_STALE, reason))
        elif self.raft.leader_id == 0:
            reason = "no leader was found before the deadline"
            self.replies.append(refuse(read.request, ErrorCode.NO_LEADER, reason))
        else:
            reason = "the read was not confirmed before the deadline"
            self.replies.append(
                refuse(read.request, ErrorCode.DEADLINE_EXCEEDED, reason)
            )

    def refuse_all(self, code: ErrorCode, message: str) -> None:
        """The node stops: nothing will be confirmed any more."""
        groups = [self.waiting, [read for *_, read in sorted(self.behind)]]
        groups.append([each.read for each in self.begun])
        groups += [reads for _, reads in self.rounds.values()]
        groups += [reads for _, _, reads in self.confirmed]
        requests = [read.request for group in groups for read in group]
        for request in requests + self.elsewhere:
            self.replies.append(refuse(request, code, message))
        self.waiting, self.behind, self.confirmed = [], [], []
        self.elsewhere, self.begun = [], []
        self.rounds.clear()
        self.asked = 0


def _shown(as_of_ms: int | None, now_ms: int) -> int:
    """How old is told what was known to be the newest at `as_of_ms`."""
    if as_of_ms is None:
        return _STALENESS_MAX_MS
    return min(max(0, now_ms - as_of_ms), _STALENESS_MAX_MS)
