"""One real file whose unsynced changes are held in memory.

Law: until `flush` the real file is exactly as its last sync left it.
"""

import os

from .env import Data, pread_all, pwrite_all, sync_fd

CLOSED = -1


class HeldInode:
    """An open real file, shared by its handles and its names; held changes over it.

    What is read is the first `_cut` bytes of the real file, zeros up to `_size`, and
    `_pieces` over both in the order of their writing.
    """

    __slots__ = ("_cut", "_pieces", "_size", "adds", "dirty", "fd", "handles", "stage")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.handles = 0
        # Names waiting for their directory's sync. Until the last has come, the file
        # has a private name, `stage`, by which they are made.
        self.adds = 0
        self.stage: str | None = None
        self.dirty = False
        self._cut = 0
        self._size = 0
        self._pieces: list[tuple[int, bytes]] = []

    def size(self) -> int:
        return self._size if self.dirty else os.fstat(self.fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        if not self.dirty:
            return pread_all(self.fd, offset, length)
        end = min(offset + length, self._size)
        if end <= offset:
            return b""
        image = bytearray(end - offset)
        base = pread_all(self.fd, offset, max(0, min(end, self._cut) - offset))
        image[: len(base)] = base
        for start, piece in self._pieces:
            low, high = max(start, offset), min(start + len(piece), end)
            if low < high:
                image[low - offset : high - offset] = piece[low - start : high - start]
        return bytes(image)

    def write(self, offset: int, data: Data) -> None:
        piece = bytes(data)
        if piece:
            self._begin()
            self._pieces.append((offset, piece))
            self._size = max(self._size, offset + len(piece))

    def truncate(self, size: int) -> None:
        self._begin()
        self._cut = min(self._cut, size)
        self._size = size
        self._pieces = [
            (start, piece[: size - start])
            for start, piece in self._pieces
            if start < size
        ]

    def flush(self, path: str) -> None:
        """Write all that is held to the real file and make it durable."""
        if self.dirty:
            if self._cut < os.fstat(self.fd).st_size:
                os.ftruncate(self.fd, self._cut)
            for start, piece in self._pieces:
                pwrite_all(self.fd, path, start, piece)
            if os.fstat(self.fd).st_size != self._size:
                os.ftruncate(self.fd, self._size)
            self._pieces.clear()
            self.dirty = False
        sync_fd(self.fd)

    def close(self) -> None:
        """Close the file, forgetting what is held."""
        fd, self.fd = self.fd, CLOSED
        self._pieces.clear()
        self.dirty = False
        if fd != CLOSED:
            os.close(fd)

    def _begin(self) -> None:
        if not self.dirty:
            self._cut = self._size = os.fstat(self.fd).st_size
            self.dirty = True
