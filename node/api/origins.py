"""Who may ask from inside a browser.

Law: a web page must not be able to use a node that its reader can reach. Two rules,
both for HTTP only:

Origin. A request that names an origin (browsers do for every write and every request
across sites) is refused unless the origin is this node itself or one of the configured
ones. There is no CORS: not even a configured origin is sent headers that would let
other pages read.

Host. A node on a loopback address answers to names that can only mean this machine
(address literals, names without a dot, `*.localhost`), to its advertised name and to
the hosts of configured origins. So a page whose name was made to point at 127.0.0.1
(DNS rebinding), and whose requests therefore count as its own, gets nothing. A node on
another address answers to every name: which of them are right is not known here.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from ...wire.errors import ErrorCode
from .errors import Problem, invalid

# A name or an address, perhaps with a port (RFC 9110 7.2, RFC 3986 3.2.2).
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.~%-]+)?\]"
    r"|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?",
    re.ASCII,
)
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


class OriginRule:
    """The two rules for one listening address."""

    def __init__(
        self,
        host: str,
        port: int,
        advertise: str | None,
        origins: tuple[str, ...],
        *,
        scheme: str = "http",
    ) -> None:
        loopback = host == "localhost" or _is_loopback(host)
        urls = [f"{scheme}://{_bracketed(host)}:{port}"]
        if loopback or _is_unspecified(host):
            urls += [f"{scheme}://{name}:{port}" for name in _LOCAL_NAMES]
        if advertise is not None:
            urls.append(advertise)
        self._origins: frozenset[str] = frozenset(map(_normal, (*urls, *origins)))
        self._hosts: frozenset[str] | None = None
        # Requests of one client all name the same host; looking at it is dear.
        self._last_host: str | None = None
        if loopback:
            self._hosts = frozenset(_host_of(origin) for origin in self._origins)

    def check(self, host: str, origin: str | None) -> None:
        """Raise Problem when a page that has no business here is asking."""
        if origin is not None and _normal(origin) not in self._origins:
            raise _forbidden(
                "this origin is not allowed; client.origins lists those that are"
            )
        if host == self._last_host:
            return
        if _HOST.fullmatch(host) is None:
            raise invalid("the host name is malformed")
        if self._hosts is not None and not self._local(_host_of(f"http://{host}")):
            raise _forbidden(
                "this node answers to no such host name; "
                "client.origins and client.advertise add names"
            )
        self._last_host = host

    def _local(self, host: str) -> bool:
        assert self._hosts is not None
        if "." not in host or host in self._hosts or host.endswith(".localhost"):
            return True
        return _is_address(host)


def _normal(origin: str) -> str:
    """An origin as browsers write it: lower case, no default port, no slash."""
    origin = origin.strip().lower().rstrip("/")
    scheme, separator, rest = origin.partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme)
    if separator and default is not None:
        rest = rest.removesuffix(default)
    return f"{scheme}{separator}{rest}"


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        raise invalid("the host name is malformed") from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _is_unspecified(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _forbidden(detail: str) -> Problem:
    return Problem(ErrorCode.FORBIDDEN, detail)
