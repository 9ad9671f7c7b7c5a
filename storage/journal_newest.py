"""Which segment is the newest with a durable batch: a file beside the journal says so.

Law: a segment is marked once its first batch is durable, and before that is told. So
where a marked segment is gone, shorter than it was, or without any batch, what was
acknowledged is lost. No mark, an older one, or one that can't be read says nothing: it
was never written, or an older version was at work, or the mark alone is damaged.

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


class Mark(NamedTuple):
    """A segment that has a durable batch, and its size in bytes; 0, 0 is none."""

    sequence: int
    size: int


NO_MARK = Mark(0, 0)


def newest_path(directory: str) -> str:
    """Where the file of a journal in `directory` is."""
    return f"{directory}.newest"


def encode_mark(mark: Mark) -> bytes:
    """One block of the file; the rest of it is zeros."""
    body = _BODY.pack(*mark)
    return _MARK.pack(_MAGIC, crc32(body), body).ljust(BLOCK_BYTES, b"\0")


def decode_marks(data: bytes) -> Mark:
    """The newest whole mark in the file."""
    newest = NO_MARK
    for at in range(0, NEWEST_BYTES, BLOCK_BYTES):
        packed = data[at : at + _MARK.size]
        if len(packed) < _MARK.size:
            continue
        magic, crc, body = _MARK.unpack(packed)
        if magic == _MAGIC and crc == crc32(body):
            newest = max(newest, Mark(*_BODY.unpack(body)))
    return newest


def read_mark(env: Env, directory: str) -> Mark:
    """The newest mark that is there. Raises OSError."""
    path = newest_path(directory)
    return decode_marks(read_file(env, path)) if env.exists(path) else NO_MARK


def write_mark(file: File, mark: Mark) -> None:
    """Durably; `file` has its size already, so that this takes no room."""
    file.write_at(mark.sequence % 2 * BLOCK_BYTES, encode_mark(mark))
    file.sync()
