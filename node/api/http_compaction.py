"""`/v1/compaction`: letting go of what only old revisions show.

Law: as for keys, HTTP has no meaning of its own: it is another spelling of the command
that a native client sends. What is let go can't be had back, so which revision stays
has to be said.
"""

from typing import Final

import msgspec
from aiohttp import web

from ...wire.commands import encode_compact
from ...wire.frames import RequestKind
from ...wire.requests import decode_write_reply
from . import targets
from .connections import ClientPort
from .errors import invalid
from .http_body import refuse_body
from .http_requests import ask, refuse_conditions, respond, timeout_ms
from .targets import Target

PATH: Final = "/v1/compaction"
METHODS: Final = ("POST",)

_PARAMETERS: Final = frozenset(("revision", "timeout"))


class _Compacted(msgspec.Struct):
    """`compacted` is the oldest revision that can still be read."""

    compacted: int
    revision: int


class Compactions:
    """The handler of PATH."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port

    async def handle(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve one of METHODS; raises Problem."""
        parameters = targets.parse_query(target.query, _PARAMETERS)
        if "revision" not in parameters:
            raise invalid("revision has to say what is the oldest one to keep")
        kept = targets.revision("revision", parameters["revision"], lowest=1)
        patience_ms = timeout_ms(parameters, self._port.options.limits)
        refuse_conditions(request, "")
        await refuse_body(request)
        command = encode_compact(kept)
        body = await ask(self._port, RequestKind.WRITE, command, patience_ms)
        newest = decode_write_reply(body).revision
        return respond(_Compacted(kept, newest), newest)
