"""Ports of this machine: which are free, and which are not.

Law: what was free a moment ago may be taken now; whoever binds finds out.
"""

import os
import random
import socket
from collections.abc import Iterable
from typing import Final

from .address import Address

# Below where systems take the ports of outgoing connections from: such a port could be
# gone when a killed node comes back for it.
_PORTS: Final = range(15_000, 32_000)
_TRIES: Final = 200
# Each process looks in a part of its own first.
_PART: Final = 500
_given: set[int] = set()


def free(count: int, host: str) -> list[int]:
    """So many ports, or fewer; all are held at once, so that they differ.

    They are bound a moment later, and in between whoever else looks may be given the
    same: so processes look in different places, and none twice for the same port as
    long as there are others.
    """
    held: list[socket.socket] = []
    dice = random.SystemRandom()
    first = os.getpid() % (len(_PORTS) // _PART) * _PART
    part = [port for port in _PORTS[first : first + _PART] if port not in _given]
    others = dice.sample(_PORTS, _TRIES + count)
    try:
        for port in (*dice.sample(part, len(part)), *others):
            if len(held) == count:
                break
            listener = _bound(Address(host, port))
            if listener is not None:
                held.append(listener)
        found = [int(listener.getsockname()[1]) for listener in held]
        _given.update(found)
        return found
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
