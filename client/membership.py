"""Members and tokens: who belongs to the cluster, who may join, who leads.

Law: changing members is a wish that is written to the log, and done when a call returns
is the writing: the leader goes there step by step, and `members` shows how far it is. A
token's secret is drawn here; the cluster learns its digest alone.
"""

import math
import secrets
from typing import Final

from ..wire import (
    SECRET_BYTES,
    TOKEN_TTL_MS_MAX,
    TOKEN_USES_MAX,
    DropToken,
    JoinToken,
    MakeToken,
    Member,
    MemberCommand,
    MemberRole,
    Members,
    Reassign,
    RequestKind,
    decode_members,
    decode_write_reply,
    encode_join_token,
    encode_member_command,
    encode_move_leader,
    parse_member_id,
    token_digest,
)
from .calls import Calls
from .endpoints import parse_endpoint
from .errors import InvalidRequest, MemberNotFound, QuorateError

ROLES: Final = {"voter": MemberRole.VOTER, "replica": MemberRole.REPLICA}


class MemberCalls:
    """What can be asked about members, through the calls of a client."""

    def __init__(self, calls: Calls) -> None:
        self._calls: Calls = calls

    async def members(self, timeout: float) -> Members:
        """As some node sees them, or as the leader does, if it can be reached."""
        kind = RequestKind.MEMBERS
        found = await self._calls.call(kind, b"", timeout, decode_members)
        if found.leader in (None, found.told_by):
            return found
        url = next((each.client for each in found.members if each.leads), "")
        try:
            at = parse_endpoint(url)
            return await self._calls.call_at(at, kind, b"", timeout / 2, decode_members)
        except QuorateError:
            # What another node sees is better than nothing.
            return found

    async def create_token(
        self, role: str, ttl: float, uses: int, timeout: float
    ) -> str:
        if role not in ROLES:
            raise InvalidRequest(f"role is {role!r}, not one of {', '.join(ROLES)}")
        ttl_ms = math.ceil(ttl * 1000) if 0 < ttl * 1000 <= TOKEN_TTL_MS_MAX else 0
        if not ttl_ms:
            most = TOKEN_TTL_MS_MAX // 1000
            raise InvalidRequest(f"ttl is {ttl} s, not over 0 and at most {most} s")
        if not 0 < uses <= TOKEN_USES_MAX:
            raise InvalidRequest(f"uses is {uses}, not from 1 to {TOKEN_USES_MAX}")
        authority = bytes.fromhex((await self.members(timeout)).authority)
        number, secret = secrets.randbits(64) or 1, secrets.token_bytes(SECRET_BYTES)
        made = MakeToken(number, token_digest(secret), ttl_ms, uses, ROLES[role])
        await self._write(made, timeout)
        return encode_join_token(JoinToken(authority, number, secret))

    async def drop_token(self, token: str, timeout: float) -> None:
        number = parse_member_id(token)
        if number is None:
            raise InvalidRequest(f"{token!r} is not a token's id: 16 hex digits")
        await self._write(DropToken(number), timeout)

    async def reassign(
        self, member: str, role: MemberRole, successor: str | None, timeout: float
    ) -> None:
        number = await self._number(member, timeout)
        heir = 0 if successor is None else await self._number(successor, timeout)
        if number == heir:
            raise InvalidRequest("a member can't take its own place")
        await self._write(Reassign(number, role, heir), timeout)

    async def move_leader(self, to: str | None, timeout: float) -> None:
        number = 0 if to is None else await self._number(to, timeout)
        body = encode_move_leader(number)
        await self._calls.call(RequestKind.MOVE_LEADER, body, timeout, _nothing)

    async def _number(self, member: str, timeout: float) -> int:
        """The id of a member; what looks like an id is one, everything else a name."""
        number = parse_member_id(member)
        if number is not None:
            return number
        known = await self.members(timeout)
        return int(named_member(known, member).id, 16)

    async def _write(self, command: MemberCommand, timeout: float) -> None:
        body = encode_member_command(command)
        await self._calls.call(RequestKind.WRITE, body, timeout, decode_write_reply)


def named_member(known: Members, name: str) -> Member:
    """The member of this name. Raises MemberNotFound."""
    for each in known.members:
        if each.name == name:
            return each
    raise MemberNotFound(f"there is no member {name!r}")


def _nothing(body: bytes) -> None:
    """That it has begun is all that the reply says."""
