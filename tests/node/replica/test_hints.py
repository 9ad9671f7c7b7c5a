"""A leader whose process is gone: its voters elect another one, near or far apart.

Two of three are left. Messages take a while from one to the other, and so does the
disk; time is the test's.
"""

import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from quorate.node.replica.hints import Hints
from quorate.node.replica.options import ReplicaOptions
from quorate.raft import (
    Configuration,
    HardState,
    Heartbeat,
    Options,
    Persisted,
    Raft,
    SnapshotMark,
    acknowledge,
)

GONE, TICK_MS, LIMIT_MS = 1, 10, 4000
THREE = SnapshotMark(1, 1, Configuration((GONE, 2, 3)))


class Left:
    """Voters 2 and 3, who have just lost the link to their leader."""

    def __init__(self, seed: int, one_way_ms: int, sync_ms: int) -> None:
        self.dice = Random(seed)
        self.one_way_ms, self.sync_ms = one_way_ms, sync_ms
        self.now_ms = 0
        self.numbers = count()
        self.plans: list[tuple[int, int, int, Callable[[], None]]] = []
        self.rafts: dict[int, Raft] = {}
        self.hints: dict[int, Hints] = {}
        self.replicas: dict[int, SimpleNamespace] = {}
        for member in (2, 3):
            options = Options(id=member, jitter=self.dice.randrange)
            raft = Raft(options, THREE, HardState(1, 0, 1))
            raft.step(Heartbeat(GONE, member, 1, 1, 0))
            raft.ready(can_persist=True)
            self.rafts[member] = raft
            self.replicas[member] = SimpleNamespace(
                raft=raft,
                options=ReplicaOptions(),
                now_ms=0,
                jitter=self.dice.randrange,
            )
            hints = self.hints[member] = Hints(cast(Any, self.replicas[member]))
            self.at(1, member, lambda hints=hints: hints.refused(GONE))
            self.at(TICK_MS, member, lambda member=member: self.tick(member))

    def at(self, after_ms: int, member: int, what: Callable[[], None]) -> None:
        due = self.now_ms + after_ms
        heapq.heappush(self.plans, (due, next(self.numbers), member, what))

    def tick(self, member: int) -> None:
        self.rafts[member].tick()
        self.hints[member].tick()
        self.at(TICK_MS, member, lambda: self.tick(member))

    def send(self, messages: list[Any]) -> None:
        for message in messages:
            if message.to in self.rafts:
                raft = self.rafts[message.to]
                self.at(
                    self.one_way_ms,
                    message.to,
                    lambda raft=raft, message=message: raft.step(message),
                )

    def durable(self, raft: Raft, ack: Persisted, after: list[Any]) -> None:
        raft.persisted(ack)
        self.send(after)

    def turn(self, member: int) -> None:
        raft = self.rafts[member]
        ready = raft.ready(can_persist=raft.in_flight is None)
        self.send(ready.messages)
        if ready.persist is not None:
            ack, after = acknowledge(ready.persist), ready.messages_after
            self.at(self.sync_ms, member, lambda: self.durable(raft, ack, after))

    def until_one_leads(self) -> int:
        while self.now_ms < LIMIT_MS:
            self.now_ms, _, member, what = heapq.heappop(self.plans)
            self.replicas[member].now_ms = self.now_ms
            what()
            self.turn(member)
            if self.rafts[member].is_leader:
                return self.now_ms
        raise AssertionError(f"nobody leads after {LIMIT_MS} ms")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("one_way_ms", "sync_ms"), [(1, 1), (1, 60), (30, 2), (50, 2), (75, 2), (30, 60)]
)
def test_who_is_left_elects_a_leader_however_far_away(
    seed: int, one_way_ms: int, sync_ms: int
) -> None:
    """Story: the hint had a voter campaign every 60 to 120 ms, also while votes for
    it were on their way: where these took longer, nobody led before the dead one was
    back.
    """
    Left(seed, one_way_ms, sync_ms).until_one_leads()


def test_near_ones_do_so_long_before_an_election_timeout() -> None:
    assert Left(1, 1, 1).until_one_leads() < 100
