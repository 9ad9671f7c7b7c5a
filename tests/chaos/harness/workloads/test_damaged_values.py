"""A value that was never written is a violation, in the history like all others."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.history import Recording
from quorate.chaos.harness.workloads import Shared
from quorate.chaos.harness.workloads.hot_key import HotKey
from quorate.chaos.harness.workloads.leases import Leases
from quorate.chaos.harness.workloads.levels import Levels
from quorate.chaos.harness.workloads.locks import Locks
from quorate.chaos.harness.workloads.transfers import Transfers, seen_of
from quorate.chaos.histories import Tenancy, check_replay
from quorate.client import KeyValue

from .conftest import One

DAMAGED = [
    b"",
    b"\xff\xfe",
    b"1\xff",
    b"+1",
    b"01",
    b"1_0",
    b"x:1",
    b"9:" + b"9" * 5000,
]


async def read_levels(one: One, shared: Shared, value: bytes) -> None:
    one.tells(value)
    levels = Levels(shared, 1.0)
    key = next(iter(levels.versions))
    await levels._read(one.node, 1, key, "local", 0.0, 0)


async def read_accounts(one: One, shared: Shared, value: bytes) -> None:
    one.tells(value)
    await Transfers(shared, 1.0).read(one.node, 1)


async def read_guarded(one: One, shared: Shared, value: bytes) -> None:
    await Locks(shared, Recording(), 1.0)._read(one.tells(value), 1)


async def look_at_a_lease(one: One, shared: Shared, value: bytes) -> None:
    one.tells(value)
    leases = Leases(shared, 1.0)
    await leases.look(one.node, 1, "load/leases/7", Tenancy(7, 100))


def test_a_damaged_key_is_found_as_what_it_is() -> None:
    entry = KeyValue(b"load/\xff", b"5", 1, 2, 1, 0)
    assert seen_of(["load/0"], [entry])["load/\\xff"] == (b"5", 2)


READS: dict[str, Callable[[One, Shared, bytes], Awaitable[None]]] = {
    "levels": read_levels,
    "leases": look_at_a_lease,
    "transfers": read_accounts,
    "locks": read_guarded,
}


@pytest.mark.parametrize("value", DAMAGED)
@pytest.mark.parametrize("name", READS)
async def test_a_value_that_was_never_written_is_a_violation(
    one: One, shared: Shared, tmp_path: Path, name: str, value: bytes
) -> None:
    with pytest.raises(Violated) as caught:
        await READS[name](one, shared, value)
    assert caught.value.violation.kind == "phantom value"
    shared.history.close()
    (line,) = (tmp_path / "history.jsonl").read_bytes().splitlines()
    assert json.loads(line)["outcome"] == "ok"


@pytest.mark.parametrize("value", DAMAGED)
async def test_of_the_hot_key_it_is_found_when_the_recording_is_judged(
    one: One, shared: Shared, value: bytes
) -> None:
    one.tells(value)
    recording = Recording()
    hot = HotKey(shared, recording, 1.0)
    await hot.read(one.node, 1, hot.keys[0])
    assert check_replay(recording.operations) is not None


async def test_a_number_that_was_written_is_none(one: One, shared: Shared) -> None:
    await read_levels(one, shared, b"12")
