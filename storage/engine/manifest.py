"""The manifest: which tables are the store, and how far it has applied.

Law: values and bytes; one small file that is replaced whole (docs/formats.md section
8), so that a power loss leaves the old one or the new one, and any damage is told from
both. Tables are described by their parent, this: size and the footer's checksum.
"""

import struct
from collections import Counter
from typing import Annotated, Final

import msgspec

from ..checksum import crc32
from ..env import Env, read_file, write_file_durably
from ..errors import CorruptionError

NAME: Final = "MANIFEST"
FORMAT: Final = 1
_MAGIC: Final = b"QMANIFS1"
_HEAD: Final = struct.Struct("<8sIIQ")  # magic, format, crc of the body, its length


# A checksum says that it is what somebody wrote, not that it was an engine.
_Count = Annotated[int, msgspec.Meta(ge=0)]


class TableMeta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table as its parent knows it."""

    file_id: bytes
    size_bytes: _Count
    footer_crc: _Count
    entries: _Count
    tombstones: _Count
    first: bytes
    last: bytes
    # (file, bytes that this table refers to) of each file of values
    blobs: tuple[tuple[bytes, _Count], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.file_id.hex()}.sst"


class BlobMeta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of values as its parent knows it."""

    file_id: bytes
    size_bytes: _Count

    @property
    def name(self) -> str:
        return f"{self.file_id.hex()}.blob"


class Made(msgspec.Struct, frozen=True, weakref=True):
    """What a job has written, complete and synced, and not named by anybody yet.

    It is in the folder `work`.
    """

    tables: tuple[TableMeta, ...]
    blobs: tuple[BlobMeta, ...]
    work: str

    def files(self) -> list[TableMeta | BlobMeta]:
        return [*self.tables, *self.blobs]

    def paths(self) -> list[str]:
        return [f"{self.work}/{file.name}" for file in self.files()]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files())


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`runs`: newest first; the tables of a run ascend and do not overlap.

    `applied_index`: every effect up to it is in the tables. `meta`: the owner's bytes
    of that very index. `edition` counts the manifests of this directory.
    """

    edition: _Count
    applied_index: _Count
    meta: bytes
    runs: tuple[tuple[TableMeta, ...], ...]
    blobs: tuple[BlobMeta, ...] = ()

    def tables(self) -> list[TableMeta]:
        return [table for run in self.runs for table in run]

    def files(self) -> list[TableMeta | BlobMeta]:
        """All that the store is, beside this manifest."""
        return [*self.tables(), *self.blobs]

    def names(self) -> set[str]:
        """Of all its files."""
        return {file.name for file in self.files()}

    def referenced_bytes(self) -> Counter[bytes]:
        """Of each file of values, how much of it some table refers to."""
        total: Counter[bytes] = Counter()
        for table in self.tables():
            for file_id, size in table.blobs:
                total[file_id] += size
        return total


def encode_manifest(manifest: Manifest) -> bytes:
    body = msgspec.msgpack.encode(manifest)
    return _HEAD.pack(_MAGIC, FORMAT, crc32(body), len(body)) + body


def decode_manifest(data: bytes, path: str) -> Manifest:
    """Raises `CorruptionError`."""
    if len(data) < _HEAD.size:
        raise CorruptionError(path, 0, "the manifest is too short")
    magic, version, crc, length = _HEAD.unpack_from(data)
    if (magic, version) != (_MAGIC, FORMAT):
        raise CorruptionError(path, 0, f"not a manifest of format {FORMAT}")
    body = data[_HEAD.size :]
    if len(body) != length or crc32(body) != crc:
        raise CorruptionError(path, _HEAD.size, "the manifest's checksum is wrong")
    try:
        return msgspec.msgpack.decode(body, type=Manifest)
    except msgspec.DecodeError as error:
        raise CorruptionError(path, _HEAD.size, f"manifest: {error}") from None


def load_manifest(env: Env, directory: str) -> Manifest | None:
    """The manifest of a directory; None when it has none."""
    path = f"{directory}/{NAME}"
    return decode_manifest(read_file(env, path), path) if env.exists(path) else None


def save_manifest(env: Env, directory: str, manifest: Manifest) -> None:
    """Durable when it returns."""
    write_file_durably(env, f"{directory}/{NAME}", encode_manifest(manifest))
