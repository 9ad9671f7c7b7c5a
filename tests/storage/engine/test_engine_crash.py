"""Power losses in the middle of flushes, compactions and edits."""

from collections.abc import Callable

import pytest
from quorate.storage.engine import Engine
from quorate.storage.engine.manifest import load_manifest
from quorate.storage.memory_env import Crashed, MemoryEnv, Operation

from .engine_kit import DIRECTORY, SMALL, Names, Twin, replay, same

WRITES = [
    {b"a": b"1" * 300, b"b": b"2" * 300},
    {b"a": None, b"c": b"3" * 500},
    {b"b": b"4" * 700, b"d": b"5" * 190},
    {b"e": b"6" * 900, b"c": None},
]


def _workload(twin: Twin) -> None:
    for effects in WRITES:
        twin.write(effects)
        while twin.engine.work(1):
            pass
    twin.engine.flush()
    twin.engine.compact()


def _operations() -> int:
    """How many times the workload touches the disk."""
    twin = Twin()
    count = 0

    def note(operation: Operation) -> None:
        nonlocal count
        count += 1

    twin.env.on_operation = note
    _workload(twin)
    return count


def _stop_at(number: int) -> Callable[[Operation], None]:
    left = number

    def note(operation: Operation) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Crashed

    return note


def _stopped(number: int) -> Twin:
    """A workload that ended in the middle of its `number`th operation."""
    twin = Twin()
    twin.env.on_operation = _stop_at(number)
    with pytest.raises(Crashed):
        _workload(twin)
    twin.env.on_operation = None
    return twin


def test_every_state_that_a_power_loss_can_leave_opens_and_has_everything() -> None:
    """At each operation of the workload: every legal subset of what was not synced."""
    states = 0
    for number in range(1, _operations() + 1):
        twin = _stopped(number)
        for env in twin.env.crash_states(bound=5_000):
            states += 1
            _opens(env, twin)
    assert states > 300


def _opens(env: MemoryEnv, twin: Twin) -> None:
    names = Names()
    names.count = 1000
    engine = Engine(env, DIRECTORY, names, SMALL)
    replay(engine, twin.journal)
    same(engine.view(), twin.model)
    while engine.work():
        pass
    same(engine.view(), twin.model)
    _nothing_is_left_over(env, engine)


def _nothing_is_left_over(env: MemoryEnv, engine: Engine) -> None:
    manifest = load_manifest(env, DIRECTORY)
    assert manifest is not None
    names = {file.name for file in manifest.files()}
    assert set(env.list(DIRECTORY)) - {"LOCK", "MANIFEST", "work"} == names
    # One directory, of this opening.
    (work,) = env.list(f"{DIRECTORY}/work")
    assert env.list(f"{DIRECTORY}/work/{work}") == []


def test_a_kill_leaves_no_file_that_nobody_names() -> None:
    for number in range(1, _operations() + 1):
        twin = _stopped(number)
        twin.env.kill()
        twin.engine = twin.open()
        twin.check()
        _nothing_is_left_over(twin.env, twin.engine)


def test_files_that_are_not_understood_are_left_alone() -> None:
    twin = Twin()
    for path in ("README", "0" * 31 + ".sst", "x" * 32 + ".sst"):
        file = twin.env.open(f"{DIRECTORY}/{path}", create=True)
        file.write_at(0, b"somebody's")
        file.close()
    twin.reopen()
    assert {"README", "0" * 31 + ".sst"} <= set(twin.env.list(DIRECTORY))
    twin.check()


def test_what_a_killed_process_left_in_the_page_cache_is_not_believed() -> None:
    """Killed, started again, and then the power fails (decision 0008).

    The second process must not remove files, nor let its owner's journal go, on the
    word of a manifest that no disk has yet.
    """
    states = 0
    for number in range(1, _operations() + 1):
        twin = _stopped(number)
        twin.env.kill()
        again = Engine(twin.env, DIRECTORY, twin.names, SMALL)
        reclaimed = again.applied_index
        for env in twin.env.crash_states(bound=5_000):
            states += 1
            last = Engine(env.copy(), DIRECTORY, twin.names, SMALL)
            assert last.applied_index >= reclaimed
            _opens(env, twin)
    assert states > 40
