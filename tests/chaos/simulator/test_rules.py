"""Every safety rule can be broken, and somebody objects: a mutant's seed, or a story.

A rule that no world of the simulator could miss has a test that does: because something
else stands behind it, because it takes a build that there is not yet, or because what
it is about has no place in there. Those tests are run here with the rule broken.
"""

from collections.abc import Callable
from functools import partial
from types import FunctionType, ModuleType

import pytest
from quorate.chaos.simulator.mutants import MUTANTS
from quorate.node.database import NotUnderstood, versions
from quorate.node.database import rules as database_rules
from quorate.node.gossip import rules as gossip_rules
from quorate.node.replica import rules as replica_rules
from quorate.raft import rules as raft_rules
from quorate.storage import rules as storage_rules
from quorate.wire import Compact

from ...node.database import (
    test_apply,
    test_members,
    test_sessions,
    test_trust,
    test_versions,
)
from ...node.database.support import new_database
from ...node.gossip import test_table
from ...node.replica import (
    test_caretaker,
    test_comparing,
    test_upgrades,
    test_watches,
)
from ...node.replica.watching import watches_over
from ...raft import test_replication


def _told_before() -> None:
    database = new_database()
    test_watches.test_what_was_there_before_is_told_after_the_compacted_revision_and_not_at_it(
        database, watches_over(database)
    )


def _next_build() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "SINCE", {**versions.SINCE, Compact: 2})
        test_upgrades.test_the_version_is_raised_when_the_last_member_runs_the_new_build()


MODULES = (raft_rules, storage_rules, replica_rules, database_rules, gossip_rules)

STORIES: dict[tuple[ModuleType, str], list[Callable[[], None]]] = {
    (raft_rules, "match_may_advance"): [
        test_replication.test_an_acknowledgement_of_what_was_never_sent_is_ignored,
        test_replication.test_a_leader_appends_sends_to_all_and_commits_by_majority,
    ],
    # A watch may be told less of what was compacted than another one, and is judged so.
    (replica_rules, "tells_before"): [_told_before],
    # No memory is flipped in there.
    (replica_rules, "is_another_state"): [
        partial(
            test_comparing.test_a_replica_whose_state_differs_is_found_fenced_and_healed,
            leads=False,
        ),
    ],
    # The replica begins where its state ends: there is nothing to be applied again.
    (database_rules, "already_applied"): [
        test_apply.test_applying_again_what_is_applied_changes_nothing
    ],
    # No world lasts so long.
    (database_rules, "session_is_over"): [
        test_sessions.test_a_session_that_was_silent_too_long_is_over
    ],
    (database_rules, "caretaker_may_act"): [
        test_members.test_what_a_paused_caretaker_had_decided_is_not_done,
        test_members.test_a_spare_takes_the_place_of_a_voter_which_becomes_a_spare,
    ],
    (database_rules, "is_a_spare"): [
        test_members.test_a_decision_is_not_carried_out_once_all_is_different,
        test_members.test_a_spare_takes_the_place_of_a_voter_which_becomes_a_spare,
    ],
    (database_rules, "is_ready_for_root"): [
        test_trust.test_each_step_waits_until_everybody_is_ready_for_it
    ],
    (database_rules, "understands"): [
        test_versions.test_a_version_comes_when_all_members_understand_it
    ],
    (database_rules, "has_come"): [_next_build],
    (database_rules, "is_refused"): [
        test_trust.test_a_certificate_is_refused_by_its_number_and_a_member_by_its_id
    ],
    (gossip_rules, "tombstone_is_over"): [
        test_table.test_a_tombstone_stands_its_time_and_then_only_a_new_incarnation_rises
    ],
}
# The caretaker's are broken beside its stories.
ELSEWHERE = {(replica_rules, name) for name in test_caretaker.STORIES}


def test_every_rule_has_a_mutant_or_a_story() -> None:
    mutated = {(mutant.module, mutant.predicate) for mutant in MUTANTS.values()}
    missing = [
        f"{module.__name__}.{name}"
        for module in MODULES
        for name, rule in vars(module).items()
        if isinstance(rule, FunctionType) and rule.__module__ == module.__name__
        if (module, name) not in mutated | STORIES.keys() | ELSEWHERE
    ]
    assert missing == []
    assert not mutated & STORIES.keys()


def _objects(story: Callable[[], None]) -> bool:
    try:
        story()
    except (AssertionError, KeyError, NotUnderstood):
        return True
    return False


@pytest.mark.parametrize(("module", "name"), STORIES, ids=[name for _, name in STORIES])
def test_a_rule_without_a_mutant_is_missed_when_it_is_broken(
    module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[Callable[..., bool]] = [lambda *_, **__: True, lambda *_, **__: False]
    for other in broken:
        monkeypatch.setattr(module, name, other)
        assert any(_objects(story) for story in STORIES[module, name]), other
    monkeypatch.undo()
    for story in STORIES[module, name]:
        story()
