"""One endpoint and the connection to it, opened when it is first needed.

Law: many callers share one attempt to connect, and none of them can spoil it for the
others by giving up. What fails here has asked nothing of the node.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from ..wire import ServerHello
from .connection import Connection, HelloFailed
from .dialling import in_words, open_socket
from .endpoints import Endpoint
from .tls_errors import Disagreement, disagreement

# An attempt that nobody waits for any more ends by itself.
CONNECT_SECONDS_MAX: Final = 10.0
# How long a peer may take to answer our goodbye.
TLS_SHUTDOWN_SECONDS_MAX: Final = 1.0
# What a loop has of a connection that came to nothing is gone long before.
_HELD_SECONDS: Final = 60.0


class ConnectFailed(Exception):
    """There is no connection.

    `hopeless` when there would be none on trying again, `too_slow` when there is none
    only yet, `refused` when the node does not let us in, `tls` when it is TLS that the
    two do not agree on.
    """

    def __init__(
        self,
        reason: str,
        *,
        hopeless: bool = False,
        too_slow: bool = False,
        refused: bool = False,
        tls: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.hopeless: bool = hopeless
        self.too_slow: bool = too_slow
        self.refused: bool = refused
        self.tls: bool = tls


class Link:
    """The way to one endpoint.

    `accept` sees each new hello and returns why this node will not do, or None.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        tls: ssl.SSLContext | None,
        accept: Callable[[ServerHello], str | None],
        token: bytes = b"",
    ) -> None:
        self.endpoint: Endpoint = endpoint
        self._tls: ssl.SSLContext | None = tls
        self._accept: Callable[[ServerHello], str | None] = accept
        self._token: bytes = token
        # Who answered here last.
        self.member_id: int | None = None
        # How often it has failed in a row, and until when no route leads here.
        self.failures: int = 0
        self.rests_until: float = 0.0
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._unclosed: set[Connection] = set()

    @property
    def connection(self) -> Connection | None:
        """The open connection, if there is one that takes requests."""
        connection = self._connection
        return connection if connection is not None and connection.usable else None

    @property
    def waiting(self) -> int:
        """How many requests on its connection have not been answered."""
        return 0 if self._connection is None else self._connection.waiting

    @property
    def used(self) -> bool:
        """Is it being connected, or has a connection that is not closed yet?"""
        return self._connecting is not None or bool(self._unclosed)

    async def connect(self, patience: float) -> Connection:
        """A usable connection within `patience` seconds, or ConnectFailed."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._open())
            self._connecting.add_done_callback(self._opened)
        task = self._connecting
        await asyncio.wait({task}, timeout=patience)
        if not task.done():
            reason = f"not connected within {patience:.3g} s"
            raise ConnectFailed(reason, too_slow=True)
        if task.cancelled():
            raise ConnectFailed("closed while connecting")
        return task.result()

    def retire(self) -> None:
        """Use the present connection no more; requests in flight on it may end."""
        if self._connection is not None:
            self._connection.retire()

    async def close(self, reason: str) -> None:
        """End everything; returns when no socket is left open."""
        connecting = self._connecting
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait({connecting})
        unclosed = list(self._unclosed)
        for connection in unclosed:
            connection.close(reason)
        for connection in unclosed:
            await connection.closed

    def drop(self) -> None:
        """End everything, and wait for nothing."""
        if self._connecting is not None:
            self._connecting.cancel()
        for connection in list(self._unclosed):
            connection.abort("the client was dropped")

    def _opened(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        # Looked at, because everybody who waited for it may have given up.
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self._token)
        self._unclosed.add(connection)
        connection.closed.add_done_callback(
            lambda _: self._unclosed.discard(connection)
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                await self._connect_socket(loop, connection)
                hello = await connection.hello
            if hello.refused:
                raise ConnectFailed(hello.refused, hopeless=True, refused=True)
            refusal = self._accept(hello)
            if refusal is not None:
                raise ConnectFailed(refusal, hopeless=True)
            self.member_id = hello.member_id
        except BaseException as error:
            connection.close("not connected")
            if isinstance(error, HelloFailed):
                if error.tls is not None:
                    raise _disagreed(error.tls) from None
                raise ConnectFailed(error.reason, hopeless=error.hopeless) from None
            if isinstance(error, OSError):
                raise _explained(error) from error
            if isinstance(error, ValueError):
                # A host name that no resolver and no certificate can have.
                raise ConnectFailed(str(error), hopeless=True) from error
            raise
        return connection

    async def _connect_socket(
        self, loop: asyncio.AbstractEventLoop, connection: Connection
    ) -> None:
        host, port = self.endpoint.host, self.endpoint.port
        connected = await open_socket(host, port)
        if self._tls is None:
            await loop.create_connection(lambda: connection, sock=connected)
            return
        try:
            await loop.create_connection(
                lambda: connection,
                sock=connected,
                ssl=self._tls,
                server_hostname=host,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS_MAX,
            )
        except BaseException:
            # After a handshake that failed uvloop's transport is there for a moment
            # more, and does not hold its socket: collected, that would close the
            # descriptor under it, which somebody else has then, and libuv aborts.
            loop.call_later(_HELD_SECONDS, connected.close)
            raise


def _explained(error: OSError) -> ConnectFailed:
    """Why there is no connection, in words, and whether there may be one later."""
    if isinstance(error, TimeoutError):
        return ConnectFailed(f"not connected within {CONNECT_SECONDS_MAX:g} s")
    tls = disagreement(error)
    if tls is not None:
        return _disagreed(tls)
    return ConnectFailed(in_words(error))


def _disagreed(tls: Disagreement) -> ConnectFailed:
    return ConnectFailed(tls.reason, hopeless=True, refused=tls.refused, tls=True)
