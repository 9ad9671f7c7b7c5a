"""What is known of a write by a token, whoever told it first."""

from typing import cast

import pytest
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.history import Recording
from quorate.chaos.harness.workloads import Shared
from quorate.chaos.harness.workloads.locks import Locks
from quorate.client import AsyncClient, Fenced


class Refusing:
    """A client whose write is read by others before it is refused."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks

    async def put(self, key: str, name: str, **_: object) -> int:
        del key
        self._locks.writes[name].revision = 31
        raise Fenced("another one holds the lock")


async def test_a_write_that_was_read_and_then_refused_is_noticed(
    shared: Shared,
) -> None:
    locks = Locks(shared, Recording(), 1.0)
    await locks._write(cast("AsyncClient", Refusing(locks)), 1, "token", 10)
    with pytest.raises(Violated) as caught:
        locks.check()
    assert caught.value.violation.kind == "refused write applied"
