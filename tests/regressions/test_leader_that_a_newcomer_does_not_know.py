"""A new member followed a leader that it had never heard of, and got no snapshot.

The harness found it (`quorate chaos run --faults members --rounds 8 --seed 1`): the
leader had joined after those whose places the newcomer was told. It was let in while
the newcomer knew no leader, and from then on the newcomer did know one: it refused the
leader's next connection, the one for the snapshot in which the leader stood as a
member. That went on until another one led, for a minute here and for ever elsewhere.

The membership suite found its sister: a newcomer was told the places of those that had
written theirs down, and the leader, just started, had not yet. So it could not answer
the leader, and got no log from which to learn where that is: it stayed for ever.
"""

from types import SimpleNamespace
from typing import cast

import pytest
from quorate.node.admission import contacts_of
from quorate.node.database.member_records import MemberRecord
from quorate.node.node import Node
from quorate.node.roster import Roster
from quorate.wire import MemberRole

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


def record(name: str, peer: str) -> MemberRecord:
    return MemberRecord(MemberRole.VOTER, name, peer, "", b"", 0, 1)


def test_a_newcomer_is_told_of_all_who_may_lead() -> None:
    voters = {1: ("n1", "h1:1"), 2: ("n2", "h2:1"), 6: ("n6", "h6:1")}
    members = {
        2: record("n2", "moved:1"),
        3: record("n3", "h3:1"),
        7: record("n7", ""),
    }
    found = contacts_of(voters, members, {REMOVED: 1}, (1, "n1", "mine:1"))
    assert found == {
        1: ("n1", "mine:1"),
        2: ("n2", "moved:1"),
        3: ("n3", "h3:1"),
    }
