"""What is asked: etcd's request messages, from JSON, each judged alone.

Law: pure. A message is what etcd makes of it: the order of its checks, their words, and
what numbers below 0 mean are its own.
"""

from collections.abc import Callable
from enum import IntEnum
from operator import attrgetter
from typing import Final

import msgspec

from ....wire.limits import KEY_BYTES_CEILING
from ....wire.records import Record
from .bodies import Body, Number, Text, choice, int64, octets, unsigned
from .errors import (
    KEY_NOT_PROVIDED,
    LEASE_PROVIDED,
    TOO_LARGE,
    VALUE_PROVIDED,
    invalid_argument,
)

_FROM_KEY_ON: Final = b"\0"


class SortOrder(IntEnum):
    NONE = 0
    ASCEND = 1
    DESCEND = 2


class SortTarget(IntEnum):
    KEY = 0
    VERSION = 1
    CREATE = 2
    MOD = 3
    VALUE = 4


_PLACES: Final[dict[SortTarget, Callable[[Record], bytes | int]]] = {
    SortTarget.KEY: attrgetter("key"),
    SortTarget.VERSION: attrgetter("version"),
    SortTarget.CREATE: attrgetter("create_revision"),
    SortTarget.MOD: attrgetter("mod_revision"),
    SortTarget.VALUE: attrgetter("value"),
}


class _Range(msgspec.Struct):
    key: Text = None
    range_end: Text = None
    limit: Number = None
    revision: Number = None
    sort_order: Number = None
    sort_target: Number = None
    serializable: bool | None = None
    keys_only: bool | None = None
    count_only: bool | None = None
    min_mod_revision: Number = None
    max_mod_revision: Number = None
    min_create_revision: Number = None
    max_create_revision: Number = None


class _Put(msgspec.Struct):
    key: Text = None
    value: Text = None
    lease: Number = None
    prev_kv: bool | None = None
    ignore_value: bool | None = None
    ignore_lease: bool | None = None


class _DeleteRange(msgspec.Struct):
    key: Text = None
    range_end: Text = None
    prev_kv: bool | None = None


class _OneKey(msgspec.Struct, forbid_unknown_fields=True):
    """A range that says nothing but its key, as most do."""

    key: str


_one_keys: Final = msgspec.json.Decoder(_OneKey)
_ranges: Final = Body(_Range)
_puts: Final = Body(_Put)
_deletes: Final = Body(_DeleteRange)


class Range(msgspec.Struct, frozen=True):
    """Read one key, or with `end` a range of them; an empty `end` is no bound."""

    key: bytes
    end: bytes | None
    limit: int
    revision: int
    order: SortOrder
    target: SortTarget
    serializable: bool
    keys_only: bool
    count_only: bool
    mod_revisions: tuple[int, int]
    create_revisions: tuple[int, int]

    @property
    def sorted(self) -> bool:
        """Has all of it to be there before the first of it is known?"""
        if self.target is SortTarget.KEY:
            return self.order is SortOrder.DESCEND
        return True

    @property
    def filtered(self) -> bool:
        """Is not everything of it wanted?"""
        return any((*self.mod_revisions, *self.create_revisions))

    @property
    def needs_no_values(self) -> bool:
        if self.target is SortTarget.VALUE:
            return self.count_only
        return self.keys_only or self.count_only

    def wants(self, record: Record) -> bool:
        return _within(record.mod_revision, self.mod_revisions) and _within(
            record.create_revision, self.create_revisions
        )

    def filter(self, records: list[Record]) -> list[Record]:
        """Those that are wanted."""
        if not self.filtered:
            return records
        return [record for record in records if self.wants(record)]

    def sort(self, records: list[Record]) -> list[Record]:
        """All of them in order, if it is another one than that of keys."""
        if not self.sorted:
            return records
        reverse = self.order is SortOrder.DESCEND
        return sorted(records, key=self.place, reverse=reverse)

    def select(self, records: list[Record]) -> tuple[list[Record], bool]:
        """What is shown of all that there is, in order; is there more?"""
        if self.count_only:
            return [], False
        records = self.sort(self.filter(records))
        if self.limit and len(records) > self.limit:
            return records[: self.limit], True
        return records, False

    @property
    def place(self) -> Callable[[Record], bytes | int]:
        """By what it is sorted."""
        return _PLACES[self.target]


class Put(msgspec.Struct, frozen=True):
    """Store a value; the ignored part stays what it is."""

    key: bytes
    value: bytes
    lease: int
    prev_kv: bool
    ignore_value: bool
    ignore_lease: bool

    @property
    def ignores(self) -> bool:
        return self.ignore_value or self.ignore_lease


class DeleteRange(msgspec.Struct, frozen=True):
    """Remove one key, or with `end` a range of them; an empty `end` is no bound."""

    key: bytes
    end: bytes | None
    prev_kv: bool


def parse_range(data: bytes | msgspec.Raw) -> Range:
    try:
        one = _one_keys.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # It says more, or nothing that makes sense.
        return _parse_range(data)
    key = checked_key(octets(one.key))
    order, target = SortOrder.NONE, SortTarget.KEY
    return Range(key, None, 0, 0, order, target, False, False, False, (0, 0), (0, 0))


def _parse_range(data: bytes | msgspec.Raw) -> Range:
    said = _ranges.parse(data)
    order = choice(SortOrder, "etcdserverpb.RangeRequest.SortOrder", said.sort_order)
    target = choice(
        SortTarget, "etcdserverpb.RangeRequest.SortTarget", said.sort_target
    )
    found = Range(
        octets(said.key),
        bound(said.range_end),
        max(0, int64(said.limit)),
        max(0, int64(said.revision)),
        order,
        target,
        bool(said.serializable),
        bool(said.keys_only),
        bool(said.count_only),
        (int64(said.min_mod_revision), int64(said.max_mod_revision)),
        (int64(said.min_create_revision), int64(said.max_create_revision)),
    )
    checked_key(found.key)
    return found


def parse_put(data: bytes | msgspec.Raw) -> Put:
    said = _puts.parse(data)
    put = Put(
        octets(said.key),
        octets(said.value),
        unsigned(int64(said.lease)),
        bool(said.prev_kv),
        bool(said.ignore_value),
        bool(said.ignore_lease),
    )
    checked_key(put.key)
    if put.ignore_value and put.value:
        raise invalid_argument(VALUE_PROVIDED)
    if put.ignore_lease and put.lease:
        raise invalid_argument(LEASE_PROVIDED)
    return put


def parse_delete_range(data: bytes | msgspec.Raw) -> DeleteRange:
    said = _deletes.parse(data)
    key = octets(said.key)
    end = bound(said.range_end)
    checked_key(key)
    return DeleteRange(key, end, bool(said.prev_kv))


def bound(text: Text) -> bytes | None:
    """The end of a range: None for a single key, b"" for all keys from one on."""
    end = octets(text)
    if not end:
        return None
    checked_length(end)
    return b"" if end == _FROM_KEY_ON else end


def checked_key(key: bytes) -> bytes:
    if not key:
        raise invalid_argument(KEY_NOT_PROVIDED)
    return checked_length(key)


def checked_length(key: bytes) -> bytes:
    # What the native format can't carry; what the node allows is less.
    if len(key) > KEY_BYTES_CEILING:
        raise invalid_argument(TOO_LARGE)
    return key


def _within(revision: int, limits: tuple[int, int]) -> bool:
    lowest, highest = limits
    return lowest <= revision and (not highest or revision <= highest)
