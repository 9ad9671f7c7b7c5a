"""The disk on which killing the process is a power loss."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from quorate.storage.env import Env, RealEnv, read_file
from quorate.storage.errors import DirectoryLocked
from quorate.storage.hold_back_env import HELD, HoldBackEnv

# What runs, and is killed, in another process.
CHILD = """
import sys
from quorate.storage.env import write_file_durably
from quorate.storage.hold_back_env import HoldBackEnv

root = sys.argv[1]
env = HoldBackEnv(root)
env.make_directory(f"{root}/d")
write_file_durably(env, f"{root}/durable", b"durable")
file = env.open(f"{root}/d/f", create=True)
file.write_at(0, b"synced")
file.sync()
env.sync_directory(f"{root}/d")
file.write_at(6, b" lost")
env.make_directory(f"{root}/lost_directory")
env.open(f"{root}/d/nameless", create=True).sync()
env.remove(f"{root}/durable")
env.open(f"{root}/old").truncate(0)
env.rename(f"{root}/old", f"{root}/renamed")
env.lock(f"{root}/LOCK")
assert env.list(root) == ["LOCK", "d", "lost_directory", "renamed"]
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.read()
"""


def put(env: Env, path: str, data: bytes) -> None:
    file = env.open(path, create=True)
    file.write_at(0, data)
    file.sync()
    file.close()


@pytest.mark.slow
def test_a_killed_process_leaves_what_it_synced_and_no_more(tmp_path: Path) -> None:
    root = str(tmp_path)
    disk = RealEnv()
    put(disk, f"{root}/old", b"old")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        # While it lives nobody clears its staging directory.
        HoldBackEnv(root)
        assert sum(name.startswith(HELD) for name in disk.list(root)) == 2
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL

    env = HoldBackEnv(root)
    for name in disk.list(root):
        assert not name.startswith(HELD) or os.listdir(f"{root}/{name}") == []
    assert env.list(root) == ["LOCK", "d", "durable", "old"]
    assert env.list(f"{root}/d") == ["f"]
    assert read_file(disk, f"{root}/d/f") == b"synced"
    assert read_file(disk, f"{root}/durable") == b"durable"
    assert read_file(disk, f"{root}/old") == b"old"
    env.lock(f"{root}/LOCK").release()


class Twin:
    """A held-back disk, and the real one beneath it."""

    def __init__(self, path: Path) -> None:
        self.root = str(path)
        self.env = HoldBackEnv(self.root)
        self.disk = RealEnv()

    def at(self, name: str) -> str:
        return f"{self.root}/{name}"

    def real_names(self, name: str = "") -> list[str]:
        return [n for n in self.disk.list(self.at(name)) if not n.startswith(HELD)]

    def staged(self) -> list[str]:
        """What lies in the staging directories."""
        stages = [n for n in self.disk.list(self.root) if n.startswith(HELD)]
        return [n for stage in stages for n in self.disk.list(self.at(stage))]


@pytest.fixture
def twin(tmp_path: Path) -> Twin:
    return Twin(tmp_path)


def test_data_reaches_the_disk_with_the_sync_of_its_file(twin: Twin) -> None:
    put(twin.disk, twin.at("f"), b"0123456789")
    file = twin.env.open(twin.at("f"))
    file.write_at(2, b"xx")
    file.truncate(6)
    file.write_at(8, b"y")
    assert read_file(twin.disk, twin.at("f")) == b"0123456789"
    assert read_file(twin.env, twin.at("f")) == b"01xx45\0\0y"
    file.sync()
    assert read_file(twin.disk, twin.at("f")) == b"01xx45\0\0y"


def test_a_name_reaches_the_disk_with_the_sync_of_its_directory(twin: Twin) -> None:
    put(twin.env, twin.at("f"), b"data")
    assert twin.env.list(twin.root) == ["f"]
    assert twin.real_names() == []
    twin.env.sync_directory(twin.root)
    assert twin.real_names() == ["f"]
    assert read_file(twin.disk, twin.at("f")) == b"data"
    assert twin.staged() == []


def test_a_synced_name_without_synced_data_is_an_empty_file(twin: Twin) -> None:
    file = twin.env.open(twin.at("f"), create=True)
    file.write_at(0, b"data")
    file.close()
    twin.env.sync_directory(twin.root)
    assert read_file(twin.disk, twin.at("f")) == b""
    assert read_file(twin.env, twin.at("f")) == b"data"
    # What was closed without a sync is synced through any later handle.
    file = twin.env.open(twin.at("f"))
    file.sync()
    assert read_file(twin.disk, twin.at("f")) == b"data"


def test_renames_removals_and_links_wait_too(twin: Twin) -> None:
    for name in ("a", "b", "c"):
        put(twin.disk, twin.at(name), name.encode())
    twin.env.rename(twin.at("a"), twin.at("a2"))
    twin.env.remove(twin.at("b"))
    twin.env.link(twin.at("c"), twin.at("c2"))
    assert twin.real_names() == ["a", "b", "c"]
    twin.env.sync_directory(twin.root)
    assert twin.real_names() == ["a2", "c", "c2"]
    assert os.path.samefile(twin.at("c"), twin.at("c2"))
    assert twin.staged() == []


def test_a_directory_waits_with_all_that_is_in_it(twin: Twin) -> None:
    twin.env.make_directory(twin.at("d"))
    put(twin.env, twin.at("d/f"), b"data")
    twin.env.sync_directory(twin.at("d"))
    assert twin.real_names() == []
    twin.env.sync_directory(twin.root)
    assert read_file(twin.disk, twin.at("d/f")) == b"data"
    put(twin.env, twin.at("d/g"), b"later")
    twin.env.sync_directory(twin.at("d"))
    assert twin.real_names("d") == ["f", "g"]


def test_where_a_file_left_is_synced_only_after_where_it_went(twin: Twin) -> None:
    for name in ("a", "b"):
        twin.disk.make_directory(twin.at(name))
    put(twin.disk, twin.at("a/f"), b"data")
    twin.env.rename(twin.at("a/f"), twin.at("b/f"))
    twin.env.sync_directory(twin.at("a"))
    assert (twin.real_names("a"), twin.real_names("b")) == ([], ["f"])
    twin.env.rename(twin.at("b/f"), twin.at("a/f"))
    twin.env.sync_directory(twin.at("a"))
    assert (twin.real_names("a"), twin.real_names("b")) == (["f"], ["f"])
    twin.env.sync_directory(twin.at("b"))
    assert (twin.real_names("a"), twin.real_names("b")) == (["f"], [])
    assert twin.staged() == []


def test_a_linked_file_survives_the_removal_of_its_first_name(twin: Twin) -> None:
    twin.disk.make_directory(twin.at("d"))
    put(twin.disk, twin.at("f"), b"data")
    twin.env.link(twin.at("f"), twin.at("d/g"))
    twin.env.remove(twin.at("f"))
    twin.env.sync_directory(twin.root)
    assert twin.real_names() == ["d"]
    assert read_file(twin.env, twin.at("d/g")) == b"data"
    twin.env.sync_directory(twin.at("d"))
    assert read_file(twin.disk, twin.at("d/g")) == b"data"
    assert twin.staged() == []


def test_another_process_sees_only_the_disk_and_its_files_are_seen(twin: Twin) -> None:
    put(twin.env, twin.at("ours"), b"")
    put(twin.disk, twin.at("theirs"), b"theirs")
    assert twin.env.list(twin.root) == ["ours", "theirs"]
    assert read_file(twin.env, twin.at("theirs")) == b"theirs"
    put(twin.disk, twin.at("theirs"), b"grown since")
    assert read_file(twin.env, twin.at("theirs")) == b"grown since"


def test_a_directory_made_by_others_where_one_left_is_seen(twin: Twin) -> None:
    twin.disk.make_directory(twin.at("d"))
    put(twin.env, twin.at("d/f"), b"")
    twin.env.rename(twin.at("d"), twin.at("e"))
    twin.env.sync_directory(twin.root)
    twin.disk.make_directory(twin.at("d"))
    put(twin.disk, twin.at("d/theirs"), b"")
    assert twin.env.list(twin.at("d")) == ["theirs"]
    assert twin.env.list(twin.at("e")) == ["f"]


def test_a_lock_on_a_waiting_name_outlasts_its_sync(twin: Twin) -> None:
    put(twin.env, twin.at("LOCK"), b"")
    twin.env.lock(twin.at("LOCK"))
    twin.env.sync_directory(twin.root)
    with pytest.raises(DirectoryLocked):
        twin.disk.lock(twin.at("LOCK"))


def test_a_crash_leaves_the_disk_and_kills_handles_and_locks(twin: Twin) -> None:
    file = twin.env.open(twin.at("f"), create=True)
    twin.env.lock(twin.at("LOCK"))
    twin.env.sync_directory(twin.root)
    file.write_at(0, b"lost")
    twin.env.make_directory(twin.at("d"))
    twin.env.crash()
    for call in (file.sync, file.size):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()
    file.close()
    twin.env.lock(twin.at("LOCK"))
    assert twin.env.list(twin.root) == ["LOCK", "f"]
    assert read_file(twin.env, twin.at("f")) == b""


def test_no_descriptor_stays_open_for_a_file_at_rest(twin: Twin) -> None:
    put(twin.env, twin.at("f"), b"data")
    twin.env.sync_directory(twin.root)
    before = len(os.listdir("/dev/fd"))
    for name in ("g", "h", "i"):
        put(twin.env, twin.at(name), b"x")
        twin.env.size(twin.at(name))
        twin.env.rename(twin.at(name), twin.at("f"))
    file = twin.env.open(twin.at("f"))
    file.write_at(0, b"never synced")
    twin.env.remove(twin.at("f"))
    file.close()
    assert len(os.listdir("/dev/fd")) > before
    twin.env.sync_directory(twin.root)
    assert len(os.listdir("/dev/fd")) == before
    assert twin.staged() == []


def test_stale_staging_directories_are_cleared_at_any_depth(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / f"{HELD}stale"
    deep.mkdir(parents=True)
    (deep / "1").write_bytes(b"x")
    (tmp_path / "a" / "kept").write_bytes(b"")
    env = HoldBackEnv(str(tmp_path))
    assert not deep.exists()
    assert env.list(str(tmp_path / "a")) == ["b", "kept"]


def test_paths_outside_the_root_and_staged_ones_are_refused(twin: Twin) -> None:
    for path in (f"{twin.root}/../f", f"{twin.root}2/f", twin.at(f"{HELD}x"), ""):
        with pytest.raises(OSError):
            twin.env.open(path, create=True)


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        HoldBackEnv(str(tmp_path / "absent"))
