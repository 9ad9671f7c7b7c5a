"""Broken rules of watches and of leases: what those rely on who wait for the cluster.

Law: as in mutants; this is the part of it that concerns I-58 to I-64.
"""

from typing import Final

from ...node.database import rules as database_rules
from ...node.replica import rules as replica_rules
from .mutant import Mutant, always, never

_EARLY_MS: Final = 400


def _forward(missed: int, newest: int) -> int:
    del missed
    return newest + 1


def _first_again(first: int, told: int) -> int:
    del told
    return first


def _also_behind(behind: bool, first: int, told: int) -> bool:
    del behind
    return first <= told + 1


def _itself(mod_revision: int, since: int) -> int:
    del since
    return mod_revision


def _since_the_start(now_ms: int) -> int:
    del now_ms
    return 0


def _not_renewed(asked_ms: int, leading_since_ms: int) -> int:
    del asked_ms
    return leading_since_ms


def _before_it_is(deadline_ms: int, now_ms: int) -> bool:
    return deadline_ms < now_ms + _EARLY_MS


WATCH_MUTANTS: Final = (
    Mutant(
        "slow-watch-skips",
        replica_rules,
        "goes_on_at",
        _forward,
        "I-59: who had no room goes on behind what he missed",
    ),
    Mutant(
        "compacted-watch-moved",
        replica_rules,
        "can_be_served",
        always,
        "I-59: a watch is moved over what was compacted, without a word",
    ),
    Mutant(
        "told-again-after-install",
        replica_rules,
        "told_from",
        _first_again,
        "I-61: a state that takes the place of another one is told from the start",
    ),
    Mutant(
        "progress-ahead",
        replica_rules,
        "may_bookmark",
        _also_behind,
        "I-58: a progress covers what was not told yet",
    ),
    Mutant(
        "future-watch-told-early",
        replica_rules,
        "has_begun",
        always,
        "I-60: a watch on a later revision is told of those before it",
    ),
    Mutant(
        "slow-watch-flooded",
        replica_rules,
        "takes_more",
        always,
        "I-62: all is kept for whoever does not read",
    ),
    Mutant(
        "watch-stays-alone",
        replica_rules,
        "alone_too_long",
        never,
        "I-59: a node that hears nobody lets those who watch wait for ever",
    ),
    Mutant(
        "revision-split",
        database_rules,
        "ends_a_slice",
        always,
        "I-58: a slice ends in the middle of a revision",
    ),
    Mutant(
        "previous-is-itself",
        database_rules,
        "replaced_at",
        _itself,
        "I-58: what was there before is looked up at the wrong revision",
    ),
)

LEASE_MUTANTS: Final = (
    Mutant(
        "expiry-not-checked-again",
        database_rules,
        "still_the_same",
        always,
        "I-63: the end of a lease ends a later one of the same id",
    ),
    Mutant(
        "leases-not-read-back",
        database_rules,
        "reads_leases_back",
        never,
        "I-63: who opens or installs a state forgets its leases",
    ),
    Mutant(
        "lease-ends-early",
        replica_rules,
        "is_over",
        _before_it_is,
        "I-63: a lease ends before its time is over",
    ),
    Mutant(
        "keep-alive-without-a-round",
        replica_rules,
        "questions_are_confirmed",
        never,
        "I-64: a leader that was replaced keeps leases alive that it does not rule",
    ),
    Mutant(
        "new-leader-shortens-leases",
        replica_rules,
        "inherited_from_ms",
        _since_the_start,
        "I-64: a lease has less of its time after a change of leader",
    ),
    Mutant(
        "keep-alive-renews-nothing",
        replica_rules,
        "renewed_from_ms",
        _not_renewed,
        "I-64: a lease is said to be kept alive, and is not",
    ),
    Mutant(
        "ending-lease-kept-alive",
        replica_rules,
        "ending_leases_are_gone",
        never,
        "I-64: a lease whose end is in the log is said to be kept alive",
    ),
)
