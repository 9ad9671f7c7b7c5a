"""`/v1/caretaker`: what keeps as many voters as are wanted, told and asked.

Law: what is told is written to the log, and holds for every leader to come. What it
waits for only the leader knows, so that is empty where another node answers.
"""

from typing import Final

import msgspec
from aiohttp import web

from ...wire.caretaker import CaretakerStatus, SetCaretaker
from ...wire.errors import CommandRefused, ErrorCode
from ...wire.frames import RequestKind
from ...wire.limits import Limits
from ...wire.members import encode_member_command
from ...wire.membership import decode_members
from ...wire.requests import decode_write_reply
from . import targets
from .connections import ClientPort
from .errors import invalid
from .http_body import BodyLimit, parse_json, read_body, refuse_body
from .http_requests import ask, refuse_conditions, respond, timeout_ms
from .targets import Target

PATH: Final = "/v1/caretaker"
METHODS: Final = ("GET", "HEAD", "POST")

_PARAMETERS: Final = frozenset(("timeout",))
_LIMIT: Final = BodyLimit("document", 1024, ErrorCode.REQUEST_TOO_LARGE)


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays as it is."""

    paused: bool | None = None
    voters: int | None = None
    silence_ms: int | None = None
    stable_ms: int | None = None
    lag_ms: int | None = None


class _Told(msgspec.Struct):
    told_by: str
    leader: str | None
    caretaker: CaretakerStatus


_said: Final = msgspec.json.Decoder(_Said)


class Caretaking:
    """The handler of PATH."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._limits: Limits = port.options.limits

    async def handle(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve one of METHODS; raises Problem."""
        refuse_conditions(request, "")
        parameters = targets.parse_query(target.query, _PARAMETERS)
        patience_ms = timeout_ms(parameters, self._limits)
        if request.method == "POST":
            document = await read_body(request, self._port, _LIMIT)
            return await self._set(document, patience_ms)
        await refuse_body(request)
        body = await ask(self._port, RequestKind.MEMBERS, b"", patience_ms)
        known = decode_members(body)
        told = _Told(known.told_by, known.leader, known.caretaker)
        return respond(told, self._port.service.position().revision)

    async def _set(self, document: bytes, patience_ms: int) -> web.Response:
        said = parse_json(_said, document, "the document")
        try:
            given = SetCaretaker(*msgspec.structs.astuple(said))
            command = encode_member_command(given)
        except CommandRefused as refused:
            raise invalid(refused.reason) from None
        body = await ask(self._port, RequestKind.WRITE, command, patience_ms)
        given = msgspec.structs.asdict(said)
        changed = {name: value for name, value in given.items() if value is not None}
        return respond(changed, decode_write_reply(body).revision)
