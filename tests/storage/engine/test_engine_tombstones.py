"""Where most of what was written is deleted, scans do not pass all of it for ever."""

import pytest
from quorate.storage.engine import Engine, EngineOptions
from quorate.storage.engine.policy import (
    ENTRIES_A_TOMBSTONE,
    TOMBSTONES_MIN,
    should_drop_tombstones,
)
from quorate.storage.memory_env import MemoryEnv

from .engine_kit import DIRECTORY, Names, new_engine

# A memtable has some 600 entries, far fewer than the tombstones that scans may meet.
OPTIONS = EngineOptions(memtable_bytes=100_000)


@pytest.mark.parametrize(
    ("tombstones", "entries", "should"),
    [
        (0, 0, False),
        (TOMBSTONES_MIN - 1, TOMBSTONES_MIN - 1, False),
        (TOMBSTONES_MIN, TOMBSTONES_MIN, True),
        (TOMBSTONES_MIN, TOMBSTONES_MIN * ENTRIES_A_TOMBSTONE, True),
        (TOMBSTONES_MIN, TOMBSTONES_MIN * ENTRIES_A_TOMBSTONE + 1, False),
    ],
)
def test_tombstones_go_early_when_they_are_many_and_enough_of_all(
    tombstones: int, entries: int, should: bool
) -> None:
    assert should_drop_tombstones(tombstones, entries) is should


def _work(engine: Engine) -> None:
    while engine.work():
        pass


def _tombstones(engine: Engine) -> int:
    return sum(table.tombstones for run in engine.levels() for table in run)


def _fill(engine: Engine, count: int) -> dict[bytes, bytes]:
    """What is there beside a queue, behind its keys."""
    model = {b"z%05d" % n: b"%d" % n * 20 for n in range(count)}
    engine.write(model, engine.last_index + 1)
    engine.flush()
    _work(engine)
    return model


def test_a_queue_does_not_leave_its_tombstones_to_be_scanned() -> None:
    """Each look at its head passed all that was ever taken from it, in tables."""
    engine = new_engine(OPTIONS)
    model = _fill(engine, 4000)
    most = 0
    for start in range(0, 40_000, 100):
        keys = [b"q%08d" % n for n in range(start, start + 100)]
        engine.write(dict.fromkeys(keys, b"message"), engine.last_index + 1)
        engine.write(dict.fromkeys(keys), engine.last_index + 1)
        _work(engine)
        most = max(most, _tombstones(engine))
    # What makes it so many is one flush.
    assert TOMBSTONES_MIN / 2 < most < TOMBSTONES_MIN + 1000
    assert dict(engine.scan()) == model


def test_a_deletion_costs_no_more_rewrites_than_the_policy_says() -> None:
    """And what is owed for its sake ends: there are no tombstones left."""
    engine = new_engine(OPTIONS)
    model = _fill(engine, 40_000)
    entry_bytes = engine.manifest.tables()[0].size_bytes / 40_000
    before = engine.compacted_bytes
    # So few flushes that no tier ever has something to merge.
    left: list[int] = []
    for _ in range(2):
        gone = sorted(model)[:5_000]
        engine.write(dict.fromkeys(gone), engine.last_index + 1)
        for key in gone:
            del model[key]
        engine.flush()
        _work(engine)
        assert not engine.owed
        left.append(_tombstones(engine))
    assert left == [5_000, 0]
    rewritten = (engine.compacted_bytes - before) / entry_bytes
    assert 20_000 < rewritten < ENTRIES_A_TOMBSTONE * 10_000
    assert dict(engine.scan()) == model


def test_it_goes_early_in_a_store_that_keeps_what_was_deleted() -> None:
    """As a node's: a key that is put and deleted is four entries there."""
    engine = new_engine(EngineOptions(memtable_bytes=1 << 20))
    model = _fill(engine, 10_000)
    most = 0
    for start in range(0, 20_000, 100):
        numbers = range(start, start + 100)
        kept = {
            b"%b%08d" % (kind, n): b"kept"
            for kind in (b"h", b"r", b"s")
            for n in numbers
        }
        engine.write(
            kept | dict.fromkeys([b"q%08d" % n for n in numbers]), engine.last_index + 1
        )
        model |= kept
        _work(engine)
        most = max(most, _tombstones(engine))
    assert TOMBSTONES_MIN < most < 10_000
    assert dict(engine.scan()) == model


def test_a_store_with_nothing_but_tombstones_becomes_empty() -> None:
    engine = new_engine(OPTIONS)
    keys = [b"q%08d" % n for n in range(TOMBSTONES_MIN)]
    engine.write(dict.fromkeys(keys, b"message"), 1)
    engine.write(dict.fromkeys(keys), 2)
    engine.flush()
    assert engine.owed
    _work(engine)
    assert (engine.levels(), engine.owed) == ([], False)
    assert list(engine.scan()) == []


def test_a_merge_of_all_that_waits_for_room_does_not_hold_up_the_tiers() -> None:
    env = MemoryEnv()
    engine = Engine(env, DIRECTORY, Names(), OPTIONS)
    model = _fill(engine, 20_000)
    gone = sorted(model)[:8_000]
    for key in gone:
        del model[key]
    env.capacity_bytes = env._used_bytes + 700_000
    engine.write(dict.fromkeys(gone), 2)
    engine.flush()
    _work(engine)
    assert (len(engine.levels()), engine.owed) == (2, True)
    for index in range(3, 3 + OPTIONS.tier_ratio):
        model[b"new%d" % index] = b"x"
        engine.write({b"new%d" % index: b"x"}, index)
        engine.flush()
        _work(engine)
    assert len(engine.levels()) == 3
    env.capacity_bytes = None
    _work(engine)
    assert (len(engine.levels()), _tombstones(engine)) == (1, 0)
    assert dict(engine.scan()) == model
