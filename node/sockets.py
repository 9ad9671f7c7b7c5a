"""What is asked of sockets: where peers are waited for and dialled, who is still there.

What can't be had at an address is an OSError. On a connection the kernel finds out that
the other end is gone; its transport is then told that the connection is lost.
"""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, cast

from .address import Address

BACKLOG: Final = 128


@contextmanager
def resolving(address: Address) -> Generator[None]:
    """A host that no resolver could have is as one that none has: a `gaierror`.

    Python raises UnicodeError for it; and it may be in the log for ever.
    """
    try:
        yield
    except UnicodeError as error:
        reason = f"{address.host!r} is no host: {error}"
        raise socket.gaierror(socket.EAI_NONAME, reason) from error


async def listening(address: Address) -> socket.socket:
    """A socket that takes connections there. Raises OSError when it can't be had."""
    loop = asyncio.get_running_loop()
    with resolving(address):
        found = await loop.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )
    family, kind, protocol, _, place = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(place)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def probe(
    transport: asyncio.Transport, idle_s: int, interval_s: int, probes: int
) -> None:
    """Ask the other end whether it is there once nothing has come for `idle_s`.

    Then every `interval_s`; without an answer to `probes` of them it is gone.
    """
    sock = _socket_of(transport)
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", idle_s),
        ("TCP_KEEPINTVL", interval_s),
        ("TCP_KEEPCNT", probes),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def give_up_after(transport: asyncio.Transport, seconds: float) -> None:
    """So long may what was sent go unacknowledged, or the other end take nothing.

    On Linux it is also the bound of what `probe` does, instead of its count.
    """
    sock = _socket_of(transport)
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        most_ms = round(seconds * 1000)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, most_ms)


def _socket_of(transport: asyncio.Transport) -> socket.socket | None:
    """None: it is none of a network's, or closed."""
    return cast("socket.socket | None", transport.get_extra_info("socket"))
