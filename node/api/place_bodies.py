"""What is asked about locks and elections over HTTP, and how they are shown.

Law: pure. A time is a number of seconds, or text with a unit, as `"10s"`. A token is
taken only for the lock or election in whose path it stands.
"""

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ...wire.base64_text import decode_base64
from ...wire.errors import CommandRefused
from ...wire.fences import Fence, parse_token
from ...wire.ids import id_name
from ...wire.leases import TTL_MS_MAX, TTL_MS_MIN
from ...wire.limits import Limits
from ...wire.locks import Entry, holder_key, lease_of_key
from . import targets
from .errors import Problem, invalid
from .http_body import parse_json
from .http_leases import parse_lease
from .http_records import shown_key
from .http_requests import check_length

WAIT_MS_MAX: Final = 600_000

T = TypeVar("T")


class _Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ttl: float | str | UnsetType = UNSET
    lease: str | UnsetType = UNSET
    wait: float | str | UnsetType = UNSET


class _Campaign(_Wanted, frozen=True, forbid_unknown_fields=True):
    value: str | UnsetType = UNSET
    value64: str | UnsetType = UNSET


class Wanted(msgspec.Struct, frozen=True):
    """A place that is wanted: on a lease of one's own, or on one of `ttl_ms`."""

    lease: int
    ttl_ms: int
    wait_s: float
    value: bytes = b""


class ShownPlace(msgspec.Struct):
    """One who holds, leads or waits. `key` is null when it is not UTF-8."""

    key: str | None
    key64: str
    token: str
    revision: int
    lease: str


class Taken(msgspec.Struct):
    """`name` is null when it is not UTF-8."""

    name: str | None
    token: str
    revision: int
    lease: str


_locks: Final = msgspec.json.Decoder(_Wanted)
_campaigns: Final = msgspec.json.Decoder(_Campaign)


def parse_lock(body: bytes) -> Wanted:
    """What wants a lock; raises Problem."""
    return _wanted(parse_json(_locks, body, "the body"), b"")


def parse_campaign(body: bytes) -> Wanted:
    """What wants to lead; raises Problem."""
    said = parse_json(_campaigns, body, "the body")
    if isinstance(said.value64, UnsetType):
        text = "" if isinstance(said.value, UnsetType) else said.value
        return _wanted(said, text.encode())
    if said.value is not UNSET:
        raise invalid("`value` and `value64` are the same thing twice")
    value = decode_base64(said.value64.encode())
    if value is None:
        raise invalid("value64: not base64")
    return _wanted(said, value)


def _wanted(said: _Wanted, value: bytes) -> Wanted:
    wait_ms = 0
    if not isinstance(said.wait, UnsetType):
        wait_ms = _milliseconds("wait", said.wait, 0, WAIT_MS_MAX)
    if isinstance(said.ttl, UnsetType) == isinstance(said.lease, UnsetType):
        raise invalid("give ttl or lease")
    if isinstance(said.ttl, UnsetType):
        return Wanted(parse_lease(str(said.lease)), 0, wait_ms / 1000, value)
    ttl_ms = _milliseconds("ttl", said.ttl, TTL_MS_MIN, TTL_MS_MAX)
    return Wanted(0, ttl_ms, wait_ms / 1000, value)


def _milliseconds(name: str, said: float | str, lowest: int, highest: int) -> int:
    if isinstance(said, str):
        data = said.encode("utf-8", "replace")
        return targets.duration_ms(name, data, lowest, highest)
    if not lowest <= said * 1000 <= highest:
        raise invalid(f"{name} has to be from {lowest} ms to {highest} ms")
    return round(said * 1000)


# -- names and tokens ------------------------------------------------------------------


def parse_name(path: str, prefix: str, limits: Limits) -> bytes:
    """The name in a path, percent-decoded once, as keys are; raises Problem."""
    name = targets.bytes_below(path, prefix)
    if not name:
        raise invalid("the name is empty")
    # The longest key of anybody who wants it.
    check_length("key of this name", holder_key(name, 2**63), limits)
    return name


def fence_of(
    name: bytes, parameters: Mapping[str, bytes], limits: Limits
) -> tuple[Fence, int]:
    """The fence and the lease that `token` says; raises Problem."""
    if "token" not in parameters:
        raise invalid("token has to be there")
    try:
        fence = parse_token(parameters["token"].decode("ascii", "replace"), limits)
    except CommandRefused as error:
        raise Problem(error.code, error.reason) from None
    lease = lease_of_key(name, fence.key)
    if lease is None:
        raise invalid("this is a token of something else")
    return fence, lease


# -- how they are shown ----------------------------------------------------------------


def shown_place(entry: Entry) -> ShownPlace:
    key, key64 = shown_key(entry.key)
    revision, lease = entry.create_revision, id_name(entry.lease)
    return ShownPlace(key, key64, entry.fence.token, revision, lease)


def shown_taken(name: bytes, fence: Fence, lease: int) -> Taken:
    text, _ = shown_key(name)
    return Taken(text, fence.token, fence.revision, id_name(lease))
