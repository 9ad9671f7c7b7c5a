"""Reading a request's body.

Law: a body that is too large is refused by its Content-Length before a byte of it is
read, and a chunked one when the first byte too many arrives. What is held is counted
against the budget that all connections share, and has to be complete within a bound.
Nothing of that budget is for a body that nobody looks at, nor for a stranger's.
"""

import asyncio
from collections.abc import Coroutine
from typing import Final, TypeVar

import msgspec
from aiohttp import HttpVersion11, hdrs, web

from ...wire.errors import CommandRefused, ErrorCode
from ...wire.strict_json import decode_json, refuse_repeated
from .connections import ClientPort
from .door import ASKING
from .errors import Problem, invalid
from .rights import NODE

T = TypeVar("T")


class BodyLimit(msgspec.Struct, frozen=True):
    """How large a body may be, what it is, and with which code it is refused."""

    name: str
    bytes_max: int
    code: ErrorCode

    def refusal(self) -> Problem:
        """What is said of a body that is larger."""
        detail = f"the {self.name} has more than {self.bytes_max} bytes"
        return Problem(self.code, detail, close=True)


# A login's: what somebody may send who has shown nothing yet.
_STRANGER_BYTES_MAX: Final = 4096
# Of a request whose body nobody looks at.
_OVERLOOKED: Final = BodyLimit("body", 64 << 10, ErrorCode.INVALID_REQUEST)


def parse_json(decoder: "msgspec.json.Decoder[T]", body: bytes, whole: str) -> T:
    """What a body says, taken exactly; raises Problem, which calls it `whole`."""
    try:
        said = decode_json(decoder, body, "", whole)
        refuse_repeated(body, whole)
    except CommandRefused as error:
        raise invalid(error.reason) from None
    return said


async def read_body(
    request: web.BaseRequest, port: ClientPort, limit: BodyLimit
) -> bytes:
    """The whole body; raises Problem."""
    if not await _comes(request, limit):
        # The usual case: head and body came together.
        body = request.content.read_nowait(-1)
        if len(body) > limit.bytes_max:
            raise limit.refusal()
        return body
    held = _Held(port, limit)
    try:
        return await _in_time(port, _collect(request, limit, held))
    finally:
        held.release()


async def refuse_body(request: web.BaseRequest) -> None:
    """Raise Problem when a body comes with a request that has no use for one."""
    if request.body_exists and not request.content.at_eof():
        detail = f"a {request.method} takes no body"
        raise Problem(ErrorCode.INVALID_REQUEST, detail, close=True)


async def overlook_body(request: web.BaseRequest, port: ClientPort) -> None:
    """Let a body pass that nobody needs, where etcd looks at none. Raises Problem.

    Clients of etcd's gateway send one to every path, whatever the method (Patroni).
    """
    if request.body_exists:
        await _comes(request, _OVERLOOKED)
        await _in_time(port, _drop(request, _OVERLOOKED))


def check_framing(request: web.BaseRequest) -> None:
    """Raise Problem when nobody can say for sure where the body ends.

    Of every request, also where no body is looked at: behind the wrong end another
    request would begin (RFC 9112, 6.1).
    """
    codings = request.headers.getall(hdrs.TRANSFER_ENCODING, ())
    if not codings:
        return
    if request.version < HttpVersion11:
        detail = "HTTP/1.0 has no Transfer-Encoding"
        raise Problem("malformed_http", detail, close=True)
    if [coding.strip().lower() for coding in codings] != ["chunked"]:
        detail = "no transfer coding but chunked is understood"
        raise Problem(ErrorCode.UNSUPPORTED, detail, close=True)


def check_expectation(request: web.BaseRequest) -> None:
    """Raise Problem when something is expected that can't be met."""
    expect = _expected(request)
    if expect is not None and expect != "100-continue":
        detail = "nothing can be expected but 100-continue"
        raise Problem("expectation_failed", detail, close=True)


class _Held:
    """What one body holds of the shared budget.

    A stranger's is small, and holds nothing: else strangers, who need no token to send
    half of it, could hold everything.
    """

    def __init__(self, port: ClientPort, limit: BodyLimit) -> None:
        self._port: ClientPort = port
        self._count: int = 0
        strange = ASKING.get() is NODE and limit.bytes_max <= _STRANGER_BYTES_MAX
        self._counted: bool = not strange

    def grow(self, count: int) -> None:
        if not self._counted:
            return
        if not self._port.partial.reserve(count):
            detail = "too many bytes of unfinished requests are held"
            raise Problem(ErrorCode.TOO_BUSY, detail, close=True)
        self._count += count

    def release(self) -> None:
        self._port.partial.release(self._count)
        self._count = 0


async def _collect(request: web.BaseRequest, limit: BodyLimit, held: _Held) -> bytes:
    # One buffer, however small the chunks are that somebody sends.
    body = bytearray()
    while chunk := await request.content.readany():
        if len(body) + len(chunk) > limit.bytes_max:
            raise limit.refusal()
        held.grow(len(chunk))
        body += chunk
    return bytes(body)


async def _drop(request: web.BaseRequest, limit: BodyLimit) -> None:
    count = 0
    while chunk := await request.content.readany():
        count += len(chunk)
        if count > limit.bytes_max:
            raise limit.refusal()


async def _in_time(port: ClientPort, coming: Coroutine[None, None, T]) -> T:
    """What came of it; raises Problem when that takes too long, or is garbage."""
    try:
        async with asyncio.timeout(port.options.stall_timeout_s):
            return await coming
    except TimeoutError:
        detail = "the body was not complete in time"
        raise Problem("request_timeout", detail, close=True) from None
    except web.RequestPayloadError:
        detail = "the body is malformed"
        raise Problem("malformed_http", detail, close=True) from None


async def _comes(request: web.BaseRequest, limit: BodyLimit) -> bool:
    """Whether some of the body has yet to come, which is asked for if it has to be."""
    codings = request.headers.getall(hdrs.CONTENT_ENCODING, ())
    if any(coding.strip().lower() != "identity" for coding in codings):
        detail = "bodies are taken as they are sent: no Content-Encoding"
        raise Problem("unsupported_media_type", detail, close=True)
    length = request.content_length
    if length is not None and length > limit.bytes_max:
        raise limit.refusal()
    if request.content.is_eof():
        return False
    if _expected(request) is not None:
        await _continue(request)
    return True


def _expected(request: web.BaseRequest) -> str | None:
    """What the client expects; in HTTP/1.0 nothing can be."""
    expect = request.headers.get(hdrs.EXPECT)
    if expect is None or request.version < HttpVersion11:
        return None
    return expect.strip().lower()


async def _continue(request: web.BaseRequest) -> None:
    """Ask for the body: the client waits to be asked."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # The interim reply is not the beginning of the reply.
    request.writer.output_size = 0
