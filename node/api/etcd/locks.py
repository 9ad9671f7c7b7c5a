"""`/v3/lock/…` and `/v3/election/…`: etcd's services for its own recipe.

Law: they are made of what everybody can do with keys, leases and watches, as in etcd;
so they exclude, and are excluded by, whoever follows the recipe by himself. What they
refuse is code 2 with etcd's text, since etcd's are clients of itself.
"""

from typing import Final

import msgspec
from aiohttp import web

from ....wire.commands import encode_delete
from ....wire.fences import Fence
from ....wire.frames import RequestKind
from ....wire.locks import holder_key, leave, proclaim
from ....wire.requests import decode_write_reply
from ..connections import ClientPort
from ..errors import Problem
from ..http_replies import add_common_headers
from ..http_requests import JSON_HEADERS, ask
from ..observing import Leading, Observation, read_leader
from ..places import Place, commit
from .bodies import Body, Number, Text, int64, is_there, octets, unsigned
from .documents import checked_length
from .errors import (
    ELECTION_NOT_LEADER,
    KEY_NOT_PROVIDED,
    LEASE_NOT_FOUND,
    NO_ELECTION_LEADER,
    NO_LEADER_KEY,
    SESSION_EXPIRED,
    UNKNOWN,
    EtcdProblem,
    error_frame,
)
from .leases import Leases
from .replies import (
    CampaignReply,
    HeaderOnly,
    LeaderKey,
    LeaderReply,
    LockReply,
    Speaker,
    key_value,
    message,
    number,
    respond,
)

# What a lease has that is made for somebody who has none: etcd's.
TTL_S: Final = 60
_FOREVER_S: Final = 3600.0


class _Wanted(msgspec.Struct):
    """Of lock and campaign."""

    name: Text = None
    lease: Number = None
    value: Text = None


class _Unlock(msgspec.Struct):
    key: Text = None


class _LeaderKey(msgspec.Struct):
    name: Text = None
    key: Text = None
    rev: Number = None
    lease: Number = None


class _OfLeader(msgspec.Struct):
    """Of proclaim and resign."""

    leader: msgspec.Raw = msgspec.Raw()
    value: Text = None


class _Name(msgspec.Struct):
    name: Text = None


_wanted: Final = Body(_Wanted)
_unlocks: Final = Body(_Unlock)
_leader_keys: Final = Body(_LeaderKey)
_of_leaders: Final = Body(_OfLeader)
_names: Final = Body(_Name)


class _Leadership(msgspec.Struct, frozen=True):
    """What a leader says about itself."""

    fence: Fence
    lease: int
    value: bytes


class Locks:
    """The handlers of both services."""

    def __init__(self, port: ClientPort, speaker: Speaker) -> None:
        self._port: ClientPort = port
        self._speaker: Speaker = speaker
        self._leases: Leases = Leases(port, speaker)

    # -- locks -------------------------------------------------------------------------

    async def lock(self, _: web.BaseRequest, body: bytes) -> web.Response:
        place = self._place(_wanted.parse(body), None)
        # It may have to wait for hours.
        del body
        fence = await _taken(place, SESSION_EXPIRED)
        header = self._speaker.header(place.revision)
        return respond(LockReply(header, fence.key))

    async def unlock(self, _: web.BaseRequest, body: bytes) -> web.Response:
        key = checked_length(octets(_unlocks.parse(body).key))
        if not key:
            raise EtcdProblem(UNKNOWN, KEY_NOT_PROVIDED)
        reply = await ask(self._port, RequestKind.WRITE, encode_delete(key), 0)
        revision = decode_write_reply(reply).revision
        return respond(HeaderOnly(self._speaker.header(revision)))

    # -- elections ---------------------------------------------------------------------

    async def campaign(self, _: web.BaseRequest, body: bytes) -> web.Response:
        said = _wanted.parse(body)
        place = self._place(said, octets(said.value))
        name, lease = said.name, int64(said.lease)
        # The place has the value until it is said.
        del body, said
        fence = await _taken(place, LEASE_NOT_FOUND)
        leader = LeaderKey(
            _name(name),
            fence.key,
            number(fence.revision),
            number(lease or place.lease),
        )
        return respond(CampaignReply(self._speaker.header(place.entered), leader))

    async def proclaim(self, _: web.BaseRequest, body: bytes) -> web.Response:
        said = _leadership(body)
        lease = said.lease
        if not lease:
            # etcd makes one, and the key hangs on it from then on.
            lease = unsigned(int64((await self._leases.grant(0, TTL_S)).lease))
        try:
            reply = await commit(self._port, proclaim(said.fence, lease, said.value))
        except Problem as problem:
            raise _as_etcd(problem, LEASE_NOT_FOUND) from None
        if not reply.succeeded:
            raise EtcdProblem(UNKNOWN, ELECTION_NOT_LEADER)
        return respond(HeaderOnly(self._speaker.header(reply.revision)))

    async def resign(self, _: web.BaseRequest, body: bytes) -> web.Response:
        """Who leads no more already is no error, in etcd."""
        reply = await commit(self._port, leave(_leadership(body).fence))
        return respond(HeaderOnly(self._speaker.header(reply.revision)))

    async def leader(self, _: web.BaseRequest, body: bytes) -> web.Response:
        name = _name(_names.parse(body).name)
        reply = self._shown(await read_leader(self._port, name))
        if reply is None:
            raise EtcdProblem(UNKNOWN, NO_ELECTION_LEADER)
        return respond(reply)

    async def observe(
        self, request: web.BaseRequest, body: bytes
    ) -> web.StreamResponse:
        """A stream of leaders; that nobody leads is not told."""
        name = _name(_names.parse(body).name)
        del body
        response = web.StreamResponse(headers=JSON_HEADERS)
        add_common_headers(response, self._port)
        await response.prepare(request)
        observation = Observation(self._port, name)
        try:
            while True:
                leading = await observation.next(_FOREVER_S)
                reply = None if leading is None else self._shown(leading)
                if reply is not None:
                    await response.write(message(reply))
                # Its value may be large, and the next one long in coming.
                del leading, reply
        except Problem as problem:
            await response.write(error_frame(problem))
        finally:
            observation.close()
        await response.write_eof()
        response.force_close()
        return response

    # -- both --------------------------------------------------------------------------

    def _place(self, said: _Wanted, value: bytes | None) -> Place:
        lease = unsigned(int64(said.lease))
        name, ttl_ms = _name(said.name), TTL_S * 1000
        return Place(self._port, name, lease, ttl_ms, value, as_etcd=True)

    def _shown(self, leading: Leading) -> LeaderReply | None:
        if leading.record is None:
            return None
        header = self._speaker.header(leading.revision)
        return LeaderReply(header, key_value(leading.record))


async def _taken(place: Place, expired: str) -> Fence:
    """Wait for it without end; `expired` is what a lease is called that has ended."""
    try:
        return await place.take(None)
    except Problem as problem:
        raise _as_etcd(problem, expired if place.entered else LEASE_NOT_FOUND) from None


def _as_etcd(problem: Problem, not_found: str) -> Problem:
    if problem.code != "lease_not_found":
        return problem
    told = EtcdProblem(UNKNOWN, not_found)
    told.outcome = problem.outcome
    return told


def _name(said: Text) -> bytes:
    """The name of a lock or an election, under which the longest of its keys fits."""
    name = octets(said)
    checked_length(holder_key(name, 2**63))
    return name


def _leadership(body: bytes) -> _Leadership:
    said = _of_leaders.parse(body)
    if not is_there(said.leader):
        raise EtcdProblem(UNKNOWN, NO_LEADER_KEY)
    leader = _leader_keys.parse(said.leader)
    key, revision = checked_length(octets(leader.key)), int64(leader.rev)
    octets(leader.name)
    if not key:
        raise EtcdProblem(UNKNOWN, KEY_NOT_PROVIDED)
    # No key was made at a revision below 0, nor at the highest one.
    fence = Fence(key, unsigned(revision))
    return _Leadership(fence, unsigned(int64(leader.lease)), octets(said.value))
