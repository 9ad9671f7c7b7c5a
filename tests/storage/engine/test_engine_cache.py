"""The cache of records: what it keeps, what takes out of it, and when it rests."""

import pytest
from quorate.storage.engine import Droppable, Engine, EngineOptions
from quorate.storage.engine.cache import RecordCache
from quorate.storage.engine.memtable import ENTRY_BYTES
from quorate.storage.engine.table_format import BLOB, TOMBSTONE, VALUE
from quorate.storage.engine.version import Version
from quorate.storage.errors import CorruptionError

from .engine_kit import new_engine, receive

LIMIT = 3 * 20 * (ENTRY_BYTES + 10)


class Tables(Version):
    """`asked` has the keys that were looked for."""

    def __init__(self, records: dict[bytes, bytes]) -> None:
        super().__init__([], {})
        self.records = records
        self.asked: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        self.asked.append(key)
        return self.records.get(key)


def key(number: int) -> bytes:
    return b"k%03d" % number


def tables(count: int) -> Tables:
    return Tables({key(n): VALUE + b"%05d" % n for n in range(count)})


def asked_often(cache: RecordCache, version: Tables, name: bytes) -> int:
    """How many of the next gets go to the tables."""
    before = len(version.asked)
    for _ in range(12):
        assert cache.find(name, version) == version.records.get(name)
    return len(version.asked) - before


def test_what_is_asked_for_again_comes_from_memory() -> None:
    cache, version = RecordCache(LIMIT, b""), tables(1)
    assert asked_often(cache, version, key(0)) == 4
    assert asked_often(cache, version, key(0)) == 0
    assert (cache.hits, cache.misses) == (20, 4)


@pytest.mark.parametrize(
    ("record", "scanned"),
    [
        (None, b""),
        (TOMBSTONE, b""),
        (BLOB + bytes(32), b""),
        (VALUE + bytes(5000), b""),
        (VALUE + b"old", b"hk"),
    ],
)
def test_what_is_never_taken(record: bytes | None, scanned: bytes) -> None:
    version = Tables({} if record is None else {b"key": record})
    cache = RecordCache(1 << 20, scanned)
    assert asked_often(cache, version, b"key") == 12


def test_without_a_limit_there_is_no_cache() -> None:
    version = tables(1)
    assert asked_often(RecordCache(0, b""), version, key(0)) == 12


def test_a_write_takes_its_keys_out_and_no_others() -> None:
    cache, version = RecordCache(LIMIT, b""), tables(2)
    for number in (0, 1):
        asked_often(cache, version, key(number))
    cache.drop({b"other": TOMBSTONE})
    assert asked_often(cache, version, key(0)) == 0
    cache.drop({b"other": TOMBSTONE, key(0): VALUE + b"new"})
    version.records[key(0)] = VALUE + b"newer"
    assert asked_often(cache, version, key(0)) > 0
    assert asked_often(cache, version, key(1)) == 0


def test_a_write_takes_its_key_out_of_the_earlier_generation_too() -> None:
    cache, version = RecordCache(LIMIT, b""), tables(60)
    asked_often(cache, version, key(0))
    for number in range(1, 30):
        asked_often(cache, version, key(number))
    cache.drop({key(0): TOMBSTONE})
    version.records[key(0)] = TOMBSTONE
    assert cache.find(key(0), version) == TOMBSTONE


def _bytes_in(cache: RecordCache) -> int:
    parts = (cache._recent, cache._earlier, cache._gone)
    entries = [entry for part in parts for entry in part.items()]
    return sum(len(name) + len(record) + ENTRY_BYTES for name, record in entries)


def test_it_never_has_more_than_its_limit() -> None:
    cache, version = RecordCache(LIMIT, b""), tables(500)
    most = 0
    for number in range(500):
        # Twelve times each, which is of use: it never rests.
        assert asked_often(cache, version, key(number)) <= 4
        most = max(most, _bytes_in(cache))
    assert LIMIT // 2 < most <= LIMIT


def test_who_is_asked_for_stays_while_others_come_and_go() -> None:
    cache, version = RecordCache(LIMIT, b""), tables(500)
    asked_often(cache, version, key(0))
    for number in range(1, 500):
        asked_often(cache, version, key(number))
        assert asked_often(cache, version, key(0)) == 0


def test_it_rests_and_is_empty_where_it_is_of_no_use() -> None:
    cache, version = RecordCache(LIMIT, b""), tables(500)
    gets = 0
    while not cache._resting:
        for name in version.records:
            assert cache.find(name, version) == version.records[name]
            gets += 1
        assert gets < 5000
    resting = cache._resting
    assert resting > gets
    hits, misses = cache.hits, cache.misses
    for name in version.records:
        assert cache.find(name, version) == version.records[name]
    assert (cache.hits, cache.misses) == (hits, misses)
    assert _bytes_in(cache) == 0
    # What is written meanwhile concerns it later.
    version.records[key(0)] = VALUE + b"newer"
    for _ in range(resting):
        cache.find(key(0), version)
    assert asked_often(cache, version, key(0)) <= 4
    assert cache.hits > hits


def _cached(engine: Engine, name: bytes) -> bool:
    hits = engine.cache.hits
    engine.get(name)
    return engine.cache.hits > hits


def _warm(engine: Engine, name: bytes) -> None:
    for _ in range(5):
        engine.get(name)
    assert _cached(engine, name)


def test_writes_flushes_and_merges_are_seen_through_it() -> None:
    engine = new_engine(EngineOptions())
    engine.write({b"a": b"1", b"b": b"1"}, 1)
    engine.flush()
    _warm(engine, b"a")
    engine.write({b"a": b"2"}, 2)
    assert engine.get(b"a") == b"2"
    engine.flush()
    assert engine.get(b"a") == b"2"
    _warm(engine, b"a")
    engine.compact()
    assert _cached(engine, b"a")
    engine.write({b"a": None}, 3)
    assert engine.get(b"a") is None
    engine.compact()
    assert engine.get(b"a") is None


@pytest.mark.parametrize("scanned", [b"", b"x"])
def test_what_a_merge_drops_is_gone_from_it(scanned: bytes) -> None:
    engine = new_engine(EngineOptions(scanned=scanned))
    engine.write({b"a": b"1", b"x" + bytes(8): b"old"}, 1)
    engine.flush()
    _warm(engine, b"a")
    engine.droppable = lambda _: (Droppable(b"x", offset=1, below=1),)
    engine.compact()
    assert engine.get(b"x" + bytes(8)) is None
    assert _cached(engine, b"a") is (scanned == b"x")


def test_a_merge_that_drops_of_all_families_leaves_nothing_in_it() -> None:
    cache, version = RecordCache(LIMIT, b"x"), tables(1)
    asked_often(cache, version, key(0))
    cache.merged((Droppable(b"", offset=0, below=1),))
    assert asked_often(cache, version, key(0)) > 0


def test_a_condemned_store_does_not_answer_from_it() -> None:
    engine = new_engine(EngineOptions())
    engine.write({b"a": b"1"}, 1)
    engine.flush()
    _warm(engine, b"a")
    engine.condemn(CorruptionError("somewhere", 0, "damaged"))
    with pytest.raises(CorruptionError, match="damaged"):
        engine.get(b"a")


def test_a_store_that_was_installed_does_not_answer_from_the_one_before() -> None:
    source = new_engine(EngineOptions())
    source.write({b"a": b"theirs"}, 5)
    source.flush()
    engine = new_engine(EngineOptions())
    engine.write({b"a": b"ours"}, 1)
    engine.flush()
    _warm(engine, b"a")
    receive(engine, source.pin().pieces())
    assert engine.get(b"a") == b"theirs"
