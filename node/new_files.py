"""Files that must not exist yet: all of them or none, and durably.

Law: nothing is overwritten. Keys (`*.key`) are for their owner alone.
"""

import os
from collections.abc import Mapping
from pathlib import Path


def write_new(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` into `directory`, made if absent. Raises OSError."""
    made: list[Path] = []
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in files.items():
            mode = 0o600 if name.endswith(".key") else 0o644
            path = directory / name
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, mode), "wb") as file:
                made.append(path)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _sync_directory(directory)
        _sync_directory(directory.parent)
    except OSError:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
