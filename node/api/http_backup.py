"""`/v1/backup`: everything that this node has, as one file.

Law: the answer ends early when anything goes wrong, and then lacks its hash: whoever
reads it notices (docs/formats.md section 9).
"""

import contextlib
from typing import Final

from aiohttp import HttpVersion11, web

from . import targets
from .connections import ClientPort
from .http_body import refuse_body
from .http_replies import add_common_headers
from .http_requests import refuse_conditions, timeout_ms
from .targets import Target

PATH: Final = "/v1/backup"
METHODS: Final = ("GET",)
_PARAMETERS: Final = frozenset(("timeout",))


class Backup:
    """The handler of PATH."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port

    async def handle(
        self, request: web.BaseRequest, target: Target
    ) -> web.StreamResponse:
        """Serve one of METHODS; raises Problem."""
        parameters = targets.parse_query(target.query, _PARAMETERS)
        patience_ms = timeout_ms(parameters, self._port.options.limits)
        refuse_conditions(request, "")
        await refuse_body(request)
        pieces = self._port.service.backup(patience_ms)
        async with contextlib.aclosing(pieces):
            first = await anext(pieces)
            response = web.StreamResponse(
                headers={
                    "Content-Type": "application/octet-stream",
                    "X-Content-Type-Options": "nosniff",
                }
            )
            add_common_headers(response, self._port)
            if request.version >= HttpVersion11:
                response.enable_chunked_encoding()
            else:
                # HTTP/1.0 knows no chunks: the end of the connection is the file's.
                response.force_close()
            await response.prepare(request)
            await response.write(first)
            async for piece in pieces:
                await response.write(piece)
            await response.write_eof()
        return response
