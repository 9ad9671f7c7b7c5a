"""Questions to a client port that anybody may ask over HTTP: is it there?

Law: synchronous, and without a certificate or a token of our own.
"""

import http.client
import ssl
from pathlib import Path
from typing import Final

from .address import Address

_BYTES_MAX: Final = 1 << 20


def connect(
    address: Address, ca: Path | None, timeout_seconds: float
) -> http.client.HTTPConnection:
    """A connection, not opened yet; with `ca` by TLS, to who is certified by it."""
    host, port = address.host, address.port
    if ca is None:
        return http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    tls = ssl.create_default_context(cafile=ca)
    return http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=tls)


def http_status(
    address: Address, ca: Path | None, path: str, timeout_seconds: float
) -> int | None:
    """The status of a GET; None when there is no answer."""
    connection = connect(address, ca, timeout_seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read(_BYTES_MAX)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return response.status
