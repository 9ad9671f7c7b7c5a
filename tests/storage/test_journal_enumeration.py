"""Every short workload, ended by every operation, with every state of the disk after.

Segments have two blocks, so that nearly each step rolls, recycles or outgrows one.
"""

from collections.abc import Callable, Iterator
from itertools import product

import msgspec
import pytest
from quorate.storage.journal import Batch, Journal, JournalOptions
from quorate.storage.journal_format import BLOCK_BYTES
from quorate.storage.memory_env import Crashed, MemoryEnv, Operation

from .journal_kit import (
    State,
    batch,
    entry,
    expect_crash_result,
    new_disk,
    open_journal,
    persist,
    recover,
    state_of,
)

TINY = JournalOptions(segment_bytes=2 * BLOCK_BYTES, spares_max=1)
Step = Callable[[State], Batch]


def one(state: State) -> Batch:
    """One more entry."""
    return batch(state.last_index + 1, [entry(state.term)], term=state.term)


def over(state: State) -> Batch:
    """A newer leader's entries over the last one."""
    term = state.term + 1
    first = max(state.last_index, state.base[0] + 1)
    return batch(first, [entry(term), entry(term, b"new")], term=term)


def vote(state: State) -> Batch:
    """The hard state alone."""
    return batch(state.last_index + 1, term=state.term + 1, vote=7)


def base(state: State) -> Batch:
    """All of the log is in a checkpoint."""
    last = state.last_index, state.last[0]
    return batch(state.last_index + 1, term=state.term, base=last)


def large(state: State) -> Batch:
    """More than what is left of any segment of two blocks with something in it."""
    data = bytes(BLOCK_BYTES)
    return batch(state.last_index + 1, [entry(state.term, data)], term=state.term)


STEPS: list[Step] = [one, over, vote, base, large]


def workload(steps: tuple[Step, ...]) -> tuple[MemoryEnv, Journal, State]:
    """A disk on which `steps` were acknowledged."""
    env = new_disk()
    journal, state = open_journal(env, TINY)
    for step in (one, *steps):
        done = step(state)
        persist(journal, done)
        state = state.after(done)
    return env, journal, state


def ends(steps: tuple[Step, ...]) -> Iterator[tuple[MemoryEnv, State, Batch]]:
    """The last of `steps`, cut short before each of its operations, and at its end."""
    at = 0
    while True:
        env, journal, state = workload(steps[:-1])
        lost = steps[-1](state)
        left = at

        def hook(operation: Operation) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crashed

        env.on_operation = hook
        try:
            persist(journal, lost)
        except Crashed:
            env.on_operation = None
            yield env, state, lost
            at += 1
            continue
        env.on_operation = None
        yield env, state.after(lost), lost
        return


def go_on(disk: MemoryEnv) -> int:
    """One more batch after a crash, and another crash, with all that it may leave."""
    journal, state = open_journal(disk, TINY)
    more = msgspec.structs.replace(one(state), doubt=state.doubt)
    journal.append(more)
    states = 0
    for again in disk.crash_states(tear=True):
        expect_crash_result(recover(again), state, more)
        states += 1
    return states


@pytest.mark.slow
@pytest.mark.parametrize("first", STEPS, ids=lambda step: step.__name__)
def test_every_short_workload_survives_every_crash(first: Step) -> None:
    """Up to three steps, 31 workloads a test; twice in a row where the power failed."""
    states = 0
    rests = [rest for length in range(3) for rest in product(STEPS, repeat=length)]
    for rest in rests:
        for env, before, lost in ends((first, *rest)):
            for disk in env.crash_states(tear=True):
                expect_crash_result(recover(disk), before, lost)
                states += 1 + go_on(disk)
            env.kill()
            told = recover(env)
            expect_crash_result(told, before, lost)
            for disk in env.crash_states(tear=True):
                assert state_of(recover(disk)) == state_of(told)
                states += 1
    print(f"{len(rests)} workloads, {states} crash states")
    assert states > 1_500
