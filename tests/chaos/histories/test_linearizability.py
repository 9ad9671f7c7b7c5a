"""The black-box checker against its slow twin, and against stores that are right."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quorate.chaos.histories import (
    UNSEEN,
    Kind,
    Operation,
    Verdict,
    check_linearizable,
)

from .brute import explainable
from .notation import read_history
from .store import History

VALUES = [b"a", b"b", b"c", b"d", b"e", b"f"]
KINDS: list[Kind] = ["put", "get", "delete", "cas"]
FINE = Verdict(None, 0)


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Up to six operations; what they saw may be right or wrong."""
    operations: list[Operation] = []
    count = draw(st.integers(1, 6))
    kinds = draw(
        st.lists(
            st.sampled_from(KINDS),
            min_size=count,
            max_size=count,
        )
    )
    written = [VALUES[i] for i, kind in enumerate(kinds) if kind in ("put", "cas")]
    seen = st.sampled_from([*written, None, b"thin air"] if written else [None])
    for number, kind in enumerate(kinds):
        start = draw(st.integers(0, 9))
        operation = Operation(
            number,
            kind,
            draw(st.sampled_from([b"k", b"k", b"k", b"j"])),
            start,
            start + draw(st.integers(0, 6)),
            draw(st.sampled_from(["ok", "ok", "ok", "unknown", "refused"])),
        )
        if operation.outcome == "unknown":
            operation.end = None
        if kind == "get":
            operation.value = draw(seen)
        elif kind != "delete":
            operation.value = VALUES[number]
        if kind == "cas":
            operation.expected = 7
            operation.expected_value = draw(st.one_of(seen, st.just(UNSEEN)))
        operations.append(operation)
    return operations


@pytest.mark.slow
@settings(max_examples=500)
@given(histories())
def test_it_objects_if_and_only_if_no_order_explains_the_history(
    operations: list[Operation],
) -> None:
    verdict = check_linearizable(operations)
    assert verdict.undecided == 0
    assert (verdict.objection is None) == explainable(operations)


def damage(dice: Random, operations: list[Operation]) -> None:
    """One answer or one time is not what it was."""
    operation = dice.choice(operations)
    match dice.randrange(3):
        case 0 if operation.kind == "get":
            others = [o.value for o in operations if o.kind != "get"]
            operation.value = dice.choice([*others, None])
        case 1 if operation.kind != "get":
            operation.outcome = dice.choice(["ok", "refused", "unknown"])
            operation.end = operation.start + dice.randrange(5)
        case _:
            operation.start = max(0, operation.start + dice.randint(-4, 4))
            if operation.end is not None:
                operation.end = operation.start + dice.randrange(5)


@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_its_twin_where_a_right_history_is_damaged(seed: int) -> None:
    dice = Random(seed)
    found = 0
    for _ in range(100):
        history = History(
            dice,
            clients=dice.randint(2, 5),
            operations=dice.randint(4, 6),
            keys=dice.choice((1, 1, 2)),
            lost=dice.choice((0.1, 0.4)),
            pause=2,
        )
        for _ in range(3):
            damage(dice, history.operations)
        verdict = check_linearizable(history.operations)
        assert verdict.undecided == 0
        assert (verdict.objection is None) == explainable(history.operations)
        found += verdict.objection is not None
    assert found


def clump(dice: Random) -> list[Operation]:
    """A few operations on one key at about one time, that make and need its absence."""
    operations: list[Operation] = []
    for number, value in enumerate(VALUES):
        kind = dice.choice(("put", "get", "delete", "delete", "cas"))
        start = dice.randrange(16)
        end = start + dice.randrange(7)
        outcome = "unknown" if kind != "get" and dice.random() < 0.3 else "ok"
        operation = Operation(number, kind, b"k", start, end, outcome)
        written = [o.value for o in operations if o.kind in ("put", "cas")]
        if kind == "get":
            operation.value = dice.choice([*written, None, None])
        elif kind != "delete":
            operation.value = value
        if kind == "cas":
            operation.expected, operation.expected_value = (
                7,
                dice.choice([*written, None, None]),
            )
        operations.append(operation)
    return operations


@pytest.mark.parametrize("seed", range(12))
def test_it_agrees_with_its_twin_where_much_happens_at_once(seed: int) -> None:
    dice = Random(seed)
    verdicts: list[bool] = []
    for _ in range(80):
        operations = clump(dice)
        verdict = check_linearizable(operations)
        assert verdict.undecided == 0
        assert (verdict.objection is None) == explainable(operations)
        verdicts.append(verdict.objection is None)
    assert 10 < sum(verdicts) < 70


@pytest.mark.parametrize("clients", [1, 4, 8, 64])
@pytest.mark.parametrize("keys", [1, 2, 40])
@pytest.mark.parametrize("lost", [0.0, 0.05, 0.3])
def test_no_history_of_a_right_store_is_objected_to_or_left_undecided(
    clients: int, keys: int, lost: float
) -> None:
    dice = Random(f"{clients}:{keys}:{lost}")
    for pause in (0, 10, 200):
        history = History(
            dice,
            clients=clients,
            operations=600,
            keys=keys,
            lost=lost,
            pause=pause,
            patience=50,
        )
        assert len(history.operations) == 600
        assert check_linearizable(history.operations) == FINE


@pytest.mark.parametrize("seed", range(10))
def test_one_stale_read_among_many_operations_at_once_is_found(seed: int) -> None:
    """A value that was over for everybody: a later one was read and replaced."""
    dice = Random(seed)
    history = History(
        dice, clients=16, operations=600, keys=1, pause=0, patience=50, lost=0.05
    )
    operations = history.operations
    reads = [o for o in operations if o.kind == "get" and o.value is not None]
    old = next(o for o in reads if o.outcome == "ok")
    end = old.end or 0
    later = next(
        o
        for o in reads
        if o.outcome == "ok" and o.mod_revision > old.mod_revision and o.start > end
    )
    operations.append(
        Operation(99, "get", old.key, (later.end or 0) + 1, 10**6, "ok", old.value)
    )
    objection = check_linearizable(operations).objection
    assert objection is not None
    assert objection.invariant == "linearizability"


# Three at once, in front of a read that only one order explains.
TANGLE = """
    c1 0..9 put k a ok
    c2 0..9 delete k ok
    c3 0..9 get k -> a ok
    c4 0..9 get k -> nothing ok
    c5 0..9 cas k 0=nothing b ok
"""


def test_a_key_that_takes_too_many_steps_is_undecided_and_no_failure() -> None:
    tangle = read_history(TANGLE)
    assert check_linearizable(tangle) == FINE
    assert check_linearizable(tangle, steps_max=2) == Verdict(None, 1)


def test_other_keys_are_judged_when_one_is_undecided() -> None:
    other = read_history("""
        c1 0..1 put j x ok
        c2 2..3 get j -> nothing ok
    """)
    verdict = check_linearizable([*read_history(TANGLE), *other], steps_max=2)
    assert verdict.undecided == 1
    assert verdict.objection is not None
    assert verdict.objection.operation is other[-1]


def test_many_unknown_deletes_of_one_key_do_not_make_it_hard() -> None:
    lines = [f"c{i} {i}.. delete k unknown" for i in range(200)]
    for i in range(100):
        at = 1000 + 10 * i
        lines.append(f"c500 {at}..{at + 5} put k v{i} ok")
        lines.append(f"c501 {at + 3}..{at + 8} get k -> nothing ok")
        lines.append(f"c502 {at + 6}..{at + 8} put k w{i} ok")
    assert check_linearizable(read_history("\n".join(lines)), steps_max=2000) == FINE


def test_each_unknown_delete_explains_one_absence() -> None:
    history = read_history("""
        c1 0.. delete k unknown
        c1 0.. delete k unknown
        c2 1..2 put k a ok
        c2 3..4 get k -> nothing ok
        c2 5..6 put k b ok
        c2 7..8 get k -> nothing ok
        c2 9..10 put k c ok
        c2 11..12 get k -> nothing ok
    """)
    assert check_linearizable(history[:-1]) == FINE
    assert check_linearizable(history).objection is not None


@pytest.mark.parametrize("beside", ["", "c4 14..90 put k y ok"])
def test_an_unknown_delete_explains_no_absence_before_what_was_over_when_it_was_sent(
    beside: str,
) -> None:
    """The read came before b, which was written before the delete was sent."""
    history = read_history(f"""
        c1 0..1 put k z ok
        c2 14..100 get k -> nothing ok
        {beside}
        c1 15..50 put k b ok
        c1 200..201 get k -> b ok
    """)
    for start in (50, 70):
        delete = Operation(3, "delete", b"k", start)
        sound = explainable([*history, delete])
        assert sound == (start == 50)
        assert (check_linearizable([*history, delete]) == FINE) == sound


def test_no_unknown_delete_is_spent_where_another_order_needs_none() -> None:
    """The first order that is found spends it; then there is none for what follows."""
    history = read_history("""
        c5 0.. delete k unknown
        c1 0..5 delete k ok
        c2 0..6 put k a ok
        c3 0..9 put k c ok
        c4 7..8 get k -> nothing ok
        c6 20..21 put k b ok
        c6 22..23 get k -> nothing ok
    """)
    assert check_linearizable(history) == FINE


def test_an_unknown_delete_explains_no_absence_before_it_was_sent() -> None:
    history = read_history("""
        c2 1..2 put k a ok
        c2 3..4 get k -> nothing ok
        c1 5.. delete k unknown
    """)
    assert check_linearizable(history).objection is not None


def test_revisions_and_counts_are_not_looked_at() -> None:
    history = read_history("""
        c1 0..1 put k a ok r9
        c2 2..3 cas k 0=nothing b refused m77
        c3 4..5 delete k ok r1 n0
        c4 6..7 delete k ok r1 n1
        c5 8..9 get k -> nothing ok r5 m0
    """)
    assert check_linearizable(history) == FINE


def test_replacements_in_a_circle_are_an_objection() -> None:
    history = read_history("""
        c3 0..1 put k x ok
        c3 2..3 cas k 4=x y ok
        c1 0..9 cas k 2=b a ok
        c2 0..9 cas k 3=a b ok
    """)
    assert not explainable(history)
    assert str(check_linearizable(history).objection) == (
        "linearizability: each replaces what the other wrote, in a circle\n"
        "  c1 0..9 cas k 2=b a ok\n"
        "  c2 0..9 cas k 3=a b ok"
    )


# A counter-example is for people: what is shown, of a history that has more to it.
SHOWN = [
    (
        """
        c2 0..3 get k -> a ok r2 m2
        c2 0..1 get k -> a ok r2 m2
        c1 2..3 put k a ok r2
        c2 6..7 get k -> a ok r2 m2
        """,
        """linearizability: a value was seen before its write began
  c2 0..1 get k -> a ok r2 m2
  c1 2..3 put k a ok r2""",
    ),
    (
        """
        c1 0..1 put k a ok r2
        c2 2..5 cas k 2=a b ok r3
        c3 4..7 cas k 3=b c ok r4
        c3 8..9 get k -> c ok r4 m4
        c4 4..6 get k -> a ok r2 m2
        c4 8..10 get k -> a ok r2 m2
        c4 7..9 get k -> b ok r3 m3
        """,
        """linearizability: a value was replaced, and seen afterwards
  c2 2..5 cas k 2=a b ok r3
  c4 8..10 get k -> a ok r2 m2""",
    ),
    (
        """
        c1 0..1 put k a ok r2
        c2 2..9 cas k 2=a b ok r3
        c3 4..7 cas k 3=b c ok r4
        c4 8..10 get k -> a ok r2 m2
        """,
        """linearizability: a value was replaced, and seen afterwards
  c3 4..7 cas k 3=b c ok r4
  c4 8..10 get k -> a ok r2 m2""",
    ),
    (
        """
        c1 0..1 put k a ok r2
        c1 2..3 put k b ok r3
        c3 4..5 get k -> b ok r3 m3
        c2 6..7 get k -> a ok r2 m2
        c3 8..9 put k c ok r4
        """,
        """linearizability: no order of these on k explains what was seen
  c1 0..1 put k a ok r2
  c1 2..3 put k b ok r3
  c3 4..5 get k -> b ok r3 m3
  c2 6..7 get k -> a ok r2 m2""",
    ),
    (
        """
        c1 0..1 put k a refused
        c3 0..1 put k b ok r2
        c2 4..5 get k -> a ok r3 m3
        """,
        """I-54: the write of a was refused, and its value was seen
  c1 0..1 put k a refused
  c2 4..5 get k -> a ok r3 m3""",
    ),
    (
        """
        c1 0..1 put k a ok r2
        c2 2..3 cas k 2=a b ok r3
        c1 4..5 put k c ok r4
        c3 6..7 get k -> b ok r3 m3
        """,
        """linearizability: no order of these on k explains what was seen
  c1 0..1 put k a ok r2
  c1 4..5 put k c ok r4
  c3 6..7 get k -> b ok r3 m3""",
    ),
    (
        """
        c1 0..1 put k z ok r2
        c1 2..3 put k a ok r3
        c2 4..5 get k -> nothing ok r3 m0
        """,
        """linearizability: k was gone, and nobody removed it
  c1 2..3 put k a ok r3
  c2 4..5 get k -> nothing ok r3 m0""",
    ),
    (
        """
        c1 0..1 put k a ok r2
        c1 2..3 cas k 2=a b ok r3
        c2 2..3 cas k 2=a c ok r4
        """,
        """linearizability: a was replaced twice
  c2 2..3 cas k 2=a c ok r4
  c1 2..3 cas k 2=a b ok r3""",
    ),
    (
        """
        c1 0..9 put k a ok
        c2 0..9 put k b ok
        c3 0..9 get k -> nothing ok
        c4 10..11 get k -> nothing ok
        c5 10..11 get k -> b ok
        """,
        """linearizability: no order of these on k explains what was seen
  c2 0..9 put k b ok
  c5 10..11 get k -> b ok
  c4 10..11 get k -> nothing ok""",
    ),
]


def test_a_long_counter_example_shows_what_is_around_the_place_where_it_fails() -> None:
    lines = [f"c1 {i}..{i + 15} put k v{i} ok" for i in range(0, 1000, 10)]
    lines += ["c2 700..720 put k gone ok", "c3 705..708 get k -> nothing ok"]
    objection = check_linearizable(read_history("\n".join(lines))).objection
    assert objection is not None
    head, *shown = objection.detail.splitlines()
    assert head == "no order of these and others on k explains what was seen"
    assert len(shown) == 12
    assert "  c3 705..708 get k -> nothing ok" in shown


@pytest.mark.parametrize(("text", "expected"), SHOWN)
def test_a_counter_example_shows_the_few_operations_that_contradict(
    text: str, expected: str
) -> None:
    objection = check_linearizable(read_history(text)).objection
    assert str(objection) == expected
