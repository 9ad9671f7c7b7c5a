"""`/v1/locks/{name}`: take, look at and release locks.

Law: as for keys, HTTP has no meaning of its own. The name is what stands in the path,
percent-decoded once; the lock is the one that etcd's clients know by that name.
"""

from typing import Final

import msgspec
from aiohttp import web

from ...wire.errors import ErrorCode
from ...wire.fences import fence_lost
from ...wire.limits import Limits
from ...wire.locks import leave
from . import targets
from .connections import ClientPort
from .errors import problem_of
from .http_body import BodyLimit, read_body, refuse_body
from .http_requests import refuse_conditions, respond
from .place_bodies import (
    ShownPlace,
    fence_of,
    parse_lock,
    parse_name,
    shown_place,
    shown_taken,
)
from .places import Place, commit, read_queue
from .targets import Target

BELOW: Final = "/v1/locks/"
METHODS: Final = ("GET", "HEAD", "POST", "DELETE")
# So many who wait are shown.
QUEUE_SHOWN_MAX: Final = 100

_BODY_BYTES_MAX: Final = 4096
_NO_PARAMETERS: Final[frozenset[str]] = frozenset()
_RELEASE: Final = frozenset(("token",))
_LABELS: Final = {
    "GET": "lock_show",
    "HEAD": "lock_show",
    "POST": "lock",
    "DELETE": "unlock",
}


def operation(method: str) -> str:
    """The label of a request, from a fixed table."""
    return _LABELS.get(method, "unknown")


class _Line(msgspec.Struct):
    """Who holds the lock, null: nobody; and who waits for it, in order."""

    revision: int
    holder: ShownPlace | None
    waiting: int
    queue: list[ShownPlace]


class Locks:
    """The handler of everything BELOW."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._limits: Limits = port.options.limits
        self._body_limit: BodyLimit = BodyLimit(
            "body", _BODY_BYTES_MAX, ErrorCode.REQUEST_TOO_LARGE
        )

    async def handle(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve one of METHODS; raises Problem."""
        refuse_conditions(request, "")
        name = parse_name(target.path, BELOW, self._limits)
        if request.method == "POST":
            targets.parse_query(target.query, _NO_PARAMETERS)
            return await self._take(request, name)
        await refuse_body(request)
        if request.method == "DELETE":
            parameters = targets.parse_query(target.query, _RELEASE)
            return await release(self._port, name, parameters)
        targets.parse_query(target.query, _NO_PARAMETERS)
        return await self._show(name)

    async def _take(self, request: web.BaseRequest, name: bytes) -> web.Response:
        wanted = parse_lock(await read_body(request, self._port, self._body_limit))
        place = Place(self._port, name, wanted.lease, wanted.ttl_ms)
        fence = await place.take(wanted.wait_s)
        return respond(shown_taken(name, fence, place.lease), fence.revision)

    async def _show(self, name: bytes) -> web.Response:
        revision, queue = await read_queue(self._port, name)
        everybody = queue.all()
        line = _Line(
            revision,
            shown_place(everybody[0]) if everybody else None,
            max(0, len(everybody) - 1),
            [shown_place(each) for each in everybody[1 : QUEUE_SHOWN_MAX + 1]],
        )
        return respond(line, revision)


async def release(
    port: ClientPort, name: bytes, parameters: dict[str, bytes]
) -> web.Response:
    """Give up what a token says; refused when it is lost already."""
    fence, _ = fence_of(name, parameters, port.options.limits)
    reply = await commit(port, leave(fence))
    if not reply.succeeded:
        raise problem_of(fence_lost())
    headers = {"Quorate-Revision": str(reply.revision)}
    return web.Response(status=204, headers=headers)
