"""The engine against a dict: whatever is done to it, in any order, with any crash."""

from itertools import islice
from random import Random

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from quorate.storage.engine import View, policy
from quorate.storage.errors import WriteStalled

from .engine_kit import COMPRESSED, SMALL, Twin, same

KEYS = st.integers(0, 60).map(lambda n: b"k%02d" % n) | st.binary(
    min_size=1, max_size=9
)
VALUES = st.none() | st.binary(max_size=40) | st.binary(min_size=200, max_size=300)
EFFECTS = st.dictionaries(KEYS, VALUES, max_size=12)
BOUNDS = st.tuples(KEYS | st.just(b""), st.none() | KEYS, st.booleans())


class EngineMachine(RuleBasedStateMachine):
    """Each rule is something that an owner, a reader or the world may do."""

    options = SMALL

    def __init__(self) -> None:
        super().__init__()
        self.twin = Twin(self.options)
        self.views: list[tuple[View, dict[bytes, bytes]]] = []

    @rule(effects=EFFECTS)
    def write(self, effects: dict[bytes, bytes | None]) -> None:
        try:
            self.twin.write(effects)
        except WriteStalled:
            # Refused whole; its owner tries again when work was done.
            while self.twin.engine.work():
                pass
            index = len(self.twin.journal)
            self.twin.engine.write(effects, index, b"%d" % index)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert self.twin.engine.get(key) == self.twin.model.get(key)

    @rule(keys=st.lists(KEYS, max_size=6))
    def get_again_and_again(self, keys: list[bytes]) -> None:
        """So that what tables have is in the cache by the end."""
        for _ in range(5):
            for key in keys:
                self.get(key)

    @rule(bounds=BOUNDS, limit=st.integers(0, 20))
    def scan(self, bounds: tuple[bytes, bytes | None, bool], limit: int) -> None:
        start, end, reverse = bounds
        wanted = [
            (key, value)
            for key, value in sorted(self.twin.model.items(), reverse=reverse)
            if key >= start and (end is None or key < end)
        ]
        found = self.twin.engine.scan(start, end, reverse=reverse)
        assert list(islice(found, limit)) == wanted[:limit]

    @rule()
    def hold_a_view(self) -> None:
        if len(self.views) < 8:
            self.views.append((self.twin.engine.view(), dict(self.twin.model)))

    @rule(number=st.integers(0, 7), key=KEYS)
    def look_through_a_view(self, number: int, key: bytes) -> None:
        if number < len(self.views):
            view, model = self.views[number]
            assert view.get(key) == model.get(key)
            same(view, model)

    @rule(number=st.integers(0, 7))
    def drop_a_view(self, number: int) -> None:
        if number < len(self.views):
            del self.views[number]

    @rule(budget=st.integers(1, 600))
    def work(self, budget: int) -> None:
        self.twin.engine.work(budget)

    @rule()
    def flush(self) -> None:
        self.twin.engine.flush()
        assert self.twin.engine.applied_index == len(self.twin.journal)

    @rule()
    def compact(self) -> None:
        self.twin.engine.compact()
        assert len(self.twin.engine.levels()) <= 1

    @rule()
    def reopen(self) -> None:
        self.views.clear()
        self.twin.reopen()

    @rule(seed=st.integers(0, 2**16))
    def lose_power(self, seed: int) -> None:
        self.views.clear()
        self.twin.env.crash(Random(seed))
        self.twin.engine = self.twin.open()

    @rule()
    def kill(self) -> None:
        self.views.clear()
        self.twin.env.kill()
        self.twin.engine = self.twin.open()

    @rule()
    def verify(self) -> None:
        assert sum(self.twin.engine.verify()) >= 0

    @invariant()
    def is_the_dict(self) -> None:
        engine, model = self.twin.engine, self.twin.model
        assert dict(engine.scan()) == model
        assert {key: engine.get(key) for key in model} == model


class CompressedMachine(EngineMachine):
    """The same with blocks that are compressed."""

    options = COMPRESSED


class TombstonesMachine(EngineMachine):
    """The same, and all runs become one as soon as a few entries are tombstones."""

    # With fewer runs of one tier they would have become one before.
    options = msgspec.structs.replace(SMALL, tier_ratio=4)

    def __init__(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(policy, "TOMBSTONES_MIN", 2)
        super().__init__()

    def teardown(self) -> None:
        self.patch.undo()


EngineMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
TestEngineMachine = EngineMachine.TestCase
CompressedMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=50)
TestCompressedMachine = CompressedMachine.TestCase
TombstonesMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=50)
TestTombstonesMachine = TombstonesMachine.TestCase
