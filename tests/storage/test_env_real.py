"""What only the real disk can show: modes, links, descriptors, short transfers."""

import os
import stat
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from quorate.storage.env import Env, RealEnv, read_file
from quorate.storage.errors import DirectoryLocked
from quorate.storage.hold_back_env import HoldBackEnv


class Disk:
    def __init__(self, env: Env, root: Path) -> None:
        self.env = env
        self.root = str(root)

    def at(self, name: str) -> str:
        return f"{self.root}/{name}"

    def write(self, name: str, data: bytes) -> None:
        file = self.env.open(self.at(name), create=True)
        file.write_at(0, data)
        file.close()


@pytest.fixture
def real(tmp_path: Path) -> Disk:
    return Disk(RealEnv(), tmp_path)


def test_files_and_directories_are_for_the_owner_alone(real: Disk) -> None:
    real.write("f", b"")
    real.env.make_directory(real.at("d"))
    real.env.lock(real.at("LOCK")).release()
    modes = {
        name: os.stat(real.at(name)).st_mode & 0o777
        for name in real.env.list(real.root)
    }
    assert modes == {"LOCK": 0o600, "d": 0o700, "f": 0o600}


def test_a_symbolic_link_is_not_followed(real: Disk) -> None:
    real.write("f", b"secret")
    os.symlink(real.at("f"), real.at("s"))
    with pytest.raises(OSError):
        real.env.open(real.at("s"))
    with pytest.raises(OSError):
        real.env.lock(real.at("s"))
    assert real.env.exists(real.at("s"))
    real.env.link(real.at("s"), real.at("t"))
    assert stat.S_ISLNK(os.lstat(real.at("t")).st_mode)


def test_a_pipe_is_refused_and_does_not_hang(real: Disk) -> None:
    os.mkfifo(real.at("p"))
    with pytest.raises(OSError):
        real.env.open(real.at("p"), read_only=True)


def test_descriptors_do_not_leak_into_children_nor_after_use(
    real: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    plain = os.open

    def listening(path: str, flags: int, mode: int = 0o777) -> int:
        opened.append(plain(path, flags, mode))
        return opened[-1]

    monkeypatch.setattr(os, "open", listening)
    file = real.env.open(real.at("f"), create=True)
    lock = real.env.lock(real.at("LOCK"))
    assert [os.get_inheritable(fd) for fd in opened] == [False, False]
    file.close()
    lock.release()
    with pytest.raises(DirectoryLocked), _held(real):
        real.env.lock(real.at("LOCK"))
    with pytest.raises(OSError):
        real.env.open(real.root, read_only=True)
    real.env.sync_directory(real.root)
    assert len(opened) == 6
    for fd in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


@contextmanager
def _held(disk: Disk) -> Generator[None, None, None]:
    lock = disk.env.lock(disk.at("LOCK"))
    try:
        yield
    finally:
        lock.release()


@pytest.mark.skipif(sys.platform == "darwin", reason="syncs by fcntl there")
@pytest.mark.parametrize("kind", ["real", "hold-back"])
def test_a_sync_asks_the_system_and_reports_its_refusal(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = RealEnv() if kind == "real" else HoldBackEnv(str(tmp_path))
    disk = Disk(env, tmp_path)
    file = disk.env.open(disk.at("f"), create=True)
    file.write_at(0, b"data")

    def refuse(fd: int) -> None:
        os.fstat(fd)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", refuse)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    with pytest.raises(OSError, match="Input/output error"):
        disk.env.sync_directory(disk.root)
    assert file.read_at(0, 9) == b"data"


def test_short_writes_and_reads_are_continued(
    real: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, pread = os.pwrite, os.pread

    def short_write(fd: int, data: memoryview, at: int) -> int:
        return pwrite(fd, data[:3], at)

    def short_read(fd: int, length: int, at: int) -> bytes:
        return pread(fd, min(length, 4), at)

    monkeypatch.setattr(os, "pwrite", short_write)
    monkeypatch.setattr(os, "pread", short_read)
    real.write("f", b"0123456789")
    assert read_file(real.env, real.at("f")) == b"0123456789"
    file = real.env.open(real.at("f"))
    assert file.read_at(8, 99) == b"89"


def test_a_write_that_makes_no_progress_is_an_error(
    real: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_write(fd: int, data: memoryview, at: int) -> int:
        return 0

    file = real.env.open(real.at("f"), create=True)
    monkeypatch.setattr(os, "pwrite", no_write)
    with pytest.raises(OSError, match="Input/output error"):
        file.write_at(0, b"x")


def test_an_unreadable_disk_does_not_look_empty(
    real: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lstat(path: str) -> os.stat_result:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(os, "lstat", lstat)
    with pytest.raises(OSError, match="Input/output error"):
        real.env.exists(real.at("f"))


def test_a_lock_that_is_about_to_be_released_is_waited_for(tmp_path: Path) -> None:
    """Story: an owner was killed while it started its worker. The child had the lock
    for some milliseconds, until its exec, and who started again at once was refused.
    """
    env = RealEnv()
    path = str(tmp_path / "lock")
    held = env.lock(path)
    release = threading.Timer(0.1, held.release)
    release.start()
    env.lock(path).release()
    release.join()
    held = env.lock(path)
    with pytest.raises(DirectoryLocked):
        env.lock(path)
    held.release()


def test_a_file_that_is_let_go_is_closed_by_somebody_else(real: Disk) -> None:
    """A node's loop stood still for 312 ms: a merge's tables were closed in it."""
    inside, closed = threading.Event(), threading.Event()
    goes_on = threading.Event()
    plain = os.close

    def slow(fd: int) -> None:
        inside.set()
        assert goes_on.wait(30)
        plain(fd)
        closed.set()

    file = real.env.open(real.at("f"), create=True)
    other = real.env.open(real.at("g"), create=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "close", slow)
        file.let_go()
        file.let_go()
        assert inside.wait(30)
        # It has not been closed yet, and whoever let it go goes on.
        other.write_at(0, b"x")
        with pytest.raises(OSError, match="Bad file descriptor"):
            file.read_at(0, 1)
        goes_on.set()
        assert closed.wait(30)
    other.close()
