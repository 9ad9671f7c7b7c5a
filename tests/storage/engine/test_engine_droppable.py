"""What the owner needs no more: merges leave it out, and nothing else."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.storage.engine import Droppable, Engine, Worker
from quorate.storage.engine.merge import without_droppable
from quorate.storage.env import RealEnv
from quorate.storage.memory_env import MemoryEnv

from .engine_kit import SMALL, Names

LARGE = b"x" * 300  # goes into a file of values


def key(prefix: bytes, number: int, tail: bytes = b"") -> bytes:
    return prefix + number.to_bytes(8, "big") + tail


KEYS = st.one_of(
    st.builds(key, st.sampled_from([b"r", b"q", b"s", b"r\xff"]), st.integers(0, 20)),
    st.builds(key, st.just(b"h"), st.integers(0, 20), st.binary(max_size=3)),
    st.binary(min_size=1, max_size=3),
)
RULES = (
    Droppable(b"r", offset=1, below=10),
    Droppable(b"h", offset=-8, below=5),
)


def dropped(at: bytes) -> bool:
    """The same in other words."""
    if at.startswith(b"r") and at[1:9] < (10).to_bytes(8, "big"):
        return True
    return at.startswith(b"h") and at[-8:] < (5).to_bytes(8, "big")


@given(st.sets(KEYS, max_size=30), st.integers(1, 7))
def test_what_is_left_out_is_what_the_rules_say(keys: set[bytes], size: int) -> None:
    ordered = sorted(keys)
    chunks = [ordered[at : at + size] for at in range(0, len(ordered), size)]
    left = list(without_droppable(((c, [k[::-1] for k in c]) for c in chunks), RULES))
    assert all(keys for keys, _ in left), "no chunk is empty"
    found = [pair for keys, records in left for pair in zip(keys, records, strict=True)]
    assert found == [(k, k[::-1]) for k in ordered if not dropped(k)]


def _rules(meta: bytes) -> Sequence[Droppable]:
    return (Droppable(b"r", offset=1, below=int(meta or b"0")),)


def _write(engine: Engine) -> None:
    for number in range(1, 31):
        effects = {
            key(b"r", number): LARGE if number % 3 else b"",
            b"k": b"%d" % number,
        }
        engine.write(effects, number, b"%d" % (number // 2))
        if number % 5 == 0:
            engine.flush()


def _numbers(engine: Engine) -> list[int]:
    return [int.from_bytes(at[1:9], "big") for at, _ in engine.scan(b"r", b"s")]


def test_a_merge_goes_by_the_meta_that_is_durable() -> None:
    env = MemoryEnv()
    engine = Engine(env, "/engine", Names(), SMALL)
    engine.droppable = _rules
    _write(engine)
    engine.write({b"k": b"last"}, 31, b"29")
    engine.compact()
    # The flush of `compact` itself has made the newest meta durable.
    assert _numbers(engine) == [29, 30]
    assert engine.get(b"k") == b"last"
    engine.write({b"k": b"more"}, 32, b"30")
    while engine.work():
        pass
    assert _numbers(engine) == [29, 30], "30 is not durable"


def test_a_run_of_which_nothing_is_left_goes_whole() -> None:
    engine = Engine(MemoryEnv(), "/engine", Names(), SMALL)
    engine.droppable = _rules
    engine.write({key(b"r", n): LARGE for n in range(1, 20)}, 1, b"50")
    engine.compact()
    assert engine.levels() == []
    assert engine.files() == []
    assert list(engine.scan()) == []


@pytest.mark.slow
def test_a_worker_leaves_out_the_same(tmp_path: Path) -> None:
    directory = str(tmp_path / "engine")
    engine = Engine(RealEnv(), directory, lambda: os.urandom(16), SMALL, Worker)
    engine.droppable = _rules
    try:
        _write(engine)
        engine.compact()
        assert _numbers(engine) == list(range(15, 31))
        assert sum(engine.verify()) > 0
    finally:
        engine.close()
