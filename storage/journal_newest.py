"""Which segment is the newest with a durable batch: a file beside the journal says so.

Law: a segment is marked once its first batch is durable, and before that is told. So
where a marked segment is gone, shorter than it was, or without any batch, what was
acknowledged is lost. No mark, an older one, or one that can't be read says nothing: it
was never written, or an older version was at work, or the mark alone is damaged.

A mark also says which journal this is, and whose: where another one was put in its
place, this owner's votes and entries are gone, however whole the other one is.

The file has two blocks, used in turn: a torn mark leaves the one before. It does not
lie among the segments: whatever takes names out of their directory leaves it alone.
"""

import struct
from typing import NamedTuple

from .checksum import crc32
from .env import Env, File, read_file
from .journal_format import BLOCK_BYTES

NEWEST_BYTES = 2 * BLOCK_BYTES

_MAGIC = b"QJN1"
# magic, the crc of the body, the body
_MARK = struct.Struct("<4sI16s")
# sequence, the file's size
_BODY = struct.Struct("<QQ")
# Behind a mark: the crc of what follows, which is salt and owner.
_ORIGIN = struct.Struct("<I16s")
_ORIGIN_BODY = struct.Struct("<QQ")


class Mark(NamedTuple):
    """A segment that has a durable batch, and its size in bytes; 0, 0 is none.

    Of the journal with this salt, of this owner; 0: not known.
    """

    sequence: int
    size: int
    salt: int = 0
    owner: int = 0


NO_MARK = Mark(0, 0)


def newest_path(directory: str) -> str:
    """Where the file of a journal in `directory` is."""
    return f"{directory}.newest"


def encode_mark(mark: Mark) -> bytes:
    """One block of the file; the rest of it is zeros."""
    body = _BODY.pack(mark.sequence, mark.size)
    packed = _MARK.pack(_MAGIC, crc32(body), body)
    if mark.salt:
        body = _ORIGIN_BODY.pack(mark.salt, mark.owner)
        packed += _ORIGIN.pack(crc32(body), body)
    return packed.ljust(BLOCK_BYTES, b"\0")


def decode_marks(data: bytes) -> Mark:
    """The newest whole mark in the file; older versions write none of the origin."""
    newest, salt, owner = NO_MARK, 0, 0
    for at in range(0, NEWEST_BYTES, BLOCK_BYTES):
        packed = data[at : at + _MARK.size]
        if len(packed) < _MARK.size:
            continue
        magic, crc, body = _MARK.unpack(packed)
        if magic != _MAGIC or crc != crc32(body):
            continue
        newest = max(newest, Mark(*_BODY.unpack(body)))
        packed = data[at + _MARK.size : at + _MARK.size + _ORIGIN.size]
        if len(packed) == _ORIGIN.size:
            crc, body = _ORIGIN.unpack(packed)
            # Zeros, which have another checksum, are none.
            if crc == crc32(body):
                known = _ORIGIN_BODY.unpack(body)
                salt, owner = salt or known[0], owner or known[1]
    return newest._replace(salt=salt, owner=owner)


def read_mark(env: Env, directory: str) -> Mark:
    """The newest mark that is there. Raises OSError."""
    path = newest_path(directory)
    return decode_marks(read_file(env, path)) if env.exists(path) else NO_MARK


def write_mark(file: File, mark: Mark) -> None:
    """Durably; `file` has its size already, so that this takes no room."""
    file.write_at(mark.sequence % 2 * BLOCK_BYTES, encode_mark(mark))
    file.sync()
