"""From one HTTP request to one of the native protocol, and what handlers share.

Law: whatever HTTP asks for is asked of the service in the bytes that a native client
would have sent, and an error comes back as the problem that says the same.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, cast

import msgspec
from aiohttp import hdrs, web

from ...wire.errors import ErrorCode
from ...wire.frames import OK, RequestKind
from ...wire.limits import Limits
from ...wire.requests import decode_error
from . import targets
from .connections import ClientPort
from .errors import Problem, invalid, problem_of
from .rights import Principal

JSON_HEADERS: Final = {
    "Content-Type": "application/json",
    "X-Content-Type-Options": "nosniff",
}

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_encoder = msgspec.json.Encoder()

# The token of a lock, on which a write of one key may depend.
FENCE: Final = "Quorate-Fence"
_CONDITIONS: Final = ("If-Match", "If-None-Match", FENCE)


class _Waiter:
    """The sink of one HTTP request."""

    __slots__ = ("future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[tuple[int, bytes]] = loop.create_future()

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        """Wake the handler, unless it has gone."""
        if not self.future.done():
            self.future.set_result((status, body))


async def ask(
    port: ClientPort, kind: RequestKind, body: bytes, timeout_ms: int
) -> bytes:
    """The service's reply to one request; an error is raised as its problem."""
    return answered(port, *await submit(port, kind, body, timeout_ms))


def submit(
    port: ClientPort, kind: RequestKind, body: bytes, timeout_ms: int = 0
) -> asyncio.Future[tuple[int, bytes]]:
    """A request to the service, on its way; its reply, for whoever waits for it."""
    waiter = _Waiter(port.loop)
    port.service.submit(waiter, 1, kind, body, timeout_ms)
    return waiter.future


def answered(port: ClientPort, status: int, answer: bytes) -> bytes:
    """A reply, of which an error is raised as its problem."""
    if status != OK:
        raise problem_of(decode_error(answer, port.options.limits))
    return answer


def respond(
    value: object,
    revision: int,
    headers: Mapping[str, str] = _NO_HEADERS,
    status: int = 200,
) -> web.Response:
    """A value as JSON, told at this revision of the store."""
    told = {**JSON_HEADERS, "Quorate-Revision": str(revision), **headers}
    return web.Response(body=_encoder.encode(value), status=status, headers=told)


def check_length(what: str, key: bytes, limits: Limits) -> None:
    """Raise Problem when a key, or what begins one, is longer than a key may be."""
    if len(key) > limits.key_bytes_max:
        detail = f"the {what} has {len(key)} bytes, over {limits.key_bytes_max}"
        raise Problem(ErrorCode.KEY_TOO_LONG, detail)


def check_request(command: bytes, limits: Limits) -> None:
    """Raise Problem when a native request could not have carried this command."""
    if len(command) > limits.request_bytes_max:
        detail = f"it takes {len(command)} bytes, over {limits.request_bytes_max}"
        raise Problem(ErrorCode.REQUEST_TOO_LARGE, detail)


def one_header(request: web.BaseRequest, name: str) -> str | None:
    """A header that must not be repeated."""
    values = request.headers.getall(name, ())
    if len(values) > 1:
        raise invalid(f"the header {name} is repeated")
    return values[0] if values else None


def list_header(request: web.BaseRequest, name: str) -> str | None:
    """A header whose value is a list: several lines of it are one (RFC 9110 5.3)."""
    values = request.headers.getall(name, ())
    return ", ".join(values) if values else None


def refuse_part(request: web.BaseRequest) -> None:
    """Raise Problem when a PUT brings a part of a value (RFC 9110 14.4).

    It would be taken for the whole.
    """
    if hdrs.CONTENT_RANGE in request.headers:
        raise invalid("a PUT takes whole values: no Content-Range")


def bearer(header: str | None) -> bytes | None:
    """The token in an Authorization header; as etcd's clients send it, too."""
    if header is None:
        return None
    scheme, separator, token = header.partition(" ")
    if not separator:
        # etcd's clients name no scheme.
        token = scheme
    elif scheme.lower() != "bearer":
        return None
    return token.strip().encode("utf-8", "surrogateescape")


def certified(request: web.BaseRequest) -> Principal | None:
    """Whom the certificate of this connection names; None where none is wanted."""
    return cast("Principal | None", request.get_extra_info("principal"))


def timeout_ms(parameters: dict[str, bytes], limits: Limits) -> int:
    """How long to try; 0 leaves it to the node."""
    if "timeout" not in parameters:
        return 0
    return targets.duration_ms(
        "timeout", parameters["timeout"], 1, limits.timeout_ms_max
    )


def refuse_conditions(request: web.BaseRequest, hint: str) -> None:
    """Raise Problem when the head has conditions on one key, and nothing is one key.

    Ignoring them would write what somebody asked not to write. So of a fence, too.
    """
    for name in _CONDITIONS:
        if name in request.headers:
            raise invalid(f"{name} is for one key{hint}")
