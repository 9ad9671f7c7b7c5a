"""`/v1/kv/`: one key, or a list of them.

Law: a handler turns a request into one request of the native protocol, puts it through
the service and turns the reply back: HTTP has no meaning of its own. Stored bytes are
given out as bytes, never as something that a browser would interpret.
"""

import asyncio
import contextlib
from typing import Final

import msgspec
from aiohttp import web

from ...wire.bounds import prefix_end
from ...wire.commands import Delete, Put, encode_delete, encode_put
from ...wire.errors import CommandRefused, ErrorCode
from ...wire.fences import Fence, fenced, fenced_write, parse_token
from ...wire.frames import RequestKind
from ...wire.ids import id_name
from ...wire.leases import Grant, Revoke, encode_lease_command
from ...wire.limits import Limits
from ...wire.records import ReadHeader, decode_get_reply, decode_range_reply
from ...wire.requests import (
    ErrorReply,
    GetRequest,
    Level,
    RangeRequest,
    WriteReply,
    decode_write_reply,
    encode_get,
    encode_range,
)
from ...wire.transaction_replies import decode_txn_reply
from ...wire.transactions import encode_transaction
from . import targets
from .connections import ClientPort
from .errors import Problem, invalid, problem_of
from .http_body import BodyLimit, read_body, refuse_body
from .http_leases import new_lease, parse_lease, parse_ttl
from .http_records import ShownRecord, shown
from .http_requests import (
    FENCE,
    answered,
    ask,
    check_length,
    check_request,
    list_header,
    one_header,
    refuse_conditions,
    refuse_part,
    respond,
    submit,
    timeout_ms,
)
from .preconditions import entity_tag, expected_revision, read_condition
from .targets import Target

METHODS: Final = ("GET", "HEAD", "PUT", "DELETE")

_READ: Final = frozenset(
    ("consistency", "max_staleness", "min_revision", "revision", "timeout")
)
_GET: Final = _READ | {"key64"}
_WRITE: Final = frozenset(("key64", "timeout", "fence"))
_PUT: Final = _WRITE | {"lease", "ttl"}
_LIST: Final = _READ | {"prefix", "limit", "cursor", "keys_only", "key64"}
_LIST_ONLY: Final = ("prefix", "limit", "cursor", "keys_only")

_LEVELS: Final = {level.name.lower().encode(): level for level in Level}
_LEVEL_NAMES: Final = {level: level.name.lower() for level in Level}
_STALENESS_MS_MAX: Final = 2**32 - 1
_UINT32_MAX: Final = 2**32 - 1

VALUE_HEADERS: Final = {
    "Content-Type": "application/octet-stream",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox",
}


class _List(msgspec.Struct):
    """One page. `cursor` asks for the next one, and is null on the last.

    `revision` is the one that is shown, the same on all pages.
    """

    revision: int
    more: bool
    cursor: str | None
    kvs: list[ShownRecord]


class Written(msgspec.Struct):
    """The answer to a put."""

    revision: int


class _Write(msgspec.Struct, frozen=True):
    """A write as bytes: a command of its own, or behind a fence."""

    data: bytes
    put: bool
    fenced: bool


class _ReadOptions(msgspec.Struct, frozen=True):
    level: Level
    max_staleness_ms: int
    min_revision: int
    revision: int
    timeout_ms: int


class Keys:
    """The handlers below `/v1/kv/`."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._limits: Limits = port.options.limits
        self._value_limit: BodyLimit = BodyLimit(
            "value", self._limits.value_bytes_max, ErrorCode.VALUE_TOO_LARGE
        )

    async def handle(self, request: web.BaseRequest, target: Target) -> web.Response:
        """Serve one of METHODS; raises Problem."""
        match request.method:
            case "PUT":
                return await self._put(request, target)
            case "DELETE":
                await refuse_body(request)
                return await self._delete(request, target)
            case _:
                await refuse_body(request)
                return await self._get_or_list(request, target)

    async def _put(self, request: web.BaseRequest, target: Target) -> web.Response:
        parameters = targets.parse_query(target.query, _PUT)
        refuse_part(request)
        key = self._key(target, parameters)
        expected = expected_revision(*_conditions(request))
        patience_ms = timeout_ms(parameters, self._limits)
        lease, ttl_ms = _lease(parameters)
        fence = _fence(request, parameters, self._limits)
        value = await read_body(request, self._port, self._value_limit)
        write = self._encoded(Put(key, value, expected, lease), fence)
        # The command holds the value now; nobody else needs it while we wait.
        del value
        if ttl_ms:
            reply = await self._write_leased(write, lease, ttl_ms, patience_ms)
        else:
            reply = await self._write(write, patience_ms)
        written = reply.revision
        headers = {"ETag": entity_tag(written)}
        if lease:
            headers["Quorate-Lease"] = id_name(lease)
        return respond(Written(written), written, headers)

    def _encoded(self, command: Put | Delete, fence: Fence | None) -> _Write:
        put = isinstance(command, Put)
        if fence is not None:
            data = encode_transaction(fenced((fence,), command))
            check_request(data, self._limits)
        elif isinstance(command, Put):
            key, value = command.key, command.value
            data = encode_put(key, value, command.expected, command.lease)
        else:
            data = encode_delete(command.key, command.expected)
        return _Write(data, put, fence is not None)

    async def _write(self, write: _Write, patience_ms: int) -> WriteReply:
        body = await ask(self._port, RequestKind.WRITE, write.data, patience_ms)
        if not write.fenced:
            return decode_write_reply(body)
        found = fenced_write(decode_txn_reply(body), put=write.put)
        if isinstance(found, ErrorReply):
            raise problem_of(found)
        return found

    async def _write_leased(
        self, write: _Write, lease: int, ttl_ms: int, patience_ms: int
    ) -> WriteReply:
        """The reply to a put, for which a lease is made first."""
        began = self._port.loop.time()
        # Both together may take so long.
        patience_ms = patience_ms or self._limits.timeout_ms_default
        await self._grant(lease, ttl_ms, patience_ms)
        taken_ms = round((self._port.loop.time() - began) * 1000)
        patience_ms = max(1, patience_ms - taken_ms)
        try:
            return await self._write(write, patience_ms)
        except Problem as problem:
            if problem.outcome == "not_applied":
                self._revoke(lease)
            raise

    async def _grant(self, lease: int, ttl_ms: int, patience_ms: int) -> None:
        """Make the lease that a put hangs on; raises Problem."""
        grant = encode_lease_command(Grant(lease, ttl_ms))
        granted = submit(self._port, RequestKind.WRITE, grant, patience_ms)
        try:
            reply = await asyncio.shield(granted)
        except asyncio.CancelledError:
            # The client has gone before anything was put: there is a lease or not
            # once the node has answered.
            granted.add_done_callback(lambda done: self._grant_late(lease, done))
            raise
        self._check_grant(lease, reply)

    def _grant_late(
        self, lease: int, granted: asyncio.Future[tuple[int, bytes]]
    ) -> None:
        with contextlib.suppress(Problem):
            self._check_grant(lease, granted.result())
            self._revoke(lease)

    def _check_grant(self, lease: int, reply: tuple[int, bytes]) -> None:
        try:
            answered(self._port, *reply)
        except Problem as problem:
            if problem.outcome != "not_applied":
                # It may be there all the same, and nothing will hang on it.
                self._revoke(lease)
            raise

    def _revoke(self, lease: int) -> None:
        """End a lease on which nothing hangs.

        Who tries again and again must not leave one each time. If this comes to
        nothing, it ends by itself.
        """
        submit(self._port, RequestKind.WRITE, encode_lease_command(Revoke(lease)))

    async def _delete(self, request: web.BaseRequest, target: Target) -> web.Response:
        parameters = targets.parse_query(target.query, _WRITE)
        key = self._key(target, parameters)
        expected = expected_revision(*_conditions(request))
        patience_ms = timeout_ms(parameters, self._limits)
        fence = _fence(request, parameters, self._limits)
        written = await self._write(
            self._encoded(Delete(key, expected), fence), patience_ms
        )
        headers = {"Quorate-Revision": str(written.revision)}
        if not written.count:
            raise Problem("not_found", "there is no such key", headers=headers)
        return web.Response(status=204, headers=headers)

    async def _get_or_list(
        self, request: web.BaseRequest, target: Target
    ) -> web.Response:
        named = len(target.path) > len(targets.KEYS_PREFIX)
        parameters = targets.parse_query(target.query, _GET if named else _LIST)
        if named or "key64" in parameters:
            for name in _LIST_ONLY:
                if name in parameters:
                    raise invalid(f"{name} is for lists, not for one key")
            return await self._get(request, target, parameters)
        refuse_conditions(request, ", not for a list")
        return await self._list(parameters)

    async def _get(
        self, request: web.BaseRequest, target: Target, parameters: dict[str, bytes]
    ) -> web.Response:
        key = self._key(target, parameters)
        if FENCE in request.headers:
            raise invalid(f"{FENCE} is for writes")
        condition = read_condition(*_conditions(request))
        options = self._read_options(parameters)
        body = encode_get(
            GetRequest(
                options.level,
                options.max_staleness_ms,
                options.min_revision,
                key,
                options.revision,
            )
        )
        answer = await ask(self._port, RequestKind.GET, body, options.timeout_ms)
        reply = decode_get_reply(answer)
        headers = read_headers(reply.header)
        record = reply.record
        revision = 0 if record is None else record.mod_revision
        if revision:
            headers["ETag"] = entity_tag(revision)
        if not condition.met(revision):
            detail = "the key is not at the revision in If-Match"
            raise Problem(
                ErrorCode.PRECONDITION_FAILED,
                detail,
                revision=revision,
                headers=headers,
            )
        if record is None:
            raise Problem("not_found", "there is no such key", headers=headers)
        if record.lease:
            headers["Quorate-Lease"] = id_name(record.lease)
        if not condition.changed(revision):
            return web.Response(status=304, headers=headers)
        return web.Response(body=record.value, headers={**VALUE_HEADERS, **headers})

    async def _list(self, parameters: dict[str, bytes]) -> web.Response:
        options = self._read_options(parameters)
        asked = self._range(options, parameters)
        body = encode_range(asked)
        answer = await ask(self._port, RequestKind.RANGE, body, options.timeout_ms)
        reply = decode_range_reply(answer)
        at = asked.revision or reply.header.revision
        cursor = None
        if reply.more:
            cursor = targets.encode_cursor(at, reply.records[-1].key + b"\0")
        page = _List(
            at,
            reply.more,
            cursor,
            [shown(record, keys_only=asked.keys_only) for record in reply.records],
        )
        return respond(page, reply.header.revision, read_headers(reply.header))

    def _range(
        self, options: _ReadOptions, parameters: dict[str, bytes]
    ) -> RangeRequest:
        start = parameters.get("prefix", b"")
        end = prefix_end(start)
        at, lowest = options.revision, options.min_revision
        check_length("prefix", start, self._limits)
        if "cursor" in parameters:
            begun_at, cursor = targets.decode_cursor(parameters["cursor"])
            inside = start <= cursor and (not end or cursor < end)
            if not inside or len(cursor) > self._limits.key_bytes_max + 1:
                raise invalid("cursor is not one of this list's")
            if "revision" in parameters and at != begun_at:
                raise invalid(f"the cursor's list is of revision {begun_at}")
            start, at = cursor, begun_at
            if options.level != Level.LINEARIZABLE:
                # Another node than that of the first page may still be behind it.
                lowest = max(lowest, begun_at)
        limit = 0
        if "limit" in parameters:
            limit = targets.number("limit", parameters["limit"], 1, _UINT32_MAX)
        keys_only = False
        if "keys_only" in parameters:
            keys_only = targets.flag("keys_only", parameters["keys_only"])
        return RangeRequest(
            options.level,
            options.max_staleness_ms,
            lowest,
            start,
            end,
            limit,
            keys_only,
            at,
        )

    def _key(self, target: Target, parameters: dict[str, bytes]) -> bytes:
        key = targets.key_of_path(target.path)
        if "key64" in parameters:
            if key:
                raise invalid("the key is in the path and in key64")
            key = targets.decode_base64("key64", parameters["key64"])
        if not key:
            raise invalid("the key is empty")
        check_length("key", key, self._limits)
        return key

    def _read_options(self, parameters: dict[str, bytes]) -> _ReadOptions:
        level = Level.LINEARIZABLE
        if "consistency" in parameters:
            known = _LEVELS.get(parameters["consistency"])
            if known is None:
                raise invalid("consistency is linearizable, bounded or local")
            level = known
        if (level == Level.BOUNDED) != ("max_staleness" in parameters):
            raise invalid("consistency=bounded and max_staleness go together")
        staleness = 0
        if level == Level.BOUNDED:
            staleness = targets.duration_ms(
                "max_staleness", parameters["max_staleness"], 0, _STALENESS_MS_MAX
            )
        lowest = 0
        if "min_revision" in parameters:
            lowest = targets.revision("min_revision", parameters["min_revision"])
        at = 0
        if "revision" in parameters:
            at = targets.revision("revision", parameters["revision"])
        timeout = timeout_ms(parameters, self._limits)
        return _ReadOptions(level, staleness, lowest, at, timeout)


def _lease(parameters: dict[str, bytes]) -> tuple[int, int]:
    """The lease that a put hangs on, and the ms it is to be made for; 0 for neither."""
    if "ttl" not in parameters:
        if "lease" not in parameters:
            return 0, 0
        return parse_lease(parameters["lease"].decode("ascii", "replace")), 0
    if "lease" in parameters:
        raise invalid("give lease or ttl")
    return new_lease(), parse_ttl(parameters["ttl"])


def _fence(
    request: web.BaseRequest, parameters: dict[str, bytes], limits: Limits
) -> Fence | None:
    """The fence that a write carries, in a header or as a parameter."""
    token = one_header(request, FENCE)
    if "fence" in parameters:
        if token is not None:
            raise invalid(f"the token is in {FENCE} and in fence")
        token = parameters["fence"].decode("ascii", "replace")
    if token is None:
        return None
    try:
        return parse_token(token, limits)
    except CommandRefused as error:
        raise Problem(error.code, error.reason) from None


def _conditions(request: web.BaseRequest) -> tuple[str | None, str | None]:
    """If-Match and If-None-Match, which are lists."""
    return list_header(request, "If-Match"), list_header(request, "If-None-Match")


def read_headers(header: ReadHeader) -> dict[str, str]:
    """What every answer to a read says of itself."""
    return {
        "Quorate-Revision": str(header.revision),
        "Quorate-Consistency": _LEVEL_NAMES[header.level],
        "Quorate-Staleness-Ms": str(header.staleness_ms),
    }
