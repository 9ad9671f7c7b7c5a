"""`/v1/members` and `/v1/leader`: who belongs to the cluster, and who shall lead it.

Law: as for keys, HTTP has no meaning of its own. What is changed here is a wish, and
its answer says that it is written down: the leader goes there step by step
(docs/membership.md).
"""

from typing import Final, TypeVar

import msgspec
from aiohttp import web

from ...wire.errors import ErrorCode
from ...wire.frames import RequestKind
from ...wire.ids import id_name
from ...wire.limits import Limits
from ...wire.members import MemberRole, Reassign, encode_member_command
from ...wire.membership import encode_move_leader, parse_member_id
from ...wire.requests import decode_write_reply
from . import targets
from .connections import ClientPort
from .errors import invalid
from .http_body import BodyLimit, parse_json, read_body, refuse_body
from .http_requests import (
    JSON_HEADERS,
    ask,
    refuse_conditions,
    respond,
    timeout_ms,
)
from .targets import Target

PATH: Final = "/v1/members"
METHODS: Final = ("GET", "HEAD")
BELOW: Final = PATH + "/"
ONE_METHODS: Final = ("DELETE",)
PROMOTE: Final = "/promote"
DEMOTE: Final = "/demote"
REPLACE: Final = "/replace"
SPARE: Final = "/spare"
CHANGE_METHODS: Final = ("POST",)
LEADER_PATH: Final = "/v1/leader"
LEADER_METHODS: Final = ("POST",)

_PARAMETERS: Final = frozenset(("timeout",))
_LIMIT: Final = BodyLimit("document", 1024, ErrorCode.REQUEST_TOO_LARGE)
_VOTES: Final = (MemberRole.VOTER, "voter")
_LEARNS: Final = (MemberRole.REPLICA, "replica")
_LEAVES: Final = (MemberRole.LEAVING, "leaving")
_SPARES: Final = (MemberRole.SPARE, "spare")

T = TypeVar("T")


class _Successor(msgspec.Struct, forbid_unknown_fields=True):
    successor: str = msgspec.field(name="with")


class _Leader(msgspec.Struct, forbid_unknown_fields=True):
    to: str | None = None


class _Wished(msgspec.Struct):
    """`successor`: who is to vote before the member goes."""

    id: str
    wanted: str
    successor: str | msgspec.UnsetType = msgspec.UNSET


_successors: Final = msgspec.json.Decoder(_Successor)
_leaders: Final = msgspec.json.Decoder(_Leader)


class Members:
    """The handlers of PATH, of a member below it, of its changes, of LEADER_PATH."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._limits: Limits = port.options.limits

    async def handle_all(
        self, request: web.BaseRequest, target: Target
    ) -> web.Response:
        """Serve one of METHODS at PATH; raises Problem."""
        patience_ms = self._patience_ms(request, target)
        await refuse_body(request)
        body = await ask(self._port, RequestKind.MEMBERS, b"", patience_ms)
        revision = str(self._port.service.position().revision)
        headers = {**JSON_HEADERS, "Quorate-Revision": revision}
        return web.Response(body=body, headers=headers)

    async def remove(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve DELETE of a member; raises Problem."""
        await refuse_body(request)
        return await self._reassign(request, target, "", _LEAVES)

    async def promote(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve PROMOTE of a member; raises Problem."""
        await refuse_body(request)
        return await self._reassign(request, target, PROMOTE, _VOTES)

    async def demote(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve DEMOTE of a member; raises Problem."""
        await refuse_body(request)
        return await self._reassign(request, target, DEMOTE, _LEARNS)

    async def spare(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve SPARE of a member; raises Problem."""
        await refuse_body(request)
        return await self._reassign(request, target, SPARE, _SPARES)

    async def replace(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve REPLACE of a member; raises Problem."""
        document = await read_body(request, self._port, _LIMIT)
        said = parse_json(_successors, document, "the document")
        successor = parse_id("with", said.successor)
        return await self._reassign(request, target, REPLACE, _LEAVES, successor)

    async def move_leader(
        self, request: web.BaseRequest, target: Target
    ) -> web.Response:
        """Serve one of LEADER_METHODS at LEADER_PATH; raises Problem."""
        patience_ms = self._patience_ms(request, target)
        document = await read_body(request, self._port, _LIMIT)
        named = parse_json(_leaders, document or b"{}", "the document").to
        member = 0 if named is None else parse_id("to", named)
        body = encode_move_leader(member)
        await ask(self._port, RequestKind.MOVE_LEADER, body, patience_ms)
        # It has begun; whether it comes to that the status will show.
        return web.Response(status=202, body=b"{}", headers=JSON_HEADERS)

    async def _reassign(
        self,
        request: web.BaseRequest,
        target: Target,
        ending: str,
        wanted: tuple[MemberRole, str],
        successor: int = 0,
    ) -> web.Response:
        role, name = wanted
        patience_ms = self._patience_ms(request, target)
        text = target.path.removeprefix(BELOW).removesuffix(ending)
        member = parse_id("a member", text)
        if member == successor:
            raise invalid("a member can't take its own place")
        command = encode_member_command(Reassign(member, role, successor))
        body = await ask(self._port, RequestKind.WRITE, command, patience_ms)
        wished = _Wished(id_name(member), name)
        if successor:
            wished.successor = id_name(successor)
        return respond(wished, decode_write_reply(body).revision)

    def _patience_ms(self, request: web.BaseRequest, target: Target) -> int:
        refuse_conditions(request, "")
        parameters = targets.parse_query(target.query, _PARAMETERS)
        return timeout_ms(parameters, self._limits)


def parse_id(what: str, text: str) -> int:
    """The id that 16 hex digits name."""
    member = parse_member_id(text)
    if member is None:
        raise invalid(f"{what} has to be 16 hex digits, not all of them 0")
    return member
