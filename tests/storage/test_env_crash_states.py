"""Every state that a power loss may leave, counted by hand in small cases."""

from collections import Counter

import pytest
from quorate.storage.env import read_file
from quorate.storage.memory_env import MemoryEnv, MemoryFile, TooManyCrashStates


def put(env: MemoryEnv, path: str, data: bytes) -> MemoryFile:
    file = env.open(path, create=True)
    if data:
        file.write_at(0, data)
    return file


def durable(data: bytes) -> tuple[MemoryEnv, MemoryFile]:
    env = MemoryEnv()
    file = put(env, "/f", data)
    file.sync()
    env.sync_directory("/")
    return env, file


def content(env: MemoryEnv, path: str = "/f") -> bytes | None:
    return read_file(env, path) if env.exists(path) else None


def test_a_disk_at_rest_has_one_state() -> None:
    env, _ = durable(b"data")
    assert [content(state) for state in env.crash_states()] == [b"data"]


def test_two_writes_leave_four_states() -> None:
    env, file = durable(b"....")
    file.write_at(0, b"aa")
    file.write_at(2, b"bb")
    left = [content(state) for state in env.crash_states()]
    assert left == [b"....", b"..bb", b"aa..", b"aabb"]


def test_overlapping_writes_keep_their_order() -> None:
    env, file = durable(b"....")
    file.write_at(0, b"aaa")
    file.write_at(1, b"bbb")
    left = [content(state) for state in env.crash_states()]
    assert left == [b"....", b".bbb", b"aaa.", b"abbb"]


def test_a_truncate_is_kept_or_lost() -> None:
    env, file = durable(b"0123")
    file.truncate(1)
    file.write_at(1, b"X")
    left = [content(state) for state in env.crash_states()]
    assert left == [b"0123", b"0X23", b"0", b"0X"]


def test_only_writes_of_several_sectors_are_torn() -> None:
    env, file = durable(b"")
    file.write_at(0, b"a" * 512)
    file.write_at(500, b"b" * 100)
    assert len(list(env.crash_states())) == 4
    left = [content(state) for state in env.crash_states(tear=True)]
    assert len(left) == 6
    assert b"a" * 500 + b"b" * 12 in left
    assert b"a" * 500 + b"b" * 100 in left


def test_a_new_file_is_absent_or_has_any_subset_of_its_writes() -> None:
    env = MemoryEnv()
    file = put(env, "/f", b"a")
    file.write_at(1, b"b")
    # No name: its writes make no difference. With the name: each of two, or not.
    left = [content(state) for state in env.crash_states()]
    assert left == [None, b"", b"\0b", b"a", b"ab"]


def test_a_rename_of_an_unsynced_file_may_leave_an_empty_one() -> None:
    env, _ = durable(b"old")
    put(env, "/new", b"new")
    env.rename("/new", "/f")
    states = list(env.crash_states())
    # Changes kept: none (1), the creation (2: written or not), the rename too (2).
    left = [(content(state), content(state, "/new")) for state in states]
    assert left == [
        (b"old", None),
        (b"old", b""),
        (b"old", b"new"),
        (b"", None),
        (b"new", None),
    ]


def test_a_move_between_directories_has_three_states_and_none_without_it() -> None:
    env = MemoryEnv()
    for place in ("/a", "/b"):
        env.make_directory(place)
    put(env, "/a/f", b"x").sync()
    for place in ("/", "/a"):
        env.sync_directory(place)
    env.rename("/a/f", "/b/f")
    left = Counter(
        (content(state, "/a/f"), content(state, "/b/f")) for state in env.crash_states()
    )
    assert left == {(b"x", None): 1, (b"x", b"x"): 1, (None, b"x"): 1}
    assert len(list(env.crash_states(bound=3))) == 3


def test_a_moved_directory_has_two_states() -> None:
    env = MemoryEnv()
    for place in ("/a", "/b", "/a/d"):
        env.make_directory(place)
        env.sync_directory("/")
        env.sync_directory("/a")
    env.rename("/a/d", "/b/d")
    left = [(s.exists("/a/d"), s.exists("/b/d")) for s in env.crash_states()]
    assert left == [(True, False), (False, True)]


def test_directories_are_independent_of_each_other() -> None:
    env = MemoryEnv()
    for place in ("/a", "/b"):
        env.make_directory(place)
    env.sync_directory("/")
    for path in ("/a/1", "/a/2", "/b/1"):
        put(env, path, b"")
    states = list(env.crash_states())
    assert len(states) == 3 * 2
    assert len({(*s.list("/a"), "|", *s.list("/b")) for s in states}) == 6


def test_what_a_failed_sync_dropped_is_in_no_state() -> None:
    env, file = durable(b"..")
    file.write_at(0, b"a")
    env.fail("sync")
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    file.write_at(1, b"b")
    assert [content(state) for state in env.crash_states()] == [b"..", b".b"]


def test_hard_links_share_one_fate() -> None:
    env, file = durable(b".")
    env.link("/f", "/g")
    env.sync_directory("/")
    file.write_at(0, b"a")
    left = [(content(s), content(s, "/g")) for s in env.crash_states()]
    assert left == [(b".", b"."), (b"a", b"a")]


def test_states_are_independent_machines() -> None:
    env, file = durable(b".")
    file.write_at(0, b"a")
    one, two = env.crash_states()
    one.open("/f").write_at(0, b"changed")
    one.remove("/f")
    assert content(two) == b"a"
    assert content(env) == b"a"
    assert len(list(two.crash_states())) == 1
    assert len(list(env.crash_states())) == 2


def test_a_state_has_the_capacity_of_its_machine() -> None:
    env = MemoryEnv(capacity_bytes=10)
    put(env, "/f", b"12345")
    free = [state.free_bytes("/") for state in env.crash_states()]
    assert free == [10, 10, 5]


def test_more_states_than_the_bound_are_refused_before_the_first() -> None:
    env, file = durable(b"....")
    for offset in range(4):
        file.write_at(offset, b"x")
    assert len(list(env.crash_states(bound=16))) == 16
    with pytest.raises(TooManyCrashStates, match="more than 15"):
        env.crash_states(bound=15)
    for number in range(40):
        put(env, f"/{number}", b"")
    with pytest.raises(TooManyCrashStates):
        env.crash_states(bound=40)
