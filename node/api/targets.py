"""Request targets: from the bytes of the request line to keys and parameters.

Law: a key is what stands in the request line, percent-decoded once, and nothing else.
Nothing is normalised: `//`, `%2F` and `a/../b`'s bytes name different keys, and a dot
segment, which some client on the way would have removed, is refused unless it is
percent-encoded. As `unquote_to_bytes` has it, a `%` without two digits stands for
itself. Pure: no I/O, no aiohttp.
"""

import base64
import re
import struct
from urllib.parse import unquote_to_bytes

import msgspec

from ...wire import base64_text
from .errors import invalid

KEYS_PREFIX = "/v1/kv/"

_ABSOLUTE = re.compile(r"https?://([^/?]*)([^\x00]*)", re.IGNORECASE)
# The longest ttl has so many digits in milliseconds.
_DURATION = re.compile(r"([0-9]{1,13})(ms|s|m|h)")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_REVISION_MAX = 2**64 - 1
_CURSOR = struct.Struct(">Q")


class Target(msgspec.Struct, frozen=True):
    """A request target, still escaped. `authority` is None in the usual form."""

    path: str
    query: str
    authority: str | None


def split_target(raw: str) -> Target:
    """The parts of a request target; refuses what is not for an origin server."""
    authority = None
    if not raw.startswith("/"):
        absolute = _ABSOLUTE.fullmatch(raw)
        if absolute is None:
            raise invalid("the request target is not a path")
        authority = absolute[1]
        raw = absolute[2]
        if not raw.startswith("/"):
            raw = "/" + raw
    if "#" in raw:
        raise invalid("a '#' in the request target has to be written %23")
    path, _, query = raw.partition("?")
    return Target(path, query, authority)


def key_of_path(path: str) -> bytes:
    """The key that `path` names, b"" when it names none."""
    return bytes_below(path, KEYS_PREFIX)


def bytes_below(path: str, prefix: str) -> bytes:
    """What stands in `path` behind the prefix that it begins with."""
    assert path.startswith(prefix), path
    rest = path[len(prefix) :]
    if "." in rest:
        for segment in rest.split("/"):
            if segment in (".", ".."):
                raise invalid(f"a segment {segment!r} has to be percent-encoded")
    return unquote_to_bytes(_raw(rest))


def parse_query(query: str, allowed: frozenset[str]) -> dict[str, bytes]:
    """The parameters of a query; refuses unknown and repeated ones."""
    parameters: dict[str, bytes] = {}
    if not query:
        return parameters
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in allowed:
            raise invalid(f"unknown query parameter {name[:32]!a}")
        if name in parameters:
            raise invalid(f"the query parameter {name} is repeated")
        parameters[name] = _unquoted(value)
    return parameters


def values(query: str, wanted: str) -> list[bytes]:
    """All that a query says for one name, whatever else it says."""
    parts = [part.partition("=") for part in query.split("&")]
    return [_unquoted(value) for name, _, value in parts if name == wanted]


def decode_base64(name: str, value: bytes) -> bytes:
    """The bytes in a base64 or base64url parameter, padded or not."""
    # A '+' that nobody escaped has been read as a space.
    decoded = base64_text.decode_base64(value.replace(b" ", b"+"))
    if decoded is None:
        raise invalid(f"{name} is not base64")
    return decoded


def encode_cursor(at: int, start: bytes) -> str:
    """Where a list goes on and of which revision, in characters that need no escape."""
    return base64.urlsafe_b64encode(_CURSOR.pack(at) + start).rstrip(b"=").decode()


def decode_cursor(value: bytes) -> tuple[int, bytes]:
    """The revision and the first key of a cursor."""
    decoded = decode_base64("cursor", value)
    if len(decoded) < _CURSOR.size:
        raise invalid("cursor is not a list's")
    (at,) = _CURSOR.unpack_from(decoded)
    if not at:
        # Revision 0 would mean the newest one, and so another one for each page.
        raise invalid("cursor is not a list's")
    return at, decoded[_CURSOR.size :]


def duration_ms(name: str, value: bytes, lowest: int, highest: int) -> int:
    """The milliseconds of `500ms`, `2s`, `1m` or `1h`."""
    match = _DURATION.fullmatch(_text(name, value))
    if match is None:
        raise invalid(f"{name} has to look like 500ms, 2s or 1m")
    milliseconds = int(match[1]) * _UNITS_MS[match[2]]
    if not lowest <= milliseconds <= highest:
        raise invalid(f"{name} has to be from {lowest} ms to {highest} ms")
    return milliseconds


def number(name: str, value: bytes, lowest: int, highest: int) -> int:
    """A decimal number without sign, leading zeros or separators."""
    text = _text(name, value)
    if _NUMBER.fullmatch(text) is None or not lowest <= int(text) <= highest:
        raise invalid(f"{name} has to be a number from {lowest} to {highest}")
    return int(text)


def flag(name: str, value: bytes) -> bool:
    """A parameter that is on (1) or off (0)."""
    if value not in (b"0", b"1"):
        raise invalid(f"{name} has to be 0 or 1")
    return value == b"1"


def revision(name: str, value: bytes, lowest: int = 0) -> int:
    """A revision; 0 is before everything."""
    return number(name, value, lowest, _REVISION_MAX)


def _unquoted(value: str) -> bytes:
    return unquote_to_bytes(_raw(value.replace("+", " ")))


def _raw(text: str) -> bytes:
    """The bytes as they were sent: the HTTP parser keeps odd ones as surrogates."""
    return text.encode("utf-8", "surrogateescape")


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise invalid(f"{name} has to be ASCII") from None
