"""A store on its way to another disk: one manifest, then the files that it names.

Law: the sender checks what it reads against the checksums above it, so that damage is
found where it is; the receiver checks all of it again on its own disk before anybody
believes any of it. A store is sent as it was when it was pinned, whatever happens to it
meanwhile. See docs/formats.md section 6.

    length u32 | manifest (the bytes of a MANIFEST) | each file, in the manifest's order
"""

import struct
from collections.abc import Iterator
from typing import Final

from .. import rules
from ..env import Env, File
from ..errors import CorruptionError
from .blob import Blob
from .edit import remove
from .manifest import BlobMeta, Manifest, TableMeta, decode_manifest, encode_manifest
from .table import Table
from .version import Run, Version, open_file
from .view import View

MANIFEST_BYTES_MAX: Final = 256 << 20
_LENGTH: Final = struct.Struct("<I")


class Pinned:
    """A durable state of a store, readable for as long as this is held."""

    def __init__(self, manifest: Manifest, version: Version) -> None:
        self.manifest = manifest
        self._version = version
        self._head = encode_manifest(manifest)

    @property
    def size_bytes(self) -> int:
        """Of all pieces together."""
        files = sum(file.size_bytes for file in self.manifest.files())
        return _LENGTH.size + len(self._head) + files

    def pieces(self) -> Iterator[bytes]:
        """The bytes to be sent, some 256 KiB at a time.

        Raises `CorruptionError` when the store is damaged here, `OSError`.
        """
        yield _LENGTH.pack(len(self._head)) + self._head
        for file in self._version.files():
            yield from file.stream()


class Incoming:
    """Takes the pieces of a store into files of a work directory.

    Bytes come in pieces of any size. Whoever is done with it calls `close`.
    """

    def __init__(self, env: Env, work: str, source: str) -> None:
        """`source` is who sends it, for what is said of damage."""
        self.manifest: Manifest | None = None
        self._env = env
        self._work = work
        self._source = source
        self._head = bytearray()
        self._left: list[TableMeta | BlobMeta] = []
        self._file: File | None = None
        self._written = 0
        self._paths: list[str] = []
        self._checked: dict[bytes, Table | Blob] = {}

    def feed(self, data: bytes) -> None:
        """Take the next piece. Raises `CorruptionError` (of it), `OSError`."""
        if self.manifest is None:
            self._head += data
            data = self._read_head()
        while data:
            if not self._left:
                raise CorruptionError(self._source, 0, "bytes after its end")
            data = self._fill(data)

    def _read_head(self) -> bytes:
        """The bytes behind the manifest, once it is whole."""
        head = self._head
        if len(head) < _LENGTH.size:
            return b""
        (length,) = _LENGTH.unpack_from(head)
        if length > MANIFEST_BYTES_MAX:
            raise CorruptionError(self._source, 0, f"a manifest of {length} bytes")
        end = _LENGTH.size + length
        if len(head) < end:
            return b""
        self.manifest = decode_manifest(bytes(head[_LENGTH.size : end]), self._source)
        self._left = self.manifest.files()[::-1]
        data = bytes(head[end:])
        head.clear()
        return data

    def _fill(self, data: bytes) -> bytes:
        """Write what belongs to the current file; what is left is the next one's."""
        if self._file is None:
            path = f"{self._work}/{self._left[-1].name}"
            self._paths.append(path)
            self._file = self._env.open(path, create=True, exclusive=True)
            self._written = 0
        part = data[: self._left[-1].size_bytes - self._written]
        self._file.write_at(self._written, part)
        self._written += len(part)
        if self._written == self._left[-1].size_bytes:
            if rules.syncs_what_it_received():
                self._file.sync()
            self._file.close()
            self._file = None
            del self._left[-1]
        return data[len(part) :]

    def sync(self) -> None:
        """Make what was written durable; worth doing now and then in a long file."""
        if self._file is not None:
            self._file.sync()

    def check(self) -> Iterator[int]:
        """Read everything again, as written; yields the bytes of each step.

        Raises `CorruptionError`, `OSError`.
        """
        if self.manifest is None or self._left or self._file is not None:
            raise CorruptionError(self._source, 0, "it ends early")
        for meta in self.manifest.files():
            file = open_file(self._env, self._work, meta)
            self._checked[meta.file_id] = file
            yield from map(len, file.stream())

    def hand_over(self, directory: str) -> Version:
        """The files that were checked, open, for whoever moves them to `directory`."""
        assert self.manifest is not None
        for meta in self.manifest.files():
            self._checked[meta.file_id].path = f"{directory}/{meta.name}"
        version, self._checked = self._version(), {}
        return version

    def _version(self) -> Version:
        """Of the files that were checked."""
        assert self.manifest is not None
        checked = self._checked.items()
        tables = {i: f for i, f in checked if isinstance(f, Table)}
        return Version(
            [Run([tables[m.file_id] for m in run]) for run in self.manifest.runs],
            {i: f for i, f in checked if isinstance(f, Blob)},
        )

    def view(self) -> View:
        """What was received and checked, until somebody takes it over or closes it."""
        assert self.manifest is not None
        return View([], self._version(), self.manifest.applied_index)

    def close(self) -> None:
        """Remove what is left in the work directory: what nobody took over."""
        for file in self._checked.values():
            file.close()
        self._checked.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
        remove(self._env, self._paths)
        self._paths.clear()
