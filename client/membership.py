"""Members and tokens: who belongs to the cluster, who may join, who leads; a status.

Law: changing members is a wish that is written to the log, and done when a call returns
is the writing: the leader goes there step by step, and `members` shows how far it is. A
token's secret is drawn here; the cluster learns its digest alone. A call has one
deadline, however much it asks.
"""

import asyncio
import math
import secrets
from hashlib import sha256
from operator import index
from typing import Final

import msgspec

from ..wire import (
    SECRET_BYTES,
    TOKEN_TTL_MS_MAX,
    TOKEN_USES_MAX,
    CaretakerStatus,
    CommandRefused,
    DropToken,
    JoinRole,
    JoinToken,
    MakeToken,
    Member,
    MemberCommand,
    MemberRole,
    Members,
    ProtocolError,
    Reassign,
    RequestKind,
    RevokeCertificate,
    Rotate,
    SetCaretaker,
    Step,
    decode_members,
    decode_write_reply,
    encode_join_token,
    encode_member_command,
    encode_move_leader,
    parse_member_id,
    parse_serial,
    token_digest,
)
from .calls import Calls
from .errors import InvalidRequest, MemberNotFound, QuorateError
from .sessions import Writes
from .values import to_seconds, to_timeout

_SECONDS_MAX: Final = 1e9
_status_decoder: Final = msgspec.json.Decoder(dict[str, object])
ROLES: Final = {
    "voter": MemberRole.VOTER,
    "replica": MemberRole.REPLICA,
    "spare": MemberRole.SPARE,
}


class MemberCalls:
    """What can be asked about members, through the calls of a client."""

    def __init__(self, writes: Writes, timeout: float) -> None:
        self._writes: Writes = writes
        self._calls: Calls = writes.calls
        self._timeout: float = timeout

    def until(self, timeout: float | None) -> float:
        """When a call that was given `timeout` is over, on the loop's clock."""
        patience = self._timeout if timeout is None else to_timeout(timeout)
        return asyncio.get_running_loop().time() + patience

    async def members(self, until: float) -> Members:
        """As some node sees them, or as the leader does, if it can be reached."""
        kind = RequestKind.MEMBERS
        found = await self._calls.call(kind, b"", _left(until), decode_members)
        if found.leader in (None, found.told_by):
            return found
        url = next((each.client for each in found.members if each.leads), "")
        try:
            at = self._calls.endpoint(url)
            if not self._calls.allows(at):
                return found
            # Half of it: what this is asked for needs the rest.
            patience = _left(until) / 2
            return await self._calls.call_at(at, kind, b"", patience, decode_members)
        except QuorateError:
            # What another node sees is better than nothing.
            return found

    async def status(
        self, endpoint: str | None, timeout: float | None
    ) -> dict[str, object]:
        patience = _left(self.until(timeout))
        if endpoint is None:
            kind = RequestKind.STATUS
            return await self._calls.call(kind, b"", patience, _decode_status)
        at = self._calls.endpoint(endpoint)
        return await self._calls.call_at(
            at, RequestKind.STATUS, b"", patience, _decode_status
        )

    async def create_token(self, role: str, ttl: float, uses: int, until: float) -> str:
        if role not in ROLES:
            raise InvalidRequest(f"role is {role!r}, not one of {', '.join(ROLES)}")
        fits = 0 < to_seconds("ttl", ttl) * 1000 <= TOKEN_TTL_MS_MAX
        ttl_ms = math.ceil(ttl * 1000) if fits else 0
        if not ttl_ms:
            most = TOKEN_TTL_MS_MAX // 1000
            raise InvalidRequest(f"ttl is {ttl} s, not over 0 and at most {most} s")
        uses = index(uses)
        if not 0 < uses <= TOKEN_USES_MAX:
            raise InvalidRequest(f"uses is {uses}, not from 1 to {TOKEN_USES_MAX}")
        authority = bytes.fromhex((await self.members(until)).authority)
        number, secret = secrets.randbits(64) or 1, secrets.token_bytes(SECRET_BYTES)
        made = MakeToken(number, token_digest(secret), ttl_ms, uses, ROLES[role])
        await self._write(made, until)
        return encode_join_token(JoinToken(authority, number, secret))

    async def drop_token(self, token: str, until: float) -> None:
        number = parse_member_id(token)
        if number is None:
            raise InvalidRequest(f"{token!r} is not a token's id: 16 hex digits")
        await self._write(DropToken(number), until)

    async def reassign(
        self, member: str, role: MemberRole, successor: str | None, until: float
    ) -> None:
        number = await self._number(member, until)
        heir = 0 if successor is None else await self._number(successor, until)
        if number == heir:
            raise InvalidRequest("a member can't take its own place")
        await self._write(Reassign(number, role, heir), until)

    async def set_caretaker(self, said: SetCaretaker, until: float) -> None:
        await self._told(said, until)

    async def rotate(self, step: Step, old: bytes, new: bytes, until: float) -> None:
        if step is Step.TRUST:
            signs = (await self.members(until)).authority
            if sha256(old).hexdigest() != signs:
                raise InvalidRequest(f"the cluster's CA is another one: {signs}")
        await self._told(Rotate(step, old, new), until)

    async def revoke(
        self, member: str | None, serial: str | None, until: float
    ) -> None:
        if (member is None) == (serial is None):
            raise InvalidRequest("a member or a serial number is revoked, not both")
        number = 0 if member is None else await self._number(member, until)
        meant = b"" if serial is None else parse_serial(serial)
        if meant is None:
            raise InvalidRequest(f"{serial!r} is not a serial number in hex digits")
        await self._told(RevokeCertificate(number, meant), until)

    async def _told(self, command: MemberCommand, until: float) -> None:
        try:
            await self._write(command, until)
        except CommandRefused as refused:
            raise InvalidRequest(refused.reason) from None

    async def move_leader(self, to: str | None, until: float) -> None:
        number = 0 if to is None else await self._number(to, until)
        body = encode_move_leader(number)
        kind = RequestKind.MOVE_LEADER
        await self._calls.call(kind, body, _left(until), _nothing)

    async def _number(self, member: str, until: float) -> int:
        """The id of a member; what looks like an id is one, everything else a name."""
        number = parse_member_id(member)
        if number is not None:
            return number
        known = await self.members(until)
        return int(named_member(known, member).id, 16)

    async def _write(self, command: MemberCommand, until: float) -> None:
        body = encode_member_command(command)
        await self._writes.write(body, _left(until), decode_write_reply)


class Membership:
    """What AsyncClient has of it."""

    _member_calls: MemberCalls

    async def status(
        self, endpoint: str | None = None, *, timeout: float | None = None
    ) -> dict[str, object]:
        """What the node at `endpoint`, or some node, tells about itself."""
        return await self._member_calls.status(endpoint, timeout)

    async def members(self, *, timeout: float | None = None) -> Members:
        """Members and tokens, as the leader sees them, or else as some node does."""
        return await self._member_calls.members(self._member_calls.until(timeout))

    async def create_token(
        self,
        role: JoinRole = "voter",
        *,
        ttl: float = 3600.0,
        uses: int = 1,
        timeout: float | None = None,
    ) -> str:
        """The text by which `uses` new members may join within `ttl` seconds.

        They shall be voters, replicas, or spares, which the caretaker makes voters when
        they are needed. Whoever has it can join: it is a secret.
        """
        until = self._member_calls.until(timeout)
        return await self._member_calls.create_token(role, ttl, uses, until)

    async def drop_token(self, token: str, *, timeout: float | None = None) -> None:
        """Let nobody in by this token any more; `token` is its id."""
        await self._member_calls.drop_token(token, self._member_calls.until(timeout))

    async def promote_member(
        self, member: str, *, timeout: float | None = None
    ) -> None:
        """`member`, an id or a name, shall vote, once it has caught up."""
        until = self._member_calls.until(timeout)
        await self._member_calls.reassign(member, MemberRole.VOTER, None, until)

    async def demote_member(self, member: str, *, timeout: float | None = None) -> None:
        """`member` shall be a replica, which has all data and no vote.

        LastVoter when nobody else votes; QuorumAtRisk when too few others are heard.
        """
        until = self._member_calls.until(timeout)
        await self._member_calls.reassign(member, MemberRole.REPLICA, None, until)

    async def remove_member(self, member: str, *, timeout: float | None = None) -> None:
        """`member` shall leave, for ever; as with demote_member, if it is a voter."""
        until = self._member_calls.until(timeout)
        await self._member_calls.reassign(member, MemberRole.LEAVING, None, until)

    async def replace_member(
        self, old: str, new: str, *, timeout: float | None = None
    ) -> None:
        """`new` shall vote, and as soon as it does `old` shall leave."""
        until = self._member_calls.until(timeout)
        await self._member_calls.reassign(old, MemberRole.LEAVING, new, until)

    async def spare_member(self, member: str, *, timeout: float | None = None) -> None:
        """`member` shall be a replica, and vote when it is needed; as demote_member."""
        until = self._member_calls.until(timeout)
        await self._member_calls.reassign(member, MemberRole.SPARE, None, until)

    async def caretaker(self, *, timeout: float | None = None) -> CaretakerStatus:
        """What the caretaker was told, did, and, asked of the leader, waits for."""
        return (await self.members(timeout=timeout)).caretaker

    async def set_caretaker(
        self,
        *,
        paused: bool | None = None,
        voters: int | None = None,
        silence: float | None = None,
        stable: float | None = None,
        lag: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Pause the caretaker, or let it go on; or change what it goes by.

        `voters` are wanted, an odd number up to 7. A voter that is not heard for
        `silence` seconds is replaced by a spare that has been heard for `stable`
        seconds without a break. A leader whose loop is late by `lag` seconds, again and
        again, hands over; 0 is never. What is None stays as it is.
        """
        wanted = None if voters is None else index(voters)
        said = SetCaretaker(
            paused,
            wanted,
            _ms("silence", silence),
            _ms("stable", stable),
            _ms("lag", lag),
        )
        until = self._member_calls.until(timeout)
        await self._member_calls.set_caretaker(said, until)

    async def rotate_authority(
        self, step: Step, old: bytes, new: bytes, *, timeout: float | None = None
    ) -> None:
        """Take the next step from the CA `old` to the CA `new`, both in DER.

        PreconditionFailed when somebody is not ready for it: members().certificates
        says who. `quorate certs rotate` takes all steps.
        """
        until = self._member_calls.until(timeout)
        await self._member_calls.rotate(step, old, new, until)

    async def revoke_certificate(
        self,
        *,
        member: str | None = None,
        serial: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Refuse the certificate with this `serial`, or all of `member`, for ever.

        LastVoter when nobody else votes; QuorumAtRisk when too few others are heard.
        """
        until = self._member_calls.until(timeout)
        await self._member_calls.revoke(member, serial, until)

    async def move_leader(
        self, to: str | None = None, *, timeout: float | None = None
    ) -> None:
        """Begin to hand the leadership to `to`, by default to whoever is furthest."""
        await self._member_calls.move_leader(to, self._member_calls.until(timeout))


def named_member(known: Members, name: str) -> Member:
    """The member of this name. Raises MemberNotFound."""
    for each in known.members:
        # A name may be unknown, and is empty then.
        if name and each.name == name:
            return each
    raise MemberNotFound(f"there is no member {name!r}")


def _decode_status(body: bytes) -> dict[str, object]:
    try:
        return _status_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"a malformed status: {error}") from None


def _left(until: float) -> float:
    return until - asyncio.get_running_loop().time()


def _ms(name: str, seconds: float | None) -> int | None:
    """Milliseconds of something that is checked when it is encoded."""
    if seconds is None:
        return None
    if not 0 <= to_seconds(name, seconds) < _SECONDS_MAX:
        raise InvalidRequest(f"{name} is {seconds} s, no time that can be told")
    # Too little is not nothing, which would be never.
    return round(seconds * 1000) or math.ceil(seconds * 1000)


def _nothing(body: bytes) -> None:
    """That it has begun is all that the reply says."""
