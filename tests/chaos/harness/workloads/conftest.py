"""What tests of workloads share: a cluster of one node that tells what a test says."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import cast

import pytest
from quorate.chaos.harness.history import History
from quorate.chaos.harness.served import Endpoint, NodeStatus
from quorate.chaos.harness.verdict import Counts
from quorate.chaos.harness.workloads import Shared
from quorate.client import AsyncClient, KeyValue


class Idle:
    """Nothing is in flight."""

    begun = in_flight = 0

    def __init__(self) -> None:
        self.stopping = asyncio.Event()


class Range:
    """All that is there, at one revision."""

    revision = 9

    def __init__(self, entries: list[KeyValue]) -> None:
        self._entries = entries

    async def __aiter__(self) -> AsyncIterator[KeyValue]:
        for entry in self._entries:
            yield entry


class Told:
    """A client that is told of each key the same value."""

    def __init__(self, value: bytes) -> None:
        self.value = value

    def _entry(self, key: str) -> KeyValue:
        return KeyValue(key.encode(), self.value, 2, 7, 1, lease=0)

    async def get(self, key: str, **_: object) -> KeyValue:
        return self._entry(key)

    def range(self, prefix: str, **_: object) -> Range:
        return Range([self._entry(f"{prefix}{number}") for number in range(8)])


class One:
    """A cluster of one node."""

    def __init__(self) -> None:
        self.node = Endpoint("n1", "127.0.0.1:1", "127.0.0.1:1", 1)
        self.nodes = [self.node]
        self.replicas: list[Endpoint] = []

    def tells(self, value: bytes) -> AsyncClient:
        """From now on its clients are told this; one of them."""
        client = cast("AsyncClient", Told(value))
        self.node.clients = [client]
        return client

    async def pick(self, dice: Random) -> Endpoint:
        del dice
        return self.node

    async def statuses(self) -> list[NodeStatus | None]:
        return [None]


@pytest.fixture
def one() -> One:
    return One()


@pytest.fixture
def shared(tmp_path: Path, one: One) -> Iterator[Shared]:
    with History(tmp_path / "history.jsonl") as history:
        yield Shared(one, lambda: 1.0, history, Counts(), Idle(), 1)
