"""Hand-made histories: the broken are rejected by both checkers, the sound by none.

A broken one that is mended in the one place where it is broken is accepted, so that it
is rejected for what its story tells.
"""

from itertools import chain
from pathlib import Path

import pytest
from quorate.chaos.histories import (
    Operation,
    check_linearizable,
    check_replay,
    describe,
)

from .brute import explainable
from .notation import Story, read_operation, read_stories

FOLDER = Path(__file__).parent
BROKEN = [
    story
    for path in sorted((FOLDER / "broken").glob("*.txt"))
    for story in read_stories(path)
]
SOUND = read_stories(FOLDER / "sound" / "histories.txt")


def name(story: Story) -> str:
    return story.name.replace(" ", "-")


def objections(operations: list[Operation]) -> list[object]:
    return [check_replay(operations), check_linearizable(operations).objection]


def test_there_are_enough_stories_and_no_two_have_one_name() -> None:
    assert len(BROKEN) >= 24
    assert len(SOUND) >= 10
    names = [story.name for story in chain(BROKEN, SOUND)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("story", BROKEN, ids=name)
def test_a_broken_history_is_rejected_by_both_checkers(story: Story) -> None:
    assert None not in objections(story.operations)
    assert not explainable(story.operations)


@pytest.mark.parametrize("story", BROKEN, ids=name)
def test_a_broken_history_that_is_mended_is_accepted_by_both(story: Story) -> None:
    assert objections(story.mended) == [None, None]
    assert explainable(story.mended)


@pytest.mark.parametrize("story", SOUND, ids=name)
def test_a_sound_history_is_accepted_by_both_checkers(story: Story) -> None:
    assert objections(story.operations) == [None, None]
    assert explainable(story.operations)


@pytest.mark.parametrize("story", [*BROKEN, *SOUND], ids=name)
def test_no_order_in_which_operations_are_handed_in_matters(story: Story) -> None:
    backwards = story.operations[::-1]
    assert [o is None for o in objections(backwards)] == [
        o is None for o in objections(story.operations)
    ]


@pytest.mark.parametrize("story", [*BROKEN, *SOUND], ids=name)
def test_an_operation_is_described_in_the_notation_of_these_files(story: Story) -> None:
    for operation in story.operations:
        line = describe(operation)
        assert describe(read_operation(line)) == line
