"""What faults of links cut, as tables: nothing here runs."""

from itertools import permutations

import pytest
from quorate.chaos.harness.faults import LINK_KINDS, Fault, Kind
from quorate.chaos.harness.network import CLIENTS, Rule, Way
from quorate.chaos.harness.shapes import Table, plan_steps, ways_of

NAMES = ("n1", "n2", "n3", "n4", "n5")
ALL: frozenset[Way] = frozenset(permutations(NAMES, 2))
LEADER = 3


def fault(kind: Kind, **changes: object) -> Fault:
    whole: dict[str, object] = {
        "after_s": 0.0,
        "hold_s": 2.0,
        "at_leader": False,
        "order": (0, 1, 2, 3, 4),
        "away_s": (0.0,) * 5,
        "silent": True,
        "strength": 0.5,
    }
    return Fault(kind, **(whole | changes))  # pyright: ignore[reportArgumentType]


def table(kind: Kind, **changes: object) -> Table:
    ((at_s, rules),) = plan_steps(fault(kind, **changes), NAMES, LEADER)
    assert at_s == 0
    return rules


def links(kind: Kind) -> set[str]:
    """What is left between nodes, as `12` for both directions."""
    left = ALL - set(table(kind))
    assert {(b, a) for a, b in left} == left
    return {a[1] + b[1] for a, b in left if a < b}


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("isolate-one", "23 24 25 34 35 45"),
        ("halves", "12 34 35 45"),
        # The leader, 4, is never in the middle.
        ("bridge", "12 13 14 15 23 45"),
        ("star", "12 13 14 15"),
        ("chain", "12 23 34 45"),
        ("ring", "12 23 34 45 15"),
    ],
)
def test_each_shape_leaves_its_links(kind: Kind, left: str) -> None:
    assert links(kind) == set(left.split())


def test_in_a_ring_each_node_sees_another_majority() -> None:
    left = ALL - set(table("ring"))
    seen = {name: {name, *(b for a, b in left if a == name)} for name in NAMES}
    assert {len(others) for others in seen.values()} == {3}
    assert len({frozenset(others) for others in seen.values()}) == 5


def test_one_way_cuts_one_direction_alone() -> None:
    out = table("one-way-out", silent=False)
    assert set(out) == {("n1", other) for other in NAMES[1:]}
    assert set(out.values()) == {Rule("hold")}
    assert set(table("one-way-in")) == {(b, a) for a, b in out}


def test_a_loud_cut_resets_and_a_silent_one_holds() -> None:
    assert set(table("halves", silent=False).values()) == {Rule("reset")}
    assert set(table("halves").values()) == {Rule("hold")}


def test_what_is_aimed_at_the_leader_is_around_it() -> None:
    cut = table("isolate-leader", at_leader=True)
    assert set(cut) == {way for way in ALL if "n4" in way}


def test_flapping_links_go_down_and_up_again() -> None:
    steps = plan_steps(fault("flapping"), NAMES, LEADER)
    assert len(steps) > 2
    assert [bool(rules) for _, rules in steps] == [
        place % 2 == 0 for place in range(len(steps))
    ]
    assert [at_s for at_s, _ in steps] == sorted(at_s for at_s, _ in steps)
    assert steps[-1][0] < 2.0
    assert steps == plan_steps(fault("flapping"), NAMES, LEADER)


def test_a_swizzle_cuts_one_after_another_off_and_lets_all_come_back() -> None:
    steps = plan_steps(fault("swizzle"), NAMES, LEADER)
    gone = [20 - len(ALL - set(rules)) for _, rules in steps]
    assert gone[4] == 20
    assert gone[:5] == sorted(gone[:5])
    assert gone[-1] == 0
    assert len(steps) == 10


def test_slow_links_are_slower_the_stronger_it_is() -> None:
    weak, strong = table("slow", strength=0.0), table("slow", strength=1.0)
    assert set(weak) == set(strong) == ALL
    assert weak["n1", "n2"] == Rule(delay_ms=5.0, jitter_ms=10.0)
    assert strong["n1", "n2"] == Rule(delay_ms=125.0, jitter_ms=250.0)
    assert table("trickle", strength=1.0)["n1", "n2"].bytes_per_second == 200_000


def test_faults_of_clients_leave_the_nodes_alone() -> None:
    both = {(CLIENTS, "n1"), ("n1", CLIENTS)}
    assert set(table("client-cut")) == both
    assert ways_of(plan_steps(fault("client-reset"), NAMES, LEADER)) == {
        way for name in NAMES for way in ((CLIENTS, name), (name, CLIENTS))
    }


@pytest.mark.parametrize("kind", LINK_KINDS)
def test_every_kind_does_something_within_its_time(kind: Kind) -> None:
    steps = plan_steps(fault(kind), NAMES, LEADER)
    assert steps[0][0] == 0
    assert steps[0][1]
    assert all(0 <= at_s <= 2.1 for at_s, _ in steps)
    assert ways_of(steps)
