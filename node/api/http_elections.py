"""`/v1/elections/{name}`: campaign, proclaim, see who leads, resign.

Law: an election is a lock whose holder says something (http_locks.py).
"""

from typing import Final

import msgspec
from aiohttp import web

from ...wire.errors import ErrorCode
from ...wire.fences import Fence, fence_lost
from ...wire.limits import Limits
from ...wire.locks import proclaim
from . import targets
from .connections import ClientPort
from .errors import Problem, invalid, problem_document, problem_of
from .http_body import BodyLimit, read_body, refuse_body
from .http_locks import release
from .http_records import ShownRecord, shown
from .http_replies import add_common_headers
from .http_requests import refuse_conditions, refuse_part, respond
from .observing import Leading, Observation, read_leader
from .place_bodies import fence_of, parse_campaign, parse_name, shown_taken
from .places import Place, commit
from .targets import Target

BELOW: Final = "/v1/elections/"
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE")

# Who observes and is told nothing is told so often that nothing has changed.
QUIET_S: Final = 10.0
_NO_PARAMETERS: Final[frozenset[str]] = frozenset()
_TOKEN: Final = frozenset(("token",))
_LOOK: Final = frozenset(("watch",))

_LABELS: Final = {"POST": "campaign", "PUT": "proclaim", "DELETE": "resign"}
_encoder = msgspec.json.Encoder()


def operation(method: str, query: str) -> str:
    """The label of a request, from a fixed table."""
    if method in ("GET", "HEAD"):
        # Any of them: a repeated one is refused.
        watching = b"1" in targets.values(query, "watch")
        return "observe" if watching else "leader"
    return _LABELS.get(method, "unknown")


class _Led(msgspec.Struct):
    """Who leads at this revision; null, and no token: nobody."""

    revision: int
    leader: ShownRecord | None
    token: str | msgspec.UnsetType = msgspec.UNSET


class _Quiet(msgspec.Struct):
    """Nothing has changed since the line of this revision."""

    revision: int


class _Proclaimed(msgspec.Struct):
    revision: int


class Elections:
    """The handler of everything BELOW."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._limits: Limits = port.options.limits
        self._body_limit: BodyLimit = BodyLimit(
            "body", self._limits.request_bytes_max, ErrorCode.REQUEST_TOO_LARGE
        )
        self._value_limit: BodyLimit = BodyLimit(
            "value", self._limits.value_bytes_max, ErrorCode.VALUE_TOO_LARGE
        )

    async def handle(
        self, request: web.BaseRequest, target: Target
    ) -> web.StreamResponse:
        """Serve one of METHODS; raises Problem."""
        refuse_conditions(request, "")
        name = parse_name(target.path, BELOW, self._limits)
        match request.method:
            case "POST":
                targets.parse_query(target.query, _NO_PARAMETERS)
                return await self._campaign(request, name)
            case "PUT":
                parameters = targets.parse_query(target.query, _TOKEN)
                return await self._proclaim(request, name, parameters)
            case "DELETE":
                await refuse_body(request)
                parameters = targets.parse_query(target.query, _TOKEN)
                return await release(self._port, name, parameters)
            case _:
                await refuse_body(request)
                return await self._look(request, name, target)

    async def _campaign(self, request: web.BaseRequest, name: bytes) -> web.Response:
        wanted = parse_campaign(await read_body(request, self._port, self._body_limit))
        value = wanted.value
        if len(value) > self._limits.value_bytes_max:
            raise self._value_limit.refusal()
        place = Place(self._port, name, wanted.lease, wanted.ttl_ms, value)
        wait_s = wanted.wait_s
        # The place has the value until it is said.
        del wanted, value
        fence = await place.take(wait_s)
        return respond(shown_taken(name, fence, place.lease), fence.revision)

    async def _proclaim(
        self, request: web.BaseRequest, name: bytes, parameters: dict[str, bytes]
    ) -> web.Response:
        refuse_part(request)
        fence, lease = fence_of(name, parameters, self._limits)
        value = await read_body(request, self._port, self._value_limit)
        reply = await commit(self._port, proclaim(fence, lease, value))
        if not reply.succeeded:
            raise problem_of(fence_lost())
        return respond(_Proclaimed(reply.revision), reply.revision)

    # -- who leads ---------------------------------------------------------------------

    async def _look(
        self, request: web.BaseRequest, name: bytes, target: Target
    ) -> web.StreamResponse:
        parameters = targets.parse_query(target.query, _LOOK)
        watching = False
        if "watch" in parameters:
            watching = targets.flag("watch", parameters["watch"])
        if not watching:
            leading = await read_leader(self._port, name)
            return respond(_shown(leading), leading.revision)
        if request.method == "HEAD":
            raise invalid("a HEAD can't watch")
        observation = Observation(self._port, name)
        try:
            return await self._observe(request, observation)
        finally:
            observation.close()

    async def _observe(
        self, request: web.BaseRequest, observation: Observation
    ) -> web.StreamResponse:
        """Lines of JSON: who leads, then each change.

        What is said may be large, and the next one long in coming: nothing of it is
        held meanwhile.
        """
        leading = await observation.next(self._limits.timeout_ms_max / 1000)
        assert leading is not None, "the first is read, not waited for"
        response = web.StreamResponse(
            headers={
                "Content-Type": "application/x-ndjson",
                "Cache-Control": "no-store",
                "X-Content-Type-Options": "nosniff",
                "X-Accel-Buffering": "no",
                "Quorate-Revision": str(leading.revision),
            }
        )
        add_common_headers(response, self._port)
        await response.prepare(request)
        revision = leading.revision
        try:
            while True:
                if leading is None:
                    await response.write(_encoder.encode(_Quiet(revision)) + b"\n")
                else:
                    revision = leading.revision
                    await response.write(_line(leading))
                leading = None
                leading = await observation.next(QUIET_S)
        except Problem as problem:
            await response.write(b'{"error":' + problem_document(problem) + b"}\n")
        await response.write_eof()
        response.force_close()
        return response


def _shown(leading: Leading) -> _Led:
    record = leading.record
    if record is None:
        return _Led(leading.revision, None)
    fence = Fence(record.key, record.create_revision)
    return _Led(leading.revision, shown(record), fence.token)


def _line(leading: Leading) -> bytes:
    return _encoder.encode(_shown(leading)) + b"\n"
