"""Broken rules of sessions: what a write relies on that is sent again.

Law: as in mutants; this is the part of it that concerns I-55.
"""

from typing import Final

from ...node.database import rules as database_rules
from .mutant import Mutant, always, never

SESSION_MUTANTS: Final = (
    Mutant(
        "done-again",
        database_rules,
        "done_once",
        never,
        "I-55: what was done in a session is done again when it comes again",
    ),
    Mutant(
        "sessions-not-read-back",
        database_rules,
        "reads_sessions_back",
        never,
        "I-55: a state that is opened or installed knows no sessions",
    ),
    Mutant(
        "next-session-takes-it",
        database_rules,
        "same_session",
        always,
        "I-55: what was meant for a session is done in a later one of its id",
    ),
    Mutant(
        "finished-number-done-again",
        database_rules,
        "number_is_finished",
        never,
        "I-55: what a client had finished is done when a copy of it comes",
    ),
)
