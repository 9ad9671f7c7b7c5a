"""`txn`, and the writes that are one: from etcd's message to a native transaction.

Law: one request is one native transaction, so that it happens as a whole or not at all,
whatever branch is taken. What etcd reads while it writes and the native operations
don't know (a value that is to stay, an old revision) is read before; if it may have
changed since, nothing is done and all is tried again.
"""

import asyncio
import secrets
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from ....wire.errors import CommandRefused, ErrorCode
from ....wire.frames import RequestKind
from ....wire.records import Record, decode_get_reply
from ....wire.requests import GetRequest, Level, encode_get
from ....wire.transaction_replies import TxnReply as NativeReply
from ....wire.transaction_replies import decode_txn_reply
from ....wire.transactions import (
    DEPTH_MAX,
    OPERATIONS_MAX,
    PARTS_MAX,
    READ_BYTES_MAX,
    Compare,
    Relation,
    Target,
    Transaction,
    encode_transaction,
)
from ..connections import ClientPort
from ..errors import Problem
from ..http_requests import ask
from .compiling import Compiler, History, Known, rendered
from .documents import Range
from .errors import (
    KEY_NOT_FOUND,
    RESOURCE_EXHAUSTED,
    TOO_LARGE,
    TOO_MANY_OPERATIONS,
    TOO_MANY_REQUESTS,
    EtcdProblem,
    invalid_argument,
)
from .ranges import Found, collect
from .replies import OperationReply, Speaker, TxnReply
from .txn_documents import Txn, ignoring_puts, old_ranges

# How often a write that builds on what it has read is tried.
TRIES_MAX: Final = 5


class Done(NamedTuple):
    """What came of a transaction."""

    revision: int
    succeeded: bool
    responses: list[OperationReply]


class Transactions:
    """Puts transactions through the service."""

    def __init__(self, port: ClientPort, speaker: Speaker) -> None:
        self._port: ClientPort = port
        self._speaker: Speaker = speaker

    async def answer(self, txn: Txn) -> TxnReply:
        """The answer of /v3/kv/txn; raises Problem."""
        done = await self.do(txn)
        header = self._speaker.header(done.revision)
        return TxnReply(header, done.succeeded, done.responses)

    async def do(self, txn: Txn) -> Done:
        """Do it; raises Problem."""
        keys = list(dict.fromkeys(put.key for put in ignoring_puts(txn)))
        if len(keys) > OPERATIONS_MAX:
            raise invalid_argument(TOO_MANY_OPERATIONS)
        history = await self._history(old_ranges(txn))
        for _ in range(TRIES_MAX):
            found = await asyncio.gather(*map(self._read, keys))
            known = dict(zip(keys, found, strict=True))
            done = await self._try(txn, known, history)
            if done is not None:
                return done
        raise EtcdProblem(RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS)

    async def _try(
        self,
        txn: Txn,
        known: Known,
        history: History,
    ) -> Done | None:
        """None when what is known is not so any more."""
        # No lease has this id; so a put that needs a key which is not there, and only
        # that one, is refused when it is reached, and with it the whole.
        nowhere = 1 << 63 | secrets.randbits(63)
        compiler = Compiler(known, nowhere)
        native = compiler.transaction(txn)
        if known:
            guards = [
                Compare(
                    key,
                    Target.MOD_REVISION,
                    Relation.EQUAL,
                    0 if record is None else record.mod_revision,
                )
                for key, record in known.items()
            ]
            native = Transaction(tuple(guards), (native,), ())
        try:
            reply = await self._commit(native)
        except Problem as problem:
            if problem.code == "lease_not_found" and compiler.used_nowhere:
                raise invalid_argument(KEY_NOT_FOUND) from None
            raise
        revision = reply.revision
        if known:
            if not reply.succeeded:
                return None
            inside = reply.results[0].reply
            assert inside is not None, "a transaction answers with a reply"
            reply = inside
        responses = rendered(txn, history, reply, revision)
        return Done(revision, reply.succeeded, responses)

    async def _commit(self, native: Transaction) -> NativeReply:
        depth, parts = measured(native)
        if depth > DEPTH_MAX or parts > PARTS_MAX:
            raise invalid_argument(TOO_MANY_OPERATIONS)
        try:
            command = encode_transaction(native)
        except CommandRefused as error:
            raise Problem(error.code, error.reason) from None
        if len(command) > self._port.options.limits.request_bytes_max:
            raise invalid_argument(TOO_LARGE)
        body = await ask(self._port, RequestKind.WRITE, command, 0)
        return decode_txn_reply(body)

    async def _read(self, key: bytes) -> Record | None:
        request = encode_get(GetRequest(Level.LINEARIZABLE, 0, 0, key))
        return decode_get_reply(
            await ask(self._port, RequestKind.GET, request, 0)
        ).record

    async def _history(self, wanted: Iterable[Range]) -> History:
        """What was at the old revisions that ranges name: that does not change.

        All of it together has the time of one call: there may be many of them.
        """
        history: History = {}
        left = READ_BYTES_MAX
        patience_s = self._port.options.limits.timeout_ms_default / 1000
        try:
            async with asyncio.timeout(patience_s):
                for each in dict.fromkeys(wanted):
                    found = await self._at_its_revision(each, left)
                    left -= sum(len(r.key) + len(r.value) for r in found.shown)
                    history[each] = found
                    if left < 0:
                        raise invalid_argument(TOO_LARGE)
        except TimeoutError:
            detail = "what was at old revisions was not read in time"
            late = Problem(ErrorCode.DEADLINE_EXCEEDED, detail, outcome="not_applied")
            raise late from None
        return history

    async def _at_its_revision(self, wanted: Range, bytes_max: int) -> Found:
        fresh = msgspec.structs.replace(wanted, serializable=False)
        return await collect(self._port, fresh, bytes_max)


def measured(native: Transaction) -> tuple[int, int]:
    """How deep it is, and how many parts it has at all depths."""
    operations = (*native.then, *native.otherwise)
    inside = [measured(each) for each in operations if isinstance(each, Transaction)]
    depth = 1 + max((depth for depth, _ in inside), default=0)
    parts = len(native.compares) + len(operations)
    return depth, parts + sum(parts for _, parts in inside)
