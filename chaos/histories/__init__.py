"""Histories of clients: what they did, what they were told, and whether that can be.

Law: pure, and of no other room: the simulator and the harness hand in the same plain
values. Two checkers judge them by different evidence: `replay` by the revisions that
the cluster named, `linearizability` by values and times alone. What a watch was told is
judged by rules of its own (`watch_rules`), beside the agreed log.
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
from .watch_rules import check_complete, check_watch, describe_watch
from .watches import (
    Before,
    Created,
    Ended,
    Event,
    Events,
    Facts,
    Progress,
    Told,
    Watch,
)

__all__ = [
    "NOT_TOLD",
    "UNSEEN",
    "Before",
    "Change",
    "Created",
    "Ended",
    "Event",
    "Events",
    "Facts",
    "Kind",
    "Objection",
    "Operation",
    "Outcome",
    "Progress",
    "Told",
    "Unseen",
    "Verdict",
    "Watch",
    "check_complete",
    "check_linearizable",
    "check_replay",
    "check_watch",
    "describe",
    "describe_watch",
]
