"""Histories of clients: what they did, what they were told, and whether that can be.

Law: pure, and of no other room: the simulator and the harness hand in the same plain
values. Two checkers judge them by different evidence: `replay` by the revisions that
the cluster named, `linearizability` by values and times alone. What a watch was told is
judged by rules of its own (`watch_rules`), beside the agreed log; so are transactions,
lists that are appended to, locks, leases, and reads that may be old.
"""

from .appends import Append, check_appends, describe_append
from .fencing import FencedWrite, Holding, check_fencing
from .levels import Level, LevelRead, Version, check_levels
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
from .tenancies import Question, Tenancy, check_tenancy
from .transactions import (
    Seen,
    Transaction,
    check_conserved,
    check_transactions,
    describe_transaction,
)
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
    "Append",
    "Before",
    "Change",
    "Created",
    "Ended",
    "Event",
    "Events",
    "Facts",
    "FencedWrite",
    "Holding",
    "Kind",
    "Level",
    "LevelRead",
    "Objection",
    "Operation",
    "Outcome",
    "Progress",
    "Question",
    "Seen",
    "Tenancy",
    "Told",
    "Transaction",
    "Unseen",
    "Verdict",
    "Version",
    "Watch",
    "check_appends",
    "check_complete",
    "check_conserved",
    "check_fencing",
    "check_levels",
    "check_linearizable",
    "check_replay",
    "check_tenancy",
    "check_transactions",
    "check_watch",
    "describe",
    "describe_append",
    "describe_transaction",
    "describe_watch",
]
