"""Where everything is on the tree: the keys of the engine, by family.

Law: pure, and one-to-one. The newest version of a key is one probe. A superseded one
says until when it was the newest, so that a revision is answered from one place, and so
that compaction tells what may go from the entry alone. See docs/formats.md section 5.

    k <key>                               the newest version: records' bytes
    h <key, escaped> <mod> <since>        a superseded one, until `since` the newest
    r <revision> <number>                 what a revision changed: kind | key
    s <lease>                             a lease: its time, its keys' number, its begin
    t <lease> <key>                       a key that hangs on a lease: nothing
    m <member>                            a member, or one that has left
    n <token>                             a token by which members may join
    c                                     what the caretaker was told, and did
    d                                     whom members trust, and what was revoked
    e                                     the cluster's version, and who knows which
    p <session>                           a session: its numbers, what they came to
    q <session> <number>                  the body of an answer in a session

Numbers in here are big-endian, for their order.
"""

import struct
from typing import Final

from ...storage.engine import Droppable

NEWEST: Final = b"k"
OLD: Final = b"h"
CHANGE: Final = b"r"
LEASE: Final = b"s"
LEASED: Final = b"t"
MEMBER: Final = b"m"
TOKEN: Final = b"n"
CARETAKER: Final = b"c"
TRUST: Final = b"d"
VERSION: Final = b"e"
SESSION: Final = b"p"
REPLY: Final = b"q"

# Nobody asks for one of these by its whole place.
SCANNED: Final = OLD + CHANGE

DELETED: Final = b"\0"
PUT: Final = b"\1"

REVISION_MAX: Final = 2**64 - 1
# Behind all of a family.
_NEWEST_END: Final = b"l"
_OLD_END: Final = b"i"
_LEASED_END: Final = b"u"
_TOKEN_END: Final = b"o"
_TERMINATOR: Final = b"\0\1"
_REVISION: Final = struct.Struct(">Q")
_LIFE: Final = struct.Struct(">QQ")
_CHANGE: Final = struct.Struct(">cQI")
_OLD_TAIL_BYTES: Final = len(_TERMINATOR) + _LIFE.size


def newest(key: bytes) -> bytes:
    return NEWEST + key


def newest_bounds(start: bytes, end: bytes | None) -> tuple[bytes, bytes]:
    """The bounds of the newest versions of `start` ≤ key < `end`."""
    return NEWEST + start, _NEWEST_END if end is None else NEWEST + end


def old(key: bytes, mod_revision: int, since: int) -> bytes:
    """A version of `key` until another one, or none, took its place at `since`."""
    return _escaped(key) + _TERMINATOR + _LIFE.pack(mod_revision, since)


def old_bounds(start: bytes, end: bytes | None) -> tuple[bytes, bytes]:
    """The bounds of the superseded versions of `start` ≤ key < `end`."""
    return _escaped(start), _OLD_END if end is None else _escaped(end)


def old_bounds_at(key: bytes, revision: int) -> tuple[bytes, bytes]:
    """The bounds of the superseded versions of `key` that `revision` had or knew."""
    first = _escaped(key) + _TERMINATOR
    return first, first + _REVISION.pack(revision + 1)


def old_key(at: bytes) -> bytes:
    """The key of whom the entry at `at` is a superseded version."""
    return at[1:-_OLD_TAIL_BYTES].replace(b"\0\xff", b"\0")


def old_start(at: bytes) -> bytes:
    """What all superseded versions of the same key begin with, and no others do."""
    return at[: -_LIFE.size]


def old_end(start: bytes) -> bytes:
    """The end of what begins with an `old_start`."""
    return start + b"\xff" * _LIFE.size + b"\xff"


def life(at: bytes) -> tuple[int, int]:
    """From which revision on a superseded version was the newest, and until which."""
    mod_revision, since = _LIFE.unpack(at[-_LIFE.size :])
    return mod_revision, since


def change(revision: int, number: int) -> bytes:
    return _CHANGE.pack(CHANGE, revision, number)


def change_bounds(first: int, end: int) -> tuple[bytes, bytes]:
    """The bounds of the changes of `first` ≤ revision < `end`."""
    return change(first, 0), change(end, 0)


def changed_at(at: bytes) -> int:
    """The revision of a change."""
    return int.from_bytes(at[1:9], "big")


def lease(number: int) -> bytes:
    return LEASE + _REVISION.pack(number)


def lease_bounds() -> tuple[bytes, bytes]:
    return LEASE, LEASED


def leased(number: int, key: bytes) -> bytes:
    return LEASED + _REVISION.pack(number) + key


def leased_bounds(number: int) -> tuple[bytes, bytes]:
    """The bounds of the keys that hang on a lease."""
    last = number == REVISION_MAX
    return leased(number, b""), _LEASED_END if last else leased(number + 1, b"")


def leased_key(at: bytes) -> bytes:
    return at[9:]


def member(number: int) -> bytes:
    return MEMBER + _REVISION.pack(number)


def member_bounds() -> tuple[bytes, bytes]:
    return MEMBER, TOKEN


def token(number: int) -> bytes:
    return TOKEN + _REVISION.pack(number)


def token_bounds() -> tuple[bytes, bytes]:
    return TOKEN, _TOKEN_END


def session(number: bytes) -> bytes:
    """The place of the session with this id, which has 16 bytes."""
    return SESSION + number


def session_bounds() -> tuple[bytes, bytes]:
    return SESSION, REPLY


def session_of(at: bytes) -> bytes:
    return at[1:]


def session_reply(number: bytes, sequence: int) -> bytes:
    return REPLY + number + _REVISION.pack(sequence)


def number_of(at: bytes) -> int:
    """The member, token or lease whose place this is."""
    return int.from_bytes(at[1:9], "big")


def droppable(compacted: int) -> tuple[Droppable, ...]:
    """What nobody can ask for once `compacted` is the oldest revision to be read.

    Versions that were superseded up to then, and the news of older revisions.
    """
    if not compacted:
        return ()
    return (
        Droppable(OLD, offset=-_REVISION.size, below=compacted + 1),
        Droppable(CHANGE, offset=len(CHANGE), below=compacted),
    )


def _escaped(key: bytes) -> bytes:
    """No escaped key is the begin of another one and its terminator."""
    return OLD + key.replace(b"\0", b"\0\xff")
