"""Which segment is the journal's newest: a file beside its directory that says so.

Law: a segment is marked once its name is durable, and before a batch in it is told as
durable. So a marked segment that is not there was lost, and what was acknowledged may
be lost with it. No mark, an older one, or one that can't be read says nothing: it was
never written, or an older version was at work, or the mark alone is damaged.

The file has two blocks, used in turn: a torn mark leaves the one before. It does not
lie among the segments: whatever takes names out of their directory leaves it alone.
"""

import struct

from .checksum import crc32
from .env import Env, File, read_file
from .journal_format import BLOCK_BYTES

NEWEST_BYTES = 2 * BLOCK_BYTES

# magic "QJN1", crc of the sequence, the sequence
_MARK = struct.Struct("<4sIQ")
_SEQUENCE = struct.Struct("<Q")
_MAGIC = b"QJN1"


def newest_path(directory: str) -> str:
    """Where the file of a journal in `directory` is."""
    return f"{directory}.newest"


def encode_mark(sequence: int) -> bytes:
    """One block of the file; the rest of it is zeros."""
    mark = _MARK.pack(_MAGIC, crc32(_SEQUENCE.pack(sequence)), sequence)
    return mark.ljust(BLOCK_BYTES, b"\0")


def decode_marks(data: bytes) -> int:
    """The highest sequence that a whole mark in the file has; 0 when there is none."""
    newest = 0
    for at in range(0, NEWEST_BYTES, BLOCK_BYTES):
        packed = data[at : at + _MARK.size]
        if len(packed) < _MARK.size:
            continue
        magic, crc, sequence = _MARK.unpack(packed)
        if magic == _MAGIC and crc == crc32(_SEQUENCE.pack(sequence)):
            newest = max(newest, sequence)
    return newest


def marked_newest(env: Env, directory: str) -> int:
    """The segment that is marked, 0 if none is. Raises OSError."""
    path = newest_path(directory)
    return decode_marks(read_file(env, path)) if env.exists(path) else 0


def mark_newest(file: File, sequence: int) -> None:
    """Durably; `file` has its size already, so that this takes no room."""
    file.write_at(sequence % 2 * BLOCK_BYTES, encode_mark(sequence))
    file.sync()
