"""The log says when a merge waits for room on the disk, and when it goes on."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from quorate.node.loop import ReplicaLoop
from quorate.storage.engine import Engine, EngineOptions
from quorate.storage.memory_env import MemoryEnv

OPTIONS = EngineOptions(memtable_bytes=1 << 20, tier_ratio=2)


def _engine(env: MemoryEnv) -> Engine:
    """Of two runs that should become one."""
    engine = Engine(env, "/engine", lambda: b"%016d" % env.written_bytes, OPTIONS)
    for index in (1, 2):
        engine.write({b"%d-%d" % (index, n): b"v" * 1000 for n in range(300)}, index)
        engine.flush()
    return engine


def _loop(env: MemoryEnv, store: Engine) -> ReplicaLoop:
    def has_work(can_persist: bool) -> bool:
        del can_persist
        return False

    replica = SimpleNamespace(database=SimpleNamespace(store=store), has_work=has_work)
    stable = SimpleNamespace(env=env, data_dir="/engine")

    def fail(error: BaseException) -> None:
        raise error

    return ReplicaLoop(
        cast("Any", replica), cast("Any", stable), lambda _: [], fail, 0, lambda: None
    )


async def test_a_merge_that_waits_for_room_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    env = MemoryEnv()
    store = _engine(env)
    loop = _loop(env, store)
    env.capacity_bytes = env._used_bytes + (1 << 20)
    with caplog.at_level(logging.INFO, "quorate.replica"):
        for _ in range(5):
            loop._work()
        (waits,) = caplog.messages
        # 600 KB of tables, and four memtables.
        assert waits == "a merge waits until 5 MiB are free at /engine"
        env.capacity_bytes = None
        while store.owed:
            loop._work()
        assert len(store.levels()) == 1
    assert caplog.messages == [waits, "no merge waits for room on the disk any more"]
    assert {record.levelno for record in caplog.records} == {logging.INFO}
