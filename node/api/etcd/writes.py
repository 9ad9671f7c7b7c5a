"""`put`, `deleterange` and `compaction`: one write each.

Law: what is plain is the plain command of a native client; what has to read as well is
the transaction of one operation that says the same.
"""

from ....wire.commands import encode_compact, encode_put
from ....wire.errors import CommandRefused
from ....wire.frames import RequestKind
from ....wire.requests import decode_write_reply
from ..connections import ClientPort
from ..errors import Problem
from ..http_requests import ask
from .documents import DeleteRange, Put
from .errors import COMPACTED, OUT_OF_RANGE, EtcdProblem
from .replies import DeleteRangeReply, HeaderOnly, PutReply, Speaker
from .transactions import Transactions
from .txn_documents import Txn


class Writes:
    """The handlers of /v3/kv/put, /v3/kv/deleterange and /v3/kv/compaction."""

    def __init__(
        self, port: ClientPort, speaker: Speaker, transactions: Transactions
    ) -> None:
        self._port: ClientPort = port
        self._speaker: Speaker = speaker
        self._transactions: Transactions = transactions

    async def put(self, put: Put) -> PutReply:
        if put.prev_kv or put.ignores:
            done = await self._transactions.do(Txn((), (put,), ()))
            answer = done.responses[0].response_put
            assert answer is not None, "a put answers as a put"
            answer.header = self._speaker.header(done.revision)
            return answer
        try:
            command = encode_put(put.key, put.value, None, put.lease)
        except CommandRefused as error:
            raise Problem(error.code, error.reason) from None
        body = await ask(self._port, RequestKind.WRITE, command, 0)
        return PutReply(self._speaker.header(decode_write_reply(body).revision))

    async def delete_range(self, wanted: DeleteRange) -> DeleteRangeReply:
        done = await self._transactions.do(Txn((), (wanted,), ()))
        answer = done.responses[0].response_delete_range
        assert answer is not None, "a deletion answers as a deletion"
        answer.header = self._speaker.header(done.revision)
        return answer

    async def compact(self, revision: int) -> HeaderOnly:
        if revision <= 0:
            # There was nothing before the first revision.
            raise EtcdProblem(OUT_OF_RANGE, COMPACTED)
        command = encode_compact(revision)
        body = await ask(self._port, RequestKind.WRITE, command, 0)
        return HeaderOnly(self._speaker.header(decode_write_reply(body).revision))
