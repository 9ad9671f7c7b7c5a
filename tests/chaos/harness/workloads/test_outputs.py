"""What a history has of a read: nothing, where there is no such key."""

import asyncio

import pytest
from quorate.chaos.harness.history import Input, Output, Recording
from quorate.chaos.harness.workloads import Loads, Shared, leases, levels
from quorate.chaos.harness.workloads.mix import WORKLOADS
from quorate.chaos.histories import Operation

from .conftest import One


def test_of_a_key_that_is_not_there_nothing_is_noted() -> None:
    assert levels.output_of("load/levels/0", (0, 0)) == Output()
    assert leases.output_of("load/leases/0", (b"", 0)) == Output()


def test_a_value_that_is_there_has_the_name_by_which_it_was_written() -> None:
    found = levels.output_of("load/levels/0", (3, 9))
    assert found == Output(value="load/levels/0:3", mod_revision=9)
    found = leases.output_of("load/leases/0", (b"load/leases/0", 9))
    assert found == Output(value="load/leases/0:1", mod_revision=9)


async def test_what_was_read_is_no_change(one: One, shared: Shared) -> None:
    one.tells(b"7")
    Loads(shared, Recording(), {"levels": 1.0}).need(4)
    load = levels.Levels(shared, 1.0)
    await load._read(one.node, 1, next(iter(load.versions)), "local", 0.0, 0)
    tally = shared.tally("levels")
    assert (tally.ok, tally.changes, tally.changes_needed) == (1, 0, 3)
    await shared.do(
        *("levels", "put", "k", one.node, 1, Input(), asyncio.sleep(0, 8)),
        lambda revision: Output(revision=revision),
    )
    assert (tally.ok, tally.changes) == (2, 1)


@pytest.mark.parametrize("name", ["hot-key", "large-values"])
def test_a_workload_of_which_no_operation_was_kept_is_not_judged(
    shared: Shared, name: str
) -> None:
    recording = Recording()
    load = WORKLOADS[name].make(shared, recording, 1.0)
    assert load.check().endswith(", 0 operations judged with the others")
    unjudged = "its keys are none of those that were kept"
    assert shared.tally(name).unjudged == unjudged
    shared.tally(name).unjudged = ""
    for key in ("load/hot/0", "large/0"):
        recording.begin(Operation(1, "get", key.encode(), 0), 0.0)
    assert load.check().endswith(", 1 operations judged with the others")
    assert not shared.tally(name).unjudged
