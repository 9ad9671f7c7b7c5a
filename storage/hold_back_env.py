"""The real disk, on which killing the process is a power loss.

Law: what is visible here is what `RealEnv` would show; what is on the disk is what
was synced, and no more. `kill -9` leaves the page cache alone, so a process that never
syncs would pass every test that kills it; through this env such a test is honest.

Writes and truncates stay in memory until their file's `sync`. Names stay in memory
until `sync_directory`; what they stand for lives below the root, in a staging
directory `.held-…` of this process, and the next `HoldBackEnv` there clears what a dead
one left. The names of a directory reach the disk one by one in the order in which they
were made. A rename between two directories is two steps, of which the removal waits
for the new name; a directory moves at once. Lock files carry no data and are real.

It trusts that the tree below its root has no symbolic links. Another process may
share the tree, and sees what is on the disk.
"""

import errno
import fcntl
import itertools
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator

from .env import Data, Names, RealEnv, RealLock, open_fd, open_flags, os_error
from .held_inode import HeldInode
from .held_names import Change, Folder

HELD = ".held-"


class HeldFile:
    """A handle on a real file with held changes."""

    __slots__ = ("_env", "_inode", "_read_only", "path")

    def __init__(
        self, env: "HoldBackEnv", inode: HeldInode, path: str, read_only: bool
    ) -> None:
        inode.handles += 1
        self.path = path
        self._env = env
        self._inode: HeldInode | None = inode
        self._read_only = read_only

    def read_at(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        return self._open().read(offset, length)

    def write_at(self, offset: int, data: Data) -> None:
        assert offset >= 0
        self._writable(errno.EBADF).write(offset, data)

    def size(self) -> int:
        return self._open().size()

    def truncate(self, size: int) -> None:
        assert size >= 0
        self._writable(errno.EINVAL).truncate(size)

    def sync(self) -> None:
        self._open().flush(self.path)

    def close(self) -> None:
        inode, self._inode = self._inode, None
        if inode is not None:
            inode.handles -= 1
            self._env.settle(inode)

    def let_go(self) -> None:
        self.close()

    def _open(self) -> HeldInode:
        if self._inode is None or self._inode.fd < 0:
            raise os_error(errno.EBADF, self.path)
        return self._inode

    def _writable(self, error: int) -> HeldInode:
        if self._read_only:
            raise os_error(error, self.path)
        return self._open()


class HoldBackEnv:
    """An `Env` over the tree below `root`, an existing directory."""

    def __init__(self, root: str) -> None:
        self._real = RealEnv()
        self._base = os.path.abspath(root)
        for stale in stale_stages(self._base):
            shutil.rmtree(stale)
        self._inodes: dict[tuple[int, int], HeldInode] = {}
        self._locks: list[RealLock] = []
        self._start()

    def _start(self) -> None:
        self._root = Folder(None, self._base)
        self._staging = Folder(None, tempfile.mkdtemp(prefix=HELD, dir=self._base))
        # Counts in one step: threads may make files at the same time.
        self._stages = itertools.count(1)
        # Says that this process lives, to the one that would clear it.
        self._guard = os.open(self._staging.real(), os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._guard, fcntl.LOCK_EX)

    def crash(self) -> None:
        """Do what killing does: lose all that is held; handles and locks die."""
        for lock in self._locks:
            lock.release()
        self._locks.clear()
        for inode in self._inodes.values():
            inode.close()
        self._inodes.clear()
        shutil.rmtree(self._staging.real())
        os.close(self._guard)
        self._start()

    # --- files ---

    def open(
        self,
        path: str,
        *,
        create: bool = False,
        exclusive: bool = False,
        read_only: bool = False,
    ) -> HeldFile:
        open_flags(create, exclusive, read_only)
        folder, name = self._parent(path)
        node = self._find(folder, name)
        if node is None and create:
            node = self._create(folder, name)
        elif node is None:
            raise os_error(errno.ENOENT, path)
        elif exclusive:
            self._put_back(node)
            raise os_error(errno.EEXIST, path)
        if isinstance(node, Folder):
            raise os_error(errno.EISDIR, path)
        return HeldFile(self, node, path, read_only)

    def _create(self, folder: Folder, name: str) -> HeldInode:
        stage = self._new_stage()
        fd = open_fd(stage, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        inode = self._inodes[identity(os.fstat(fd))] = HeldInode(fd)
        inode.stage = stage
        inode.adds = 1
        folder.change("add", (name, inode))
        return inode

    def size(self, path: str) -> int:
        folder, name = self._parent(path)
        node = self._find(folder, name)
        if node is None:
            raise os_error(errno.ENOENT, path)
        if isinstance(node, Folder):
            raise os_error(errno.EISDIR, path)
        size = node.size()
        self._put_back(node)
        return size

    # --- names ---

    def exists(self, path: str) -> bool:
        try:
            folder, name = self._parent(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if name in folder.changes:
            return folder.changes[name] is not None
        return self._real.exists(os.path.join(folder.real(), name))

    def list(self, directory: str) -> Names:
        return sorted(self._names(self._folder(directory)))

    def rename(self, src: str, dst: str) -> None:
        old, old_name = self._parent(src)
        new, new_name = self._parent(dst)
        node = self._find(old, old_name)
        if node is None:
            raise os_error(errno.ENOENT, src)
        victim = self._find(new, new_name)
        try:
            if victim is node:
                return
            if node is self._root:
                raise os_error(errno.EBUSY, src)
            if os.path.abspath(dst).startswith(os.path.abspath(src) + "/"):
                raise os_error(errno.EINVAL, dst)
            self._check_replacement(node, victim, dst)
            if isinstance(node, HeldInode):
                self._stage(node, old, old_name)
            self._move(old, old_name, new, new_name, node, victim)
        finally:
            self._put_back(node)
            self._put_back(victim)

    def _check_replacement(
        self, node: HeldInode | Folder, victim: HeldInode | Folder | None, path: str
    ) -> None:
        if isinstance(victim, Folder):
            if isinstance(node, HeldInode):
                raise os_error(errno.EISDIR, path)
            if self._names(victim):
                raise os_error(errno.ENOTEMPTY, path)
        elif victim is not None and isinstance(node, Folder):
            raise os_error(errno.ENOTDIR, path)

    def _move(
        self,
        old: Folder,
        old_name: str,
        new: Folder,
        new_name: str,
        node: HeldInode | Folder,
        victim: HeldInode | Folder | None,
    ) -> None:
        gone = victim if isinstance(victim, Folder) else None
        if old is new:
            old.change("rename", (old_name, None), (new_name, node), victim=gone)
            return
        added = new.change("add", (new_name, node), victim=gone)
        kind = "moved" if isinstance(node, Folder) else "unlink"
        removed = old.change(kind, (old_name, None), needs=((new, added),))
        if isinstance(node, Folder):
            added.needs = ((old, removed),)

    def link(self, src: str, dst: str) -> None:
        old, old_name = self._parent(src)
        node = self._find(old, old_name)
        if node is None:
            raise os_error(errno.ENOENT, src)
        if isinstance(node, Folder):
            raise os_error(errno.EPERM, src)
        try:
            if self.exists(dst):
                raise os_error(errno.EEXIST, dst)
            new, new_name = self._parent(dst)
            self._stage(node, old, old_name)
            new.change("add", (new_name, node))
        finally:
            self._put_back(node)

    def remove(self, path: str) -> None:
        folder, name = self._parent(path)
        node = self._find(folder, name)
        if node is None:
            raise os_error(errno.ENOENT, path)
        if isinstance(node, Folder):
            raise os_error(errno.EISDIR, path)
        folder.change("unlink", (name, None))
        self._put_back(node)

    def make_directory(self, path: str) -> None:
        folder, name = self._parent(path)
        node = self._find(folder, name)
        if isinstance(node, Folder):
            return
        if node is not None:
            self._put_back(node)
            raise os_error(errno.EEXIST, path)
        stage = self._new_stage()
        os.mkdir(stage, 0o700)
        folder.change("add", (name, Folder(self._staging, os.path.basename(stage))))

    def remove_directory(self, path: str) -> None:
        node = self._folder(path)
        if self._names(node):
            raise os_error(errno.ENOTEMPTY, path)
        if node is self._root:
            raise os_error(errno.EBUSY, path)
        folder, name = self._parent(path)
        folder.change("rmdir", (name, None), victim=node)

    def sync_directory(self, path: str) -> None:
        folder = self._folder(path)
        self._publish(folder)
        self._real.sync_directory(folder.real())

    def lock(self, path: str) -> RealLock:
        folder, name = self._parent(path)
        if name in folder.changes:
            # Rare enough: what waits there comes early, as it may on any disk.
            self._publish(folder)
        lock = self._real.lock(os.path.join(folder.real(), name))
        self._locks.append(lock)
        return lock

    def free_bytes(self, path: str) -> int:
        return self._real.free_bytes(self._folder(path).real())

    # --- from memory to the disk ---

    def _publish(self, folder: Folder, last: Change | None = None) -> None:
        """Bring the held names to the disk, up to `last` when it is given.

        What a change needs elsewhere was made at the same moment as the change, so
        the way through other folders leads only to older steps, and ends.
        """
        try:
            while folder.pending:
                change = folder.pending.pop(0)
                for other, need in change.needs:
                    if need in other.pending:
                        self._publish(other, need)
                if change.victim is not None:
                    self._publish(change.victim)
                self._perform(folder, change)
                if change is last:
                    return
        finally:
            folder.forget_published()

    def _perform(self, folder: Folder, change: Change) -> None:
        *_, (name, node) = change.names
        target = os.path.join(folder.real(), name)
        if change.kind == "moved":
            return
        if change.kind == "rmdir":
            os.rmdir(target)
            return
        replaced = self._in_play(target)
        if change.kind == "unlink":
            os.unlink(target)
        elif isinstance(node, Folder):
            os.rename(node.real(), target)
            node.move(folder, name)
        elif node is not None:
            self._place(folder, change, node, target)
        if replaced is not None:
            self.settle(replaced)

    def _place(
        self, folder: Folder, change: Change, inode: HeldInode, target: str
    ) -> None:
        """Give a file its real name, and drop the private one after the last."""
        assert inode.stage is not None
        assert inode.adds > 0
        inode.adds -= 1
        if change.kind == "rename":
            os.rename(os.path.join(folder.real(), change.names[0][0]), target)
        elif inode.adds == 0:
            os.rename(inode.stage, target)
            inode.stage = None
        else:
            second = self._new_stage()
            os.link(inode.stage, second)
            os.rename(second, target)
        if inode.adds == 0 and inode.stage is not None:
            os.unlink(inode.stage)
            inode.stage = None
        self.settle(inode)

    def _stage(self, inode: HeldInode, folder: Folder, name: str) -> None:
        """Announce one more name; the first needs the private one to be made by."""
        if inode.stage is None:
            inode.stage = self._new_stage()
            os.link(os.path.join(folder.real(), name), inode.stage)
        inode.adds += 1

    def _new_stage(self) -> str:
        return os.path.join(self._staging.real(), str(next(self._stages)))

    # --- what is where ---

    def settle(self, inode: HeldInode) -> None:
        """Close a file that nobody holds and that has nothing left to lose."""
        if inode.handles or inode.adds or inode.fd < 0:
            return
        status = os.fstat(inode.fd)
        if not inode.dirty or status.st_nlink == 0:
            del self._inodes[identity(status)]
            inode.close()

    def _put_back(self, node: HeldInode | Folder | None) -> None:
        """Undo a `_find` that led to no handle and no new name."""
        if isinstance(node, HeldInode):
            self.settle(node)

    def _in_play(self, real: str) -> HeldInode | None:
        """Find the file with held changes, handles or names that a real name is of."""
        try:
            return self._inodes.get(identity(os.lstat(real)))
        except FileNotFoundError:
            return None

    def _find(self, folder: Folder, name: str) -> HeldInode | Folder | None:
        """Find what a name stands for; a file comes open, for a handle or `_put_back`.

        The root has no name in a folder: it is "".
        """
        if not name:
            return folder
        if name in folder.changes:
            return folder.changes[name]
        real = os.path.join(folder.real(), name)
        try:
            mode = os.lstat(real).st_mode
        except FileNotFoundError:
            folder.known.pop(name, None)
            return None
        if stat.S_ISDIR(mode):
            return folder.known.setdefault(name, Folder(folder, name))
        fd = open_fd(real, os.O_RDWR)
        inode = self._inodes.setdefault(identity(os.fstat(fd)), HeldInode(fd))
        if inode.fd != fd:
            os.close(fd)
        return inode

    def _names(self, folder: Folder) -> set[str]:
        names = {n for n in os.listdir(folder.real()) if not n.startswith(HELD)}
        for name, node in folder.changes.items():
            if node is None:
                names.discard(name)
            else:
                names.add(name)
        return names

    def _folder(self, path: str) -> Folder:
        folder, name = self._parent(path)
        node = self._find(folder, name)
        if node is None:
            raise os_error(errno.ENOENT, path)
        if isinstance(node, HeldInode):
            self._put_back(node)
            raise os_error(errno.ENOTDIR, path)
        return node

    def _parent(self, path: str) -> tuple[Folder, str]:
        """Find the folder that holds a name; the root is held by none ("")."""
        if not path:
            raise os_error(errno.ENOENT, path)
        whole = os.path.abspath(path)
        if whole == self._base:
            return self._root, ""
        if not whole.startswith(self._base.rstrip("/") + "/"):
            raise os_error(errno.EXDEV, path)
        *parts, name = names = whole[len(self._base.rstrip("/")) + 1 :].split("/")
        if any(part.startswith(HELD) for part in names):
            raise os_error(errno.EINVAL, path)
        folder = self._root
        for part in parts:
            node = self._find(folder, part)
            if node is None:
                raise os_error(errno.ENOENT, path)
            if isinstance(node, HeldInode):
                self._put_back(node)
                raise os_error(errno.ENOTDIR, path)
            folder = node
        return folder, name


def identity(status: os.stat_result) -> tuple[int, int]:
    """Tell one file from another, whatever their names."""
    return status.st_dev, status.st_ino


def stale_stages(base: str) -> Iterator[str]:
    """List the staging directories below `base` whose process is gone."""
    for place, directories, _ in os.walk(base):
        for name in [d for d in directories if d.startswith(HELD)]:
            directories.remove(name)
            stage = os.path.join(place, name)
            if not _guarded(stage):
                yield stage


def _guarded(stage: str) -> bool:
    fd = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
