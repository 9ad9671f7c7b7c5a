"""Where peers are waited for and dialled: what can't be had there is an OSError."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

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
