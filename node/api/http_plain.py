"""Plain requests: one key read or written, without a task and without aiohttp's request
and response, which cost more than all the rest.

Law: the answer is what HttpApi would have said, header by header. Whatever is unusual
about a request, right or wrong, is left to that: `asked` says None, and nothing has
happened. So is an answer that is too large to be written in one piece: a read is then
done again.

    GET, PUT /v1/kv/KEY                no parameters
    POST /v3/kv/range, /v3/kv/put      a range of one key, a put without options

No header may come along but those that mean nothing here, the body must be there as a
whole, and whoever asks needs no look at what he may do.

What is private to aiohttp and used here: a body's `_buffer`, its pieces.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from aiohttp import EMPTY_PAYLOAD, HttpVersion11, StreamReader
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import RawRequestMessage

from ...wire.commands import encode_put
from ...wire.errors import CommandRefused
from ...wire.frames import OK, RequestKind
from ...wire.ids import id_name
from ...wire.limits import Limits
from ...wire.records import decode_get_reply
from ...wire.requests import (
    GetRequest,
    Level,
    decode_error,
    decode_write_reply,
    encode_get,
)
from ..timings import OK as OK_RESULT
from . import targets
from .connections import ClientPort
from .door import Submit
from .errors import Problem, problem_of
from .etcd import errors as etcd_errors
from .etcd.documents import parse_put, parse_range
from .etcd.ranges import reply_of
from .etcd.replies import PutReply, Speaker, encode
from .http_keys import VALUE_HEADERS, Written, read_headers
from .http_replies import (
    UNCOUNTED_BYTES,
    add_common_headers,
    common_headers,
    problem_response,
)
from .http_requests import JSON_HEADERS
from .origins import OriginRule
from .preconditions import entity_tag
from .rights import Principal

ETCD_PUT: Final = "/v3/kv/put"
ETCD_RANGE: Final = "/v3/kv/range"

_HOST: Final = b"host"
# What says nothing that changes an answer of ours.
_IDLE_HEADERS: Final = frozenset(
    (
        b"accept",
        b"accept-encoding",
        b"accept-language",
        # A close, or an upgrade, is looked for by the parser.
        b"connection",
        b"content-length",
        b"content-type",
        b"user-agent",
    )
)


class Asker(Protocol):
    """The connection that a plain request came by."""

    def answered(self, answer: bytes, *, last: bool) -> None:
        """Send this; `last`: and nothing more."""
        ...

    def give_back(self) -> None:
        """Answer it in the usual way."""
        ...


class _Form(NamedTuple):
    """What a request is counted as, and what the service is asked.

    `told` makes the answer of the service's; None: it is too large for this way. Raises
    Problem.
    """

    operation: str
    kind: RequestKind
    body: bytes
    told: Callable[[bytes], bytes | None]
    etcd: bool = False


class Asked:
    """One plain request, and the sink of its reply."""

    __slots__ = ("_asker", "_began", "_form", "_plain", "_submit")

    def __init__(
        self, plain: "PlainRequests", asker: Asker, submit: Submit, form: _Form
    ) -> None:
        self._plain: PlainRequests = plain
        self._asker: Asker = asker
        self._submit: Submit = submit
        self._form: _Form = form
        self._began: float = plain.port.loop.time()

    def begin(self) -> None:
        """Ask the service, which may answer at once."""
        self._submit(self, 1, self._form.kind, self._form.body, 0)

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        """Tell what the service says."""
        del request_id, kind
        form, plain, last = self._form, self._plain, False
        result = OK_RESULT
        try:
            if status != OK:
                raise problem_of(decode_error(body, plain.limits))
            answer = form.told(body)
        except Problem as problem:
            result, last = problem.code, problem.close
            answer = plain.refusal(problem, form)
        if answer is None:
            self._asker.give_back()
            return
        plain.count(form.operation, result, self._began)
        self._asker.answered(answer, last=last)


class PlainRequests:
    """Those of all connections of one port."""

    def __init__(self, port: ClientPort, origins: OriginRule) -> None:
        self.port: ClientPort = port
        self.limits: Limits = port.options.limits
        self._origins: OriginRule = origins
        self._speaker: Speaker = Speaker(port)
        self._common: dict[str, str] = common_headers(port)

    def asked(
        self,
        message: RawRequestMessage,
        body: StreamReader,
        certified: Principal | None,
        asker: Asker,
    ) -> Asked | None:
        """What a request asks for, if it is plain; nothing has been asked yet."""
        if not self._has_plain_head(message):
            return None
        form = self._form(message, body)
        if form is None:
            return None
        principal = self.port.service.principal(None, certified)
        if not principal.unlimited:
            return None
        return Asked(self, asker, self.port.service.entrance(principal), form)

    def count(self, operation: str, result: str, began: float) -> None:
        """As HttpApi does."""
        elapsed = self.port.loop.time() - began
        self.port.http_timings.of(operation, result).observe(elapsed)

    # -- what is asked -----------------------------------------------------------------

    def _has_plain_head(self, message: RawRequestMessage) -> bool:
        if (
            message.version != HttpVersion11
            or message.should_close
            or message.upgrade
            or message.chunked
            or message.compression
        ):
            return False
        host = None
        for name, value in message.raw_headers:
            name = name.lower()
            if name == _HOST and host is None:
                host = value
            elif name not in _IDLE_HEADERS:
                return False
        if host is None:
            return False
        try:
            self._origins.check(host.decode("utf-8", "surrogateescape"), None)
        except Problem:
            return False
        return True

    def _form(self, message: RawRequestMessage, body: StreamReader) -> _Form | None:
        method, path = message.method, message.path
        if method == "GET":
            return self._get(path) if body is EMPTY_PAYLOAD else None
        if method not in ("PUT", "POST") or body is EMPTY_PAYLOAD or not body.is_eof():
            return None
        data = b"".join(body._buffer)
        if len(data) > UNCOUNTED_BYTES:
            return None
        try:
            if method == "PUT":
                return self._put(path, data)
            if path == ETCD_RANGE:
                return self._etcd_range(data)
            return self._etcd_put(data) if path == ETCD_PUT else None
        except (Problem, CommandRefused):
            return None

    def _key(self, path: str) -> bytes | None:
        """The key that a path names, if it is a good one; None also of a list."""
        if not path.startswith(targets.KEYS_PREFIX) or "?" in path or "#" in path:
            return None
        try:
            key = targets.key_of_path(path)
        except Problem:
            return None
        return key if 0 < len(key) <= self.limits.key_bytes_max else None

    def _get(self, path: str) -> _Form | None:
        key = self._key(path)
        if key is None:
            return None
        asked = encode_get(GetRequest(Level.LINEARIZABLE, 0, 0, key))
        return _Form("get", RequestKind.GET, asked, self._tell_value)

    def _put(self, path: str, value: bytes) -> _Form | None:
        key = self._key(path)
        if key is None or len(value) > self.limits.value_bytes_max:
            return None
        asked = encode_put(key, value)
        return _Form("put", RequestKind.WRITE, asked, self._tell_written)

    def _etcd_range(self, data: bytes) -> _Form | None:
        wanted = parse_range(data)
        if wanted.end is not None:
            return None
        level = Level.LOCAL if wanted.serializable else Level.LINEARIZABLE
        asked = encode_get(GetRequest(level, 0, 0, wanted.key, wanted.revision))

        def tell(body: bytes) -> bytes | None:
            reply = decode_get_reply(body)
            found = [] if reply.record is None else [reply.record]
            header = self._speaker.header(reply.header.revision)
            return self._answer(encode(reply_of(wanted, found, header)), JSON_HEADERS)

        return _Form("etcd_range", RequestKind.GET, asked, tell, etcd=True)

    def _etcd_put(self, data: bytes) -> _Form | None:
        put = parse_put(data)
        if put.prev_kv or put.ignores:
            return None
        asked = encode_put(put.key, put.value, None, put.lease)
        return _Form("etcd_put", RequestKind.WRITE, asked, self._tell_put, etcd=True)

    # -- what is told ------------------------------------------------------------------

    def _tell_value(self, body: bytes) -> bytes | None:
        reply = decode_get_reply(body)
        headers, record = read_headers(reply.header), reply.record
        if record is None:
            raise Problem("not_found", "there is no such key", headers=headers)
        headers = {**VALUE_HEADERS, **headers, "ETag": entity_tag(record.mod_revision)}
        if record.lease:
            headers["Quorate-Lease"] = id_name(record.lease)
        return self._answer(record.value, headers)

    def _tell_written(self, body: bytes) -> bytes | None:
        revision = decode_write_reply(body).revision
        headers = {
            **JSON_HEADERS,
            "Quorate-Revision": str(revision),
            "ETag": entity_tag(revision),
        }
        return self._answer(encode(Written(revision)), headers)

    def _tell_put(self, body: bytes) -> bytes | None:
        header = self._speaker.header(decode_write_reply(body).revision)
        return self._answer(encode(PutReply(header)), JSON_HEADERS)

    def _answer(self, body: bytes, headers: Mapping[str, str]) -> bytes | None:
        if len(body) > UNCOUNTED_BYTES:
            return None
        return _written("200 OK", {**headers, **self._common}, body)

    def refusal(self, problem: Problem, form: _Form) -> bytes:
        """A problem, as the usual way would put it."""
        if form.etcd:
            response = etcd_errors.error_response(problem)
        else:
            if form.kind is RequestKind.WRITE and problem.outcome is None:
                problem.outcome = "not_applied"
            response = problem_response(problem)
        add_common_headers(response, self.port)
        assert isinstance(response.body, bytes)
        status = f"{response.status} {response.reason}"
        close = "Connection: close\r\n" if problem.close else ""
        return _written(status, response.headers, response.body, close)


def _written(
    status: str, headers: Mapping[str, str], body: bytes, last: str = ""
) -> bytes:
    """A whole reply; `last` are header lines behind all others."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = (
        f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n"
        f"Date: {rfc822_formatted_time()}\r\n{last}\r\n"
    )
    return head.encode() + body
