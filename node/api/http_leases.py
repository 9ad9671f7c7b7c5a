"""`/v1/leases`: make, look at, keep alive and end leases.

Law: as for keys, HTTP has no meaning of its own. An id is 16 hex digits here, as all
ids are; who names none gets a random one.
"""

import secrets
from typing import Final

import msgspec
from aiohttp import web

from ...wire.errors import ErrorCode
from ...wire.frames import RequestKind
from ...wire.ids import id_name, named_id
from ...wire.leases import (
    LEASES_PAGE_MAX,
    TTL_MS_MAX,
    TTL_MS_MIN,
    Grant,
    KeepAlive,
    LeaseAnswer,
    LeaseCommand,
    ListLeases,
    Revoke,
    TimeToLive,
    decode_lease_answer,
    decode_lease_list,
    encode_lease_command,
)
from ...wire.limits import Limits
from ...wire.requests import decode_write_reply
from . import targets
from .connections import ClientPort
from .errors import Problem, invalid
from .http_body import refuse_body
from .http_records import shown_key
from .http_requests import ask, refuse_conditions, respond, timeout_ms
from .targets import Target

PATH: Final = "/v1/leases"
METHODS: Final = ("GET", "HEAD", "POST")
BELOW: Final = PATH + "/"
ONE_METHODS: Final = ("GET", "HEAD", "DELETE")
KEEP_ALIVE: Final = "/keepalive"
KEEP_METHODS: Final = ("POST",)

_UINT32_MAX: Final = 2**32 - 1
_GRANT: Final = frozenset(("ttl", "id", "timeout"))
_SHOW: Final = frozenset(("keys", "timeout"))
_LIST: Final = frozenset(("limit", "cursor", "timeout"))
_ONLY_TIMEOUT: Final = frozenset(("timeout",))


class _Key(msgspec.Struct):
    key: str | None
    key64: str


class _Lease(msgspec.Struct):
    """`left_ms` and `keys` are there where they were asked for."""

    lease: str
    ttl_ms: int
    left_ms: int | msgspec.UnsetType = msgspec.UNSET
    keys: list[_Key] | msgspec.UnsetType = msgspec.UNSET


class _Leases(msgspec.Struct):
    """One page. `cursor` asks for the next one, and is null on the last."""

    revision: int
    more: bool
    cursor: str | None
    leases: list[str]


class _Ended(msgspec.Struct):
    revision: int
    deleted: int


class Leases:
    """The handlers of PATH, of a lease below it, and of its KEEP_ALIVE."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._limits: Limits = port.options.limits

    async def handle_all(
        self, request: web.BaseRequest, target: Target
    ) -> web.Response:
        """Serve one of METHODS at PATH; raises Problem."""
        await _refuse_rest(request)
        if request.method == "POST":
            return await self._grant(target)
        return await self._list(target)

    async def handle_one(
        self, request: web.BaseRequest, target: Target
    ) -> web.Response:
        """Serve one of ONE_METHODS at a lease; raises Problem."""
        await _refuse_rest(request)
        lease = parse_lease(target.path.removeprefix(BELOW))
        if request.method == "DELETE":
            parameters = targets.parse_query(target.query, _ONLY_TIMEOUT)
            ended = decode_write_reply(await self._ask(Revoke(lease), parameters))
            return respond(_Ended(ended.revision, ended.count), ended.revision)
        parameters = targets.parse_query(target.query, _SHOW)
        with_keys = False
        if "keys" in parameters:
            with_keys = targets.flag("keys", parameters["keys"])
        body = await self._ask(TimeToLive(lease, with_keys), parameters)
        answer = decode_lease_answer(body)
        return respond(_shown(answer, with_keys=with_keys), answer.revision)

    async def handle_keep_alive(
        self, request: web.BaseRequest, target: Target
    ) -> web.Response:
        """Serve one of KEEP_METHODS at a lease's KEEP_ALIVE; raises Problem."""
        await _refuse_rest(request)
        name = target.path.removeprefix(BELOW).removesuffix(KEEP_ALIVE)
        lease = parse_lease(name)
        parameters = targets.parse_query(target.query, _ONLY_TIMEOUT)
        answer = decode_lease_answer(await self._ask(KeepAlive(lease), parameters))
        return respond(_shown(answer, with_keys=False), answer.revision)

    async def _grant(self, target: Target) -> web.Response:
        parameters = targets.parse_query(target.query, _GRANT)
        if "ttl" not in parameters:
            raise invalid("ttl has to be there, as 10s or 5m")
        ttl_ms = parse_ttl(parameters["ttl"])
        if "id" in parameters:
            lease = parse_lease(parameters["id"].decode("ascii", "replace"))
        else:
            lease = new_lease()
        body = await self._ask(Grant(lease, ttl_ms), parameters)
        written = decode_write_reply(body)
        return respond(_Lease(id_name(lease), ttl_ms), written.revision, status=201)

    async def _list(self, target: Target) -> web.Response:
        parameters = targets.parse_query(target.query, _LIST)
        limit, after = LEASES_PAGE_MAX, 0
        if "limit" in parameters:
            asked = targets.number("limit", parameters["limit"], 1, _UINT32_MAX)
            limit = min(limit, asked)
        if "cursor" in parameters:
            after = named_id(parameters["cursor"].decode("ascii", "replace"))
            if not after:
                raise invalid("cursor is not a list's")
        found = decode_lease_list(await self._ask(ListLeases(after, limit), parameters))
        names = [id_name(lease) for lease in found.leases]
        more = len(names) == limit
        page = _Leases(found.revision, more, names[-1] if more else None, names)
        return respond(page, found.revision)

    async def _ask(self, command: LeaseCommand, parameters: dict[str, bytes]) -> bytes:
        patience_ms = timeout_ms(parameters, self._limits)
        body = encode_lease_command(command)
        try:
            return await ask(self._port, RequestKind.WRITE, body, patience_ms)
        except Problem as problem:
            if isinstance(command, TimeToLive | ListLeases):
                raise _of_a_question(problem) from None
            raise


async def _refuse_rest(request: web.BaseRequest) -> None:
    """What comes with other requests has no meaning here."""
    refuse_conditions(request, "")
    await refuse_body(request)


def _of_a_question(problem: Problem) -> Problem:
    """It travels as a write does, but nothing could have happened."""
    problem.outcome = None
    if problem.code == "unknown_outcome":
        return Problem(ErrorCode.DEADLINE_EXCEEDED, problem.detail)
    return problem


def new_lease() -> int:
    """A random id; 63 bits, so that an etcd client can say it, too."""
    return secrets.randbits(63) or 1


def parse_lease(text: str) -> int:
    """The id that 16 hex digits name."""
    lease = named_id(text)
    if not lease:
        raise invalid("a lease has 16 hex digits, not all of them 0")
    return lease


def parse_ttl(text: bytes) -> int:
    """The milliseconds that a lease is to have."""
    return targets.duration_ms("ttl", text, TTL_MS_MIN, TTL_MS_MAX)


def _shown(answer: LeaseAnswer, *, with_keys: bool) -> _Lease:
    lease = _Lease(id_name(answer.lease), answer.ttl_ms, answer.left_ms)
    if with_keys:
        lease.keys = [_Key(*shown_key(key)) for key in answer.keys]
    return lease
