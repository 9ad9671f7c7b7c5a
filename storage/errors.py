"""What storage raises.

    StorageError
    ├── DirectoryLocked    another holder has the data directory
    ├── CorruptionError    stored bytes are not what was written: path, offset, reason
    │   └── Unreadable     the disk does not give them out; it may again
    ├── JournalFailed      a write or sync of the journal failed: final
    ├── NoSpace            there is no room for a new file: try again later
    ├── WorkerFailed       the engine's worker process is gone: its work is done again
    └── WriteStalled       the engine's flushes are too far behind: try again later

An error of the operating system stays the `OSError` it is: its `errno` says more than
a name of ours would, and who may go on after it is decided by the caller.
"""

import errno
from typing import Final

# What the system says of a read when the disk has lost what is there.
_LOST: Final = (errno.EIO, errno.ENODATA, errno.EBADMSG)


class StorageError(Exception):
    """An operating error of storage; a bug is an assertion instead."""


class DirectoryLocked(StorageError):
    """The lock file is held: by another process, or by another `Lock` of this one."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is locked by another holder")
        self.path = path


class CorruptionError(StorageError):
    """Something that was durable is damaged. Nothing is repaired or deleted by it."""

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(f"{path} is damaged at offset {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.reason = reason


class Unreadable(CorruptionError):
    """The disk says that it can't read what was written; `error` is what it said.

    A bad sector stays so; a disk behind a network may be back in a minute. Nobody can
    tell one from the other by the error.
    """

    def __init__(self, path: str, offset: int, error: OSError) -> None:
        super().__init__(path, offset, f"it can't be read: {error.strerror}")
        self.error = OSError(error.errno, error.strerror, path)


class JournalFailed(StorageError):
    """What the journal holds after this is unknown; the process must end (I-19)."""

    def __init__(self, action: str, path: str, reason: str) -> None:
        super().__init__(f"cannot {action} {path}: {reason}")
        self.action = action
        self.path = path
        self.reason = reason


class NoSpace(StorageError):
    """The file was not made and nothing else changed."""

    def __init__(self, path: str, wanted_bytes: int) -> None:
        super().__init__(f"no room for {wanted_bytes} bytes at {path}")
        self.path = path
        self.wanted_bytes = wanted_bytes


class WriteStalled(StorageError):
    """Nothing was applied: memory is full of what must be flushed first."""

    def __init__(self, path: str, memtables: int) -> None:
        super().__init__(f"{path} has {memtables} memtables that wait to be flushed")
        self.path = path
        self.memtables = memtables


class WorkerFailed(StorageError):
    """The process that flushes and compacts ended; nothing that was durable is lost."""


def is_no_space(error: BaseException) -> bool:
    """Is it one that waiting for room can cure?"""
    return isinstance(error, NoSpace) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    )


def lost(path: str, offset: int, error: OSError) -> Unreadable | OSError:
    """What a failed read of a table comes to; any other error is what it was."""
    if error.errno not in _LOST:
        return error
    return Unreadable(path, offset, error)
