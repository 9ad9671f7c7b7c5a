"""What a history has of a read: nothing, where there is no such key."""

import asyncio

from quorate.chaos.harness.history import Input, Output, Recording
from quorate.chaos.harness.workloads import Loads, Shared, leases, levels

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
