"""What is asked of sockets: where peers are waited for and dialled, who is still there.

Law: what can't be had at an address is an OSError. Who waits for a name, or for an
address that says nothing, holds up nobody else: each name is looked up by a thread of
its own, and of several addresses each has a share of the time. (An event loop's own
threads for names are few: two for uvloop, which also waits for them when it ends.) On a
connection the kernel finds out that the other end is gone; its transport is then told
that the connection is lost.
"""

import asyncio
import errno
import socket
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar, cast

from .address import Address

BACKLOG: Final = 128
LOOKUPS_MAX: Final = 64

T = TypeVar("T")
# What getaddrinfo finds: family, type, protocol, canonical name, address.
_Found: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]

# Of the process, as its threads are: one for each name, whoever waits for it.
_lookups: dict[Address, Future[Sequence[_Found]]] = {}


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


async def addresses_of(address: Address) -> Sequence[_Found]:
    """What its host's name leads to. Raises OSError; waits as long as the resolver."""
    with resolving(address):
        try:
            return _look_up(address, socket.AI_NUMERICHOST)
        except socket.gaierror:
            # A name: it is asked for elsewhere.
            pass
    lookup = _lookups.get(address)
    if lookup is None:
        if len(_lookups) >= LOOKUPS_MAX:
            raise OSError(errno.EAGAIN, "too many names are being looked up")
        lookup = _lookups[address] = Future()
        # Who gives up ends its own waiting alone.
        lookup.set_running_or_notify_cancel()
        # A resolver that does not answer keeps no process from its end.
        thread = threading.Thread(
            target=_answer,
            args=(address, lookup),
            name="quorate-names",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:
            del _lookups[address]
            raise OSError(errno.EAGAIN, str(error)) from error
    return await asyncio.wrap_future(lookup)


def _answer(address: Address, lookup: "Future[Sequence[_Found]]") -> None:
    try:
        with resolving(address):
            found = _look_up(address)
    except OSError as error:
        lookup.set_exception(error)
    else:
        lookup.set_result(found)
    finally:
        del _lookups[address]


def _look_up(address: Address, flags: int = 0) -> Sequence[_Found]:
    return socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=flags
    )


async def at_each(
    address: Address, seconds: float, connect: Callable[[str, int], Awaitable[T]]
) -> T:
    """What `connect` has at the host's first address at which somebody answers.

    It is called with a number's text and the port; whoever asks gives up after
    `seconds`, and the last address has all the time that is left. Raises OSError,
    ConnectionRefusedError only when nobody listens at any.

    Let the loop make the socket: when one that is given to uvloop fails in its TLS
    handshake, its descriptor is closed under the transport, and libuv may abort.
    """
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + seconds
    found = await addresses_of(address)
    errors: list[OSError] = []
    for number, (*_, place) in enumerate(found, 1):
        after = len(found) - number
        # One share is for what comes when it is connected.
        share_s = (ends_s - loop.time()) / (after + 2) if after else None
        try:
            async with asyncio.timeout(share_s):
                return await connect(place[0], address.port)
        except OSError as error:
            silent = TimeoutError(f"no answer at {place[0]}")
            errors.append(error if str(error) else silent)
    refused = all(isinstance(error, ConnectionRefusedError) for error in errors)
    if refused or len(errors) == 1:
        raise errors[0]
    raise OSError("; ".join(map(str, errors)))


async def listening(address: Address) -> socket.socket:
    """A socket that takes connections there. Raises OSError when it can't be had."""
    family, kind, protocol, _, place = (await addresses_of(address))[0]
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
