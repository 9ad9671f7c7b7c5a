"""What an owner of an engine relies on, one thing at a time."""

from pathlib import Path

import msgspec
import pytest
from quorate.storage.engine import Engine, EngineOptions
from quorate.storage.errors import DirectoryLocked, WriteStalled
from quorate.storage.memory_env import MemoryEnv

from .engine_kit import DIRECTORY, SMALL, Names, Twin, new_engine, same


def test_the_example_of_the_document_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[3]
    text = (root / "docs" / "storage.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    exec(code.replace("/tmp/quorate-engine", str(tmp_path / "engine")), {})


def test_one_engine_has_a_directory_at_a_time() -> None:
    env = MemoryEnv()
    first = Engine(env, DIRECTORY, Names(), SMALL)
    with pytest.raises(DirectoryLocked):
        Engine(env, DIRECTORY, Names(), SMALL)
    first.close()
    Engine(env, DIRECTORY, Names(), SMALL).close()


@pytest.mark.parametrize(
    "effects",
    [
        {b"": b"x"},
        {b"k" * 8257: b"x"},
        {b"k": bytes(1 + (64 << 20))},
        {b"good": b"x", b"": b""},
    ],
)
def test_what_is_too_long_is_refused_whole(effects: dict[bytes, bytes]) -> None:
    engine = new_engine()
    with pytest.raises(ValueError, match="too long"):
        engine.write(effects, 1)
    assert engine.last_index == 0
    assert list(engine.scan()) == []


def test_the_longest_key_and_value_come_back_from_a_table() -> None:
    engine = new_engine(EngineOptions())
    effects: dict[bytes, bytes | None] = {
        bytes([n]) * 8192: bytes([n]) * 16384 for n in range(4)
    }
    engine.write(effects, 1)
    engine.compact()
    assert dict(engine.scan()) == effects
    assert all(engine.get(key) == value for key, value in effects.items())


def test_keys_that_contain_each_other_are_told_apart() -> None:
    """The bytes of a key may stand in other keys, in values, and across two."""
    keys = [b"a", b"aa", b"aaa", b"ab", b"b", b"ba", b"\0", b"\0\0", b"\1", b"\1\0a"]
    engine = new_engine(EngineOptions())
    engine.write({key: b"<" + key * 3 + b">" for key in keys}, 1)
    engine.compact()
    for key in keys:
        assert engine.get(key) == b"<" + key * 3 + b">"
    for absent in (b"aaaa", b"bb", b"\0\1", b"\1\0", b"a<", b"\0\0\0", b">"):
        assert engine.get(absent) is None


def test_writes_are_refused_when_flushes_do_not_come() -> None:
    engine = new_engine()
    index = 1
    while engine.last_index < 4 * SMALL.memtables_max:
        engine.write({b"k%d" % index: b"v" * 400}, index)
        index += 1
    with pytest.raises(WriteStalled):
        engine.write({b"k%d" % index: b"v" * 400}, index)
    assert engine.last_index == index - 1
    assert engine.get(b"k%d" % index) is None
    while engine.work():
        pass
    engine.write({b"k%d" % index: b"v"}, index)


def test_of_several_memtables_and_tables_the_newest_counts() -> None:
    twin = Twin()
    for number in range(SMALL.memtables_max):
        twin.write({b"k": b"%d" % number, b"pad%d" % number: b"v" * 1300})
    twin.write({b"other": b"x"})
    twin.check()
    while twin.engine.work(1):
        twin.check()
    twin.write({b"k": None})
    assert twin.engine.get(b"k") is None
    twin.check()


def test_a_flush_moves_the_applied_index_and_its_meta_together() -> None:
    twin = Twin()
    twin.write({b"a": b"1"})
    twin.engine.flush()
    twin.write({b"a": b"2"})
    twin.engine.close()
    engine = Engine(twin.env, DIRECTORY, twin.names, SMALL)
    assert (engine.applied_index, engine.meta, engine.get(b"a")) == (1, b"1", b"1")


def test_effects_without_keys_count_as_well() -> None:
    """An entry that changes nothing still moves the index."""
    twin = Twin()
    twin.write({})
    twin.engine.flush()
    assert twin.engine.applied_index == 1
    twin.reopen()
    assert twin.engine.last_index == 1


def test_a_deleted_store_needs_no_room() -> None:
    twin = Twin()
    for number in range(40):
        twin.write({b"k%02d" % number: b"v" * 60})
        twin.engine.work()
    for number in range(40):
        twin.write({b"k%02d" % number: None})
        twin.engine.work()
    twin.engine.compact()
    assert twin.engine.levels() == []
    assert [n for n in twin.env.list(DIRECTORY) if n.endswith(".sst")] == []


def test_a_view_outlives_the_files_that_it_reads() -> None:
    twin = Twin()
    for number in range(30):
        twin.write({b"k%02d" % number: b"old" * 20})
        twin.engine.work()
    twin.engine.compact()
    view, held = twin.engine.view(), dict(twin.model)
    iterator = view.scan()
    first = next(iterator)
    for number in range(30):
        twin.write({b"k%02d" % number: b"new" * 20, b"n%02d" % number: b"x"})
        twin.engine.work()
    twin.engine.compact()
    same(view, held)
    assert [first, *iterator] == sorted(held.items())
    twin.check()


def test_many_views_cost_nothing_until_something_is_written() -> None:
    engine = new_engine()
    engine.write({b"k": b"0"}, 1)
    views = [engine.view() for _ in range(1000)]
    for index in range(2, 102):
        engine.write({b"k": b"%d" % index}, index)
        views.append(engine.view())
    assert {view.get(b"k") for view in views[:1000]} == {b"0"}
    assert [view.get(b"k") for view in views[1000:]] == [
        b"%d" % index for index in range(2, 102)
    ]


def test_a_full_disk_loses_nothing_and_the_work_is_done_later() -> None:
    twin = Twin()
    for number in range(6):
        twin.write({b"k%02d" % number: b"v" * 250})
    twin.env.capacity_bytes = 600
    for _ in range(3):
        with pytest.raises(OSError, match="space"):
            twin.engine.flush()
        twin.check()
        (work,) = twin.env.list(f"{DIRECTORY}/work")
        assert twin.env.list(f"{DIRECTORY}/work/{work}") == []
    twin.env.capacity_bytes = None
    twin.engine.flush()
    assert twin.engine.applied_index == 6
    twin.check()
    twin.reopen()
    twin.check()


def test_a_merge_that_has_no_room_is_not_begun_and_flushes_go_on() -> None:
    """Story: merges filled the disk to the last byte, failed, and began again."""
    twin = Twin(EngineOptions(memtable_bytes=50_000, tier_ratio=2))
    disk, engine = twin.env, twin.engine
    twin.write({b"k%03d" % n: b"v" * 200 for n in range(600)})
    engine.flush()
    twin.write({b"k%03d" % n: b"w" * 200 for n in range(600)})
    engine.flush()
    assert (len(engine.levels()), engine.owed) == (2, True)
    used = sum(map(len, disk.peek(DIRECTORY).values()))
    disk.capacity_bytes = used + sum(t.size_bytes for (t,) in engine.levels()) - 1000
    written = disk.written_bytes
    for _ in range(100):
        assert not engine.work()
    assert disk.written_bytes == written
    assert engine.owed
    twin.write({b"new": b"x"})
    engine.flush()
    assert engine.applied_index == 3
    twin.check()
    disk.capacity_bytes = None
    while engine.work():
        pass
    assert len(engine.levels()) < 3
    assert not engine.owed
    twin.check()


def test_a_get_of_a_present_key_reads_one_block() -> None:
    """The filters rule the other runs out: at most 1.1 blocks a get, on average."""
    options = EngineOptions(memtable_bytes=20_000)
    engine = new_engine(options)
    keys = [b"key-%06d" % (n * 7919 % 20_000) for n in range(20_000)]
    for number in range(0, len(keys), 100):
        engine.write(
            dict.fromkeys(keys[number : number + 100], b"v" * 20), number // 100 + 1
        )
        while engine.work():
            pass
    engine.flush()
    assert len(engine.levels()) >= 5
    before = engine.blocks_read
    for key in keys:
        assert engine.get(key) is not None
    assert engine.blocks_read - before <= 1.1 * len(keys)


def _blobs(twin: Twin) -> set[str]:
    return {n for n in twin.env.list(DIRECTORY) if n.endswith(".blob")}


def test_large_values_are_written_once() -> None:
    """Compactions carry the references; the bytes stay where the flush put them, unless
    they are so few that a file of their own is too much (test_engine_moved)."""
    twin = Twin()
    for number in range(12):
        twin.write({b"large%02d" % number: b"%d" % number * 700, b"small": b"x"})
        twin.engine.flush()
    files = _blobs(twin)
    assert len(files) == 12
    before = twin.engine.compacted_bytes
    twin.engine.compact()
    assert _blobs(twin) == files
    assert twin.engine.compacted_bytes - before < 12 * 700
    twin.check()
    twin.reopen()
    twin.check()


def test_a_file_of_values_goes_with_its_last_reference() -> None:
    twin = Twin()
    twin.write({b"a": b"1" * 300, b"b": b"2" * 300})
    twin.engine.flush()
    (old,) = _blobs(twin)
    view, held = twin.engine.view(), dict(twin.model)
    twin.write({b"a": b"3" * 300, b"b": None})
    twin.engine.compact()
    (new,) = _blobs(twin)
    assert new != old
    twin.check()
    # A view goes on reading what has no name any more.
    same(view, held)


def test_a_file_of_values_that_is_mostly_garbage_is_rewritten() -> None:
    """Else one long-lived value would keep a whole file of dead ones for ever."""
    # So that all of them are in one file.
    twin = Twin(msgspec.structs.replace(SMALL, table_bytes=4_000))
    twin.write({b"k%d" % n: b"%d" % n * 300 for n in range(5)})
    twin.engine.flush()
    (old,) = _blobs(twin)
    twin.write({b"k%d" % n: None for n in range(4)})
    twin.engine.compact()
    # The merge that found the values dead left the file; the next one moves the rest.
    assert _blobs(twin) == {old}
    twin.write({b"z": b"1"})
    twin.engine.compact()
    (new,) = _blobs(twin)
    assert new != old
    assert twin.env.size(f"{DIRECTORY}/{new}") < 400
    twin.check()


def test_a_merge_of_a_few_is_given_up_for_one_of_all() -> None:
    """And leaves nothing behind: no file, no run."""
    twin = Twin(SMALL)
    engine = twin.engine
    for number in range(200):
        twin.write({b"k%03d" % number: b"v" * 50})
        if engine._compacting:
            break
        engine.work(1)
    assert engine._compacting, "a merge is on its way"
    engine.compact()
    assert not engine._compacting
    assert len(engine.levels()) == 1
    twin.check()
    named = engine.manifest.names()
    found = set(twin.env.list(engine.directory))
    assert {name for name in found if name.endswith(".sst")} == named
    (work,) = twin.env.list(f"{engine.directory}/work")
    assert twin.env.list(f"{engine.directory}/work/{work}") == []
