"""Bits that flip on a node's disk, and flip back.

Law: of a stopped node any file of its store may be hit, of a running one only tables,
which nobody writes to again. All damage of a run is at one voter: two copies of the
same entry that are damaged are more than any store survives.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import msgspec

STORES = "data/stores"
_LOCK = "LOCK"
_HELD = ".held-"
_WORK = "work"
TABLES = (".sst", ".blob")


class Flip(msgspec.Struct, frozen=True):
    """One bit of one file."""

    path: Path
    offset: int
    bit: int

    def apply(self) -> bool:
        """Flip it; twice is as before. False when it is not there any more."""
        try:
            file = self.path.open("r+b")
        except FileNotFoundError:
            return False
        with file:
            file.seek(self.offset)
            found = file.read(1)
            if not found:
                return False
            file.seek(self.offset)
            file.write(bytes([found[0] ^ (1 << self.bit)]))
        return True


def flip_one(directory: Path, dice: Random, *, tables: bool) -> Flip | None:
    """Flip a bit of some file; None when there is none that may be hit.

    Of a running node a file may go between the look and the flip: then another one.
    """
    while (flip := draw_flip(directory, dice, tables=tables)) is not None:
        if flip.apply():
            return flip
    return None


def draw_flip(directory: Path, dice: Random, *, tables: bool) -> Flip | None:
    """A bit of some file; None when there is none that may be hit."""
    found = [
        (path, size)
        for path, size in _files(directory / STORES)
        if not tables or path.suffix in TABLES
    ]
    if not found:
        return None
    path, size = dice.choice(found)
    return Flip(path, dice.randrange(size), dice.randrange(8))


def _files(directory: Path) -> Iterator[tuple[Path, int]]:
    """Files that are not empty, and their sizes."""
    for path in sorted(directory.rglob("*")):
        held = any(part.startswith(_HELD) or part == _WORK for part in path.parts)
        if path.name == _LOCK or held:
            continue
        # One that is not needed any more may go while a running node is looked at.
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_size:
                yield path, path.stat().st_size
