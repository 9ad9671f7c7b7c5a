"""The twin of the operating system's disk that crashes, tears, flips and fills up.

Law: what happens depends on nothing but the calls, and on the chance handed to
`crash`. It carries whole simulated clusters: a call on a file costs a microsecond or
two and never copies the file, and what only tests need is behind one flag.

What a power loss leaves is in `memory_disk`, what can be made to fail in
`memory_faults`. `capacity_bytes` counts the bytes of files
that have a name; a change that does not fit has no effect and raises ENOSPC.
"""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .env import Data, Names, os_error
from .errors import DirectoryLocked
from .memory_disk import (
    Chance,
    Directory,
    Inode,
    Node,
    TooManyCrashStates,
    copy_of,
    crash,
    crash_states,
    reachable,
)
from .memory_faults import Crashed, Fault, Kind, Machine, Operation, parts_of, place_of

__all__ = [
    "Chance",
    "Crashed",
    "Fault",
    "Kind",
    "MemoryEnv",
    "Operation",
    "Statistics",
    "TooManyCrashStates",
]

ENDLESS_BYTES = 1 << 50

DEAD = -1  # the boot number of a closed handle: it never was one


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was done since the env was made."""

    writes: int
    written_bytes: int
    syncs: int
    directory_syncs: int


class MemoryFile:
    """A handle. `path` is the name that it was opened by."""

    __slots__ = ("_boot", "_env", "_inode", "_place", "_read_only", "path")

    def __init__(
        self, env: "MemoryEnv", inode: Inode, path: str, place: str, read_only: bool
    ) -> None:
        self.path = path
        self._env = env
        self._inode = inode
        self._place = place
        self._read_only = read_only
        self._boot = env.boot

    def read_at(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        env = self._env
        if self._boot != env.boot:
            raise os_error(errno.EBADF, self.path)
        if env.watched:
            offset = env.before_read(self._place, offset, length)
        return bytes(memoryview(self._inode.content)[offset : offset + length])

    def write_at(self, offset: int, data: Data) -> None:
        assert offset >= 0
        env = self._env
        if self._boot != env.boot or self._read_only:
            raise os_error(errno.EBADF, self.path)
        data = bytes(data)
        length = len(data)
        if length == 0:
            return
        inode = self._inode
        if env.watched and not env.before_write(self._place, offset, length):
            return
        content = inode.content
        size = len(content)
        if offset + length > size:
            env.use(inode, offset + length - size, self.path)
            if offset > size:
                content.extend(bytes(offset - size))
        content[offset : offset + length] = data
        inode.pending.append((offset, data))
        env.writes += 1
        env.written_bytes += length

    def size(self) -> int:
        if self._boot != self._env.boot:
            raise os_error(errno.EBADF, self.path)
        if self._env.watched:
            self._env.before("size", self._place)
        return len(self._inode.content)

    def truncate(self, size: int) -> None:
        assert size >= 0
        if self._boot != self._env.boot:
            raise os_error(errno.EBADF, self.path)
        if self._read_only:
            raise os_error(errno.EINVAL, self.path)
        if self._env.watched:
            self._env.before("truncate", self._place, size)
        content = self._inode.content
        self._env.use(self._inode, size - len(content), self.path)
        if size < len(content):
            del content[size:]
        else:
            content.extend(bytes(size - len(content)))
        self._inode.pending.append((size, None))

    def sync(self) -> None:
        env = self._env
        if self._boot != env.boot:
            raise os_error(errno.EBADF, self.path)
        if env.watched:
            try:
                env.before("sync", self._place)
            except OSError:
                self._inode.fail_sync()
                raise
        self._inode.sync()
        env.syncs += 1

    def close(self) -> None:
        self._boot = DEAD

    let_go = close


class MemoryLock:
    """A held lock; it dies with the boot that it was taken in."""

    def __init__(self, env: "MemoryEnv", inode: Inode) -> None:
        self._env = env
        self._inode = inode

    def release(self) -> None:
        if self._env.locks.get(self._inode) is self:
            del self._env.locks[self._inode]


class MemoryEnv(Machine):
    """An `Env` in memory, with the faults of a real one on demand.

    Paths are absolute whether or not they begin with a slash; there are no symbolic
    links and no `..`. Public names without a word here belong to its handles.
    """

    def __init__(self, *, capacity_bytes: int | None = None) -> None:
        super().__init__()
        self.capacity_bytes = capacity_bytes
        self.boot = 0
        self.locks: dict[Inode, MemoryLock] = {}
        self.writes = self.written_bytes = self.syncs = self.directory_syncs = 0
        self._root = Directory()
        self._used_bytes = 0

    # --- the disk ---

    def open(
        self,
        path: str,
        *,
        create: bool = False,
        exclusive: bool = False,
        read_only: bool = False,
    ) -> MemoryFile:
        assert create or not exclusive, "exclusive without create"
        assert not (create and read_only), "a new file that cannot be written"
        place = self._check("open", path)
        directory, name = self._parent(path)
        node = directory.entries.get(name) if name else directory
        if node is None and create:
            node = self._create(directory, name, place)
        elif node is None:
            raise os_error(errno.ENOENT, path)
        elif exclusive:
            raise os_error(errno.EEXIST, path)
        if isinstance(node, Directory):
            raise os_error(errno.EISDIR, path)
        return MemoryFile(self, node, path, place, read_only)

    def exists(self, path: str) -> bool:
        self._check("exists", path)
        try:
            self._node(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def size(self, path: str) -> int:
        self._check("size", path)
        node = self._node(path)
        if isinstance(node, Directory):
            raise os_error(errno.EISDIR, path)
        return len(node.content)

    def list(self, directory: str) -> Names:
        self._check("list", directory)
        return sorted(self._directory(directory).entries)

    def rename(self, src: str, dst: str) -> None:
        node = self._node(src)
        old, old_name = self._parent(src)
        new, new_name = self._parent(dst)
        victim = new.entries.get(new_name) if new_name else new
        if not old_name:
            raise os_error(errno.EBUSY, src)
        if victim is node:
            return
        if place_of(dst).startswith(place_of(src) + "/"):
            raise os_error(errno.EINVAL, dst)
        check_replacement(node, victim, dst)
        self._check("rename", dst)
        needs = victim.needs() if isinstance(victim, Directory) else ()
        if old is new:
            old.change((old_name, None), (new_name, node), needs=needs)
        else:
            added = new.change((new_name, node), needs=needs)
            removed = old.change((old_name, None), needs=((new, added),))
            if isinstance(node, Directory):
                added.needs += ((old, removed),)
        self._unlink(victim)

    def link(self, src: str, dst: str) -> None:
        node = self._node(src)
        if isinstance(node, Directory):
            raise os_error(errno.EPERM, src)
        directory, name = self._parent(dst)
        if not name or name in directory.entries:
            raise os_error(errno.EEXIST, dst)
        self._check("link", dst)
        directory.change((name, node))
        node.links += 1

    def remove(self, path: str) -> None:
        node = self._node(path)
        if isinstance(node, Directory):
            raise os_error(errno.EISDIR, path)
        self._check("remove", path)
        directory, name = self._parent(path)
        directory.change((name, None))
        self._unlink(node)

    def make_directory(self, path: str) -> None:
        directory, name = self._parent(path)
        there = directory.entries.get(name) if name else directory
        if isinstance(there, Directory):
            return
        if there is not None:
            raise os_error(errno.EEXIST, path)
        self._check("make_directory", path)
        directory.change((name, Directory()))

    def remove_directory(self, path: str) -> None:
        node = self._directory(path)
        if node.entries:
            raise os_error(errno.ENOTEMPTY, path)
        directory, name = self._parent(path)
        if not name:
            raise os_error(errno.EBUSY, path)
        self._check("remove_directory", path)
        directory.change((name, None), needs=node.needs())

    def sync_directory(self, path: str) -> None:
        node = self._directory(path)
        # When this fails its names stay in doubt: kept or lost at the next crash.
        self._check("sync_directory", path)
        node.sync()
        self.directory_syncs += 1

    def lock(self, path: str) -> MemoryLock:
        place = self._check("lock", path)
        directory, name = self._parent(path)
        node = directory.entries.get(name) if name else directory
        if node is None:
            node = self._create(directory, name, place)
        if isinstance(node, Directory):
            raise os_error(errno.EISDIR, path)
        if node in self.locks:
            raise DirectoryLocked(path)
        self.locks[node] = MemoryLock(self, node)
        return self.locks[node]

    def free_bytes(self, path: str) -> int:
        self._node(path)
        if self.capacity_bytes is None:
            return ENDLESS_BYTES
        return max(0, self.capacity_bytes - self._used_bytes)

    # --- crashes ---

    def crash(self, chance: Chance, *, tear: bool = True) -> None:
        """Lose the power and start again; `memory_disk` has the rules.

        Faults, hook and capacity stay: they belong to the machine.
        """
        self._root = crash(self._root, chance, tear=tear)
        self.kill()
        self._count_used()

    def kill(self) -> None:
        """End the process: handles and locks die, what was written stays to be lost."""
        self.boot += 1
        self.locks.clear()
        self._down = False
        self._watch()

    def copy(self) -> "MemoryEnv":
        """Copy the machine with what is and what is not yet durable.

        No process came along (no handles, no locks), nor any fault or hook.
        """
        return self._of(copy_of(self._root))

    def crash_states(
        self, *, bound: int = 10_000, tear: bool = False, unread: str = ""
    ) -> Iterator["MemoryEnv"]:
        """Enumerate what a power loss now may leave, as independent machines.

        Names in and below the directory `unread` are left out: nobody looks there.
        Raises `TooManyCrashStates` at once when there are more than `bound`.
        """
        known = unread and self.exists(unread)
        passed = self._directory(unread) if known else None
        states = crash_states(self._root, bound=bound, tear=tear, unread=passed)
        return (self._of(root) for root in states)

    def _of(self, root: Directory) -> "MemoryEnv":
        env = MemoryEnv(capacity_bytes=self.capacity_bytes)
        env._root = root
        env._count_used()
        return env

    # --- damage ---

    def peek(self, directory: str) -> dict[str, bytes]:
        """What readers of a directory's files see, by name, past every fault."""
        node: Node | None = self._root
        for part in parts_of(directory):
            node = node.entries.get(part) if isinstance(node, Directory) else None
        if not isinstance(node, Directory):
            return {}
        files = sorted(node.entries.items())
        return {n: bytes(f.content) for n, f in files if isinstance(f, Inode)}

    def flip_bit(self, path: str, offset: int, bit: int) -> None:
        """Flip one bit of a file, on the disk and for readers."""
        assert 0 <= bit < 8
        assert 0 <= offset < len(self._file(path).content), "a bit that is not there"
        self._damage(path, offset, 1, lambda byte: byte ^ (1 << bit))

    def zero_range(self, path: str, offset: int, length: int) -> None:
        """Zero a part of a file, on the disk and for readers."""
        assert 0 <= offset <= offset + length <= len(self._file(path).content)
        self._damage(path, offset, length, lambda _: 0)

    def truncate_durable(self, path: str, size: int) -> None:
        """Cut a file, on the disk and for readers."""
        inode = self._file(path)
        assert 0 <= size <= len(inode.content)
        self.use(inode, size - len(inode.content), path)
        del inode.content[size:]
        del inode.durable[size:]
        inode.pending = [
            (min(at, size), data if data is None else data[: size - at])
            for at, data in inode.pending
            if data is None or at < size
        ]

    def _damage(
        self, path: str, offset: int, length: int, change: Callable[[int], int]
    ) -> None:
        inode = self._file(path)
        window = (offset, offset + length)
        damage(inode.content, 0, window, change)
        damage(inode.durable, 0, window, change)
        for index, (at, data) in enumerate(inode.pending):
            if data is not None:
                image = bytearray(data)
                damage(image, at, window, change)
                inode.pending[index] = (at, bytes(image))

    # --- within ---

    def statistics(self) -> Statistics:
        return Statistics(
            self.writes, self.written_bytes, self.syncs, self.directory_syncs
        )

    def use(self, inode: Inode, growth: int, path: str) -> None:
        """Account for a change of a file's size, or refuse it."""
        if inode.links == 0:
            return
        used = self._used_bytes + growth
        limit = self.capacity_bytes
        if growth > 0 and limit is not None and used > limit:
            raise os_error(errno.ENOSPC, path)
        self._used_bytes = used

    def _check(self, kind: Kind, path: str) -> str:
        place = place_of(path)
        if self.watched:
            self.before(kind, place)
        return place

    def _create(self, directory: Directory, name: str, place: str) -> Inode:
        if self.watched:
            self.before("create", place)
        inode = Inode()
        inode.links = 1
        directory.change((name, inode))
        return inode

    def _unlink(self, node: Node | None) -> None:
        if isinstance(node, Inode):
            node.links -= 1
            assert node.links >= 0
            if node.links == 0:
                self._used_bytes -= len(node.content)

    def _count_used(self) -> None:
        _, inodes = reachable(self._root)
        self._used_bytes = sum(len(i.content) for i in inodes if i.links)

    def _walk(self, parts: tuple[str, ...], path: str) -> Node:
        if self._down:
            raise Crashed
        node: Node = self._root
        for part in parts:
            if isinstance(node, Inode):
                raise os_error(errno.ENOTDIR, path)
            child = node.entries.get(part)
            if child is None:
                raise os_error(errno.ENOENT, path)
            node = child
        return node

    def _node(self, path: str) -> Node:
        return self._walk(parts_of(path), path)

    def _file(self, path: str) -> Inode:
        node = self._node(path)
        assert isinstance(node, Inode)
        return node

    def _directory(self, path: str) -> Directory:
        node = self._node(path)
        if isinstance(node, Inode):
            raise os_error(errno.ENOTDIR, path)
        return node

    def _parent(self, path: str) -> tuple[Directory, str]:
        """Find the directory that holds a name; the root is held by none ("")."""
        parts = parts_of(path)
        if not parts:
            return self._root, ""
        node = self._walk(parts[:-1], path)
        if isinstance(node, Inode):
            raise os_error(errno.ENOTDIR, path)
        return node, parts[-1]


def check_replacement(node: Node, victim: Node | None, path: str) -> None:
    """Refuse a rename onto what it cannot replace."""
    if victim is None:
        return
    if isinstance(victim, Directory):
        if isinstance(node, Inode):
            raise os_error(errno.EISDIR, path)
        if victim.entries:
            raise os_error(errno.ENOTEMPTY, path)
    elif isinstance(node, Directory):
        raise os_error(errno.ENOTDIR, path)


def damage(
    image: bytearray, base: int, window: tuple[int, int], change: Callable[[int], int]
) -> None:
    """Change the bytes of a window of the file in an image that starts at `base`."""
    start, stop = window
    for at in range(max(start - base, 0), min(stop - base, len(image))):
        image[at] = change(image[at])
