"""Broken rules of what a log or a state is made of when it is read or received again.

Law: as in mutants; this is the part of it that concerns I-8, I-9, I-26, I-51,
and late answers. What seeds hardly ever come to is looked for in the world that tells
its story.
"""

from typing import Final

from ...node.database import rules as database_rules
from ...raft import AppendEntriesReply, HeartbeatReply, Message, RequestVoteReply
from ...raft import rules as raft_rules
from ...storage import rules as storage_rules
from .log_worlds import (
    dropped_tail,
    late_acknowledgement,
    late_round,
    late_vote,
    state_over_tail,
)
from .mutant import Mutant, always, never


def _as_many(log_end: int, batch_end: int) -> int:
    return min(log_end, batch_end)


def _but_acknowledgements(message: Message) -> bool:
    return not isinstance(message, AppendEntriesReply)


def _but_rounds(message: Message) -> bool:
    return not isinstance(message, HeartbeatReply)


def _but_votes(message: Message) -> bool:
    return not isinstance(message, RequestVoteReply)


def _nothing(state: int) -> int:
    del state
    return 0


LOG_MUTANTS: Final = (
    Mutant(
        "dropped-entries-come-back",
        storage_rules,
        "replaces_up_to",
        _as_many,
        "I-8: a boot finds entries again that fewer ones had replaced",
        world=dropped_tail,
    ),
    Mutant(
        "late-acknowledgement-counts",
        raft_rules,
        "counts_for_nothing",
        _but_acknowledgements,
        "I-9: an acknowledgement of an older term counts for what is there now",
        world=late_acknowledgement,
    ),
    Mutant(
        "late-vote-counts",
        raft_rules,
        "counts_for_nothing",
        _but_votes,
        "I-9: a vote of an older term elects who stands again",
        world=late_vote,
    ),
    Mutant(
        "late-round-counts",
        raft_rules,
        "counts_for_nothing",
        _but_rounds,
        "I-40: a round of an older term confirms a read of now",
        world=late_round,
    ),
    Mutant(
        "old-terms-count",
        raft_rules,
        "counts_for_nothing",
        never,
        "I-9: what was said in an older term is done",
    ),
    Mutant(
        "former-life-believed",
        storage_rules,
        "is_of_this_file",
        always,
        "I-26: what a file held in a former life is taken for what was lost there",
    ),
    Mutant(
        "log-goes-on-behind-any-state",
        storage_rules,
        "continues_state",
        always,
        "I-51: a log that never came to a state goes on behind it",
        world=state_over_tail,
    ),
    Mutant(
        "received-and-not-synced",
        storage_rules,
        "syncs_what_it_received",
        never,
        "I-51: a state counts of which the page cache alone has the files",
    ),
    Mutant(
        "compacted-not-read-back",
        database_rules,
        "compacted_in",
        _nothing,
        "I-51: who opens or installs a state believes that it has all of the past",
    ),
)
