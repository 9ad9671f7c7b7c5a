"""An `Env` on which operations fail when a harness says so.

Law: otherwise it is the env that it was given. It decides nothing: what fails is in
`Rules`, and how often that was met is counted. What it can't know is handed in: how to
wait, and how to die. It is for nodes that a harness started; `node/fault_door` opens
it.
"""

import errno
from collections.abc import Callable

import msgspec

from .env import Data, Env, File, Lock, Names, os_error

ALWAYS = -1


def place_of(kind: str, path: str) -> str:
    """An operation's name, as the simulator's failpoints have it."""
    folder = "journal" if "journal" in path.split("/") else "engine"
    return f"{folder}.{kind}"


class Rules(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What fails from now on; nothing, unless it is named.

    Of `reads`, `writes` and `syncs` so many report EIO, or all of them (-1). `full`:
    nothing may grow. Each sync waits for `sync_delay_s`. With `tear` the next write
    reaches the disk in that part of its length alone, and then the process dies. Before
    the next operation of the kind `die_before` names, `journal.sync` or such, it dies
    at once: those of files of the journal, and of the engine, that change something.
    """

    reads: int = 0
    writes: int = 0
    syncs: int = 0
    full: bool = False
    sync_delay_s: float = 0.0
    tear: float = 0.0
    die_before: str = ""


class Faults:
    """The rules of one process, and how often they were met."""

    def __init__(self, sleep: Callable[[float], None], die: Callable[[], None]) -> None:
        self.rules = Rules()
        self.hits = 0
        self._sleep = sleep
        self._die = die

    def before_read(self, path: str) -> None:
        rules = self.rules
        if rules.reads:
            rules.reads = self._spent(rules.reads)
            raise os_error(errno.EIO, path)

    def before(self, kind: str, path: str) -> None:
        """The process may have to die here."""
        if self.rules.die_before and self.rules.die_before == place_of(kind, path):
            self.hits += 1
            self._die()

    def before_write(self, file: File, offset: int, data: Data) -> None:
        self.before("write", file.path)
        rules = self.rules
        if rules.tear:
            self._tear(file, offset, data, rules.tear)
        if rules.writes:
            rules.writes = self._spent(rules.writes)
            raise os_error(errno.EIO, file.path)
        if rules.full and offset + len(data) > file.size():
            self.no_room(file.path)

    def before_sync(self, path: str, kind: str = "sync") -> None:
        self.before(kind, path)
        rules = self.rules
        if rules.sync_delay_s:
            self.hits += 1
            self._sleep(rules.sync_delay_s)
        if rules.syncs:
            rules.syncs = self._spent(rules.syncs)
            raise os_error(errno.EIO, path)

    def no_room(self, path: str) -> None:
        """Raise ENOSPC if the disk is full."""
        if self.rules.full:
            self.hits += 1
            raise os_error(errno.ENOSPC, path)

    def free(self, found: int) -> int:
        """Nothing, if the disk is full."""
        self.hits += self.rules.full
        return 0 if self.rules.full else found

    def _spent(self, left: int) -> int:
        self.hits += 1
        return left if left == ALWAYS else left - 1

    def _tear(self, file: File, offset: int, data: Data, share: float) -> None:
        kept = memoryview(data).cast("B")[: int(len(data) * share)]
        file.write_at(offset, kept)
        file.sync()
        self.hits += 1
        self._die()


class FaultyFile:
    """A handle on a file of the inner env."""

    __slots__ = ("_faults", "_file", "path")

    def __init__(self, file: File, faults: Faults) -> None:
        self.path = file.path
        self._file = file
        self._faults = faults

    def read_at(self, offset: int, length: int) -> bytes:
        self._faults.before_read(self.path)
        return self._file.read_at(offset, length)

    def write_at(self, offset: int, data: Data) -> None:
        self._faults.before_write(self._file, offset, data)
        self._file.write_at(offset, data)

    def size(self) -> int:
        return self._file.size()

    def truncate(self, size: int) -> None:
        if size > self._file.size():
            self._faults.no_room(self.path)
        self._file.truncate(size)

    def sync(self) -> None:
        self._faults.before_sync(self.path)
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def let_go(self) -> None:
        self._file.let_go()


class FaultyEnv:
    """An `Env` like `inner`, but for what `faults` says."""

    def __init__(self, inner: Env, faults: Faults) -> None:
        self.inner = inner
        self.faults = faults

    def open(
        self,
        path: str,
        *,
        create: bool = False,
        exclusive: bool = False,
        read_only: bool = False,
    ) -> FaultyFile:
        if create and not self.inner.exists(path):
            self.faults.before("create", path)
            self.faults.no_room(path)
        file = self.inner.open(
            path, create=create, exclusive=exclusive, read_only=read_only
        )
        return FaultyFile(file, self.faults)

    def exists(self, path: str) -> bool:
        return self.inner.exists(path)

    def size(self, path: str) -> int:
        return self.inner.size(path)

    def rename(self, src: str, dst: str) -> None:
        self.faults.before("rename", dst)
        self.inner.rename(src, dst)

    def link(self, src: str, dst: str) -> None:
        self.faults.no_room(dst)
        self.inner.link(src, dst)

    def remove(self, path: str) -> None:
        self.faults.before("remove", path)
        self.inner.remove(path)

    def make_directory(self, path: str) -> None:
        if not self.inner.exists(path):
            self.faults.no_room(path)
        self.inner.make_directory(path)

    def remove_directory(self, path: str) -> None:
        self.inner.remove_directory(path)

    def sync_directory(self, path: str) -> None:
        self.faults.before_sync(path, "sync_directory")
        self.inner.sync_directory(path)

    def lock(self, path: str) -> Lock:
        return self.inner.lock(path)

    def free_bytes(self, path: str) -> int:
        return self.faults.free(self.inner.free_bytes(path))

    def list(self, directory: str) -> Names:
        return self.inner.list(directory)
