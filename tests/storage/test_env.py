"""What every env promises, asked of the real disk and of both its twins."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from quorate.storage.env import Env, RealEnv, read_file, write_file_durably
from quorate.storage.errors import DirectoryLocked
from quorate.storage.hold_back_env import HoldBackEnv
from quorate.storage.memory_env import MemoryEnv


class Disk(NamedTuple):
    env: Env
    root: str

    def at(self, name: str) -> str:
        return f"{self.root}/{name}"

    def write(self, name: str, data: bytes) -> None:
        file = self.env.open(self.at(name), create=True)
        file.write_at(0, data)
        file.close()

    def read(self, name: str) -> bytes:
        return read_file(self.env, self.at(name))

    def names(self) -> list[str]:
        return self.env.list(self.root)


def _memory(_: Path) -> Disk:
    env = MemoryEnv()
    env.make_directory("/data")
    return Disk(env, "/data")


MAKERS: dict[str, Callable[[Path], Disk]] = {
    "real": lambda path: Disk(RealEnv(), str(path)),
    "memory": _memory,
    "hold-back": lambda path: Disk(HoldBackEnv(str(path)), str(path)),
}


@pytest.fixture(params=MAKERS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return MAKERS[str(request.param)](tmp_path)


# --- files ---


def test_what_was_written_is_read_back(disk: Disk) -> None:
    file = disk.env.open(disk.at("f"), create=True)
    file.write_at(0, b"hello")
    file.write_at(5, memoryview(b" world"))
    file.write_at(1, bytearray(b"E"))
    assert file.read_at(0, 11) == b"hEllo world"
    assert file.size() == 11
    assert file.path == disk.at("f")


def test_a_read_is_short_only_where_the_file_ends(disk: Disk) -> None:
    file = disk.env.open(disk.at("f"), create=True)
    file.write_at(0, b"0123456789")
    assert file.read_at(8, 100) == b"89"
    assert file.read_at(10, 1) == b""
    assert file.read_at(999, 1) == b""
    assert file.read_at(3, 0) == b""


def test_a_gap_before_a_write_reads_as_zeros(disk: Disk) -> None:
    file = disk.env.open(disk.at("f"), create=True)
    file.write_at(5, b"x")
    assert file.read_at(0, 10) == b"\0\0\0\0\0x"


def test_an_empty_write_beyond_the_end_changes_nothing(disk: Disk) -> None:
    file = disk.env.open(disk.at("f"), create=True)
    file.write_at(100, b"")
    assert file.size() == 0


def test_a_large_write_arrives_whole(disk: Disk) -> None:
    data = bytes(range(256)) * 8192
    file = disk.env.open(disk.at("f"), create=True)
    file.write_at(3, data)
    file.sync()
    assert file.read_at(3, len(data)) == data


def test_a_write_of_wide_items_counts_bytes(disk: Disk) -> None:
    file = disk.env.open(disk.at("f"), create=True)
    file.write_at(0, memoryview(b"abcdefgh").cast("I"))
    assert file.read_at(0, 100) == b"abcdefgh"


@pytest.mark.parametrize("synced", [False, True])
def test_a_truncated_file_grows_again_with_zeros(disk: Disk, synced: bool) -> None:
    file = disk.env.open(disk.at("f"), create=True)
    file.write_at(0, b"0123456789")
    if synced:
        file.sync()
    file.truncate(4)
    assert file.size() == 4
    file.truncate(8)
    assert file.read_at(0, 100) == b"0123\0\0\0\0"
    file.sync()
    assert file.size() == 8
    file.write_at(10, b"z")
    file.sync()
    assert file.read_at(0, 100) == b"0123" + bytes(6) + b"z"


def test_two_handles_see_one_file(disk: Disk) -> None:
    one = disk.env.open(disk.at("f"), create=True)
    two = disk.env.open(disk.at("f"))
    one.write_at(0, b"abc")
    assert two.read_at(0, 10) == b"abc"
    two.sync()
    two.write_at(1, b"X")
    assert one.read_at(0, 10) == b"aXc"
    one.close()
    assert two.size() == 3


def test_what_was_closed_without_a_sync_is_still_read(disk: Disk) -> None:
    disk.write("f", b"abc")
    assert disk.read("f") == b"abc"
    assert disk.env.size(disk.at("f")) == 3


def test_a_file_opened_for_reading_refuses_changes(disk: Disk) -> None:
    disk.write("f", b"abc")
    file = disk.env.open(disk.at("f"), read_only=True)
    with pytest.raises(OSError):
        file.write_at(0, b"x")
    with pytest.raises(OSError):
        file.truncate(0)
    assert file.read_at(0, 9) == b"abc"


def test_a_closed_file_answers_nothing_and_closes_twice(disk: Disk) -> None:
    file = disk.env.open(disk.at("f"), create=True)
    file.close()
    file.close()
    calls: list[Callable[[], object]] = [
        lambda: file.read_at(0, 1),
        lambda: file.write_at(0, b"x"),
        lambda: file.truncate(0),
        file.size,
        file.sync,
    ]
    for call in calls:
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()


def test_a_removed_file_lives_on_in_its_handles(disk: Disk) -> None:
    file = disk.env.open(disk.at("f"), create=True)
    file.write_at(0, b"old")
    disk.env.remove(disk.at("f"))
    disk.write("f", b"new!")
    file.write_at(3, b"er")
    file.sync()
    assert file.read_at(0, 9) == b"older"
    disk.env.sync_directory(disk.root)
    assert file.read_at(0, 9) == b"older"
    assert disk.read("f") == b"new!"


def test_opening_asks_for_what_is_there(disk: Disk) -> None:
    with pytest.raises(FileNotFoundError):
        disk.env.open(disk.at("f"))
    disk.write("f", b"")
    with pytest.raises(FileExistsError):
        disk.env.open(disk.at("f"), create=True, exclusive=True)
    with pytest.raises(FileNotFoundError):
        disk.env.open(disk.at("absent/f"), create=True)
    with pytest.raises(NotADirectoryError):
        disk.env.open(disk.at("f/g"), create=True)
    with pytest.raises(IsADirectoryError):
        disk.env.open(disk.root, read_only=True)


def test_words_without_sense_are_bugs(disk: Disk) -> None:
    with pytest.raises(AssertionError):
        disk.env.open(disk.at("f"), exclusive=True)
    with pytest.raises(AssertionError):
        disk.env.open(disk.at("f"), create=True, read_only=True)
    file = disk.env.open(disk.at("f"), create=True)
    with pytest.raises(AssertionError):
        file.read_at(-1, 1)
    with pytest.raises(AssertionError):
        file.write_at(-1, b"x")
    with pytest.raises(AssertionError):
        file.truncate(-1)


# --- names ---


def test_a_directory_lists_its_names_sorted(disk: Disk) -> None:
    for name in ("b", "c", "a"):
        disk.write(name, b"")
    disk.env.make_directory(disk.at("ab"))
    assert disk.names() == ["a", "ab", "b", "c"]
    disk.env.sync_directory(disk.root)
    assert disk.names() == ["a", "ab", "b", "c"]
    assert disk.env.list(disk.at("ab")) == []


def test_existence_and_size_are_told(disk: Disk) -> None:
    disk.write("f", b"12345")
    assert disk.env.exists(disk.at("f"))
    assert disk.env.exists(disk.root)
    assert not disk.env.exists(disk.at("g"))
    assert not disk.env.exists(disk.at("g/h"))
    assert not disk.env.exists(disk.at("f/h"))
    assert disk.env.size(disk.at("f")) == 5
    with pytest.raises(FileNotFoundError):
        disk.env.size(disk.at("g"))
    with pytest.raises(IsADirectoryError):
        disk.env.size(disk.root)


@pytest.mark.parametrize("synced", [False, True])
def test_a_rename_replaces_what_was_there(disk: Disk, synced: bool) -> None:
    disk.write("old", b"old")
    disk.write("new", b"new")
    if synced:
        disk.env.sync_directory(disk.root)
    disk.env.rename(disk.at("new"), disk.at("old"))
    assert disk.names() == ["old"]
    assert disk.read("old") == b"new"
    disk.env.sync_directory(disk.root)
    assert disk.names() == ["old"]
    assert disk.read("old") == b"new"


@pytest.mark.parametrize("synced", [False, True])
def test_a_file_moves_between_directories(disk: Disk, synced: bool) -> None:
    disk.env.make_directory(disk.at("a"))
    disk.env.make_directory(disk.at("b"))
    disk.write("a/f", b"moved")
    if synced:
        disk.env.sync_directory(disk.root)
        disk.env.sync_directory(disk.at("a"))
    disk.env.rename(disk.at("a/f"), disk.at("b/g"))
    for place in ("b", "a", ""):
        assert disk.env.list(disk.at("a")) == []
        assert disk.env.list(disk.at("b")) == ["g"]
        assert disk.read("b/g") == b"moved"
        disk.env.sync_directory(disk.at(place))


@pytest.mark.parametrize("synced", [False, True])
def test_a_directory_moves_with_what_is_in_it(disk: Disk, synced: bool) -> None:
    disk.env.make_directory(disk.at("a"))
    disk.env.make_directory(disk.at("b"))
    disk.env.make_directory(disk.at("a/inner"))
    disk.write("a/inner/f", b"deep")
    if synced:
        for place in ("", "a", "a/inner"):
            disk.env.sync_directory(disk.at(place))
    disk.env.rename(disk.at("a/inner"), disk.at("b/moved"))
    disk.env.rename(disk.at("b"), disk.at("c"))
    disk.write("c/moved/g", b"later")
    for place in ("c/moved", "c", "a", ""):
        assert disk.names() == ["a", "c"]
        assert disk.env.list(disk.at("a")) == []
        assert disk.read("c/moved/f") == b"deep"
        assert disk.read("c/moved/g") == b"later"
        disk.env.sync_directory(disk.at(place))
    assert disk.env.list(disk.at("c/moved")) == ["f", "g"]


def test_a_rename_onto_what_it_cannot_replace_is_refused(disk: Disk) -> None:
    for name in ("d", "full", "empty", "d/in"):
        disk.env.make_directory(disk.at(name))
    disk.write("f", b"f")
    disk.write("full/x", b"")
    refused = {
        ("absent", "f"): FileNotFoundError,
        ("f", "d"): IsADirectoryError,
        ("d", "f"): NotADirectoryError,
        ("d", "full"): OSError,
        ("d", "d/in/x"): OSError,
        ("f", "absent/f"): FileNotFoundError,
    }
    for (src, dst), error in refused.items():
        with pytest.raises(error):
            disk.env.rename(disk.at(src), disk.at(dst))
    disk.env.rename(disk.at("d"), disk.at("empty"))
    assert disk.names() == ["empty", "f", "full"]
    assert disk.env.list(disk.at("empty")) == ["in"]


def test_a_name_renamed_to_itself_stays(disk: Disk) -> None:
    disk.write("f", b"f")
    disk.env.link(disk.at("f"), disk.at("g"))
    disk.env.rename(disk.at("f"), disk.at("f"))
    disk.env.rename(disk.at("f"), disk.at("g"))  # one file: POSIX leaves both names
    assert disk.names() == ["f", "g"]


@pytest.mark.parametrize("synced", [False, True])
def test_a_linked_file_is_one_file_under_two_names(disk: Disk, synced: bool) -> None:
    disk.write("f", b"abc")
    if synced:
        disk.env.sync_directory(disk.root)
    disk.env.link(disk.at("f"), disk.at("g"))
    file = disk.env.open(disk.at("g"))
    file.write_at(0, b"X")
    assert disk.read("f") == b"Xbc"
    disk.env.remove(disk.at("f"))
    disk.env.sync_directory(disk.root)
    assert disk.names() == ["g"]
    assert disk.read("g") == b"Xbc"


def test_a_link_needs_a_file_and_a_free_name(disk: Disk) -> None:
    disk.write("f", b"")
    disk.write("g", b"")
    disk.env.make_directory(disk.at("d"))
    for src, dst in (("f", "g"), ("f", "d"), ("absent", "h"), ("d", "h")):
        with pytest.raises(OSError):
            disk.env.link(disk.at(src), disk.at(dst))
    assert disk.names() == ["d", "f", "g"]


def test_only_files_are_removed_as_files(disk: Disk) -> None:
    disk.env.make_directory(disk.at("d"))
    with pytest.raises(OSError):
        disk.env.remove(disk.at("d"))
    with pytest.raises(FileNotFoundError):
        disk.env.remove(disk.at("f"))


def test_making_a_directory_twice_is_good_but_not_over_a_file(disk: Disk) -> None:
    disk.env.make_directory(disk.at("d"))
    disk.env.make_directory(disk.at("d"))
    disk.env.make_directory(disk.root)
    disk.write("f", b"")
    with pytest.raises(FileExistsError):
        disk.env.make_directory(disk.at("f"))
    with pytest.raises(FileNotFoundError):
        disk.env.make_directory(disk.at("x/y"))


@pytest.mark.parametrize("synced", [False, True])
def test_only_an_empty_directory_is_removed(disk: Disk, synced: bool) -> None:
    disk.env.make_directory(disk.at("d"))
    disk.write("d/f", b"")
    if synced:
        disk.env.sync_directory(disk.root)
        disk.env.sync_directory(disk.at("d"))
    with pytest.raises(OSError):
        disk.env.remove_directory(disk.at("d"))
    disk.env.remove(disk.at("d/f"))
    disk.env.remove_directory(disk.at("d"))
    assert disk.names() == []
    disk.env.sync_directory(disk.root)
    assert disk.names() == []
    for call in (disk.env.remove_directory, disk.env.list, disk.env.sync_directory):
        with pytest.raises(FileNotFoundError):
            call(disk.at("d"))


def test_a_directory_made_again_is_another_one(disk: Disk) -> None:
    disk.env.make_directory(disk.at("d"))
    disk.write("d/f", b"")
    disk.env.sync_directory(disk.root)
    disk.env.remove(disk.at("d/f"))
    disk.env.remove_directory(disk.at("d"))
    disk.env.make_directory(disk.at("d"))
    disk.write("d/g", b"g")
    disk.env.sync_directory(disk.root)
    assert disk.env.list(disk.at("d")) == ["g"]


def test_a_file_is_no_directory(disk: Disk) -> None:
    disk.write("f", b"")
    for call in (disk.env.remove_directory, disk.env.list, disk.env.sync_directory):
        with pytest.raises(NotADirectoryError):
            call(disk.at("f"))


# --- locks, space, helpers ---


def test_a_lock_has_one_holder_even_in_one_process(disk: Disk) -> None:
    lock = disk.env.lock(disk.at("LOCK"))
    with pytest.raises(DirectoryLocked) as caught:
        disk.env.lock(disk.at("LOCK"))
    assert caught.value.path == disk.at("LOCK")
    lock.release()
    second = disk.env.lock(disk.at("LOCK"))
    lock.release()  # the first one's: it must not free the second
    with pytest.raises(DirectoryLocked):
        disk.env.lock(disk.at("LOCK"))
    second.release()
    assert disk.names() == ["LOCK"]


def test_there_is_some_space_left(disk: Disk) -> None:
    assert disk.env.free_bytes(disk.root) > 0


def test_a_file_written_durably_replaces_the_old_one(disk: Disk) -> None:
    write_file_durably(disk.env, disk.at("f"), b"one")
    disk.write("f.tmp", b"left behind by a crash, and longer")
    write_file_durably(disk.env, disk.at("f"), memoryview(b"two"))
    assert disk.read("f") == b"two"
    assert disk.names() == ["f"]
