"""The revision-guided checker: with the agreed log, and with what replies prove."""

from pathlib import Path
from random import Random

import msgspec
import pytest
from quorate.chaos.histories import NOT_TOLD, Change, Operation, check_replay

from .brute import replayable
from .notation import Story, read_history, read_stories
from .store import History

FOLDER = Path(__file__).parent / "replay"


def stories(name: str) -> pytest.MarkDecorator:
    """A test of each history in a file."""
    found = read_stories(FOLDER / f"{name}.txt")
    return pytest.mark.parametrize("story", found, ids=[story.name for story in found])


@stories("broken_beside_the_log")
def test_a_history_that_the_log_contradicts_is_objected_to(story: Story) -> None:
    objection = check_replay(story.operations, story.changes)
    assert str(objection).splitlines()[0] == story.text
    assert not replayable(story.operations, story.changes)


@stories("broken_by_themselves")
def test_a_history_that_contradicts_itself_is_objected_to_without_any_log(
    story: Story,
) -> None:
    objection = check_replay(story.operations)
    assert str(objection).splitlines()[0] == story.text


@stories("sound_beside_the_log")
def test_a_history_that_the_log_explains_is_accepted(story: Story) -> None:
    assert check_replay(story.operations, story.changes) is None
    assert check_replay(story.operations) is None


def test_an_objection_shows_what_contradicts_it() -> None:
    history = read_history("""
        c1 0..1 put k a ok r2
        c1 2..3 put k b ok r3
        c3 4..5 put j c ok r4
        c2 6..7 get k -> a ok r2 m2
        c4 8..9 get j -> c ok r4 m4
    """)
    assert str(check_replay(history)) == (
        "I-40: revision 2 is too old: 4 was told before it began\n"
        "  c3 4..5 put j c ok r4\n"
        "  c2 6..7 get k -> a ok r2 m2"
    )


def test_an_objection_to_what_nobody_wrote_shows_who_saw_it() -> None:
    objection = check_replay(read_history("c1 0..1 get k -> a ok m2"))
    assert str(objection) == (
        "I-54: nobody wrote a, of revision 2\n  c1 0..1 get k -> a ok m2"
    )


def forget(dice: Random, operations: list[Operation]) -> None:
    """Take away what replies may leave out, of some kinds of operations."""
    kinds = [kind for kind in ("put", "get", "delete", "cas") if dice.random() < 0.5]
    counted = dice.random() < 0.5
    for operation in operations:
        if operation.kind in kinds:
            operation.revision = 0
        if not counted:
            operation.count = NOT_TOLD


@pytest.mark.parametrize("keys", [1, 3, 20])
@pytest.mark.parametrize("lost", [0.0, 0.1, 0.4])
def test_no_history_of_a_right_store_is_objected_to(keys: int, lost: float) -> None:
    dice = Random(f"{keys}:{lost}")
    for _ in range(30):
        history = History(
            dice,
            clients=dice.randint(1, 8),
            operations=100,
            keys=keys,
            lost=lost,
            pause=dice.choice((0, 3, 20)),
            patience=dice.choice((1, 10)),
        )
        operations = history.operations
        assert check_replay(operations, history.changes) is None
        assert check_replay(operations) is None
        forget(dice, operations)
        assert check_replay(operations, history.changes) is None
        assert check_replay(operations) is None


def damage(dice: Random, operations: list[Operation], changes: list[Change]) -> None:
    """One reply, one time or one change is not what it was."""
    operation = dice.choice(operations)
    match dice.randrange(6):
        case 0 if operation.revision:
            operation.revision = max(1, operation.revision + dice.choice((-1, 1)))
        case 1 if operation.mod_revision >= 0:
            operation.mod_revision = max(0, operation.mod_revision - 1)
        case 2 if operation.kind == "cas":
            operation.expected = dice.randrange(4)
        case 3 if operation.kind != "get" and operation.outcome != "ok":
            operation.outcome = "ok"
            operation.end = operation.start + 3
            operation.revision = dice.randrange(1, 6)
            operation.count = NOT_TOLD if operation.kind != "delete" else 1
            operation.mod_revision = NOT_TOLD
        case 4 if changes:
            position = dice.randrange(len(changes))
            value = dice.choice([None, *(change.value for change in changes)])
            changes[position] = msgspec.structs.replace(changes[position], value=value)
        case _:
            operation.start = max(0, operation.start + dice.randint(-4, 4))
            if operation.end is not None:
                operation.end = operation.start + dice.randrange(5)


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_its_twin_where_a_right_history_is_damaged(seed: int) -> None:
    dice = Random(seed)
    found = 0
    for _ in range(200):
        history = History(
            dice,
            clients=dice.randint(2, 5),
            operations=dice.randint(3, 9),
            keys=dice.choice((1, 1, 2)),
            lost=dice.choice((0.1, 0.4)),
            pause=dice.choice((2, 10)),
        )
        operations, changes = history.operations, list(history.changes)
        for _ in range(dice.randrange(3)):
            damage(dice, operations, changes)
        objection = check_replay(operations, changes)
        assert (objection is None) == replayable(operations, changes)
        found += objection is not None
    assert found > 20
