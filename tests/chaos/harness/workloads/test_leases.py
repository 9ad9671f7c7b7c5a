"""What is made of grants that are refused."""

from typing import cast

import pytest
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.workloads import Shared
from quorate.chaos.harness.workloads.leases import Leases
from quorate.chaos.histories import Tenancy
from quorate.client import (
    AsyncClient,
    LeaseExists,
    LeaseNotFound,
    QuorateError,
    TooBusy,
)

from .conftest import One


class Refused:
    """A lease that is not granted."""

    def __init__(self, error: QuorateError) -> None:
        self._error = error

    async def grant(self) -> None:
        raise self._error


class Refusing:
    """A client whose grants all end like this."""

    def __init__(self, error: QuorateError) -> None:
        self._error = error

    def lease(self, ttl: float, **_: object) -> Refused:
        del ttl
        return Refused(self._error)


async def grant(one: One, shared: Shared, error: QuorateError) -> bool:
    one.node.clients = [cast("AsyncClient", Refusing(error))]
    return await Leases(shared, 1.0)._grant(one.node, 1, Tenancy(7, 100), 1.0)


async def test_a_lease_of_an_id_that_nobody_else_drew_is_not_there_already(
    one: One, shared: Shared
) -> None:
    with pytest.raises(Violated, match="LeaseExists"):
        await grant(one, shared, LeaseExists("there is a lease of that id"))


async def test_a_lease_may_be_refused_or_over_when_its_grant_is_told(
    one: One, shared: Shared
) -> None:
    assert not await grant(one, shared, LeaseNotFound("it took too long"))
    assert not await grant(one, shared, TooBusy("not now"))
