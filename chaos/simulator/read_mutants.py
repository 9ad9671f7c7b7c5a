"""Broken rules of reads, and of how much of the past is kept for them.

Law: as in mutants; this is the part of it that concerns I-39 to I-44.
"""

from typing import Final

from ...node.database import rules as database_rules
from ...node.replica import rules as replica_rules
from .mutant import Mutant, always

READ_MUTANTS: Final = (
    Mutant(
        "read-before-apply",
        replica_rules,
        "serves_read",
        always,
        "I-40: a read does not wait for its index",
    ),
    Mutant(
        "every-node-answers-alone",
        replica_rules,
        "answers_alone",
        always,
        "I-41: followers answer linearizable reads by themselves",
    ),
    Mutant(
        "bounded-read-unbounded",
        replica_rules,
        "fresh_enough",
        always,
        "a bounded read is as old as it likes",
    ),
    Mutant(
        "least-revision-ignored",
        replica_rules,
        "far_enough",
        always,
        "I-43: a reader is shown less than it has seen",
    ),
    Mutant(
        "healed-state-read-early",
        replica_rules,
        "caught_up",
        always,
        "I-43: a state that was replaced is read while it is older than before",
    ),
    Mutant(
        "compacted-is-answered",
        database_rules,
        "still_kept",
        always,
        "I-44: a revision that was compacted is read, of which some is gone",
    ),
    Mutant(
        "compaction-goes-back",
        database_rules,
        "lets_go",
        always,
        "I-39: what was compacted is called readable again",
    ),
)
