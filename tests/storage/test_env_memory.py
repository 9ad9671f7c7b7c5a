"""The disk in memory: what a power loss leaves, of files, names and handles."""

import errno
import random
from collections.abc import Callable

import pytest
from quorate.storage.env import read_file, write_file_durably
from quorate.storage.errors import DirectoryLocked
from quorate.storage.memory_env import (
    Crashed,
    MemoryEnv,
    MemoryFile,
    Operation,
    Statistics,
)


class Never:
    """Dice for the worst case: nothing that was not synced is kept."""

    def randrange(self, stop: int, /) -> int:
        return 0

    def getrandbits(self, k: int, /) -> int:
        return 0


class Scripted:
    """Dice that fall as written; a value too many or too few is an error."""

    def __init__(self, *values: int) -> None:
        self._values = list(values)

    def randrange(self, stop: int, /) -> int:
        value = self._values.pop(0)
        assert 0 <= value < stop
        return value

    def getrandbits(self, k: int, /) -> int:
        value = self._values.pop(0)
        assert 0 <= value < 1 << k
        return value

    def used_up(self) -> bool:
        return not self._values


LOST, KEPT, TORN = 0, 1, 2


def put(env: MemoryEnv, path: str, data: bytes) -> MemoryFile:
    file = env.open(path, create=True)
    file.write_at(0, data)
    return file


def put_durably(env: MemoryEnv, path: str, data: bytes) -> MemoryFile:
    file = put(env, path, data)
    file.sync()
    env.sync_directory("/")
    return file


# --- what a power loss leaves of files ---


def test_an_unsynced_write_is_lost_and_a_synced_one_kept() -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"kept")
    file.write_at(4, b" lost")
    env.crash(Never())
    assert read_file(env, "/f") == b"kept"


def test_each_unsynced_write_has_its_own_fate() -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"......")
    for offset in (0, 2, 4):
        file.write_at(offset, b"xx")
    dice = Scripted(0, KEPT, LOST, KEPT)
    env.crash(dice)
    assert dice.used_up()
    assert read_file(env, "/f") == b"xx..xx"


def test_a_later_write_kept_without_an_earlier_one_leaves_a_hole() -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"")
    file.write_at(0, b"aaaa")
    file.write_at(4, b"bbbb")
    env.crash(Scripted(0, LOST, KEPT))
    assert read_file(env, "/f") == b"\0\0\0\0bbbb"


@pytest.mark.parametrize(
    ("sectors", "extend", "left"),
    [
        (0b111, 0, b"x" * 1300),
        (0b001, 0, b"x" * 412 + b"." * 588),
        (0b001, 1, b"x" * 412 + b"." * 588 + bytes(300)),
        (0b100, 0, b"." * 924 + b"x" * 376),
        (0b010, 0, b"." * 412 + b"x" * 512 + b"." * 76),
        (0b000, 1, b"." * 1000 + bytes(300)),
    ],
)
def test_a_torn_write_leaves_whole_sectors_of_it(
    sectors: int, extend: int, left: bytes
) -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"." * 1100)
    file.write_at(100, b"x" * 1300)  # sectors end at 512 and 1024
    env.crash(Scripted(0, TORN, sectors, extend))
    assert read_file(env, "/f") == b"." * 100 + left


def test_nothing_is_torn_when_the_caller_says_so() -> None:
    for seed in range(50):
        env = MemoryEnv()
        put_durably(env, "/f", b"").write_at(0, b"x" * 2000)
        env.crash(random.Random(seed), tear=False)
        assert read_file(env, "/f") in (b"", b"x" * 2000)


def test_every_way_of_tearing_happens_by_chance() -> None:
    seen: set[bytes] = set()
    for seed in range(200):
        env = MemoryEnv()
        put_durably(env, "/f", b"." * 1024).write_at(0, b"x" * 1024)
        env.crash(random.Random(seed))
        seen.add(read_file(env, "/f")[::512])
    assert seen == {b"..", b".x", b"x.", b"xx"}


def test_a_truncate_is_lost_or_kept_like_a_write() -> None:
    for fate, left in ((LOST, b"0123456789"), (KEPT, b"0123")):
        env = MemoryEnv()
        put_durably(env, "/f", b"0123456789").truncate(4)
        env.crash(Scripted(0, fate))
        assert read_file(env, "/f") == left


def test_a_killed_process_loses_no_page_but_power_still_may() -> None:
    env = MemoryEnv()
    put_durably(env, "/f", b"one").write_at(0, b"two")
    env.kill()
    assert read_file(env, "/f") == b"two"
    env.crash(Never())
    assert read_file(env, "/f") == b"one"


def test_two_crashes_lose_no_more_than_one() -> None:
    env = MemoryEnv()
    put_durably(env, "/f", b"one").write_at(0, b"two")
    env.crash(Scripted(0, KEPT))
    env.crash(Never())
    assert read_file(env, "/f") == b"two"


def test_what_a_crash_left_is_durable_and_what_follows_is_not() -> None:
    env = MemoryEnv()
    put_durably(env, "/f", b"one").write_at(0, b"two")
    env.crash(Scripted(0, KEPT))
    env.open("/f").write_at(0, b"six")
    env.crash(Never())
    assert read_file(env, "/f") == b"two"


def test_the_same_seed_leaves_the_same_disk() -> None:
    def play(seed: int) -> dict[str, bytes]:
        env = MemoryEnv()
        for name in "abcdef":
            put(env, f"/{name}", name.encode() * 3000)
        env.rename("/a", "/g")
        env.crash(random.Random(seed))
        return {name: read_file(env, f"/{name}") for name in env.list("/")}

    assert [play(seed) for seed in range(20)] == [play(seed) for seed in range(20)]
    assert len({str(play(seed)) for seed in range(20)}) > 10


# --- what a power loss leaves of names ---


def test_a_synced_file_without_a_synced_name_is_lost() -> None:
    env = MemoryEnv()
    put(env, "/f", b"data").sync()
    env.crash(Never())
    assert env.list("/") == []


def test_a_synced_name_without_synced_data_is_an_empty_file() -> None:
    env = MemoryEnv()
    put(env, "/f", b"data")
    env.sync_directory("/")
    env.crash(Never())
    assert read_file(env, "/f") == b""


@pytest.mark.parametrize("synced", [False, True])
def test_a_rename_without_a_directory_sync_is_lost(synced: bool) -> None:
    env = MemoryEnv()
    put_durably(env, "/old", b"old")
    put_durably(env, "/new", b"new")
    env.rename("/new", "/old")
    if synced:
        env.sync_directory("/")
    env.crash(Never())
    left = {name: read_file(env, f"/{name}") for name in env.list("/")}
    assert left == ({"old": b"new"} if synced else {"old": b"old", "new": b"new"})


def test_an_unsynced_removal_comes_back_with_its_data() -> None:
    env = MemoryEnv()
    put_durably(env, "/f", b"data").write_at(0, b"more")
    env.remove("/f")
    env.crash(Never())
    assert read_file(env, "/f") == b"data"


def test_names_are_kept_as_a_prefix_of_what_was_done() -> None:
    left: list[list[str]] = []
    for kept in range(5):
        env = MemoryEnv()
        put(env, "/a", b"")
        put(env, "/b", b"")
        env.rename("/a", "/c")
        env.remove("/b")
        env.crash(Scripted(kept))
        left.append(env.list("/"))
    assert left == [[], ["a"], ["a", "b"], ["b", "c"], ["c"]]


def test_a_file_in_an_unsynced_directory_is_lost_with_it() -> None:
    env = MemoryEnv()
    env.make_directory("/d")
    put(env, "/d/f", b"data").sync()
    env.sync_directory("/d")
    lost = env.copy()
    lost.crash(Never())
    assert lost.list("/") == []
    env.sync_directory("/")
    env.crash(Never())
    assert read_file(env, "/d/f") == b"data"


def _moved() -> MemoryEnv:
    env = MemoryEnv()
    env.make_directory("/a")
    env.make_directory("/b")
    put(env, "/a/f", b"data").sync()
    for place in ("/", "/a", "/b"):
        env.sync_directory(place)
    env.rename("/a/f", "/b/f")
    return env


def test_a_move_between_directories_never_loses_the_file() -> None:
    seen: set[tuple[bool, bool]] = set()
    for seed in range(60):
        env = _moved()
        env.crash(random.Random(seed))
        places = (env.exists("/a/f"), env.exists("/b/f"))
        assert any(places)
        assert read_file(env, "/a/f" if places[0] else "/b/f") == b"data"
        seen.add(places)
    assert seen == {(True, False), (True, True), (False, True)}


def test_syncing_where_a_file_left_keeps_where_it_went() -> None:
    env = _moved()
    env.sync_directory("/a")
    env.crash(Never())
    assert (env.exists("/a/f"), env.exists("/b/f")) == (False, True)


def test_syncing_where_a_file_went_may_leave_the_old_name() -> None:
    env = _moved()
    env.sync_directory("/b")
    env.crash(Never())
    assert (env.exists("/a/f"), env.exists("/b/f")) == (True, True)


def test_a_directory_removed_after_its_file_moved_out_loses_nothing() -> None:
    env = _moved()
    env.remove_directory("/a")
    env.sync_directory("/")
    env.crash(Never())
    assert env.list("/") == ["b"]
    assert read_file(env, "/b/f") == b"data"


def test_a_moved_directory_is_in_one_place_only() -> None:
    seen: set[tuple[bool, bool]] = set()
    for seed in range(40):
        env = _moved()
        env.sync_directory("/a")
        env.make_directory("/c")
        env.sync_directory("/")
        env.rename("/b", "/c/b")
        env.crash(random.Random(seed))
        seen.add((env.exists("/b/f"), env.exists("/c/b/f")))
    assert seen == {(True, False), (False, True)}


def test_a_hard_link_shares_its_bytes_after_the_crash() -> None:
    env = MemoryEnv(capacity_bytes=10)
    put_durably(env, "/f", b"data")
    env.link("/f", "/g")
    env.sync_directory("/")
    env.crash(Never())
    file = env.open("/f")
    file.write_at(0, b"D")
    assert read_file(env, "/g") == b"Data"
    env.remove("/f")
    assert read_file(env, "/g") == b"Data"
    assert env.free_bytes("/") == 6


# --- handles, locks, failpoints ---


@pytest.mark.parametrize("power_loss", [False, True])
def test_handles_die_with_their_process(power_loss: bool) -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"data")
    if power_loss:
        env.crash(Never())
    else:
        env.kill()
    calls: list[Callable[[], object]] = [
        lambda: file.read_at(0, 1),
        lambda: file.write_at(0, b"x"),
        lambda: file.truncate(0),
        file.size,
        file.sync,
    ]
    for call in calls:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    file.close()
    assert read_file(env, "/f") == b"data"


def test_locks_die_with_their_process() -> None:
    env = MemoryEnv()
    old = env.lock("/LOCK")
    with pytest.raises(DirectoryLocked):
        env.lock("/LOCK")
    env.kill()
    env.lock("/LOCK")
    old.release()  # it died; the new holder keeps its own
    with pytest.raises(DirectoryLocked):
        env.lock("/LOCK")


def test_every_change_is_announced_before_it_happens() -> None:
    env = MemoryEnv()
    seen: list[Operation] = []
    env.on_operation = seen.append
    write_file_durably(env, "f", b"data")
    read_file(env, "f")
    env.list("/")
    assert seen == [
        Operation("create", "/f.tmp"),
        Operation("write", "/f.tmp", 0, 4),
        Operation("sync", "/f.tmp"),
        Operation("rename", "/f"),
        Operation("sync_directory", "/"),
    ]


def test_a_change_that_cannot_happen_is_not_announced() -> None:
    env = MemoryEnv()
    seen: list[Operation] = []
    env.on_operation = seen.append
    with pytest.raises(FileNotFoundError):
        env.rename("/a", "/b")
    with pytest.raises(FileNotFoundError):
        env.open("/a")
    assert seen == []


def test_after_a_failpoint_nothing_happens_until_the_restart() -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"data")

    def stop(operation: Operation) -> None:
        if operation.kind == "write":
            raise Crashed

    env.on_operation = stop
    with pytest.raises(Crashed):
        file.write_at(0, b"x")
    env.on_operation = None
    calls: list[Callable[[], object]] = [
        file.sync,
        file.size,
        lambda: file.read_at(0, 1),
        lambda: env.remove("/f"),
        lambda: env.remove("/absent"),
        lambda: env.exists("/f"),
        lambda: env.open("/g", create=True),
    ]
    for call in calls:
        with pytest.raises(Crashed):
            call()
    file.close()
    env.kill()
    assert read_file(env, "/f") == b"data"


def _stop_after(steps: int) -> Callable[[Operation], None]:
    left = list(range(steps))

    def stop(_: Operation) -> None:
        if not left:
            raise Crashed
        left.pop()

    return stop


def test_a_durable_file_survives_a_crash_at_any_step() -> None:
    for steps in range(6):
        env = MemoryEnv()
        put_durably(env, "/f", b"old")
        env.on_operation = _stop_after(steps)
        finished = True
        try:
            write_file_durably(env, "/f", b"new")
        except Crashed:
            finished = False
        assert finished == (steps == 5)
        for state in env.crash_states():
            assert read_file(state, "/f") in (
                (b"new",) if finished else (b"old", b"new")
            )


# --- copies and numbers ---


def test_a_copy_is_independent_and_keeps_what_is_in_doubt() -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"one")
    file.write_at(0, b"two")
    env.rename("/f", "/g")
    twin = env.copy()
    file.write_at(0, b"six")
    env.remove("/g")
    assert read_file(twin, "/g") == b"two"
    twin.crash(Never())
    assert read_file(twin, "/f") == b"one"
    assert env.list("/") == []


def test_the_work_done_is_counted() -> None:
    env = MemoryEnv()
    file = put_durably(env, "/f", b"data")
    file.write_at(0, b"")
    file.write_at(0, b"xy")
    env.fail("sync")
    with pytest.raises(OSError, match="Input/output error"):
        file.sync()
    assert env.statistics() == Statistics(
        writes=2, written_bytes=6, syncs=1, directory_syncs=1
    )


def test_paths_that_no_disk_takes_are_refused() -> None:
    env = MemoryEnv()
    for path in ("/../f", "", "/" + "x" * 256):
        with pytest.raises(OSError):
            env.open(path, create=True)
    with pytest.raises(ValueError, match="null byte"):
        env.open("/a\0b", create=True)
    put(env, "/f", b"x")
    assert read_file(env, "f") == read_file(env, ".//f") == b"x"
