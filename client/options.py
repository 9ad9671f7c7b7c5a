"""A client's options, and where they come from besides the constructor's arguments."""

import os
from collections.abc import Callable, Mapping
from typing import TypedDict
from urllib.parse import parse_qsl

from .endpoints import DEFAULT_ENDPOINTS
from .errors import InvalidRequest


class ClientOptions(TypedDict, total=False):
    """The constructor's keywords."""

    timeout: float
    cafile: str | None
    certfile: str | None
    keyfile: str | None
    token: str | None
    balance: bool
    learn: bool
    in_flight_max: int
    sessions: bool
    jitter: Callable[[], float]


def default_endpoints() -> str:
    """The endpoints of a client that was given none."""
    return os.environ.get("QUORATE_ENDPOINTS") or DEFAULT_ENDPOINTS


def options_from_env(given: ClientOptions) -> ClientOptions:
    """The certificates that the environment names, its token, then what is `given`."""
    options: ClientOptions = {
        "cafile": os.environ.get("QUORATE_CACERT") or None,
        "certfile": os.environ.get("QUORATE_CERT") or None,
        "keyfile": os.environ.get("QUORATE_KEY") or None,
        "token": os.environ.get("QUORATE_TOKEN") or None,
    }
    options.update(given)
    return options


def options_from_url(url: str, given: ClientOptions) -> tuple[str, ClientOptions]:
    """The endpoints and options of `quorate://host:port,host:port?timeout=2`.

    What is `given` goes before what the URL says.
    """
    endpoints, _, query = url.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise InvalidRequest(f"{url!r}: {error}") from None
    named = dict(pairs)
    if len(named) != len(pairs):
        raise InvalidRequest(f"{url!r} says something twice")
    options: ClientOptions = {}
    for name, text in named.items():
        match name:
            case "timeout":
                options["timeout"] = _number(text, url)
            case "balance":
                options["balance"] = _choice(text, url)
            case "learn":
                options["learn"] = _choice(text, url)
            case "sessions":
                options["sessions"] = _choice(text, url)
            case "cafile":
                options["cafile"] = text
            case "certfile":
                options["certfile"] = text
            case "keyfile":
                options["keyfile"] = text
            case _:
                raise InvalidRequest(f"{url!r}: unknown option {name!r}")
    options.update(given)
    return endpoints, options


_CHOICES: Mapping[str, bool] = {"1": True, "true": True, "0": False, "false": False}


def _choice(text: str, url: str) -> bool:
    if text not in _CHOICES:
        raise InvalidRequest(f"{url!r}: {text!r} is not one of {', '.join(_CHOICES)}")
    return _CHOICES[text]


def _number(text: str, url: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidRequest(f"{url!r}: {text!r} is not a number") from None
