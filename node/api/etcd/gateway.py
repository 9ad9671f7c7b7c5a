"""Paths of the etcd API: which there are, and who answers.

Law: one table says what is served, under which name it is counted, and by whom. Bodies
are read through the one bounded reader, whatever their Content-Type, and query strings
mean nothing, both as in etcd.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web

from ....wire.errors import ErrorCode
from .. import targets
from ..connections import ClientPort
from ..errors import Problem
from ..http_body import BodyLimit, overlook_body, read_body
from ..http_replies import add_common_headers
from ..http_requests import FENCE, JSON_HEADERS
from ..targets import Target
from .auth import BELOW as AUTHENTICATION
from .auth import LOGIN, Authentication
from .bodies import Body, Number, documents, int64, uint64
from .cluster import ALARM_ACTIONS, Cluster
from .documents import parse_delete_range, parse_put, parse_range
from .errors import (
    RESOURCE_EXHAUSTED,
    TOO_MANY_REQUESTS,
    UNIMPLEMENTED,
    EtcdProblem,
    error_frame,
    http_status,
    invalid_argument,
)
from .leases import Leases
from .locks import Locks
from .members import Members
from .ranges import Ranges
from .replies import Speaker, message, respond
from .transactions import Transactions
from .txn_documents import parse_txn
from .watching import Watching, parse_watches
from .writes import Writes

# `/v3beta` is what it was called once; clients still say so.
PREFIXES: Final = ("/v3/", "/v3beta/")
HEALTH: Final = "/health"
METHODS: Final = ("POST",)
HEALTH_METHODS: Final = ("GET", "HEAD")
# Leases that one request may keep alive.
KEEP_ALIVES_MAX: Final = 1000

# What has to be asked before there is a token.
OPEN: Final = frozenset(prefix + LOGIN for prefix in PREFIXES)
# Of whoever has no token yet not much is read.
_LOGIN_BYTES_MAX: Final = 4096
# What names a lock or an election, or a place there, and has no value.
_NAME_BYTES_MAX: Final = 64 << 10
_NAMES: Final = frozenset(
    (
        *("lock/lock", "lock/unlock"),
        *("election/leader", "election/observe", "election/resign"),
    )
)
# Served by etcd and not here; docs/etcd-compatibility.md says why.
UNSERVED: Final = {
    "cluster/member/add": "etcd_member_change",
    "cluster/member/update": "etcd_member_change",
    "maintenance/snapshot": "etcd_snapshot",
    "maintenance/downgrade": "etcd_downgrade",
}


class _Lease(msgspec.Struct):
    lease: Number = msgspec.field(default=None, name="ID")
    ttl: Number = msgspec.field(default=None, name="TTL")
    keys: bool | None = None


class _Member(msgspec.Struct):
    member: Number = msgspec.field(default=None, name="ID")


class _Transfer(msgspec.Struct):
    target: Number = msgspec.field(default=None, name="targetID")


class _Compaction(msgspec.Struct):
    revision: Number = None


class _Alarm(msgspec.Struct):
    action: Number = None
    alarm: Number = None


_leases: Final = Body(_Lease)
_members: Final = Body(_Member)
_transfers: Final = Body(_Transfer)
_compactions: Final = Body(_Compaction)
_alarms: Final = Body(_Alarm)

_Handler = Callable[[web.BaseRequest, bytes], Awaitable[web.StreamResponse]]


def path_of(target: Target) -> str | None:
    """What follows the version of the API; None for a path that is not etcd's."""
    for prefix in PREFIXES:
        if target.path.startswith(prefix):
            return target.path.removeprefix(prefix)
    return None


class Gateway:
    """The handler of all paths below PREFIXES, and of HEALTH."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._limit: BodyLimit = BodyLimit(
            "document", port.options.limits.request_bytes_max, _TOO_LARGE
        )
        login = BodyLimit("document", _LOGIN_BYTES_MAX, _TOO_LARGE)
        names = BodyLimit("document", _NAME_BYTES_MAX, _TOO_LARGE)
        # Of those that are not read up to that one.
        self._limits: dict[str, BodyLimit] = {LOGIN: login}
        self._limits |= dict.fromkeys(_NAMES, names)
        speaker = Speaker(port)
        transactions = Transactions(port, speaker)
        self._ranges: Ranges = Ranges(port, speaker)
        self._transactions: Transactions = transactions
        self._writes: Writes = Writes(port, speaker, transactions)
        self._leases: Leases = Leases(port, speaker)
        self._cluster: Cluster = Cluster(port, speaker)
        locks = Locks(port, speaker)
        self._authentication = authentication = Authentication(port, speaker)
        self._members: Members = Members(port, speaker)
        self._watching: Watching = Watching(port, speaker)
        self._handlers: dict[str, tuple[str, _Handler]] = {
            "kv/range": ("etcd_range", self._range),
            "kv/put": ("etcd_put", self._put),
            "kv/deleterange": ("etcd_delete_range", self._delete_range),
            "kv/txn": ("etcd_txn", self._txn),
            "kv/compaction": ("etcd_compaction", self._compaction),
            "lease/grant": ("etcd_lease_grant", self._grant),
            "lease/revoke": ("etcd_lease_revoke", self._revoke),
            "lease/keepalive": ("etcd_lease_keepalive", self._keep_alive),
            "lease/timetolive": ("etcd_lease_timetolive", self._time_to_live),
            "lease/leases": ("etcd_lease_leases", self._all_leases),
            "kv/lease/revoke": ("etcd_lease_revoke", self._revoke),
            "kv/lease/timetolive": ("etcd_lease_timetolive", self._time_to_live),
            "kv/lease/leases": ("etcd_lease_leases", self._all_leases),
            "watch": ("etcd_watch", self._watch),
            "lock/lock": ("etcd_lock", locks.lock),
            "lock/unlock": ("etcd_unlock", locks.unlock),
            "election/campaign": ("etcd_campaign", locks.campaign),
            "election/proclaim": ("etcd_proclaim", locks.proclaim),
            "election/leader": ("etcd_leader", locks.leader),
            "election/observe": ("etcd_observe", locks.observe),
            "election/resign": ("etcd_resign", locks.resign),
            "cluster/member/list": ("etcd_member_list", self._all_members),
            "cluster/member/remove": ("etcd_member_remove", self._remove_member),
            "cluster/member/promote": ("etcd_member_promote", self._promote_member),
            "maintenance/status": ("etcd_status", self._status),
            "maintenance/hash": ("etcd_hash", self._hash),
            "maintenance/alarm": ("etcd_alarm", self._alarm),
            "maintenance/transfer-leadership": ("etcd_move_leader", self._move_leader),
            "maintenance/defragment": ("etcd_defragment", self._defragment),
            "auth/status": ("etcd_auth", authentication.status),
            "auth/disable": ("etcd_auth", authentication.disable),
            LOGIN: ("etcd_auth", authentication.authenticate),
        }

    def operation(self, path: str) -> str:
        """The name under which requests for `path` are counted."""
        if path in self._handlers:
            return self._handlers[path][0]
        if path.startswith(AUTHENTICATION):
            return "etcd_auth"
        return UNSERVED.get(path, "unknown")

    async def handle(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Serve a POST to `path`; raises Problem."""
        if FENCE in request.headers:
            # Whoever sends one must not write without it.
            fenced = invalid_argument(f"{FENCE} is for writes of one key below /v1/kv/")
            fenced.close = request.body_exists
            raise fenced
        found = self._handlers.get(path)
        if found is not None:
            limit = self._limits.get(path, self._limit)
            # Nobody but the handler has the body: what waits is not to hold it.
            return await found[1](request, await read_body(request, self._port, limit))
        if path.startswith(AUTHENTICATION):
            await read_body(request, self._port, self._limit)
            raise self._authentication.refusal()
        if path in UNSERVED:
            problem = EtcdProblem(UNIMPLEMENTED, f"/v3/{path} is not served here")
            # Its body is not looked at.
            problem.close = request.body_exists
            raise problem
        raise Problem("not_found", "Not Found", close=request.body_exists)

    async def health(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve HEALTH."""
        await overlook_body(request, self._port)
        # As in etcd: names that it does not know mean nothing.
        serializable = targets.values(target.query, "serializable")[:1] == [b"true"]
        excluded = targets.values(target.query, "exclude")
        return await self._cluster.health(serializable, excluded)

    # -- keys --------------------------------------------------------------------------

    async def _range(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        return await self._ranges.answer(request, parse_range(body))

    async def _put(self, _: web.BaseRequest, body: bytes) -> web.Response:
        put = parse_put(body)
        # The message holds the value now; nobody else needs it while we wait.
        del body
        return respond(await self._writes.put(put))

    async def _delete_range(self, _: web.BaseRequest, body: bytes) -> web.Response:
        return respond(await self._writes.delete_range(parse_delete_range(body)))

    async def _txn(self, _: web.BaseRequest, body: bytes) -> web.Response:
        txn = parse_txn(body)
        del body
        return respond(await self._transactions.answer(txn))

    async def _compaction(self, _: web.BaseRequest, body: bytes) -> web.Response:
        revision = int64(_compactions.parse(body).revision)
        return respond(await self._writes.compact(revision))

    # -- leases ------------------------------------------------------------------------

    async def _grant(self, _: web.BaseRequest, body: bytes) -> web.Response:
        said = _leases.parse(body)
        return respond(await self._leases.grant(int64(said.lease), int64(said.ttl)))

    async def _revoke(self, _: web.BaseRequest, body: bytes) -> web.Response:
        return respond(await self._leases.revoke(int64(_leases.parse(body).lease)))

    async def _time_to_live(self, _: web.BaseRequest, body: bytes) -> web.Response:
        said = _leases.parse(body)
        lease = int64(said.lease)
        return respond(await self._leases.time_to_live(lease, bool(said.keys)))

    async def _all_leases(self, _: web.BaseRequest, body: bytes) -> web.Response:
        _leases.parse(body)
        return respond(await self._leases.all())

    async def _keep_alive(
        self, request: web.BaseRequest, body: bytes
    ) -> web.StreamResponse:
        """A stream of answers, one for each message of the body, each in one chunk."""
        response = web.StreamResponse(headers=JSON_HEADERS)
        add_common_headers(response, self._port)
        for count, document in enumerate(documents(body)):
            try:
                said = _leases.parse_first(document)
                if said is None:
                    break
                if count >= KEEP_ALIVES_MAX:
                    raise EtcdProblem(RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS)
                answer = message(await self._leases.keep_alive(int64(said.lease)))
            except Problem as problem:
                if not response.prepared:
                    if isinstance(problem, EtcdProblem):
                        # Not a message: there is no stream to tell it in.
                        raise
                    response.set_status(http_status(problem))
                    await response.prepare(request)
                await response.write(error_frame(problem))
                break
            if not response.prepared:
                await response.prepare(request)
            await response.write(answer)
        if not response.prepared:
            await response.prepare(request)
        await response.write_eof()
        return response

    def _watch(
        self, request: web.BaseRequest, body: bytes
    ) -> Awaitable[web.StreamResponse]:
        return self._watching.answer(request, parse_watches(body))

    # -- the cluster -------------------------------------------------------------------

    async def _all_members(self, _: web.BaseRequest, _body: bytes) -> web.Response:
        return respond(self._members.all())

    async def _remove_member(self, _: web.BaseRequest, body: bytes) -> web.Response:
        return respond(await self._members.remove(uint64(_members.parse(body).member)))

    async def _promote_member(self, _: web.BaseRequest, body: bytes) -> web.Response:
        return respond(await self._members.promote(uint64(_members.parse(body).member)))

    async def _move_leader(self, _: web.BaseRequest, body: bytes) -> web.Response:
        target = uint64(_transfers.parse(body).target)
        return respond(await self._members.move_leader(target))

    async def _status(self, _: web.BaseRequest, _body: bytes) -> web.Response:
        return respond(self._cluster.status())

    async def _hash(self, _: web.BaseRequest, _body: bytes) -> web.Response:
        return respond(self._cluster.hash())

    async def _alarm(self, _: web.BaseRequest, body: bytes) -> web.Response:
        said = _alarms.parse(body)
        action = _named(said.action, ALARM_ACTIONS, "AlarmRequest.AlarmAction")
        alarm = _named(said.alarm, _ALARMS, "AlarmType")
        return respond(self._cluster.alarm(action, alarm))

    async def _defragment(self, _: web.BaseRequest, _body: bytes) -> web.Response:
        headers = {**JSON_HEADERS, "Quorate-Note": _NO_DEFRAGMENTATION}
        return web.Response(body=b"{}", headers=headers)


_TOO_LARGE: Final = ErrorCode.REQUEST_TOO_LARGE
_ALARMS: Final = ("NONE", "NOSPACE", "CORRUPT")
_NO_DEFRAGMENTATION: Final = "nothing to do: merges give space back all the time"


def _named(value: Number, names: tuple[str, ...], kind: str) -> str:
    if isinstance(value, str) and value in names:
        return value
    at = int64(value)
    if not 0 <= at < len(names):
        raise invalid_argument(f"unknown value {at} for enum etcdserverpb.{kind}")
    return names[at]
