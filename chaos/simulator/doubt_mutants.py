"""Rules about entries in doubt, broken on purpose; see mutants and decision 0004.

Law: as mutants: one named predicate each. Each is looked for in the world that tells
its story: seeds hardly ever draw what it takes.
"""

from collections.abc import Callable
from typing import Final

from ...raft import rules
from ...storage import rules as storage_rules
from .doubt_worlds import (
    changed_voters,
    counted_before,
    damaged_vote,
    joint_voters,
    late_answer,
    left_voters,
    undone_change,
)
from .mutant import Mutant, always, never

Groups = tuple[tuple[int, ...], ...]


def _as_one(groups: Groups) -> Groups:
    return (tuple(sorted({voter for group in groups for voter in group})),)


def _old_alone(groups: Groups) -> Groups:
    return groups[-1:]


def _new_alone(groups: Groups) -> Groups:
    return groups[:1]


def _none(doubting: int, faults: int) -> int:
    del doubting, faults
    return 0


def _same_term(term: int) -> int:
    return term


def _mutant(
    name: str,
    predicate: str,
    replacement: Callable[..., object],
    breaks: str,
    world: Callable[[int], str],
) -> Mutant:
    return Mutant(name, rules, predicate, replacement, breaks, world=world)


def _no_doubt(doubt: tuple[int, int]) -> tuple[int, int]:
    del doubt
    return 0, 0


DOUBT_MUTANTS: Final = (
    Mutant(
        "damaged-vote-forgotten",
        storage_rules,
        "counts_what_it_carried",
        never,
        "I-27: a voter whose last batch is damaged has not voted",
        world=damaged_vote,
    ),
    Mutant(
        "doubt-ends-with-its-boot",
        storage_rules,
        "carries_doubt_on",
        _no_doubt,
        "I-23: the next boot has forgotten what was in doubt",
        world=joint_voters,
    ),
    _mutant(
        "strangers-counted-absent",
        "may_be_counted_absent",
        always,
        "I-23: voters of before are asked for what those of now decided",
        changed_voters,
    ),
    _mutant(
        "joint-doubt-counted-as-one",
        "may_have_decided",
        _as_one,
        "I-23: two of four voters, a majority of both sets, are taken for a minority",
        joint_voters,
    ),
    _mutant(
        "joint-doubt-asks-new-alone",
        "may_have_decided",
        _new_alone,
        "I-23: what the old voters may have decided is discarded without them",
        undone_change,
    ),
    _mutant(
        "joint-doubt-asks-old-alone",
        "may_have_decided",
        _old_alone,
        "I-23: what the new voters alone may have decided is discarded without them",
        left_voters,
    ),
    _mutant(
        "damaged-is-never-durable",
        "durable_among",
        _none,
        "I-23: a copy in doubt counts as one that was never written",
        joint_voters,
    ),
    _mutant(
        "old-leader-counts-doubter",
        "doubt_begins_in",
        _same_term,
        "I-23: the leader that has counted a damaged copy goes on to count it",
        counted_before,
    ),
    _mutant(
        "absent-for-the-moment",
        "answer_stays_true",
        always,
        "I-23: who says that it lacks an entry is given it by an older leader later",
        counted_before,
    ),
    _mutant(
        "late-answer-overwrites",
        "may_be_overwritten",
        always,
        "I-23: an old copy takes the place of what was acknowledged to a leader since",
        late_answer,
    ),
)
