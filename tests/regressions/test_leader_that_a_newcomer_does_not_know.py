"""A new member followed a leader that it had never heard of, and got no snapshot.

The harness found it (`quorate chaos run --faults members --rounds 8 --seed 1`): the
leader had joined after those whose places the newcomer was told. It was let in while
the newcomer knew no leader, and from then on the newcomer did know one: it refused the
leader's next connection, the one for the snapshot in which the leader stood as a
member. That went on until another one led, for a minute here and for ever elsewhere.
"""

from types import SimpleNamespace
from typing import cast

import pytest
from quorate.node.node import Node
from quorate.node.roster import Roster

SIGNER, LEADER, STRANGER, REMOVED = 1, 4, 5, 6


def newcomer(leader_id: int) -> Roster:
    """It knows the signer, and who was removed, and follows somebody."""
    raft = SimpleNamespace(
        leader_id=leader_id, configuration=SimpleNamespace(members=lambda: (SIGNER,))
    )
    table = SimpleNamespace(members={}, gone={REMOVED: 1})
    node = SimpleNamespace(
        config=SimpleNamespace(peer=SimpleNamespace(dial={})),
        replica=SimpleNamespace(
            raft=raft, database=SimpleNamespace(member_table=table)
        ),
    )
    return Roster(cast(Node, node))


def test_the_leader_may_open_another_connection() -> None:
    assert newcomer(leader_id=0).objection(LEADER) is None
    assert newcomer(leader_id=LEADER).objection(LEADER) is None
    assert newcomer(leader_id=LEADER).objection(SIGNER) is None


@pytest.mark.parametrize("leader_id", [LEADER, SIGNER])
def test_who_is_neither_a_member_nor_the_leader_may_not_speak(leader_id: int) -> None:
    said = newcomer(leader_id).objection(STRANGER)
    assert said == "member 0000000000000005 is not known here"


def test_who_was_removed_may_not_speak_although_it_leads() -> None:
    said = newcomer(leader_id=REMOVED).objection(REMOVED)
    assert said is not None
    assert "was removed" in said
