"""When nodes agree, and when the same log has led to different states."""

import pytest
from quorate.chaos.harness.finale import hashes_differ, settled
from quorate.chaos.harness.served import NodeStatus


def status(name: str = "n1", **changes: object) -> NodeStatus:
    told = NodeStatus(
        name=name,
        id=name * 8,
        role="leader" if name == "n1" else "follower",
        leader="n1" * 8,
        term=3,
        commit_index=40,
        applied_index=40,
        last_index=40,
        proposals_pending=0,
        reads_pending=0,
        revision=30,
        keys=9,
        state_hash="aa",
    )
    for field, value in changes.items():
        setattr(told, field, value)
    return told


def test_nodes_at_one_index_with_one_leader_are_settled() -> None:
    assert settled([status(), status("n2"), status("n3")])


@pytest.mark.parametrize(
    "other",
    [
        None,
        status("n2", applied_index=39),
        status("n2", commit_index=39),
        status("n2", last_index=41),
        status("n2", proposals_pending=1),
        status("n2", role="leader"),
    ],
)
def test_nodes_that_are_not_at_one_index_are_not_settled(
    other: NodeStatus | None,
) -> None:
    assert not settled([status(), other])


def test_nodes_without_a_leader_are_not_settled() -> None:
    assert not settled([status("n2"), status("n3")])


def test_equal_hashes_at_one_index_are_no_violation() -> None:
    assert hashes_differ([status(), status("n2"), status("n3")]) is None


def test_one_hash_that_differs_is_a_violation_that_names_all() -> None:
    violation = hashes_differ([status(), status("n2"), status("n3", state_hash="bb")])
    assert violation is not None
    assert violation.kind == "states differ"
    assert violation.expected == "one state hash at index 40"
    assert violation.found == "n1: aa, n2: aa, n3: bb"
