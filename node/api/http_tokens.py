"""`/v1/tokens`: by which new members may join.

Law: the secret is drawn here, is in the answer and nowhere else: the cluster keeps its
digest. Whoever reaches this port can let members in, as he can read and write all keys
(docs/security.md).
"""

import secrets
from typing import Final

import msgspec
from aiohttp import web

from ...wire.frames import RequestKind
from ...wire.ids import id_name
from ...wire.join_tokens import (
    SECRET_BYTES,
    JoinToken,
    encode_join_token,
    token_digest,
)
from ...wire.limits import Limits
from ...wire.members import (
    TOKEN_TTL_MS_MAX,
    TOKEN_USES_MAX,
    DropToken,
    MakeToken,
    MemberCommand,
    MemberRole,
    encode_member_command,
)
from ...wire.membership import Members, Token, decode_members
from ...wire.requests import WriteReply, decode_write_reply
from . import targets
from .connections import ClientPort
from .errors import invalid
from .http_body import refuse_body
from .http_members import parse_id
from .http_requests import ask, refuse_conditions, respond, timeout_ms
from .targets import Target

PATH: Final = "/v1/tokens"
METHODS: Final = ("GET", "HEAD", "POST")
BELOW: Final = PATH + "/"
ONE_METHODS: Final = ("DELETE",)

TTL_DEFAULT: Final = b"1h"
_TTL_MS_MIN: Final = 1000
_ROLES: Final[dict[bytes, tuple[MemberRole, str]]] = {
    b"voter": (MemberRole.VOTER, "voter"),
    b"replica": (MemberRole.REPLICA, "replica"),
    b"spare": (MemberRole.SPARE, "spare"),
}
_MAKE: Final = frozenset(("role", "ttl", "uses", "timeout"))
_ONLY_TIMEOUT: Final = frozenset(("timeout",))


class _Tokens(msgspec.Struct):
    tokens: tuple[Token, ...]


class _Made(msgspec.Struct):
    """`token` is the whole text, with the secret."""

    id: str
    token: str
    role: str
    uses: int
    ttl_ms: int


class _Dropped(msgspec.Struct):
    id: str


class Tokens:
    """The handlers of PATH and of a token below it."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._limits: Limits = port.options.limits

    async def handle_all(
        self, request: web.BaseRequest, target: Target
    ) -> web.Response:
        """Serve one of METHODS at PATH; raises Problem."""
        refuse_conditions(request, "")
        await refuse_body(request)
        if request.method == "POST":
            return await self._make(targets.parse_query(target.query, _MAKE))
        parameters = targets.parse_query(target.query, _ONLY_TIMEOUT)
        known = await self._members(parameters)
        return respond(_Tokens(known.tokens), self._port.service.position().revision)

    async def handle_one(
        self, request: web.BaseRequest, target: Target
    ) -> web.Response:
        """Serve one of ONE_METHODS at a token; raises Problem."""
        refuse_conditions(request, "")
        await refuse_body(request)
        parameters = targets.parse_query(target.query, _ONLY_TIMEOUT)
        number = parse_id("a token", target.path.removeprefix(BELOW))
        written = await self._write(DropToken(number), parameters)
        return respond(_Dropped(id_name(number)), written.revision)

    async def _make(self, parameters: dict[str, bytes]) -> web.Response:
        role, name = _ROLES.get(parameters.get("role", b"voter"), (None, ""))
        if role is None:
            raise invalid("role has to be voter, replica or spare")
        ttl = parameters.get("ttl", TTL_DEFAULT)
        ttl_ms = targets.duration_ms("ttl", ttl, _TTL_MS_MIN, TOKEN_TTL_MS_MAX)
        uses = targets.number("uses", parameters.get("uses", b"1"), 1, TOKEN_USES_MAX)
        known = await self._members(parameters)
        number = secrets.randbits(64) or 1
        secret = secrets.token_bytes(SECRET_BYTES)
        command = MakeToken(number, token_digest(secret), ttl_ms, uses, role)
        written = await self._write(command, parameters)
        authority = bytes.fromhex(known.authority)
        text = encode_join_token(JoinToken(authority, number, secret))
        made = _Made(id_name(number), text, name, uses, ttl_ms)
        return respond(made, written.revision, {"Cache-Control": "no-store"}, 201)

    async def _members(self, parameters: dict[str, bytes]) -> Members:
        patience_ms = timeout_ms(parameters, self._limits)
        return decode_members(
            await ask(self._port, RequestKind.MEMBERS, b"", patience_ms)
        )

    async def _write(
        self, command: MemberCommand, parameters: dict[str, bytes]
    ) -> WriteReply:
        patience_ms = timeout_ms(parameters, self._limits)
        body = encode_member_command(command)
        return decode_write_reply(
            await ask(self._port, RequestKind.WRITE, body, patience_ms)
        )
