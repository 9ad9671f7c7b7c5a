"""The disk in memory: errors on demand, a full disk, silent damage."""

import errno
import random
from collections.abc import Callable

import pytest
from quorate.storage.env import read_file
from quorate.storage.memory_env import Kind, MemoryEnv, MemoryFile


class Never:
    """Dice for the worst case: nothing that was not synced is kept."""

    def randrange(self, stop: int, /) -> int:
        return 0

    def getrandbits(self, k: int, /) -> int:
        return 0


def put(env: MemoryEnv, path: str, data: bytes) -> MemoryFile:
    file = env.open(path, create=True)
    file.write_at(0, data)
    return file


def put_durably(env: MemoryEnv, path: str, data: bytes) -> MemoryFile:
    file = put(env, path, data)
    file.sync()
    env.sync_directory("/")
    return file


def test_an_error_strikes_once_after_so_many_calls() -> None:
    env = MemoryEnv()
    file = put(env, "/f", b"0123")
    fault = env.fail("write", "/f", after=2)
    file.write_at(0, b"a")
    file.write_at(1, b"b")
    with pytest.raises(OSError, match="Input/output error"):
        file.write_at(2, b"c")
    file.write_at(3, b"d")
    assert fault.fired == 1
    assert read_file(env, "/f") == b"ab2d"


def test_an_error_may_strike_for_ever_until_it_is_healed() -> None:
    env = MemoryEnv()
    file = put(env, "/f", b"data")
    fault = env.fail("read", times=None, error=errno.ESTALE)
    for _ in range(5):
        with pytest.raises(OSError) as caught:
            file.read_at(0, 1)
        assert caught.value.errno == errno.ESTALE
    env.kill()
    with pytest.raises(OSError):
        read_file(env, "/f")
    assert fault.fired == 6
    env.heal()
    assert read_file(env, "/f") == b"data"


def test_an_error_strikes_only_below_its_path() -> None:
    env = MemoryEnv()
    env.make_directory("/a")
    env.make_directory("/b")
    fault = env.fail("open", "a/", times=None)
    with pytest.raises(OSError, match="Input/output error"):
        env.open("/a/f", create=True)
    env.open("/b/f", create=True)
    assert fault.fired == 1


KINDS: dict[Kind, Callable[[MemoryEnv, MemoryFile], object]] = {
    "create": lambda env, _: env.open("/new", create=True),
    "exists": lambda env, _: env.exists("/f"),
    "link": lambda env, _: env.link("/f", "/g"),
    "list": lambda env, _: env.list("/"),
    "lock": lambda env, _: env.lock("/LOCK"),
    "make_directory": lambda env, _: env.make_directory("/new"),
    "open": lambda env, _: env.open("/f"),
    "read": lambda _, file: file.read_at(0, 1),
    "remove": lambda env, _: env.remove("/f"),
    "remove_directory": lambda env, _: env.remove_directory("/d"),
    "rename": lambda env, _: env.rename("/f", "/g"),
    "size": lambda _, file: file.size(),
    "sync": lambda _, file: file.sync(),
    "sync_directory": lambda env, _: env.sync_directory("/"),
    "truncate": lambda _, file: file.truncate(0),
    "write": lambda _, file: file.write_at(0, b"X"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_call_can_fail_and_then_has_done_nothing(kind: Kind) -> None:
    env = MemoryEnv()
    env.make_directory("/d")
    file = put_durably(env, "/f", b"data")
    fault = env.fail(kind)
    with pytest.raises(OSError, match="Input/output error"):
        KINDS[kind](env, file)
    assert fault.fired == 1
    env.heal()
    assert env.list("/") == ["d", "f"]
    assert read_file(env, "/f") == b"data"
    KINDS[kind](env, file)


def test_what_a_failed_sync_held_never_becomes_durable() -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"0000")
    file.write_at(0, b"1")
    env.fail("sync")
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    assert file.read_at(0, 9) == b"1000"
    file.sync()
    file.write_at(1, b"2")
    file.sync()
    assert file.read_at(0, 9) == b"1200"
    env.crash(random.Random(1))
    assert read_file(env, "/f") == b"0200"


def test_a_failed_directory_sync_leaves_its_names_in_doubt() -> None:
    env = MemoryEnv()
    put(env, "/f", b"").sync()
    env.fail("sync_directory")
    with pytest.raises(OSError, match="Input/output error"):
        env.sync_directory("/")
    assert [state.exists("/f") for state in env.crash_states()] == [False, True]


# --- space ---


def test_a_full_disk_refuses_what_does_not_fit_and_does_nothing() -> None:
    env = MemoryEnv(capacity_bytes=10)
    file = put_durably(env, "/f", b"01234567")
    assert env.free_bytes("/") == 2
    calls: list[Callable[[], object]] = [
        lambda: file.write_at(7, b"abcd"),
        lambda: file.write_at(20, b"x"),
        lambda: file.truncate(11),
        lambda: put(env, "/g", b"abc"),
    ]
    for call in calls:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.ENOSPC
    assert read_file(env, "/f") == b"01234567"
    assert env.size("/g") == 0
    file.write_at(0, b"overwrite")
    assert env.free_bytes("/") == 1


def test_space_comes_back_with_the_last_name() -> None:
    env = MemoryEnv(capacity_bytes=10)
    put(env, "/f", b"0123456789")
    env.link("/f", "/g")
    env.remove("/f")
    assert env.free_bytes("/") == 0
    put(env, "/h", b"")
    env.rename("/h", "/g")
    assert env.free_bytes("/") == 10
    file = put(env, "/i", b"01234")
    file.truncate(2)
    assert env.free_bytes("/") == 8
    env.remove("/i")
    file.write_at(0, b"nameless, so it does not count")
    assert env.free_bytes("/") == 10


def test_space_is_counted_anew_after_a_crash() -> None:
    env = MemoryEnv(capacity_bytes=100)
    put_durably(env, "/f", b"x" * 30)
    put(env, "/g", b"x" * 50)
    assert env.copy().free_bytes("/") == 20
    env.crash(Never())
    assert env.free_bytes("/") == 70
    env.capacity_bytes = 20
    assert env.free_bytes("/") == 0


# --- damage ---


def test_a_flipped_bit_is_seen_and_stays() -> None:
    env = MemoryEnv()
    put_durably(env, "/f", b"abc")
    env.flip_bit("/f", 1, 0)
    assert read_file(env, "/f") == b"acc"
    env.crash(Never())
    assert read_file(env, "/f") == b"acc"


def test_a_bit_flipped_on_its_way_to_the_disk_arrives_flipped() -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"....")
    file.write_at(1, b"bb")
    env.flip_bit("/f", 2, 0)
    assert read_file(env, "/f") == b".bc."
    file.sync()
    env.crash(Never())
    assert read_file(env, "/f") == b".bc."


def test_a_zeroed_range_and_a_cut_file_stay_so() -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"abcdef")
    file.write_at(6, b"gh")
    env.zero_range("/f", 1, 2)
    env.truncate_durable("/f", 7)
    assert read_file(env, "/f") == b"a\0\0defg"
    file.sync()
    env.crash(Never())
    assert read_file(env, "/f") == b"a\0\0defg"


def test_a_misdirected_read_returns_other_bytes_once() -> None:
    env = MemoryEnv()
    file = put(env, "/f", b"0123456789")
    env.misdirect_next_read("/f", 4)
    assert file.read_at(2, 3) == b"678"
    assert file.read_at(2, 3) == b"234"
    env.misdirect_next_read("/f", -4)
    assert file.read_at(2, 3) == b"012"


def test_a_lost_write_reports_success_and_leaves_stale_bytes() -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"old")
    env.lose_next_write("/f")
    file.write_at(0, b"new")
    file.sync()
    assert file.read_at(0, 3) == b"old"
    file.write_at(0, b"new")
    assert file.read_at(0, 3) == b"new"
