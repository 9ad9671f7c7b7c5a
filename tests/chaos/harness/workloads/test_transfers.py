"""What counts as a change of the bank."""

from typing import cast

from quorate.chaos.harness.verdict import void_reasons
from quorate.chaos.harness.workloads import Shared
from quorate.chaos.harness.workloads.transfers import Transfers
from quorate.client import AsyncClient, Committed, Txn

from .conftest import One


class Doing:
    """A client whose transactions are all done."""

    async def commit(self, txn: Txn, *, timeout: float) -> Committed:
        del txn, timeout
        return Committed(True, 2, ())


async def test_who_opens_accounts_and_moves_nothing_leaves_a_run_void(
    one: One, shared: Shared
) -> None:
    one.node.clients = [cast("AsyncClient", Doing())]
    transfers = Transfers(shared, 1.0)
    await transfers._open()
    tally = shared.tally("transfers")
    tally.changes_needed = 1
    assert tally.ok == 1
    (reason,) = void_reasons((), None, (), 1000, shared.tallies)
    assert reason == "transfers: 0 changes were done, 1 are needed"
    dice = shared.dice("once")
    found = dict.fromkeys(transfers.keys, (b"100:1", 2))
    assert await transfers._transfer(one.node, 1000, found, dice) is not None
    assert void_reasons((), None, (), 1000, shared.tallies) == []
