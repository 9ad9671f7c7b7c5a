"""HTTP/1.1: from a request to the handler of its path.

Law: every path, method and query parameter that is not listed is refused by name. All
answers pass through `HttpApi.handle`, where they are counted and where a Problem
becomes its document. There is no access log: counters say how often, and keys stay
private.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from aiohttp import web

from ...wire.errors import ErrorCode
from ..timings import OK
from . import (
    http_backup,
    http_caretaker,
    http_compaction,
    http_elections,
    http_leases,
    http_locks,
    http_members,
    http_tokens,
    http_txn,
    http_watch,
    targets,
)
from .connections import ClientPort
from .door import ASKING, check
from .errors import WRITES, Problem
from .etcd import errors as etcd_errors
from .etcd import gateway as etcd_gateway
from .etcd import probes
from .exposition import CONTENT_TYPE, Exposition
from .http_body import (
    check_expectation,
    check_framing,
    overlook_body,
    refuse_body,
)
from .http_connection import SPOKEN, HttpConnection
from .http_keys import METHODS, Keys
from .http_replies import add_common_headers, large_body, problem_response
from .http_requests import bearer, certified, one_header
from .origins import OriginRule
from .rights import NOBODY, NODE, Action
from .status import status_json
from .targets import KEYS_PREFIX, Target

# What the etcd v3 API that is served amounts to; clients compare these numbers.
ETCD_VERSION: Final = b'{"etcdserver":"3.5.21","etcdcluster":"3.5.0"}'

WATCH: Final = "watch"
# How long somebody watched, or waited for somebody else, is no latency.
UNTIMED: Final = (
    *(WATCH, "lock", "campaign", "observe"),
    *("etcd_watch", "etcd_lock", "etcd_campaign", "etcd_observe"),
)
_SAFE: Final = ("GET", "HEAD")
# What only reads, though it is asked by POST.
_READS: Final = frozenset(
    ("etcd_range", "etcd_lease_timetolive", "etcd_lease_leases", "etcd_member_list")
)
_NO_PARAMETERS: Final[frozenset[str]] = frozenset()
_NO_PATH: Final = (
    "there is nothing at this path: keys are below /v1/kv/, and /v1/openapi.json has"
    " all other paths"
)
_OPERATIONS: Final = {
    "/v1/status": "status",
    "/version": "version",
    "/metrics": "metrics",
    "/v1/openapi.json": "openapi",
}
# Probes and scrapers add parameters of their own, which mean nothing here.
_LENIENT: Final = frozenset(("version", "metrics"))
# How a node is, and why, is told whatever else it can't tell any more.
_ABOUT: Final = frozenset(_OPERATIONS.values())
# What probes and clients look at before they have a token: the same for everybody.
OPEN: Final = etcd_gateway.OPEN | {
    *probes.PATHS,
    *("/health", "/version", "/v1/openapi.json"),
}
# The description of all of /v1; a file, since it is made for readers.
OPENAPI: Final = Path(__file__).with_name("openapi.json")
_NOSNIFF: Final = {"X-Content-Type-Options": "nosniff"}


class _Call(msgspec.Struct):
    """What is known of a request while it is served; `operation` is its label."""

    operation: str = "unknown"
    # Errors are to be in etcd's words.
    etcd: bool = False


class _Route(NamedTuple):
    """One path: its label, what it takes, and who answers."""

    operation: str
    methods: tuple[str, ...]
    handle: Callable[[web.BaseRequest, Target], Awaitable[web.StreamResponse]]


class HttpApi:
    """The handler that all HTTP connections of one port share."""

    def __init__(
        self, port: ClientPort, origins: OriginRule, exposition: Exposition
    ) -> None:
        self._port: ClientPort = port
        self._origins: OriginRule = origins
        self._exposition: Exposition = exposition
        self._keys: Keys = Keys(port)
        self._description: bytes = OPENAPI.read_bytes()
        self._etcd: etcd_gateway.Gateway = etcd_gateway.Gateway(port)
        transactions = http_txn.Transactions(port)
        compactions = http_compaction.Compactions(port)
        watching = http_watch.Watching(port)
        leases = http_leases.Leases(port)
        members = http_members.Members(port)
        tokens = http_tokens.Tokens(port)
        self._routes: dict[str, _Route] = {
            http_txn.PATH: _Route("txn", http_txn.METHODS, transactions.handle),
            http_backup.PATH: _Route(
                "backup", http_backup.METHODS, http_backup.Backup(port).handle
            ),
            http_compaction.PATH: _Route(
                "compaction", http_compaction.METHODS, compactions.handle
            ),
            http_watch.PATH: _Route(WATCH, http_watch.METHODS, watching.handle),
            http_leases.PATH: _Route("leases", http_leases.METHODS, leases.handle_all),
            http_members.PATH: _Route(
                "members", http_members.METHODS, members.handle_all
            ),
            http_members.LEADER_PATH: _Route(
                "move_leader", http_members.LEADER_METHODS, members.move_leader
            ),
            http_caretaker.PATH: _Route(
                "caretaker",
                http_caretaker.METHODS,
                http_caretaker.Caretaking(port).handle,
            ),
            http_tokens.PATH: _Route("tokens", http_tokens.METHODS, tokens.handle_all),
            etcd_gateway.HEALTH: _Route(
                "health", etcd_gateway.HEALTH_METHODS, self._etcd.health
            ),
        }
        answer = probes.Probes(port).answer
        for path, operation in probes.OPERATIONS.items():
            self._routes[path] = _Route(operation, probes.METHODS, answer)
        self._locks: http_locks.Locks = http_locks.Locks(port)
        self._elections: http_elections.Elections = http_elections.Elections(port)
        changes = http_members.CHANGE_METHODS
        # What follows the name of one: below which path, with which ending.
        self._named: dict[tuple[str, str], _Route] = {
            (http_leases.BELOW, ""): _Route(
                "lease", http_leases.ONE_METHODS, leases.handle_one
            ),
            (http_leases.BELOW, http_leases.KEEP_ALIVE): _Route(
                "keepalive", http_leases.KEEP_METHODS, leases.handle_keep_alive
            ),
            (http_members.BELOW, ""): _Route(
                "member", http_members.ONE_METHODS, members.remove
            ),
            (http_members.BELOW, http_members.PROMOTE): _Route(
                "promote", changes, members.promote
            ),
            (http_members.BELOW, http_members.DEMOTE): _Route(
                "demote", changes, members.demote
            ),
            (http_members.BELOW, http_members.SPARE): _Route(
                "spare", changes, members.spare
            ),
            (http_members.BELOW, http_members.REPLACE): _Route(
                "replace", changes, members.replace
            ),
            (http_tokens.BELOW, ""): _Route(
                "token", http_tokens.ONE_METHODS, tokens.handle_one
            ),
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        started = self._port.loop.time()
        call = _Call()
        result = OK
        # Until it is known who asks.
        ASKING.set(NOBODY)
        _begin(request, strange=True)
        try:
            response = await self._route(request, call)
            self._check_unsent(request, call, response)
        except Problem as problem:
            if (
                request.method in WRITES
                and problem.outcome is None
                and not call.etcd  # there, reads are POSTs as well
            ):
                # Refused before it was proposed, or answered by what is there.
                problem.outcome = "not_applied"
            result = problem.code
            answer = etcd_errors.error_response if call.etcd else problem_response
            response = answer(problem)
        except ConnectionError:
            # The client has gone in the middle of its body: nobody to answer.
            result = "disconnected"
            response = web.Response(status=400)
            response.force_close()
        except asyncio.CancelledError:
            self._observe(call, "cancelled", started)
            raise
        self._observe(call, result, started)
        add_common_headers(response, self._port)
        return response

    async def _route(self, request: web.BaseRequest, call: _Call) -> web.StreamResponse:
        if request.version not in SPOKEN:
            detail = "this port speaks HTTP/1.1"
            raise Problem("http_version_not_supported", detail, close=True)
        check_framing(request)
        check_expectation(request)
        target = targets.split_target(request.raw_path)
        etcd_path = etcd_gateway.path_of(target)
        call.etcd = etcd_path is not None
        self._check_origin(request, target)
        self._enter(request, target)
        if etcd_path is not None:
            call.operation = self._etcd.operation(etcd_path)
            if call.operation != "unknown":
                _check_method(request, etcd_gateway.METHODS)
            _tell_wait(request, call)
            return await self._etcd.handle(request, etcd_path)
        if target.path.startswith(KEYS_PREFIX):
            call.operation = _key_operation(request.method, target)
            _check_method(request, METHODS)
            return await self._keys.handle(request, target)
        route = self._routes.get(target.path) or self._route_below(request, target)
        if route is not None:
            call.operation = route.operation
            _check_method(request, route.methods)
            _tell_wait(request, call)
            return await route.handle(request, target)
        operation = _OPERATIONS.get(target.path)
        if operation is None:
            raise Problem("not_found", _NO_PATH)
        call.operation = operation
        _check_method(request, _SAFE)
        if operation not in _LENIENT:
            targets.parse_query(target.query, _NO_PARAMETERS)
        if target.path == "/version":
            await overlook_body(request, self._port)
        else:
            await refuse_body(request)
        return self._answer(operation)

    def _enter(self, request: web.BaseRequest, target: Target) -> None:
        """Find out in whose name it is asked, before anything more is read."""
        if target.path in OPEN:
            ASKING.set(NODE)
            return
        token = bearer(one_header(request, "Authorization"))
        ASKING.set(self._port.service.principal(token, certified(request)))
        check(Action.ENTER)
        _begin(request, strange=False)

    def _route_below(self, request: web.BaseRequest, target: Target) -> _Route | None:
        """The route of what has its name in the path."""
        path, method = target.path, request.method
        if path.startswith(http_locks.BELOW):
            label = http_locks.operation(method)
            return _Route(label, http_locks.METHODS, self._locks.handle)
        if path.startswith(http_elections.BELOW):
            label = http_elections.operation(method, target.query)
            return _Route(label, http_elections.METHODS, self._elections.handle)
        return self._named_route(path)

    def _named_route(self, path: str) -> _Route | None:
        """The route of one lease, member or token, if that is what the path names."""
        parts = path.split("/")
        below = "/".join(parts[:3]) + "/"
        ending = "/".join(["", *parts[4:]])
        if len(parts) not in (4, 5) or (len(parts) == 4 and not parts[3]):
            return None
        return self._named.get((below, ending if len(parts) == 5 else ""))

    def _answer(self, operation: str) -> web.Response:
        match operation:
            case "status":
                return _json(status_json(self._port.service.statistics()))
            case "version":
                return _json(ETCD_VERSION)
            case "openapi":
                return _json(self._description)
            case _:
                return _text(self._exposition.text(), CONTENT_TYPE)

    def _check_origin(self, request: web.BaseRequest, target: Target) -> None:
        host = target.authority
        if host is None:
            host = one_header(request, "Host") or ""
        self._origins.check(host, one_header(request, "Origin"))

    def _check_unsent(
        self, request: web.BaseRequest, call: _Call, response: web.StreamResponse
    ) -> None:
        """Raise Problem instead of adding a large reply to too much that is unread."""
        body = large_body(request, response)
        if body is None or self._port.unsent.fits(len(body)):
            return
        if call.operation in _ABOUT:
            return
        detail = "too many bytes of replies are unread on this node"
        if request.method in _SAFE or call.operation in _READS:
            raise Problem(ErrorCode.TOO_BUSY, detail)
        # It was done; what came of it can't be told.
        raise Problem(ErrorCode.UNKNOWN_OUTCOME, detail, outcome="unknown")

    def _observe(self, call: _Call, result: str, started: float) -> None:
        elapsed = self._port.loop.time() - started
        if call.operation in UNTIMED:
            elapsed = 0.0
        self._port.http_timings.of(call.operation, result).observe(elapsed)


def _begin(request: web.BaseRequest, *, strange: bool) -> None:
    """Have the connection know that a request is served, and whether a stranger's."""
    connection = request.protocol
    if isinstance(connection, HttpConnection):
        connection.begins(strange=strange)


def _tell_wait(request: web.BaseRequest, call: _Call) -> None:
    """Have the connection know when a request lasts as long as its client."""
    connection = request.protocol
    if call.operation in UNTIMED and isinstance(connection, HttpConnection):
        connection.wait_begins()


def _key_operation(method: str, target: Target) -> str:
    """The label of a request for keys: from a fixed table, whatever was sent."""
    if method not in METHODS:
        return "unknown"
    listing = target.path == KEYS_PREFIX and "key64=" not in target.query
    return "list" if listing and method in _SAFE else method.lower()


def _check_method(request: web.BaseRequest, allowed: tuple[str, ...]) -> None:
    if request.method not in allowed:
        raise Problem(
            "method_not_allowed",
            f"this path takes {', '.join(allowed)}",
            headers={"Allow": ", ".join(allowed)},
            # Its body, if it has one, is not looked at.
            close=request.body_exists,
        )


def _json(body: bytes) -> web.Response:
    return _text(body, "application/json")


def _text(body: bytes, content_type: str) -> web.Response:
    headers = {**_NOSNIFF, "Content-Type": content_type}
    return web.Response(body=body, headers=headers)
