"""Reading a request's body.

Law: a body that is too large is refused by its Content-Length before a byte of it is
read, and a chunked one when the first byte too many arrives. What is held is counted
against the budget that all connections share, and has to be complete within a bound.
"""

import asyncio
from typing import Final, TypeVar

import msgspec
from aiohttp import HttpVersion11, hdrs, web

from ...wire.errors import CommandRefused, ErrorCode
from ...wire.strict_json import decode_json, refuse_repeated
from .connections import ClientPort
from .errors import Problem, invalid

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
    _check_coding(request)
    waiting = _expects_continue(request)
    length = request.content_length
    if length is not None and length > limit.bytes_max:
        raise limit.refusal()
    if request.content.is_eof():
        # The usual case: head and body came together.
        body = request.content.read_nowait(-1)
        if len(body) > limit.bytes_max:
            raise limit.refusal()
        return body
    if waiting:
        await _continue(request)
    held = _Held(port)
    try:
        async with asyncio.timeout(port.options.stall_timeout_s):
            return await _collect(request, limit, held)
    except TimeoutError:
        detail = "the body was not complete in time"
        raise Problem("request_timeout", detail, close=True) from None
    except web.RequestPayloadError:
        detail = "the body is malformed"
        raise Problem("malformed_http", detail, close=True) from None
    finally:
        held.release()


async def refuse_body(request: web.BaseRequest) -> None:
    """Raise Problem when a body comes with a request that has no use for one."""
    if request.body_exists and not request.content.at_eof():
        detail = f"a {request.method} takes no body"
        raise Problem(ErrorCode.INVALID_REQUEST, detail, close=True)


async def overlook_body(request: web.BaseRequest, port: ClientPort) -> None:
    """Read a body that nobody needs, where etcd looks at none. Raises Problem.

    Clients of etcd's gateway send one to every path, whatever the method (Patroni).
    """
    if request.body_exists:
        await read_body(request, port, _OVERLOOKED)


class _Held:
    """What one body holds of the shared budget."""

    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port
        self._count: int = 0

    def grow(self, count: int) -> None:
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


def _check_coding(request: web.BaseRequest) -> None:
    transfer = request.headers.get(hdrs.TRANSFER_ENCODING)
    if transfer is not None and transfer.strip().lower() != "chunked":
        detail = "no transfer coding but chunked is understood"
        raise Problem(ErrorCode.UNSUPPORTED, detail, close=True)
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "identity")
    if coding.strip().lower() != "identity":
        detail = "bodies are taken as they are sent: no Content-Encoding"
        raise Problem("unsupported_media_type", detail, close=True)


def _expects_continue(request: web.BaseRequest) -> bool:
    expect = request.headers.get(hdrs.EXPECT)
    if expect is None or request.version < HttpVersion11:
        return False
    if expect.strip().lower() != "100-continue":
        detail = "nothing can be expected but 100-continue"
        raise Problem("expectation_failed", detail, close=True)
    return True


async def _continue(request: web.BaseRequest) -> None:
    """Ask for the body: the client waits to be asked."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # The interim reply is not the beginning of the reply.
    request.writer.output_size = 0
