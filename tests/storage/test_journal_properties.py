"""Random work, crashes of every kind: what was acknowledged is there, always.

The model is a list of entries and a hard state. A batch that was appended and not
synced is `pending`: after a crash it is there, or not, or in doubt.
"""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from quorate.storage.journal import Batch, Journal, JournalOptions
from quorate.storage.journal_format import BLOCK_BYTES

from .journal_kit import (
    DIRECTORY,
    SALT,
    State,
    batch,
    entry,
    expect_crash_result,
    new_disk,
    open_journal,
    state_of,
)

SIZES = st.sampled_from([0, 1, 300, 3900, 4096, 9000])
SEEDS = st.integers(0, 2**32)


class JournalMachine(RuleBasedStateMachine):
    """`state` is what is durable, as the journal has told or acknowledged it."""

    journal: Journal

    def __init__(self) -> None:
        super().__init__()
        self.env = new_disk()
        self.state = State()
        self.pending: Batch | None = None
        self.options = JournalOptions()

    @initialize(blocks=st.integers(1, 5), spares=st.integers(0, 2))
    def boot(self, blocks: int, spares: int) -> None:
        self.options = JournalOptions(
            segment_bytes=blocks * BLOCK_BYTES, spares_max=spares
        )
        self.journal, state = open_journal(self.env, self.options)
        assert state == State()

    def append(self, one: Batch) -> None:
        self.journal.append(one)
        self.pending = one

    idle = precondition(lambda self: self.pending is None)

    @idle
    @rule(sizes=st.lists(SIZES, min_size=1, max_size=4), newer=st.booleans())
    def append_entries(self, sizes: list[int], newer: bool) -> None:
        state = self.state
        term = state.term + newer
        entries = [entry(term, bytes([term % 256]) * size) for size in sizes]
        commit = max(state.commit_index, state.base[0])
        self.append(
            batch(
                state.last_index + 1,
                entries,
                term=term,
                vote=state.vote,
                commit_index=commit,
                doubt=state.doubt,
            )
        )

    @idle
    @rule(back=st.integers(1, 3), count=st.integers(0, 3), size=SIZES)
    def overwrite(self, back: int, count: int, size: int) -> None:
        """A newer leader's entries, or none, in place of the newest ones."""
        state = self.state
        term = state.term + 1
        floor = max(state.base[0], state.commit_index)
        first = max(floor, state.last_index - back) + 1
        first = min(first, state.last_index + 1)
        self.append(
            batch(
                first,
                [entry(term, bytes(size))] * count,
                term=term,
                commit_index=state.commit_index,
                doubt=state.doubt,
            )
        )

    @idle
    @rule(vote=st.integers(0, 5), settle=st.booleans(), newer=st.integers(0, 2))
    def hard_state(self, vote: int, settle: bool, newer: int) -> None:
        state = self.state
        self.append(
            batch(
                state.last_index + 1,
                term=state.term + newer,
                vote=vote,
                commit_index=max(state.commit_index, state.last_index - 2),
                doubt=None if settle else state.doubt,
            )
        )

    @idle
    @rule(keep=st.integers(0, 3))
    def compact(self, keep: int) -> None:
        state = self.state
        wanted = max(state.base[0], state.last_index - keep)
        terms = {e.index: e.term for e in state.entries} | dict([state.base])
        self.append(
            batch(
                state.last_index + 1,
                term=state.term,
                vote=state.vote,
                commit_index=max(state.commit_index, wanted),
                base=(wanted, terms[wanted]),
                doubt=state.doubt,
            )
        )

    @idle
    @rule(ahead=st.integers(1, 9), count=st.integers(0, 2))
    def reset(self, ahead: int, count: int) -> None:
        """A snapshot was received."""
        state = self.state
        index = max(state.last_index, state.commit_index) + ahead
        term = state.term + 1
        self.append(
            batch(
                index + 1,
                [entry(term)] * count,
                term=term,
                commit_index=index,
                reset=(index, term),
                doubt=state.doubt,
            )
        )

    @precondition(lambda self: self.pending is not None)
    @rule()
    def sync(self) -> None:
        assert self.pending is not None
        self.journal.sync()
        self.state = self.state.after(self.pending)
        self.pending = None

    @rule()
    def prepare_spare(self) -> None:
        """Beside whatever is in flight, as a thread of its own does it."""
        self.journal.prepare_spare()

    @rule(seed=SEEDS, tear=st.booleans())
    def power_loss(self, seed: int, tear: bool) -> None:
        self.env.crash(random.Random(seed), tear=tear)
        self.come_back()

    @rule()
    def kill(self) -> None:
        self.env.kill()
        self.come_back()

    @idle
    @rule()
    def stop_and_start(self) -> None:
        self.journal.close()
        self.come_back()

    def come_back(self) -> None:
        """What is told from here on is durable, and stays."""
        self.journal, recovered = Journal.open(
            self.env, DIRECTORY, self.options, SALT + self.state.term
        )
        if self.pending is None:
            assert state_of(recovered) == self.state
        else:
            expect_crash_result(recovered, self.state, self.pending)
        self.state = state_of(recovered)
        self.pending = None

    @invariant()
    def everything_acknowledged_survives_a_power_loss_now(self) -> None:
        disk = self.env.copy()
        disk.crash(random.Random(self.env.statistics().writes))
        recovered = Journal.open(disk, DIRECTORY, self.options, SALT)[1]
        if self.pending is None:
            assert state_of(recovered) == self.state
        else:
            expect_crash_result(recovered, self.state, self.pending)

    @invariant()
    def no_file_is_left_over(self) -> None:
        names = [name for name in self.env.list(DIRECTORY) if name != "ahead.tmp"]
        spares = [name for name in names if name.endswith("-spare.seg")]
        assert len(spares) <= self.options.spares_max + 1
        assert len(names) - len(spares) == len(self.journal.segments)


JournalMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestJournal = pytest.mark.slow(JournalMachine.TestCase)
