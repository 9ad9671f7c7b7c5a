"""The only door to the operating system: the files, names and locks of one disk.

Law: whatever storage does to a disk, it does through an `Env`. Only this file and its
twin on the real disk import os, so that both twins see everything: `memory_env`, which
crashes, tears, flips and fills up, and `hold_back_env`, for which a killed process is a
power loss.

What an `Env` promises, and no more:
  - a file's bytes and size are durable after its `sync`, its name is not;
  - a name (made, moved, linked or removed) is durable after `sync_directory` of the
    directory that holds it, a new directory's own name after that of its parent;
  - until then a power loss may keep, lose or tear anything, in any order;
  - the first failed `sync` of a file is final: what was written before it may be lost
    although a second `sync` succeeds, so nobody may call a second one.
"""

import errno
import fcntl
import os
import stat
import sys
import time
from typing import Final, Protocol

from .closer import close_later
from .errors import DirectoryLocked

# A process that a killed holder was about to start has its lock until its exec.
LOCK_WAIT_S: Final = 1.0
LOCK_POLL_S: Final = 0.02

Data = bytes | bytearray | memoryview
Names = list[str]  # `list` is a method below


class File(Protocol):
    """An open file. Offsets and lengths are in bytes and never negative."""

    path: str

    def read_at(self, offset: int, length: int) -> bytes:
        """Read `length` bytes; fewer only where the file ends."""
        ...

    def write_at(self, offset: int, data: Data) -> None:
        """Write all of `data`, or raise `OSError`; a gap before it reads as zeros."""
        ...

    def size(self) -> int: ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size`, or extend it with zeros."""
        ...

    def sync(self) -> None:
        """Make contents and size durable; not the name."""
        ...

    def close(self) -> None:
        """Give the file back, without syncing; a second call does nothing."""
        ...

    def let_go(self) -> None:
        """As `close`, but not waited for: the system may take its time."""
        ...


class Lock(Protocol):
    """A held lock."""

    def release(self) -> None:
        """Let others have it; a second call does nothing."""
        ...


class Env(Protocol):
    """A disk, as storage sees it. Paths are `str`; errors are `OSError`."""

    def open(
        self,
        path: str,
        *,
        create: bool = False,
        exclusive: bool = False,
        read_only: bool = False,
    ) -> File:
        """Open a regular file; `create` makes it when absent, `exclusive` insists."""
        ...

    def exists(self, path: str) -> bool: ...

    def size(self, path: str) -> int:
        """Tell the size of a file."""
        ...

    def rename(self, src: str, dst: str) -> None:
        """Move a name; a file at `dst` is replaced."""
        ...

    def link(self, src: str, dst: str) -> None:
        """Give a file a second name; `dst` must be free."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file's name."""
        ...

    def make_directory(self, path: str) -> None:
        """Make one directory, not its parents; one that is there is good."""
        ...

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        ...

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""
        ...

    def lock(self, path: str) -> Lock:
        """Hold a lock file, made when absent, or raise `DirectoryLocked`."""
        ...

    def free_bytes(self, path: str) -> int:
        """Tell how much more the disk that holds `path` can take."""
        ...

    def list(self, directory: str) -> Names:
        """Name what is in a directory, sorted."""
        ...


def os_error(code: int, path: str) -> OSError:
    """Build the error that the operating system would raise."""
    return OSError(code, os.strerror(code), path)


def parent_of(path: str) -> str:
    """Name the directory that holds `path`."""
    return os.path.dirname(path) or "."


def read_file(env: Env, path: str) -> bytes:
    """Read a whole file."""
    file = env.open(path, read_only=True)
    try:
        return file.read_at(0, file.size())
    finally:
        file.close()


def write_file_durably(env: Env, path: str, data: Data) -> None:
    """Put a whole file in place so that a power loss leaves the old one or the new.

    After it returns the new one is durable (I-20). The temporary name belongs to this
    function alone: what an earlier crash left there is thrown away.
    """
    temporary = path + ".tmp"
    if env.exists(temporary):
        env.remove(temporary)
    file = env.open(temporary, create=True, exclusive=True)
    try:
        file.write_at(0, data)
        file.sync()
    finally:
        file.close()
    env.rename(temporary, path)
    env.sync_directory(parent_of(path))


def open_fd(path: str, flags: int) -> int:
    """Open a regular file, never through a symbolic link."""
    # O_NONBLOCK means nothing to a regular file; without it a pipe planted in the
    # data directory would hold the caller for ever.
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    fd = os.open(path, flags, 0o600)
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        raise os_error(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, path)
    return fd


def pread_all(fd: int, offset: int, length: int) -> bytes:
    """Read `length` bytes, fewer only at the end of the file."""
    assert offset >= 0
    assert length >= 0
    chunk = os.pread(fd, length, offset)
    if len(chunk) == length or not chunk:
        return chunk
    parts = [chunk]
    done = len(chunk)
    while done < length:
        chunk = os.pread(fd, length - done, offset + done)
        if not chunk:
            break
        parts.append(chunk)
        done += len(chunk)
    return b"".join(parts)


def pwrite_all(fd: int, path: str, offset: int, data: Data) -> None:
    """Write all of `data`, however short the single writes are."""
    assert offset >= 0
    view = memoryview(data).cast("B")
    done = os.pwrite(fd, view, offset)
    while done < len(view):
        step = os.pwrite(fd, view[done:], offset + done)
        if step == 0:  # POSIX allows it and says nothing; looping on it never ends
            raise os_error(errno.EIO, path)
        done += step


def sync_fd(fd: int) -> None:
    """Make a file's contents and size durable."""
    if sys.platform == "darwin":
        # fsync there leaves the bytes in the drive's own cache.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)


class RealFile:
    """A `File` on a descriptor; -1 once closed, so that any later use is EBADF."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    def read_at(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        # The usual case first: point reads of tables are made of this.
        chunk = os.pread(self._fd, length, offset)
        if len(chunk) == length:
            return chunk
        return pread_all(self._fd, offset, length)

    def write_at(self, offset: int, data: Data) -> None:
        pwrite_all(self._fd, self.path, offset, data)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        assert size >= 0
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        if self._fd < 0:  # where the other calls ask the system, this one would not
            raise os_error(errno.EBADF, self.path)
        sync_fd(self._fd)

    def close(self) -> None:
        # Forgotten first: a descriptor is gone even when closing it reports an error,
        # and its number may by then belong to somebody else.
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def let_go(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            close_later(fd)


class RealLock:
    """A `Lock` that is a flock: it ends with the process at the latest."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class RealEnv:
    """The `Env` that is the operating system's own disk."""

    def open(
        self,
        path: str,
        *,
        create: bool = False,
        exclusive: bool = False,
        read_only: bool = False,
    ) -> RealFile:
        return RealFile(path, open_fd(path, open_flags(create, exclusive, read_only)))

    def exists(self, path: str) -> bool:
        # Only "it is not there" means no: an unreadable disk must not look empty.
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def size(self, path: str) -> int:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            raise os_error(errno.EISDIR, path)
        return status.st_size

    def rename(self, src: str, dst: str) -> None:
        os.rename(src, dst)

    def link(self, src: str, dst: str) -> None:
        os.link(src, dst, follow_symlinks=False)

    def remove(self, path: str) -> None:
        os.unlink(path)

    def make_directory(self, path: str) -> None:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise

    def remove_directory(self, path: str) -> None:
        os.rmdir(path)

    def sync_directory(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if sys.platform == "darwin":
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            else:
                os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, path: str) -> RealLock:
        fd = open_fd(path, os.O_RDWR | os.O_CREAT)
        end = time.monotonic() + LOCK_WAIT_S
        try:
            while not _try_lock(fd):
                if time.monotonic() >= end:
                    raise DirectoryLocked(path)
                time.sleep(LOCK_POLL_S)
        except BaseException:
            os.close(fd)
            raise
        return RealLock(fd)

    def free_bytes(self, path: str) -> int:
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def list(self, directory: str) -> Names:
        return sorted(os.listdir(directory))


def open_flags(create: bool, exclusive: bool, read_only: bool) -> int:
    """Translate the words of `Env.open`; combinations without sense are bugs."""
    assert create or not exclusive, "exclusive without create"
    assert not (create and read_only), "a new file that cannot be written"
    flags = os.O_RDONLY if read_only else os.O_RDWR
    return flags | (os.O_CREAT * create) | (os.O_EXCL * exclusive)
