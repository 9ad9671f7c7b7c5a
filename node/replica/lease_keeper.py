"""Between a replica and its leases: ends those whose time is over, answers for others.

Law: pure. Only a leader that a quorum has just confirmed answers, and only once it has
applied what was committed when it was asked; so it knows of every end that an earlier
leader has written, and "not found" is true.
"""

from itertools import islice
from typing import TYPE_CHECKING

from ...wire import (
    LEASES_LISTED_MAX,
    EnvelopeKind,
    ErrorCode,
    KeepAlive,
    LeaseAnswer,
    LeaseQuestion,
    Level,
    ListLeases,
    TimeToLive,
    encode_expiry,
    encode_lease_answer,
    encode_lease_list,
)
from . import rules
from .effects import Reply
from .forwarder import Forwarder
from .leases import Leases
from .requests import Request, answer, refuse

if TYPE_CHECKING:
    from .core import Replica


class LeaseRead:
    """A question about leases, on its way through a read index round."""

    level = Level.LINEARIZABLE
    max_staleness_ms = 0
    min_revision = 0
    revision = 0

    __slots__ = ("asked_ms", "question")

    def __init__(self, question: LeaseQuestion, asked_ms: int) -> None:
        self.question = question
        self.asked_ms = asked_ms


class LeaseKeeper:
    """`leases` of one replica, and what is done about them as time goes by."""

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica
        self.leases = Leases(replica.database, replica.options.tick_ms)

    def tick(self) -> None:
        """Now and then: write to the log which leases have ended."""
        replica, leases = self.replica, self.leases
        astray, replica.reads.elsewhere = replica.reads.elsewhere, []
        for request in astray:
            replica.writes.add(request, replica.now_ms)
        if not replica.leading:
            replica.database.lease_table.granted.clear()
            return
        leases.learn()
        due = leases.due()
        if not due:
            return
        if replica.propose(encode_expiry(due), EnvelopeKind.EXPIRY):
            if rules.ending_leases_are_gone():
                leases.ending(due)
        else:
            leases.again(due)

    def ask(self) -> None:
        """Questions that have come while this one leads: a quorum is asked first."""
        questions, self.replica.writes.questions = self.replica.writes.questions, []
        for request in questions:
            assert request.question is not None
            read = LeaseRead(request.question, self.leases.now_ms)
            self.replica.reads.ask(request, read)

    def answer(self, request: Request, read: LeaseRead) -> Reply | None:
        """None: somebody else leads now, and has to be asked."""
        replica = self.replica
        # It may have lost the lead in this very turn.
        if not (replica.leading and replica.raft.is_leader):
            if not isinstance(request.sink, Forwarder):
                return None
            # Never handed on twice: the sender finds out who leads by itself.
            return refuse(request, ErrorCode.NO_LEADER, "this node does not lead")
        if self._lists_too_many(read.question):
            reason = f"there are more than {LEASES_LISTED_MAX} leases: ask for pages"
            return refuse(request, ErrorCode.REQUEST_TOO_LARGE, reason)
        body = self._body(read)
        if body is None:
            reason = "there is no such lease"
            return refuse(request, ErrorCode.LEASE_NOT_FOUND, reason)
        most = replica.options.limits.request_bytes_max
        if len(body) > most:
            reason = f"the answer has {len(body)} bytes, over {most}"
            return refuse(request, ErrorCode.REQUEST_TOO_LARGE, reason)
        return answer(request, body)

    def items(self, question: LeaseQuestion) -> int:
        """How many leases and keys are looked at for an answer."""
        leases = self.replica.database.lease_table.leases
        match question:
            case ListLeases(_, limit):
                return limit or min(len(leases), LEASES_LISTED_MAX)
            case TimeToLive(lease, True) if lease in leases:
                return 1 + leases[lease].keys
            case _:
                return 1

    def _lists_too_many(self, question: LeaseQuestion) -> bool:
        """Would the answer keep all others waiting?"""
        if not isinstance(question, ListLeases) or question.limit:
            return False
        return len(self.replica.database.lease_table.leases) > LEASES_LISTED_MAX

    def _body(self, read: LeaseRead) -> bytes | None:
        """The answer; None: there is no such lease."""
        leases, database = self.leases, self.replica.database
        table, revision = database.lease_table, database.revision
        match read.question:
            case ListLeases(after, limit):
                alive = filter(leases.alive, table.above(after))
                page = list(islice(alive, limit or None))
                return encode_lease_list(revision, page)
            case KeepAlive(lease) | TimeToLive(lease) if not leases.alive(lease):
                return None
            case KeepAlive(lease):
                left, keys = leases.keep(lease, read.asked_ms), ()
            case TimeToLive(lease, with_keys):
                left = leases.left_ms(lease)
                keys = tuple(table.keys_of(lease)) if with_keys else ()
        ttl_ms = table.leases[lease].ttl_ms
        return encode_lease_answer(LeaseAnswer(revision, lease, ttl_ms, left, keys))
