"""Safety rules broken on purpose, one at a time: the simulator must notice each.

Law: a mutant replaces one named predicate in one rules module and nothing else.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

import msgspec

from ...node.database import rules as database_rules
from ...node.replica import rules as replica_rules
from ...raft import rules as raft_rules
from ...storage import rules as storage_rules
from .caretaker_mutants import CARETAKER_MUTANTS
from .doubt_mutants import DOUBT_MUTANTS
from .gossip import GOSSIP_MUTANTS
from .log_mutants import LOG_MUTANTS
from .member_mutants import MEMBER_MUTANTS
from .mutant import Mutant, always, never
from .read_mutants import READ_MUTANTS
from .run import RunOptions, run_seed
from .session_mutants import SESSION_MUTANTS
from .state_worlds import no_disk_reads, slow_and_damaged
from .watch_mutants import LEASE_MUTANTS, WATCH_MUTANTS
from .world import Violation


class Catch(msgspec.Struct, frozen=True):
    """How a mutant was noticed: the seed, how many were tried, and what was seen."""

    seed: int
    tried: int
    what: str


def _truncate_always(conflict_index: int | None, previous_index: int) -> int:
    del conflict_index
    return previous_index + 1


def _last_index(stable_index: int, last_index: int) -> int:
    del stable_index
    return last_index


def _commit_only(commit_index: int, stable_index: int) -> int:
    del stable_index
    return commit_index


def _same_read_id(boot: int, counter: int) -> int:
    del boot
    return counter % 2 + 1


def _votes_twice(
    own: tuple[int, int], asked: tuple[int, int], vote: int, who: int
) -> bool:
    del vote, who
    return asked >= own


def _no_vote(vote: int) -> int:
    del vote
    return 0


def _learners_too(
    voters: tuple[int, ...], learners: tuple[int, ...]
) -> tuple[int, ...]:
    return voters + learners


def _known(own_term: int | None, previous_term: int) -> bool:
    del previous_term
    return own_term is not None


def _commit_unmatched(commit_index: int, match_index: int) -> int:
    del match_index
    return commit_index


def _forget_doubt(
    last: tuple[int, int], doubt: tuple[int, int] | None
) -> tuple[int, int]:
    del doubt
    return last


def _campaigns_in_doubt(voter: bool, doubtful: bool) -> bool:
    del doubtful
    return voter


def _learner_campaigns(voter: bool, doubtful: bool) -> bool:
    del voter
    return not doubtful


def _previous_round(agreed_round: int, needed_round: int) -> bool:
    return agreed_round >= needed_round - 1


def _newest(flushed_index: int, newest_index: int) -> int:
    del flushed_index
    return newest_index


def _by_the_wall(base_ms: int, elapsed_ms: int, wall_ms: int) -> int:
    del base_ms, elapsed_ms
    return wall_ms


def _committed(index: int, commit_index: int, stable_index: int) -> bool:
    del stable_index
    return index <= commit_index


MUTANTS = {
    mutant.name: mutant
    for mutant in (
        Mutant(
            "ack-before-sync",
            storage_rules,
            "syncs_before_acknowledging",
            never,
            "I-16: an append is acknowledged before it is durable",
        ),
        Mutant(
            "directory-not-synced",
            storage_rules,
            "syncs_directory_after_rename",
            never,
            "I-20: a journal segment's name is used before it is durable",
        ),
        Mutant(
            "failed-sync-ignored",
            storage_rules,
            "failed_sync_is_final",
            never,
            "I-19: the node goes on after a failed sync",
        ),
        Mutant(
            "page-cache-believed",
            storage_rules,
            "rewrites_what_it_read",
            never,
            "I-18: what was read at start may be in the page cache alone",
        ),
        Mutant(
            "doubt-is-absence",
            storage_rules,
            "identity_means_doubt",
            never,
            "I-22: a damaged last batch is taken for one that was never written",
        ),
        Mutant(
            "body-not-checked",
            storage_rules,
            "checks_body",
            always,
            "I-28: stored bytes are used unchecked",
        ),
        Mutant(
            "cache-not-dropped",
            storage_rules,
            "forgets_what_is_written",
            never,
            "a get is answered from the cache with what was overwritten since",
        ),
        Mutant(
            "segments-dropped-early",
            storage_rules,
            "may_reclaim",
            always,
            "I-30: segments are recycled while the log still needs them",
        ),
        Mutant(
            "message-before-disk",
            raft_rules,
            "must_wait_for_disk",
            never,
            "I-2: votes and terms are sent before they are durable",
        ),
        Mutant(
            "append-acked-before-disk",
            raft_rules,
            "acknowledges_up_to",
            always,
            "I-16: a follower acknowledges what its disk does not have yet",
        ),
        Mutant(
            "leader-counts-unsynced",
            raft_rules,
            "counts_itself",
            _last_index,
            "I-3: the leader counts entries that its own disk does not have",
        ),
        Mutant(
            "older-term-committed",
            raft_rules,
            "may_commit",
            always,
            "I-4: entries of older terms are committed by counting",
        ),
        Mutant(
            "unstable-applied",
            raft_rules,
            "applies_up_to",
            _commit_only,
            "I-18: entries are applied that this disk does not have",
        ),
        Mutant(
            "stale-append-truncates",
            raft_rules,
            "truncates_at",
            _truncate_always,
            "I-7: an old append cuts the log",
        ),
        Mutant(
            "vote-without-log-check",
            raft_rules,
            "log_up_to_date",
            always,
            "5.4.1: votes for candidates with shorter logs",
        ),
        Mutant(
            "votes-twice",
            raft_rules,
            "grants_vote",
            _votes_twice,
            "I-1: two votes in one term",
        ),
        Mutant(
            "read-id-reused",
            raft_rules,
            "read_id",
            _same_read_id,
            "I-40: a late answer confirms a newer read",
        ),
        Mutant(
            "reads-before-own-commit",
            raft_rules,
            "may_serve_reads",
            always,
            "I-5: a new leader serves reads before it knows what is committed",
        ),
        Mutant(
            "read-round-off-by-one",
            raft_rules,
            "read_confirmed",
            _previous_round,
            "I-40: a round that began before the read confirms it",
        ),
        Mutant(
            "old-snapshot-installed",
            raft_rules,
            "accepts_snapshot",
            always,
            "I-52: a snapshot older than the own commit is installed",
        ),
        Mutant(
            "doubter-forgets",
            raft_rules,
            "own_last",
            _forget_doubt,
            "I-23: votes as if the entry in doubt had never been",
        ),
        Mutant(
            "doubter-campaigns",
            raft_rules,
            "may_campaign",
            _campaigns_in_doubt,
            "I-23: leads from a hole",
        ),
        Mutant(
            "state-before-its-entries",
            replica_rules,
            "leads_to",
            _committed,
            "I-18: a damaged replica takes a state that its own disk is behind of",
            world=slow_and_damaged,
        ),
        Mutant(
            "waits-for-ever",
            replica_rules,
            "waits_in_vain",
            never,
            "I-73: nodes whose disks did not read wait for a state that nobody has",
            world=no_disk_reads,
        ),
        Mutant(
            "any-entry-answers",
            replica_rules,
            "fate_is_known",
            always,
            "I-54: another leader's entry is taken for the own proposal",
        ),
        Mutant(
            "unknown-called-refused",
            replica_rules,
            "outcome_unknown_after_proposal",
            never,
            "I-54: a write that may have happened is called not applied",
        ),
        Mutant(
            "condition-ignored",
            database_rules,
            "expectation_met",
            always,
            "a conditional write goes through at another revision",
        ),
        Mutant(
            "vote-not-persisted",
            raft_rules,
            "persisted_vote",
            _no_vote,
            "I-2: a restarted voter has forgotten its vote",
        ),
        Mutant(
            "learner-counted",
            raft_rules,
            "counting_voters",
            _learners_too,
            "I-47: learners count in majorities",
        ),
        Mutant(
            "learner-campaigns",
            raft_rules,
            "may_campaign",
            _learner_campaigns,
            "I-47: a learner asks for votes",
        ),
        Mutant(
            "append-behind-another-entry",
            raft_rules,
            "continues",
            _known,
            "I-6: entries are taken behind an entry of another term",
        ),
        Mutant(
            "heartbeat-commits-unmatched",
            raft_rules,
            "commit_to_tell",
            _commit_unmatched,
            "5.3: a heartbeat commits what its receiver has not matched",
        ),
        Mutant(
            "quorum-unchecked",
            raft_rules,
            "heard_quorum",
            always,
            "I-13: a leader that a majority is silent to goes on",
        ),
        Mutant(
            "leader-not-stuck-to",
            raft_rules,
            "sticks_to_leader",
            never,
            "I-12: anybody can depose a leader that is heard",
        ),
        Mutant(
            "stalled-disk-leads",
            raft_rules,
            "disk_stalled",
            never,
            "I-74: a leader whose disk hangs goes on",
        ),
        Mutant(
            "stale-disk-acknowledged",
            raft_rules,
            "storage_ack_is_current",
            always,
            "I-10: a sync of replaced entries counts for those that replaced them",
        ),
        Mutant(
            "damage-taken-for-tail",
            storage_rules,
            "proves_durability",
            never,
            "I-22: a damaged batch is cut although later ones prove it durable",
        ),
        Mutant(
            "table-not-synced",
            storage_rules,
            "syncs_table_contents",
            never,
            "I-20: the manifest names a table whose bytes are not durable",
        ),
        Mutant(
            "log-forgets-what-is-not-flushed",
            replica_rules,
            "forgets_up_to",
            _newest,
            "I-30: the log is dropped for effects that are in memory alone",
        ),
        Mutant(
            "block-not-checked",
            storage_rules,
            "checks_table_block",
            always,
            "I-28: a damaged block of a table is answered from",
        ),
        Mutant(
            "flush-claims-too-much",
            storage_rules,
            "flushed_index",
            _newest,
            "I-31: the manifest claims effects that are in memory alone",
        ),
        Mutant(
            "deletions-dropped-early",
            storage_rules,
            "may_drop_deletions",
            always,
            "a merge forgets a deletion that still hides an older value",
        ),
        Mutant(
            "lost-forward-sent-again",
            replica_rules,
            "lost_forward_is_unknown",
            never,
            "I-56: a write of unknown fate is sent a second time",
        ),
        Mutant(
            "cluster-time-by-the-wall",
            replica_rules,
            "cluster_time_ms",
            _by_the_wall,
            "leases would end when somebody sets a clock",
        ),
        *LOG_MUTANTS,
        *READ_MUTANTS,
        *WATCH_MUTANTS,
        *LEASE_MUTANTS,
        *SESSION_MUTANTS,
        *MEMBER_MUTANTS,
        *CARETAKER_MUTANTS,
        *GOSSIP_MUTANTS,
        *DOUBT_MUTANTS,
    )
}


@contextmanager
def planted(name: str) -> Generator[Mutant]:
    """Break one rule while the block runs."""
    mutant = MUTANTS[name]
    original: object = getattr(mutant.module, mutant.predicate)
    setattr(mutant.module, mutant.predicate, mutant.replacement)
    try:
        yield mutant
    finally:
        setattr(mutant.module, mutant.predicate, original)


def hunt(name: str, seeds: range) -> Catch | None:
    """The first of `seeds` that notices the mutant; None when none does.

    A seed that fails with every rule in force notices nothing.
    """
    mutant = MUTANTS[name]
    options = RunOptions(members=mutant.members)
    world = mutant.world or partial(run_seed, options=options)
    for tried, seed in enumerate(seeds, start=1):
        with planted(name):
            what = _failure(world, seed)
        if what is not None and _failure(world, seed) is None:
            return Catch(seed, tried, what)
    return None


def _failure(world: Callable[[int], object], seed: int) -> str | None:
    """How a seed fails: a checker objects, a core asserts, a disk can't be read."""
    try:
        world(seed)
    except Violation as violation:
        return f"{violation.invariant}: {violation.detail}"
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return None
