"""The client port's socket: accepts, finds out what a connection speaks, hands it over.

Law: the first bytes decide (docs/formats.md section 1). Until they are there a
connection costs a timer and at most a hello. Connections over the limit are closed
unread. Closing stops accepting, lets replies leave within a bound, and leaves nothing
behind.
"""

import asyncio
import logging
from typing import Final, cast

from aiohttp import http_parser, web

from ...wire.errors import ProtocolError
from ...wire.hello import MAGIC, parse_client_hello
from .connections import ClientPort
from .errors import ParserMissing
from .exposition import Exposition
from .http import HttpApi
from .http_connection import HttpConnection, Plainly
from .http_plain import PlainRequests
from .native import NativeConnection
from .options import ApiOptions
from .origins import OriginRule
from .rights import Principal
from .secure import SecureConnection
from .service import Service

BACKLOG: Final = 1024

_HTTP2: Final = b"PRI "
_NO_HTTP2_BODY: Final = b"HTTP/2 is not spoken here: use HTTP/1.1\n"
_NO_HTTP2: Final = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s" % (len(_NO_HTTP2_BODY), _NO_HTTP2_BODY)
)
# After an abort only callbacks are left to run.
_ABORT_TIMEOUT_S: Final = 5.0
_LINGER_S: Final = 1.0

logger = logging.getLogger("quorate.api")


class Listener:
    """An open client port. Made by `start_listener`."""

    def __init__(
        self, port: ClientPort, server: asyncio.Server, http_server: web.Server
    ) -> None:
        self._port: ClientPort = port
        self._server: asyncio.Server = server
        self._http_server: web.Server = http_server
        self.host: str
        self.port: int
        self.host, self.port = _address(server)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._port.all())

    @property
    def handshakes_failed(self) -> int:
        """How many TLS handshakes came to nothing."""
        return self._port.handshakes.failures

    def end_overdue(self, now_s: float) -> None:
        """End connections whose certificates are good no more."""
        self._port.end_overdue(now_s)

    async def close(self) -> None:
        """Stop accepting, let replies leave, close; nothing is left when it returns."""
        self._server.close()
        self._port.closing = True
        drain_s = self._port.options.drain_timeout_s
        for connection in self._port.all():
            if isinstance(connection, NativeConnection):
                connection.drain()
            elif isinstance(connection, _Sniffer | SecureConnection):
                connection.abort()
        self._http_server.pre_shutdown()
        await self._http_server.shutdown(drain_s)
        if not await self._port.wait_for_empty(drain_s):
            for connection in self._port.all():
                connection.abort()
            if not await self._port.wait_for_empty(_ABORT_TIMEOUT_S):
                logger.error("%d connections did not close", self.connections)
        await self._server.wait_closed()


async def start_listener(
    service: Service, host: str, port: int, options: ApiOptions
) -> Listener:
    """Open the client port on `host`; port 0 takes a free one.

    Raises OSError when the address can't be had, ParserMissing.
    """
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise ParserMissing("aiohttp runs without its compiled HTTP parser")
    loop = asyncio.get_running_loop()
    client_port = ClientPort(service, options, loop)

    def accepted() -> _Sniffer:
        return _Sniffer(client_port, http_server, plain.asked)

    def accepted_secure() -> SecureConnection:
        return SecureConnection(client_port, accepted)

    # The address has to be known before the first request is judged by it.
    server = await loop.create_server(
        accepted if options.tls is None else accepted_secure,
        host,
        port,
        backlog=BACKLOG,
        start_serving=False,
    )
    rule = OriginRule(
        *_address(server),
        options.advertise,
        options.origins,
        scheme="http" if options.tls is None else "https",
    )
    api = HttpApi(client_port, rule, Exposition(client_port))
    plain = PlainRequests(client_port, rule)
    # Who has gone does not need the rest of its handler.
    http_server = web.Server(api.handle, handler_cancellation=True)
    await server.start_serving()
    return Listener(client_port, server, http_server)


def _address(server: asyncio.Server) -> tuple[str, int]:
    name = cast("tuple[str, int]", server.sockets[0].getsockname())
    return name[0], name[1]


class _Sniffer(asyncio.Protocol):
    """A connection that has not said enough to know what it speaks."""

    protocol_name: str = "unknown"

    def __init__(
        self, port: ClientPort, http_server: web.Server, plainly: Plainly
    ) -> None:
        self._port: ClientPort = port
        self._http_server: web.Server = http_server
        self._plainly: Plainly = plainly
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._data: bytes = b""
        self._refused: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it when there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        # What has come through a handshake has its room already.
        if not self._port.has(self):
            if not self._port.has_room:
                self._refused = True
                self._port.refused += 1
                self._transport.abort()
                return
            self._port.add(self)
        self._abort_after(self._port.options.first_bytes_timeout_s)

    def data_received(self, data: bytes) -> None:
        """Look at the first bytes until they are enough."""
        if self._refused:
            return
        self._data += data
        start = self._data[:4]
        if start == MAGIC[: len(start)]:
            self._native()
        elif start == _HTTP2[: len(start)]:
            if len(start) == len(_HTTP2):
                self._refuse(_NO_HTTP2)
        else:
            connection = HttpConnection(self._port, self._http_server, self._plainly)
            self._hand_over(connection, self._data)

    def connection_lost(self, exc: Exception | None) -> None:
        """It went before it was known."""
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        self._port.remove(self)

    def abort(self) -> None:
        """End at once."""
        if self._transport is not None:
            self._transport.abort()

    def drain(self) -> None:
        """Nothing was started."""
        self.abort()

    def _native(self) -> None:
        try:
            hello = parse_client_hello(self._data)
        except ProtocolError:
            # Frames only follow hellos, so there is nothing that could say why.
            self.abort()
            return
        if hello is not None:
            rest = self._data[hello.length :]
            assert self._transport is not None
            certified = cast(
                "Principal | None", self._transport.get_extra_info("principal")
            )
            connection = NativeConnection(self._port, hello, certified)
            self._hand_over(connection, rest)

    def _hand_over(
        self, connection: NativeConnection | HttpConnection, data: bytes
    ) -> None:
        assert self._transport is not None
        assert self._timer is not None
        self._timer.cancel()
        transport = self._transport
        self._transport = None
        transport.set_protocol(connection)
        self._port.replace(self, connection)
        connection.connection_made(transport)
        if data:
            connection.data_received(data)

    def _refuse(self, answer: bytes) -> None:
        """Say why and close; what follows is dropped, so that no reset overtakes."""
        assert self._transport is not None
        self._refused = True
        self._data = b""
        self._transport.write(answer)
        self._transport.write_eof()
        self._abort_after(_LINGER_S)

    def _abort_after(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._port.loop.call_later(delay_s, self.abort)
