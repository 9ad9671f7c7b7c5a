"""A backup: one file with a store as it was at one index, and a hash over all of it.

Law: pure bytes. What is in the file was compared with its checksums by the node that
sent it; the hash at the end tells whoever keeps the file that nothing has changed
since, and that nothing is missing (docs/formats.md section 9).

    backup = magic[8] "QRBACKUP" | length u32 | head | store | sha256[32] of all before
    head   = msgpack map of BackupHead's fields
    store  = as in a snapshot's transfer (docs/formats.md section 6)

    BackupError: the file is not a whole backup; the message says where and why
"""

import re
import struct
from collections.abc import Iterator
from hashlib import sha256
from typing import BinaryIO, Final

import msgspec

from ..storage.engine import Pinned
from .database.meta import Meta

FORMAT: Final = 1
PIECE_BYTES: Final = 256 << 10
_MAGIC: Final = b"QRBACKUP"
_LENGTH: Final = struct.Struct("<I")
_HEAD_BYTES_MAX: Final = 64 << 10
_HASH_BYTES: Final = 32
_STATE_HASH: Final = re.compile("[0-9a-f]{40}")


class BackupError(Exception):
    """Not a whole backup."""


class BackupHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the store is: `size` bytes of it follow. `state_hash` is as in a status.

    `wall_ms` is the clock of the node that sent it, for people, and may be anything.
    """

    format: int
    cluster_id: int
    member_id: int
    index: int
    term: int
    revision: int
    keys: int
    state_hash: str
    wall_ms: int
    size: int

    def problem(self) -> str | None:
        """What no node would have written, or None."""
        counts = self.index, self.term, self.revision, self.keys, self.size
        if min(self.cluster_id, self.member_id) <= 0 or min(counts) < 0:
            return "a number is out of range"
        if not _STATE_HASH.fullmatch(self.state_hash):
            return "not the hash of a state"
        return None


def head_of(meta: Meta, pinned: Pinned, member_id: int, wall_ms: int) -> BackupHead:
    """The head of a backup of what was pinned, whose meta this is."""
    total = int.from_bytes(meta.digest_sum, "little")
    return BackupHead(
        FORMAT,
        meta.cluster_id,
        member_id,
        pinned.manifest.applied_index,
        meta.term,
        meta.revision,
        meta.keys,
        f"{meta.chain:08x}{total:032x}",
        wall_ms,
        pinned.size_bytes,
    )


def pieces_of(head: BackupHead, pinned: Pinned) -> Iterator[bytes]:
    """The bytes of a backup. Raises `CorruptionError` of this disk, `OSError`."""
    digest = sha256()
    body = msgspec.msgpack.encode(head)
    first = _MAGIC + _LENGTH.pack(len(body)) + body
    digest.update(first)
    yield first
    for piece in pinned.pieces():
        digest.update(piece)
        yield piece
    yield digest.digest()


class BackupReader:
    """Reads a backup from `file`, which is at its begin; `name` is for errors.

    Everything may be wrong until `pieces` has come to its end. Raises BackupError.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file
        self._digest = sha256()
        self._at = 0
        if self._read(len(_MAGIC)) != _MAGIC:
            raise BackupError(f"{name}: not a backup")
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > _HEAD_BYTES_MAX:
            raise BackupError(f"{name}: a head of {length} bytes")
        try:
            self.head = msgspec.msgpack.decode(self._read(length), type=BackupHead)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BackupError(f"{name}: damaged head: {error}") from None
        if self.head.format != FORMAT:
            raise BackupError(f"{name}: format {self.head.format} is not known here")
        problem = self.head.problem()
        if problem is not None:
            raise BackupError(f"{name}: damaged head: {problem}")

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            whole = self._at + len(data)
            raise BackupError(f"{self.name}: cut off after {whole} bytes")
        self._at += size
        self._digest.update(data)
        return data

    def pieces(self) -> Iterator[bytes]:
        """The store, in pieces; the hash is compared at the end of them."""
        left = self.head.size
        while left:
            piece = self._read(min(PIECE_BYTES, left))
            left -= len(piece)
            yield piece
        wanted = self._digest.digest()
        if self._read(_HASH_BYTES) != wanted:
            raise BackupError(f"{self.name}: altered: its hash is another one")
        if self._file.read(1):
            raise BackupError(f"{self.name}: more follows behind its end")

    def verify(self) -> BackupHead:
        """Read all of it."""
        for _ in self.pieces():
            pass
        return self.head
