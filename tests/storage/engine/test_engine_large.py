"""Large values: how many of them are in memory at once, and when they are read."""

import pytest
from quorate.storage.engine import Engine, EngineOptions
from quorate.storage.engine.blob import Blob
from quorate.storage.memory_env import MemoryEnv

from .engine_kit import DIRECTORY, Names, new_engine

KEYS = [b"k%03d" % n for n in range(600)]
VALUE_BYTES_MAX = 64 << 20
OPTIONS = EngineOptions(blob_bytes=1000)


class Reads:
    """Counts the large values that are read."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        value = Blob.value

        def counted(blob: Blob, offset: int, length: int, crc: int) -> bytes:
            self.count += 1
            return value(blob, offset, length, crc)

        patch.setattr(Blob, "value", counted)


def _filled() -> Engine:
    """Every second value is large; a memtable and two runs of tables."""
    engine = new_engine(OPTIONS)
    for run in range(3):
        part = KEYS[run::3]
        engine.write({k: k * (300 if k[-1] % 2 else 3) for k in part}, run + 1)
        if run < 2:
            engine.flush()
    return engine


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_reads_a_large_value_when_it_is_its_turn(
    reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Story: the first record of a scan read 82 large values, a later one 626."""
    engine = _filled()
    wanted = {k: k * (300 if k[-1] % 2 else 3) for k in KEYS}
    assert dict(engine.scan(reverse=reverse)) == wanted
    engine.compact()
    reads = Reads(monkeypatch)
    read = 0
    found: list[tuple[bytes, bytes]] = []
    for key, value in engine.scan(reverse=reverse):
        found.append((key, value))
        read += len(value) > 1000
        assert reads.count == read
    assert found == sorted(wanted.items(), reverse=reverse)
    assert read == len(KEYS) // 2


@pytest.mark.parametrize("reverse", [False, True])
def test_keys_alone_cost_no_large_value(
    reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _filled()
    engine.write({KEYS[7]: None}, 9)
    reads = Reads(monkeypatch)
    wanted = [key for key in KEYS if key != KEYS[7]]
    assert list(engine.view().keys(reverse=reverse)) == (
        wanted[::-1] if reverse else wanted
    )
    some = engine.view().keys(KEYS[5], KEYS[9], reverse=reverse)
    assert sorted(some) == [KEYS[5], KEYS[6], KEYS[8]]
    assert reads.count == 0


def test_a_step_writes_a_mebibyte_of_large_values_and_no_more() -> None:
    """Story: a merge wrote what all records of a chunk refer to in one step."""
    env, size = MemoryEnv(), 100_000
    options = EngineOptions(memtable_bytes=100 * size, tier_ratio=2)
    engine = Engine(env, DIRECTORY, Names(), options)
    engine.write({b"%03d" % n: bytes([n]) * size for n in range(99)}, 1)
    most = _most_at_once(env, engine)
    assert size * 10 < most < size * 12
    # Two in three are dead, so that the next merge but one writes the rest again.
    engine.write({b"%03d" % n: None for n in range(99) if n % 3}, 2)
    engine.compact()
    engine.write({b"new": b"x"}, 3)
    engine.flush()
    most = _most_at_once(env, engine)
    assert size * 10 < most < size * 12
    assert len(engine.levels()) == 1
    live = {b"%03d" % n: bytes([n]) * size for n in range(0, 99, 3)}
    assert dict(engine.scan()) == live | {b"new": b"x"}


def _most_at_once(env: MemoryEnv, engine: Engine) -> int:
    """Bytes written by the largest step until nothing is owed."""
    engine.freeze()
    most, written = 0, env.written_bytes
    while engine.work(1):
        most = max(most, env.written_bytes - written)
        written = env.written_bytes
    return most


def test_a_value_may_have_as_many_bytes_as_the_document_says() -> None:
    """Story: a byte of the record was counted with it."""
    engine = new_engine(EngineOptions())
    value = bytes(VALUE_BYTES_MAX)
    engine.write({b"k": value}, 1)
    engine.flush()
    assert engine.get(b"k") == value
    with pytest.raises(ValueError, match="too long"):
        engine.write({b"k": value + b"\0"}, 2)
