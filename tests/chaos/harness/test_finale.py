"""When nodes agree, and when the same log has led to different states."""

from types import SimpleNamespace
from typing import Any

import pytest
from quorate.chaos.harness import finale
from quorate.chaos.harness.errors import Violated
from quorate.chaos.harness.finale import compare_hashes, hashes_differ, settled
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


class Telling:
    """Nodes that tell one thing after the other, and then the last one for ever."""

    def __init__(self, *told: list[NodeStatus | None]) -> None:
        self._told = list(told)
        names = [f"n{number}" for number, _ in enumerate(told[0], 1)]
        self.nodes: Any = [SimpleNamespace(name=name) for name in names]
        self.replicas: Any = []

    async def statuses(self) -> list[NodeStatus | None]:
        return self._told.pop(0) if len(self._told) > 1 else self._told[0]

    async def pick(self, dice: object) -> Any:
        del dice


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finale, "HASHES_SECONDS_MAX", 0.2)


async def test_nodes_that_meet_one_after_the_other_are_all_compared(
    short: None,
) -> None:
    first = [status(), status("n2"), status("n3", applied_index=39)]
    then = [status(applied_index=41), status("n2", applied_index=41), status("n3")]
    compared = await compare_hashes(Telling([*first], [*then]))
    assert compared.indexes == 2
    assert compared.reasons == []


async def test_a_node_that_is_never_where_another_one_is_was_not_compared(
    short: None,
) -> None:
    told = [status(), status("n2"), status("n3", applied_index=39)]
    compared = await compare_hashes(Telling([*told]))
    assert compared.alone == ["n3"]
    assert "n3 was seen at no index with another node" in compared.reasons[0]


async def test_a_node_alone_has_nobody_to_be_compared_with(short: None) -> None:
    compared = await compare_hashes(Telling([status()]))
    assert compared.reasons == []


async def test_a_node_that_tells_two_hashes_of_one_index_is_a_violation(
    short: None,
) -> None:
    other = [status(state_hash="bb"), None]
    with pytest.raises(Violated) as caught:
        await compare_hashes(Telling([status(), None], [*other]))
    assert caught.value.violation.kind == "states differ"
