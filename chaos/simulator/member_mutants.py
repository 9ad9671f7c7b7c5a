"""Safety rules about members, broken on purpose; see mutants.

Law: as mutants: one named predicate each. They are looked for where members change.
"""

from typing import Final

from ...node.database import rules as database_rules
from ...node.replica import rules as replica_rules
from ...raft import Configuration
from ...raft import rules as raft_rules
from .mutant import Mutant, always, never


def _before_an_own_commit(
    pending_index: int, applied_index: int, commit_term: int | None, term: int
) -> bool:
    del commit_term, term
    return pending_index <= applied_index


def _while_another_is_pending(
    pending_index: int, applied_index: int, commit_term: int | None, term: int
) -> bool:
    del pending_index, applied_index
    return commit_term == term


def _new_ones_alone(
    voters: tuple[int, ...], outgoing: tuple[int, ...], learners: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    del outgoing, learners
    return (voters,)


def _old_ones_alone(
    voters: tuple[int, ...], outgoing: tuple[int, ...], learners: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    del voters, learners
    return (outgoing,)


def _learners_too(
    voters: tuple[int, ...], outgoing: tuple[int, ...], learners: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    return tuple(sorted({*voters, *learners})), outgoing


def _own(own: Configuration, received: Configuration) -> Configuration:
    del received
    return own


MEMBER_MUTANTS: Final = tuple(
    Mutant(*mutant, members=True)
    for mutant in (
        (
            "change-before-own-commit",
            raft_rules,
            "may_change_configuration",
            _before_an_own_commit,
            "I-45: a new leader changes the members before it knows what is committed",
        ),
        (
            "change-while-another-is-pending",
            raft_rules,
            "may_change_configuration",
            _while_another_is_pending,
            "I-45: a second change is begun before the first is committed",
        ),
        (
            "joint-counts-new-alone",
            raft_rules,
            "deciding_groups",
            _new_ones_alone,
            "I-46: the new voters decide before the old ones have agreed to them",
        ),
        (
            "joint-counts-old-alone",
            raft_rules,
            "deciding_groups",
            _old_ones_alone,
            "I-46: the old voters decide while the new ones may decide, too",
        ),
        (
            "joint-counts-learners",
            raft_rules,
            "deciding_groups",
            _learners_too,
            "I-47: learners count in majorities during a change",
        ),
        (
            "configuration-outlives-its-entry",
            raft_rules,
            "goes_with_its_entry",
            never,
            "I-46: a change whose entry was dropped stays in force",
        ),
        (
            "state-without-its-configuration",
            raft_rules,
            "configuration_of_state",
            _own,
            "I-46: who gets a state goes on with the members that it knew",
        ),
        (
            "removed-voter-campaigns",
            raft_rules,
            "may_be_undone",
            always,
            "I-49: who was a voter once campaigns for ever",
        ),
        (
            "removed-leader-stays",
            raft_rules,
            "removed_leader_resigns",
            never,
            "I-50: a leader that was removed goes on",
        ),
        (
            "promoted-too-early",
            replica_rules,
            "may_be_promoted",
            always,
            "I-48: a learner that has nothing yet becomes a voter",
        ),
        (
            "voters-that-nobody-hears",
            replica_rules,
            "quorum_is_heard",
            always,
            "I-48: voters are sent away while the others are too few",
        ),
        (
            "members-not-read-back",
            database_rules,
            "reads_members_back",
            never,
            "I-51: who opens or installs a state knows of nobody who was let in",
        ),
        (
            "amnesia",
            replica_rules,
            "has_lost_its_data",
            never,
            "I-25: a member that has lost its data comes back as itself",
        ),
        (
            "gone-comes-back",
            database_rules,
            "may_be_let_in",
            always,
            "I-49: who has left is let in again under its id",
        ),
    )
)
