"""What rows and tables say."""

from quorate.chaos.harness.served import NodeStatus
from quorate.chaos.prompt.view import (
    LinksView,
    LoadView,
    NodeView,
    how_it_ended,
    leader_of,
    rows,
    table,
)


def node(name: str, state: str = "runs", role: str = "", term: int = 4) -> NodeView:
    if not role:
        return NodeView(name, state, None)
    status = NodeStatus(name, name, role, None, term, 9, 8, 9, 0, 0, 7, 1, "ab")
    return NodeView(name, state, status)


NODES = [node("n1", "runs", "leader"), node("n2", "down (SIGKILL)"), node("n3")]


def test_the_rows_say_who_leads_who_is_down_and_what_is_done_to_links() -> None:
    links = LinksView(((1,), (2, 3)), {3: 0.2})
    cluster, load = rows(NODES, links, LoadView(100, 7, 61.7, 1.26, "kill 2", 0.08))
    assert cluster == (
        "n1 leader  n2 down (SIGKILL)  n3 no answer"
        "   [partition 1|2,3, n3 slow +200 ms]"
    )
    assert load == (
        "100 operations, 62 /s, 7 failed, longest gap 1.3 s, 80 ms since kill 2"
    )


def test_nothing_is_said_of_links_that_are_whole_and_of_a_cause_before_any() -> None:
    cluster, load = rows(NODES[:1], LinksView(), LoadView(100, 7, 0, 0.08, "", 0.0))
    assert cluster == "n1 leader"
    assert load.endswith("longest gap 80 ms")


def test_the_table_has_a_line_for_each_node() -> None:
    assert table(NODES).splitlines() == [
        "NODE  STATE           ROLE    TERM  COMMITTED  APPLIED  REVISION",
        "n1    runs            leader  4     9          8        7",
        "n2    down (SIGKILL)  -       -     -          -        -",
        "n3    runs            -       -     -          -        -",
    ]


def test_of_two_who_say_that_they_lead_the_one_of_the_later_term_does() -> None:
    old = node("n3", "runs", "leader", 3)
    assert leader_of([old, *NODES]) == ("n1", 4)
    assert leader_of(NODES[1:]) is None


def test_it_is_said_how_a_node_ended() -> None:
    assert how_it_ended(-9) == "down (SIGKILL)"
    assert how_it_ended(1) == "down (exit code 1)"
    assert how_it_ended(None) == "down"
