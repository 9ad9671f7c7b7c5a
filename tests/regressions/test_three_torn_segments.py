"""Found by the enumeration of crash states: a node that would not start any more.

Three appends in a row are torn by power losses, each in a segment of its own, the
middle one known only by its foot. The next append is acknowledged, and its sync renames
the torn segments for reuse. The power keeps only the first rename. Then the segment
with the foot is the first one, and recovery takes its number from the foot, which does
not say that this batch, too, had given one up. The batch behind it, of the same number
for the same reason, "does not continue what is before it", and the node refused to
start, on a disk that nobody had damaged.
"""

from quorate.chaos.simulator.exhaustive.crash_states import FAMILIES, Walk

JOURNAL = "journal of two blocks"


def test_a_front_of_torn_segments_that_is_half_reclaimed_opens() -> None:
    walk = Walk(FAMILIES[JOURNAL])
    run = walk.family.begin(walk.family)
    steps = {step.name: step for step in walk.family.steps}
    torn = ("tear to the head", "tear to the foot", "tear to the head")
    for name in (*torn, "append"):
        assert walk.perform(run, steps[name])
    assert walk.summary.violations == []
    assert walk.summary.states > 0
