"""The node that most tests of locks talk to; others have one of their own."""

from collections.abc import AsyncIterator

import pytest
from quorate.client import AsyncClient

from .fake_node import FakeNode, plain, running
from .locking_node import LockingNode


@pytest.fixture
async def node() -> AsyncIterator[LockingNode]:
    """A node that runs."""
    locking = LockingNode()
    async with running(locking):
        yield locking


@pytest.fixture
async def kv(node: FakeNode) -> AsyncIterator[AsyncClient]:
    """A client of it."""
    async with plain(node.endpoint) as client:
        yield client
