"""Ports of this machine: which are free, and which are not.

Law: what was free a moment ago may be taken now; whoever binds finds out.
"""

import random
import socket
from collections.abc import Iterable
from typing import Final

from .address import Address

# Below where systems take the ports of outgoing connections from: such a port could be
# gone when a killed node comes back for it.
_PORTS: Final = range(15_000, 32_000)
_TRIES: Final = 200


def free(count: int, host: str) -> list[int]:
    """So many ports, or fewer; all are held at once, so that they differ."""
    held: list[socket.socket] = []
    dice = random.SystemRandom()
    try:
        for port in dice.sample(_PORTS, _TRIES + count):
            if len(held) == count:
                break
            listener = _bound(Address(host, port))
            if listener is not None:
                held.append(listener)
        return [int(listener.getsockname()[1]) for listener in held]
    finally:
        for listener in held:
            listener.close()


def taken(addresses: Iterable[Address]) -> Address | None:
    """The first of them where somebody listens."""
    for address in addresses:
        listener = _bound(address)
        if listener is None:
            return address
        listener.close()
    return None


def _bound(address: Address) -> socket.socket | None:
    """A socket bound as a node would bind it, or None when that fails."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        # Binding alone succeeds beside another's bound socket that does not listen.
        listener.listen(1)
    except OSError:
        listener.close()
        return None
    return listener
