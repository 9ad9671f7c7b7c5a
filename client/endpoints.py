"""Where nodes are: endpoints as people write them, and the TLS context to reach them.

Law: nothing is guessed. An address that can't be understood, or that contradicts the
certificates given, is refused before anything is sent to anybody.
"""

import ssl
from collections.abc import Iterable, Sequence
from typing import cast
from urllib.parse import urlsplit

import msgspec

from .errors import InvalidRequest

ENDPOINTS_MAX = 64
DEFAULT_ENDPOINTS = "127.0.0.1:7400"
# Whether TLS is meant; `quorate` leaves it to the certificates. The native protocol and
# HTTP share one port, so that URLs of both name it.
_SCHEMES = {"quorate": None, "quorates": True, "http": False, "https": True}


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One node's client address."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """`host:port`, with `quorate://` or `https://` before it if you like."""
    return _parse(text)[0]


def speaks_tls(endpoints: str | Sequence[str], *, certificates: bool) -> bool:
    """Whether TLS is meant: one endpoint says so, or `certificates` are given.

    An endpoint that says the opposite is refused.
    """
    said = {text: _parse(text)[1] for text in _texts(endpoints)}
    tls = certificates or True in said.values()
    for text, secure in said.items():
        if tls and secure is False:
            reason = "means no TLS, but certificates or other endpoints do"
            raise InvalidRequest(f"endpoint {text!r} {reason}")
    return tls


def _parse(text: str) -> tuple[Endpoint, bool | None]:
    stripped = text.strip()
    url = stripped if "://" in stripped else f"quorate://{stripped}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRequest(f"endpoint {text!r}: {error}") from None
    if parts.scheme not in _SCHEMES:
        raise InvalidRequest(f"endpoint {text!r}: unknown scheme {parts.scheme!r}")
    extra = parts.username is not None or parts.query or parts.fragment
    if extra or parts.path not in ("", "/") or any(map(str.isspace, stripped)):
        raise InvalidRequest(f"endpoint {text!r} is more than host:port")
    if not host or not port:
        raise InvalidRequest(f"endpoint {text!r} is not host:port")
    return Endpoint(host, port), _SCHEMES[parts.scheme]


def _texts(endpoints: str | Sequence[str]) -> list[str]:
    texts = endpoints.split(",") if isinstance(endpoints, str) else endpoints
    _check_texts(texts)
    return [text for text in texts if text.strip()]


def _check_texts(texts: object) -> None:
    """Callers without a type checker may have given host and port each by itself."""
    found = cast(Iterable[object], texts) if isinstance(texts, Iterable) else [texts]
    if not all(isinstance(text, str) for text in found):
        raise TypeError("endpoints are host:port as text, or a list of such texts")


def parse_endpoints(endpoints: str | Sequence[str]) -> list[Endpoint]:
    """All endpoints in order, each once; a string separates them by commas."""
    parsed = [parse_endpoint(text) for text in _texts(endpoints)]
    unique = list(dict.fromkeys(parsed))
    if not unique:
        raise InvalidRequest("no endpoint is given")
    if len(unique) > ENDPOINTS_MAX:
        raise InvalidRequest(f"{len(unique)} endpoints, over {ENDPOINTS_MAX}")
    return unique


def make_tls_context(
    cafile: str | None, certfile: str | None, keyfile: str | None
) -> ssl.SSLContext:
    """What proves the node to us, and us to it if we have a certificate.

    Without `cafile` the machine's own authorities are trusted.
    """
    if keyfile is not None and certfile is None:
        raise InvalidRequest("keyfile needs certfile")
    files = [file for file in (cafile, certfile, keyfile) if file is not None]
    for file in files:
        # OpenSSL's error names no file.
        try:
            with open(file, "rb"):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            raise InvalidRequest(f"{file}: {reason}") from error
    tried = cafile
    try:
        context = ssl.create_default_context(cafile=cafile)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if certfile is not None:
            tried = ", ".join(filter(None, (certfile, keyfile)))
            context.load_cert_chain(certfile, keyfile, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequest(f"{tried}: {_reason(error)}") from error
    return context


def _reason(error: OSError) -> str:
    """What OpenSSL says, without its library, file and line."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return reason.replace("_", " ").lower() if reason else error.strerror or str(error)


def _no_password() -> str:
    """Refuses an encrypted key, for which the library would ask on the terminal."""
    raise InvalidRequest("the key is encrypted; give one without a passphrase")
