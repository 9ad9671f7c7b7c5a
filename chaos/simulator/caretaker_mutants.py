"""Broken rules of the caretaker, which changes voters although nobody asks for it.

Law: as in mutants; looked for in the world in which voters are lost. The others have
tests of their own (tests/node/replica/test_caretaker.py).
"""

from typing import Final

from ...node.replica import rules as replica_rules
from .caretaker_worlds import lost_voters
from .mutant import Mutant, always

CARETAKER_MUTANTS: Final = (
    Mutant(
        "heard-voter-replaced",
        replica_rules,
        "silent_too_long",
        always,
        "I-48: a voter that is there loses its vote to a spare",
        world=lost_voters,
    ),
    Mutant(
        "more-voters-than-wanted",
        replica_rules,
        "more_are_wanted",
        always,
        "I-48: every spare becomes a voter",
        world=lost_voters,
    ),
)
