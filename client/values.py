"""What callers hand in and get back: keys, values, records."""

import math
import struct
from collections.abc import Mapping
from operator import index
from types import MappingProxyType
from typing import Final, Literal, Self, SupportsIndex, TypeAlias

import msgspec

from ..wire import (
    FORMAT_LIMITS,
    CommandRefused,
    Fence,
    Level,
    Record,
    WatchRequest,
    bounds,
    encode_watch,
    is_token,
    parse_token,
)
from .errors import InvalidRequest, TooLarge

ReadLevel: TypeAlias = Literal["linearizable", "bounded", "local"]

TIMEOUT_SECONDS_MAX: Final = 600.0

LEVELS: Final[Mapping[str, Level]] = MappingProxyType(
    {"linearizable": Level.LINEARIZABLE, "bounded": Level.BOUNDED, "local": Level.LOCAL}
)


class KeyValue(msgspec.Struct, frozen=True, gc=False):
    """One key as it stood at the moment of the read."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int

    @classmethod
    def of(cls, record: Record) -> Self:
        """The caller's view of what came over the wire."""
        return cls(
            record.key,
            record.value,
            record.create_revision,
            record.mod_revision,
            record.version,
            record.lease,
        )

    @property
    def text(self) -> str:
        """The value as UTF-8 text; raises UnicodeDecodeError when it is none."""
        return self.value.decode()


def to_bytes(text: str | bytes) -> bytes:
    """Text as UTF-8, bytes as they are."""
    if isinstance(text, bytes):
        return text
    # Callers without a type checker would else see an AttributeError from within.
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"keys and values are str or bytes, not {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{text!r} can't be encoded as UTF-8") from None


def to_client_token(token: str | None) -> bytes:
    """What is shown to nodes; none is b"". No error says what it was."""
    if token is None:
        return b""
    data = token.encode("utf-8", "replace")
    if not is_token(data):
        raise InvalidRequest("the client's token is not of letters, digits and -._~+/=")
    return data


def to_key(key: str | bytes) -> bytes:
    """A key's bytes; what can't be asked for at all is refused before it is sent."""
    data = to_bytes(key)
    if not data:
        raise InvalidRequest("the key is empty")
    return _carried("the key", data)


def prefix_end(prefix: str | bytes) -> bytes:
    """The end of the range of all keys with this prefix: the first key behind them.

    Empty, which means no upper bound, when no key lies behind them.
    """
    return bounds.prefix_end(to_bytes(prefix))


def to_bounds(
    prefix: str | bytes | None, start: str | bytes | None, end: str | bytes | None
) -> tuple[bytes, bytes]:
    """The start and end that a range call means."""
    if prefix is not None:
        if start is not None or end is not None:
            raise InvalidRequest("give prefix, or start and end")
        return _carried("the prefix", to_bytes(prefix)), prefix_end(prefix)
    return (
        _carried("start", b"" if start is None else to_bytes(start)),
        _carried("end", b"" if end is None else to_bytes(end)),
    )


def to_expected(if_revision: int | None, if_absent: bool) -> int | None:
    """The mod_revision a write expects; 0 means absent, None that it does not care."""
    if if_revision is None:
        return 0 if if_absent else None
    if if_absent:
        raise InvalidRequest("give if_revision or if_absent")
    return to_revision("if_revision", if_revision)


def to_revision(name: str, revision: int) -> int:
    """A revision that fits its field; TypeError for what is no integer."""
    number = index(revision)
    if not 0 <= number < 2**64:
        raise InvalidRequest(f"{name} is {number}, which is not a revision")
    return number


def to_fence(token: str) -> Fence:
    """What a token says."""
    if not isinstance(token, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a fence is a lock's token, a str, not {type(token).__name__}")
    try:
        return parse_token(token, FORMAT_LIMITS)
    except CommandRefused as error:
        raise InvalidRequest(f"fence: {error.reason}") from None


def to_lease(lease: SupportsIndex) -> int:
    """The id of a lease, or 0 for none; TypeError for what is neither id nor lease."""
    number = index(lease)
    if not 0 <= number < 2**64:
        raise InvalidRequest(f"lease is {number}, which is not the id of one")
    return number


def to_limit(limit: int | None) -> int | None:
    """How many records at most, None for all; TypeError for what is no integer."""
    if limit is None:
        return None
    number = index(limit)
    if number < 0:
        raise InvalidRequest(f"limit is {number}")
    return number


def to_seconds(name: str, seconds: float) -> float:
    """What can be compared with numbers; TypeError for what is none, as "5s" is."""
    # Callers without a type checker would else be told of an operator from within.
    if not hasattr(seconds, "__float__"):
        kind = type(seconds).__name__
        raise TypeError(f"{name} is a number of seconds, not {kind}")
    return seconds


def to_timeout(seconds: float, name: str = "timeout") -> float:
    """A deadline that can be kept; NaN fails this comparison, too."""
    if not 0 < to_seconds(name, seconds) <= TIMEOUT_SECONDS_MAX:
        raise InvalidRequest(
            f"{name} is {seconds} s, not over 0 and at most {TIMEOUT_SECONDS_MAX:g} s"
        )
    return float(seconds)


def to_level(level: ReadLevel, max_staleness: float | None) -> tuple[Level, int]:
    """The level and the staleness in ms that a read asks for.

    The staleness is rounded down: rounding up would accept what was not asked for.
    """
    if level not in LEVELS:
        raise InvalidRequest(f"level is {level!r}, not one of {', '.join(LEVELS)}")
    if level != "bounded":
        if max_staleness is not None:
            raise InvalidRequest("max_staleness is for level='bounded'")
        return LEVELS[level], 0
    if max_staleness is None:
        raise InvalidRequest("level='bounded' needs max_staleness, in seconds")
    if not 0 <= to_seconds("max_staleness", max_staleness) < 2**32 / 1000:
        raise InvalidRequest(f"max_staleness is {max_staleness} s")
    return Level.BOUNDED, math.floor(max_staleness * 1000)


def check_watch(request: WatchRequest) -> None:
    """Refuse what can't be asked for, and what nothing can ever be told about."""
    if not (request.puts or request.deletes):
        raise InvalidRequest("a watch of neither puts nor deletes")
    if request.end and request.end <= request.start:
        raise InvalidRequest("a watch of no keys: its end is not behind its start")
    try:
        encode_watch(request)
    except struct.error:
        longest = max(len(request.start), len(request.end))
        if longest >= 2**16:
            reason = f"a bound has {longest} bytes, over what the format carries"
            raise TooLarge(reason) from None
        reason = f"revision is {request.revision!r}, which is not a revision"
        raise InvalidRequest(reason) from None


def _carried(name: str, data: bytes) -> bytes:
    """`data`, if its length has room in 16 bits; the node's limit is lower."""
    if len(data) >= 2**16:
        raise TooLarge(f"{name} has {len(data)} bytes, over what the format carries")
    return data
