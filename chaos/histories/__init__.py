"""Histories of clients: what they did, what they were told, and whether that can be.

Law: pure, and of no other room: the simulator and the harness hand in the same plain
values. Two checkers judge them by different evidence: `replay` by the revisions that
the cluster named, `linearizability` by values and times alone.
"""

from .linearizability import Verdict, check_linearizable
from .operations import (
    NOT_TOLD,
    UNSEEN,
    Change,
    Kind,
    Objection,
    Operation,
    Outcome,
    Unseen,
    describe,
)
from .replay import check_replay

__all__ = [
    "NOT_TOLD",
    "UNSEEN",
    "Change",
    "Kind",
    "Objection",
    "Operation",
    "Outcome",
    "Unseen",
    "Verdict",
    "check_linearizable",
    "check_replay",
    "describe",
]
