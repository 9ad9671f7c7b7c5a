"""The socket at which peers are waited for.

Law: it is bound, or the reason is an OSError.
"""

import asyncio
import errno
import socket
from typing import Final

from .address import Address

BACKLOG: Final = 128


async def listening(address: Address) -> socket.socket:
    """A socket that takes connections there. Raises OSError when it can't be had."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )
    except UnicodeError as error:
        raise OSError(errno.EADDRNOTAVAIL, f"no host: {error}") from error
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
