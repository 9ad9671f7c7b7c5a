"""`/v1/txn`: a transaction in JSON.

Law: as for keys, HTTP has no meaning of its own: the document is another spelling of
the command that a native client sends, and the reply of its reply.
"""

from typing import Final

import msgspec
from aiohttp import web

from ...wire.errors import CommandRefused, ErrorCode
from ...wire.fences import fenced, fenced_txn
from ...wire.frames import RequestKind
from ...wire.limits import Limits
from ...wire.requests import ErrorReply
from ...wire.transaction_json import parse_transaction
from ...wire.transaction_replies import TxnResult, decode_txn_reply
from ...wire.transactions import encode_transaction
from . import targets
from .connections import ClientPort
from .errors import Problem, problem_of
from .http_body import BodyLimit, read_body
from .http_records import ShownRecord, shown
from .http_requests import (
    ask,
    check_request,
    refuse_conditions,
    respond,
    timeout_ms,
)
from .targets import Target

PATH: Final = "/v1/txn"
METHODS: Final = ("POST",)

_PARAMETERS: Final = frozenset(("timeout",))


class _Result(msgspec.Struct):
    """What one operation found; `kv` is there when a get found something."""

    found: bool
    kv: ShownRecord | msgspec.UnsetType


class _Committed(msgspec.Struct):
    succeeded: bool
    revision: int
    results: list[_Result]


class Transactions:
    """The handler of PATH."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._limits: Limits = port.options.limits
        # Without fences a command has at most a byte more than the document that spells
        # it, so what a native request may have is enough for both.
        self._document_limit: BodyLimit = BodyLimit(
            "transaction", self._limits.request_bytes_max, ErrorCode.REQUEST_TOO_LARGE
        )

    async def handle(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve one of METHODS; raises Problem."""
        parameters = targets.parse_query(target.query, _PARAMETERS)
        patience_ms = timeout_ms(parameters, self._limits)
        refuse_conditions(request, ": conditions and fences stand in the body")
        document = await read_body(request, self._port, self._document_limit)
        try:
            transaction, fences = parse_transaction(document)
            if fences:
                transaction = fenced(fences, transaction)
            command = encode_transaction(transaction)
        except CommandRefused as error:
            raise Problem(error.code, error.reason) from None
        check_request(command, self._limits)
        # The command holds everything now; nobody else needs it while we wait.
        del document, transaction
        body = await ask(self._port, RequestKind.WRITE, command, patience_ms)
        reply = decode_txn_reply(body)
        if fences:
            inside = fenced_txn(reply)
            if isinstance(inside, ErrorReply):
                raise problem_of(inside)
            reply = inside
        committed = _Committed(
            reply.succeeded, reply.revision, [_result(each) for each in reply.results]
        )
        return respond(committed, reply.revision)


def _result(result: TxnResult) -> _Result:
    record = result.record
    return _Result(result.found, msgspec.UNSET if record is None else shown(record))
