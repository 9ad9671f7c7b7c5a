"""Writes on their way: waiting for a leader, proposed here, or handed to the leader.

Law: pure. A write that has been proposed or handed on is never sent again (I-56); if
its answer is lost, its outcome is unknown.
"""

from collections import deque
from collections.abc import Sequence
from itertools import accumulate, islice, takewhile
from typing import Final

from ...raft import Entry, Raft, Refused
from ...wire import (
    DEFAULT_LIMITS,
    KEYS_MAX,
    MEMBER_OPS,
    MET_BYTES_MAX,
    OK,
    READ_BYTES_MAX,
    SESSIONS_MAX,
    EnvelopeKind,
    ErrorCode,
    Outcome,
    ProtocolError,
    decode_error,
    encode_envelope_head,
    encode_write_reply,
    key_moved,
)
from ...wire.sessions import IN_SESSION, IN_SESSION_HEAD_BYTES
from ..database import Applied
from ..database.members import MEMBERS_MAX
from . import rules
from .effects import Reply
from .messages import ForwardReply, ForwardRequest
from .options import ReplicaOptions
from .requests import Request, answer, refuse

# What a former leader has to say of a write comes within this, or never.
FORMER_LEADER_MS: Final = 500
# What comes when as many are in flight as may be is queued, no longer than this: who is
# refused at once asks again at once, which costs what a write does (decision 0030).
QUEUE_MS: Final = 100
# Why a command that was committed did nothing.
_REFUSALS: Final = {
    ErrorCode.REQUEST_TOO_LARGE: (
        f"it would read more than {READ_BYTES_MAX} bytes, or replace, delete and pass"
        f" more than {MET_BYTES_MAX}"
    ),
    ErrorCode.COMPACTED: "it was compacted before",
    ErrorCode.FUTURE_REVISION: "there is no such revision yet",
    ErrorCode.LEASE_NOT_FOUND: "there is no such lease",
    ErrorCode.LEASE_EXISTS: "there is such a lease already",
    ErrorCode.TOO_MANY_KEYS: f"more than {KEYS_MAX} keys would be touched at once",
    ErrorCode.MEMBER_NOT_FOUND: "there is no such member",
    ErrorCode.MEMBER_EXISTS: "another member has this id or name",
    ErrorCode.TOO_MANY_MEMBERS: f"the cluster has {MEMBERS_MAX} members already",
    ErrorCode.LAST_VOTER: "it is the last voter",
    ErrorCode.SESSION_NOT_FOUND: "the session is over, or done with this number",
    ErrorCode.TOO_BUSY: f"there are {SESSIONS_MAX} sessions already",
    ErrorCode.UNKNOWN_OUTCOME: "it was done once, and its answer was too large to keep",
    ErrorCode.TOKEN_REFUSED: (
        "there is no such token: it is wrong, over, or used up; or there are too many"
    ),
}
# Of a change of members, certificates or versions, which no key has a part in.
_OUT_OF_TURN: Final = "it does not fit what the cluster is now, or is not its turn"
_TOO_MANY: Final = "too many writes are in flight"
# Handed to the leader in one turn, and one more.
_FORWARD_BYTES_MAX: Final = 8 << 20
_FITS: Final = _FORWARD_BYTES_MAX.__ge__


class Writes:
    """All writes of one replica that have not been answered."""

    def __init__(self, raft: Raft, options: ReplicaOptions) -> None:
        self.raft = raft
        self.options = options
        self.waiting: list[Request] = []
        # What waits for room among those in flight, and until when; the oldest first.
        self.queued: deque[tuple[int, Request]] = deque()
        # Of the leader: questions among what came; they are never proposed.
        self.questions: list[Request] = []
        self.asking = False
        self.later: list[Request] = []
        self.pending: dict[int, tuple[int, Request]] = {}
        self.forwarded: dict[int, tuple[int, Request]] = {}
        self.forward_counter = 0
        # Members that were handed writes, and lead no more: until when they may answer.
        self.former: dict[int, int] = {}
        self.bytes = 0
        self.replies: list[Reply] = []
        self.forwards: list[ForwardRequest] = []
        self.proposals = 0
        self.failed = 0

    def count(self) -> int:
        """How many are in flight; those that wait for room are not."""
        return (
            len(self.waiting)
            + len(self.later)
            + len(self.pending)
            + len(self.forwarded)
        )

    def add(self, request: Request, now_ms: int) -> None:
        """Take an admitted write, or refuse it because too much waits already."""
        options = self.options
        is_full = bool(self.queued) or self.count() >= options.requests_max
        if (
            len(self.queued) >= options.queued_max
            or self.bytes + len(request.body) > options.requests_bytes_max
        ):
            self.replies.append(refuse(request, ErrorCode.TOO_BUSY, _TOO_MANY))
            return
        self.bytes += len(request.body)
        if is_full:
            self.queued.append((now_ms + QUEUE_MS, request))
        else:
            self._start(request)

    def _start(self, request: Request) -> None:
        self.waiting.append(request)
        if request.question is not None:
            self.asking = True

    def has_room(self) -> bool:
        """Could one of those that are queued be in flight now?"""
        return bool(self.queued) and self.count() < self.options.requests_max

    # -- out -----------------------------------------------------------------------

    def send(self, now_ms: int, cluster_time_ms: int, wall_ms: int) -> None:
        """Propose what waits, or hand it to the leader, or let it wait."""
        if self.queued:
            room = self.options.requests_max - self.count()
            for _ in range(min(room, len(self.queued))):
                self._start(self.queued.popleft()[1])
        if not self.waiting:
            return
        if self.raft.is_leader:
            self._propose(cluster_time_ms, wall_ms)
        elif self.raft.leader_id:
            self._forward(now_ms)

    def _propose(self, cluster_time_ms: int, wall_ms: int) -> None:
        if self.asking:
            self._take_questions()
        batch, self.waiting = self.waiting, []
        if not batch:
            return
        head = encode_envelope_head(
            EnvelopeKind.CLIENT_COMMAND, cluster_time_ms, wall_ms
        )
        result = self.raft.propose([head + request.body for request in batch])
        if result is Refused.TRANSFERRING or result is Refused.NOT_LEADER:
            self.waiting = batch  # another leader will be there soon
        elif isinstance(result, Refused):
            for request in batch:
                self._end(request, ErrorCode.TOO_BUSY, "the leader's log is full")
        else:
            index, term = result
            self.proposals += len(batch)
            for request in batch:
                self.pending[index] = (term, request)
                index += 1

    def _take_questions(self) -> None:
        asked = [request for request in self.waiting if request.question is not None]
        self.waiting = [request for request in self.waiting if request.question is None]
        self.asking = False
        self.bytes -= sum(len(request.body) for request in asked)
        self.questions += asked

    def _forward(self, now_ms: int) -> None:
        leader_id = self.raft.leader_id
        room = self.options.forward_limit - len(self.forwarded)
        if room <= 0:
            return
        sizes = accumulate(len(request.body) for request in islice(self.waiting, room))
        # One at least; else no more than a connection takes at once.
        room = min(room, 1 + sum(1 for _ in takewhile(_FITS, sizes)))
        batch, self.waiting = self.waiting[:room], self.waiting[room:]
        for request in batch:
            self.forward_counter += 1
            forward_id = self.raft.options.boot << 32 | self.forward_counter
            self.forwarded[forward_id] = (leader_id, request)
            self.forwards.append(
                ForwardRequest(
                    self.raft.id,
                    leader_id,
                    forward_id,
                    max(1, request.deadline_ms - now_ms),
                    request.body,
                )
            )

    def not_sent(self, forward_ids: Sequence[int]) -> None:
        """Nothing of these left: there is no link to the leader, or no room on it."""
        for forward_id in forward_ids:
            found = self.forwarded.pop(forward_id, None)
            if found is not None:
                self.later.append(found[1])

    # -- answers ---------------------------------------------------------------------

    def applied(self, entries: Sequence[Entry], results: Sequence[Applied]) -> None:
        """Entries were applied here: answer the proposals among them."""
        pending, replies = self.pending, self.replies
        if not pending:
            return
        for entry, result in zip(entries, results, strict=True):
            found = pending.pop(entry.index, None)
            if found is None:
                continue
            term, request = found
            if not rules.fate_is_known(entry.term, term):
                # It lost the lead, and another leader's entries came and were known to
                # be committed, all before its next turn.
                reason = "another leader's entry took its place"
                self._end(request, ErrorCode.NO_LEADER, reason)
            elif result.code:
                code = ErrorCode(result.code)
                self._end(
                    request,
                    code,
                    _reason(code, request, result.revision),
                    result.revision,
                )
            else:
                self.bytes -= len(request.body)
                body = result.reply or encode_write_reply(result.revision, result.count)
                replies.append(answer(request, body))

    def forward_reply(self, message: ForwardReply) -> None:
        found = self.forwarded.pop(message.id, None)
        if found is None:
            return
        _, request = found
        if message.status != OK and _asks_elsewhere(message.body):
            self.later.append(request)
            return
        self.bytes -= len(request.body)
        self.replies.append(
            Reply(
                request.sink,
                request.request_id,
                request.kind,
                message.status,
                message.body,
            )
        )

    # -- loss ------------------------------------------------------------------------

    def leadership_lost(self, commit_index: int) -> None:
        """I-13: what this leader proposed may or may not be committed by the next.

        What it knows to be committed is answered when it is applied.
        """
        gone = [index for index in self.pending if index > commit_index]
        for index in gone:
            _, request = self.pending.pop(index)
            self._lost(request, "leadership was lost before the write was committed")

    def link_lost(self, member: int) -> None:
        """What was handed to `member` will not be answered on this link."""
        self._forwards_lost(member, "the link to the leader broke")

    def _forwards_lost(self, member: int, why: str) -> None:
        gone = [i for i, (to, _) in self.forwarded.items() if to == member]
        for forward_id in gone:
            _, request = self.forwarded.pop(forward_id)
            if rules.lost_forward_is_unknown():
                self._lost(request, why)
            else:
                self.later.append(request)

    def led_by(self, leader: int, now_ms: int) -> None:
        """Another member leads: the former one has a moment to answer.

        It may be frozen, with its links alive; who waits for it is better told.
        """
        self.former.pop(leader, None)
        for to, _ in self.forwarded.values():
            if to != leader:
                self.former.setdefault(to, now_ms + FORMER_LEADER_MS)

    def link_left(self, member: int) -> None:
        """`member` said goodbye after its last answer: the rest it did not take."""
        gone = [i for i, (to, _) in self.forwarded.items() if to == member]
        self.later += [self.forwarded.pop(forward_id)[1] for forward_id in gone]

    def retry(self) -> None:
        """Called at each tick: what a former leader sent back waits for the next."""
        if self.later:
            self.waiting += self.later
            if any(request.question is not None for request in self.later):
                self.asking = True
            self.later = []

    def expire(self, now_ms: int) -> None:
        """End what has passed its deadline."""
        for member in [m for m, until_ms in self.former.items() if until_ms <= now_ms]:
            del self.former[member]
            self._forwards_lost(member, "another node leads, and this one is silent")
        while self.queued and self.queued[0][0] <= now_ms:
            self._end(self.queued.popleft()[1], ErrorCode.TOO_BUSY, _TOO_MANY)
        self.waiting = self._expire_waiting(self.waiting, now_ms)
        self.later = self._expire_waiting(self.later, now_ms)
        for table in (self.pending, self.forwarded):
            for number in [n for n, (_, r) in table.items() if r.deadline_ms <= now_ms]:
                _, request = table.pop(number)
                self._lost(
                    request, "the deadline passed before the write was committed"
                )

    def _expire_waiting(self, requests: list[Request], now_ms: int) -> list[Request]:
        alive = [r for r in requests if r.deadline_ms > now_ms]
        if len(alive) < len(requests):
            for request in requests:
                if request.deadline_ms <= now_ms:
                    reason = "no leader was found before the deadline"
                    self._end(request, ErrorCode.NO_LEADER, reason)
        return alive

    def refuse_waiting(self, code: ErrorCode, message: str) -> None:
        queued = [request for _, request in self.queued]
        for request in self.waiting + self.later + queued:
            self._end(request, code, message)
        self.waiting, self.later = [], []
        self.queued.clear()

    def _lost(self, request: Request, message: str) -> None:
        if rules.outcome_unknown_after_proposal():
            self._end(request, ErrorCode.UNKNOWN_OUTCOME, message)
        else:
            self._end(request, ErrorCode.NO_LEADER, message)

    def _end(
        self, request: Request, code: ErrorCode, message: str, revision: int = 0
    ) -> None:
        self.bytes -= len(request.body)
        self.failed += 1
        self.replies.append(refuse(request, code, message, revision))


def _reason(code: ErrorCode, request: Request, revision: int) -> str:
    """Why a command that was committed did nothing."""
    if code is ErrorCode.PRECONDITION_FAILED:
        body = request.body
        op = body[IN_SESSION_HEAD_BYTES] if body[0] == IN_SESSION else body[0]
        return _OUT_OF_TURN if op in MEMBER_OPS else key_moved(revision)
    return _REFUSALS[code]


def _asks_elsewhere(body: bytes) -> bool:
    """Did the one we took for the leader say that it is not, and did nothing?"""
    try:
        error = decode_error(body, DEFAULT_LIMITS)
    except ProtocolError:
        return False
    return error.code == ErrorCode.NO_LEADER and error.outcome == Outcome.NOT_APPLIED
