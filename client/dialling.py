"""A socket to a host that may have several addresses: the first that answers.

Law: an address that nobody answers at costs STAGGER_SECONDS, and not all the time that
there is. No socket is left open but the one that is handed out. (asyncio can do this by
itself, uvloop can't, and a client runs on either.)
"""

import asyncio
import errno
import os
import socket
import ssl
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

# When the next address is tried, too, while those before it say nothing.
STAGGER_SECONDS: Final = 0.25

# What getaddrinfo finds: family, type, protocol, canonical name, address.
_Found: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]


async def open_socket(host: str, port: int) -> socket.socket:
    """A connected socket. OSError when no address of the host can be connected to."""
    found = await _addresses(host, port)
    tries: list[asyncio.Task[socket.socket]] = []
    winner: asyncio.Task[socket.socket] | None = None
    try:
        for number, address in enumerate(found, 1):
            tries.append(asyncio.create_task(_connect(address)))
            last = number == len(found)
            winner = await _first(tries, None if last else STAGGER_SECONDS)
            if winner is not None:
                return winner.result()
    finally:
        await _end([each for each in tries if each is not winner])
    raise _nobody(found, tries)


def in_words(error: OSError) -> str:
    """What was wrong. Asyncio's own text is a number and an address once more."""
    # OpenSSL has numbers of its own.
    number = error.errno or 0
    if number in errno.errorcode and not isinstance(error, ssl.SSLError):
        return os.strerror(number).lower()
    return error.strerror or str(error) or type(error).__name__


async def _addresses(host: str, port: int) -> list[_Found]:
    """Of the host. An address is its own: no resolver's thread is started for it."""
    with suppress(ValueError):
        # One with a zone is left to the resolver, which knows the number of that.
        version = ip_address(host).version
        if "%" not in host:
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            tcp = socket.IPPROTO_TCP
            return [(family, socket.SOCK_STREAM, tcp, "", (host, port))]
    loop = asyncio.get_running_loop()
    return [*await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


async def _connect(found: _Found) -> socket.socket:
    family, kind, protocol, _, address = found
    connecting = socket.socket(family, kind, protocol)
    try:
        connecting.setblocking(False)
        # Small requests go out at once, whichever loop it is handed to.
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connecting, address)
    except BaseException:
        connecting.close()
        raise
    return connecting


async def _first(
    tries: list[asyncio.Task[socket.socket]], seconds: float | None
) -> asyncio.Task[socket.socket] | None:
    """The one that got through. None: the next one's turn, or, without time, no one."""
    while running := [each for each in tries if not each.done()]:
        await asyncio.wait(running, timeout=seconds, return_when="FIRST_COMPLETED")
        for each in tries:
            if each.done() and each.exception() is None:
                return each
        if seconds is not None:
            break
    return None


async def _end(tries: list[asyncio.Task[socket.socket]]) -> None:
    for each in tries:
        each.cancel()
    for came in await asyncio.gather(*tries, return_exceptions=True):
        # One that got through just behind the first one.
        if not isinstance(came, BaseException):
            came.close()


def _nobody(
    found: list[_Found], tries: list[asyncio.Task[socket.socket]]
) -> BaseException:
    """Why there is no connection: one error, or what all of them say."""
    told: dict[str, BaseException] = {}
    for address, each in zip(found, tries, strict=True):
        error = each.exception()
        if not isinstance(error, OSError):
            assert error is not None
            return error
        told[f"{address[4][0]}: {in_words(error)}"] = error
    if len(told) == 1:
        return next(iter(told.values()))
    return OSError("; ".join(told))
