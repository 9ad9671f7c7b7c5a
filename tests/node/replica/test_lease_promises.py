"""Whatever happens, a lease lives for as long as somebody was told (I-64)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.raft import AppendEntries
from quorate.wire import (
    Grant,
    KeepAlive,
    LeaseCommand,
    Revoke,
)

from .together import TICK_MS, TTL_MS, Together

MEMBERS = st.sampled_from([1, 2, 3])
STEPS = st.one_of(
    st.tuples(st.just("run"), st.integers(1, 60)),
    st.tuples(st.just("grant"), MEMBERS),
    st.tuples(st.just("keep"), MEMBERS),
    st.tuples(st.just("keep"), MEMBERS),
    st.tuples(st.just("revoke"), MEMBERS),
    st.tuples(st.just("pause"), MEMBERS),
    st.tuples(st.just("cut"), MEMBERS),
    st.tuples(st.just("mute"), st.just(0)),
    st.tuples(st.just("heal"), st.just(0)),
    st.tuples(st.just("heal"), st.just(0)),
)


class Promises:
    """What was said of lease 7, and whether it held."""

    def __init__(self) -> None:
        self.together = Together()
        # With the time at which it was asked: from then on what is said counts.
        self.asked: dict[int, tuple[int, LeaseCommand]] = {}
        self.judged: set[int] = set()
        self.until_ms = 0

    def ask(self, command: LeaseCommand, at: int) -> None:
        if at not in self.together.paused:
            asked_ms = self.together.now_ms
            self.asked[self.together.ask(command, at)] = asked_ms, command

    def look(self) -> None:
        """Who was told that it lives sees it, on every replica, until then."""
        together = self.together
        for number, (asked_ms, command) in self.asked.items():
            if number in self.judged or not together.answered(number):
                continue
            self.judged.add(number)
            if isinstance(command, Revoke):
                # Whatever it ended in: it may have happened, or may yet.
                self.until_ms = 0
            elif together.code(number) is None and not self.revoked():
                left = TTL_MS
                if isinstance(command, KeepAlive):
                    left = together.answer(number).left_ms
                self.until_ms = max(self.until_ms, asked_ms + left)
        if together.now_ms < self.until_ms and not self.revoked():
            newest = max(
                together.replicas.values(), key=lambda r: r.database.applied_index
            )
            assert 7 in newest.database.lease_table.leases

    def revoked(self) -> bool:
        return any(isinstance(command, Revoke) for _, command in self.asked.values())

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.together.tick()
            self.look()


@given(st.lists(STEPS, min_size=3, max_size=40))
@settings(max_examples=40)
@pytest.mark.slow
def test_whatever_happens_no_promise_is_broken(steps: list[tuple[str, int]]) -> None:
    promises = Promises()
    together = promises.together
    for what, number in steps:
        match what:
            case "run":
                promises.run(number)
            case "grant":
                promises.ask(Grant(7, TTL_MS), number)
            case "keep":
                promises.ask(KeepAlive(7), number)
            case "revoke":
                promises.ask(Revoke(7), number)
            case "pause":
                together.paused.add(number)
            case "cut":
                together.cut.add(number)
            case "mute":
                together.loses = lambda message: isinstance(message, AppendEntries)
            case _:
                together.heal()
        promises.look()
    together.heal()
    promises.run(200)
    promises.run(2 * TTL_MS // TICK_MS)
    assert together.has(7) == [False] * 3
    assert len({r.database.state_hash() for r in together.replicas.values()}) == 1
    together.run(1200)
    together.nothing_is_left()
