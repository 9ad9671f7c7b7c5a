"""Names and addresses: what may be one, read from text and written back.

Law: pure text; nothing is resolved or dialled. What is accepted here ends up in URIs,
paths, HTTP headers and log lines, so the alphabets are small.
"""

import ipaddress
import re
from urllib.parse import urlsplit

import msgspec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})?")


class Address(msgspec.Struct, frozen=True):
    """A host and a port. `str()` writes it back, IPv6 in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it; a name counts only as localhost."""
        if self.host.lower() == "localhost":
            return True
        address = _ip(self.host)
        return address is not None and address.is_loopback

    @property
    def wildcard(self) -> bool:
        """Whether it stands for all interfaces, and so can't be dialled."""
        address = _ip(self.host)
        return address is not None and address.is_unspecified


def parse_address(text: str) -> Address:
    """Read `host:port` or `[v6]:port`; `ValueError` says what is wrong with it."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text[:128]!r} is not host:port")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536):
        raise ValueError(f"{port[:128]!r} is not a port (0 to 65535)")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not isinstance(_ip(host), ipaddress.IPv6Address) or "%" in host:
            raise ValueError(f"{host[:128]!r} is not an IPv6 address")
    elif not _HOST.fullmatch(host):
        raise ValueError(f"{host[:256]!r} is not a host (IPv6 needs [brackets])")
    return Address(host, int(port))


def is_name(text: str) -> bool:
    """Whether `text` may name a node or a client: it becomes part of URIs and paths."""
    return _NAME.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Whether `text` is a host name or an address, without a port or brackets."""
    return _HOST.fullmatch(text) is not None or _ip(text) is not None


def is_origin(text: str) -> bool:
    """Whether `text` is spelled as a browser's Origin header: lower case, no path."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or port == 0:
        return False
    if not _HOST.fullmatch(host) and _ip(host) is None:
        return False
    host = f"[{host}]" if ":" in host else host
    return text == f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
