"""What is judged of reads at each level: only what was answered."""

import pytest
from quorate.chaos.harness.workloads import Shared
from quorate.chaos.harness.workloads.levels import LEVELS, Levels
from quorate.chaos.histories import Level, LevelRead


@pytest.mark.parametrize("missing", dict.fromkeys(LEVELS))
def test_where_no_read_of_a_level_was_answered_nothing_is_judged(
    shared: Shared, missing: Level
) -> None:
    levels = Levels(shared, 1.0)
    reads = next(iter(levels.reads.values()))
    reads += [LevelRead("n1", one, 1, 2, 0, 0) for one in LEVELS if one != missing]
    levels.check()
    assert shared.tally("levels").unjudged == f"no read was answered: {missing}"
    shared.tally("levels").unjudged = ""
    reads.append(LevelRead("n1", missing, 1, 2, 0, 0))
    levels.check()
    assert shared.tally("levels").unjudged == ""
