"""Small worlds of links (I-15): the counts, named graphs, a sample, and their teeth."""

import random
from collections.abc import Callable
from itertools import combinations

import pytest
from quorate.chaos.simulator.exhaustive import links
from quorate.chaos.simulator.exhaustive.links import (
    DEADLINE_TICKS,
    FIVE,
    LinkWorld,
    Names,
    both_ways,
    electable,
    enumerate_links,
    graphs,
    hubs,
    judge,
    one_way_graphs,
    placements,
    unelectable,
    unelectable_lines,
)
from quorate.raft import RequestPreVote, Role, candidate, follower, leader, rules
from quorate.raft.core import Raft

STAR = both_ways(((1, 2), (1, 3), (1, 4), (1, 5)))
CHAIN = both_ways(((1, 2), (2, 3), (3, 4), (4, 5)))
RING = both_ways(((1, 2), (2, 3), (3, 4), (4, 5), (1, 5)))
BRIDGE = both_ways(((1, 2), (1, 3), (2, 3), (3, 4), (4, 5)))
BOW_TIE = both_ways(((1, 2), (1, 3), (2, 3), (3, 4), (3, 5), (4, 5)))
THREE_IN_A_ROW = both_ways(((1, 2), (2, 3)))
TRIANGLE = both_ways(((1, 2), (1, 3), (2, 3)))
COMPLETE = both_ways(tuple(combinations(FIVE, 2)))
OLD_TERM = "longer, at nodes of an older term"


# -- the counts -----------------------------------------------------------------------


def test_all_graphs_are_there_and_nearly_all_of_them_have_a_hub() -> None:
    """Without a hub everybody has one neighbour at most: 1 + 10 + 15 matchings."""
    assert len(set(graphs())) == 1024
    assert sum(bool(hubs(LinkWorld(5, graph, 0))) for graph in graphs()) == 1024 - 26


def test_all_one_way_graphs_are_there_and_a_hub_has_links_in_both_directions() -> None:
    """A pair of nodes is linked both ways in one case of four."""
    assert len(set(one_way_graphs())) == 64
    with_hub = sum(bool(hubs(LinkWorld(3, graph, 0))) for graph in one_way_graphs())
    assert with_hub == 64 - 27


@pytest.mark.slow
def test_placements_stand_for_every_graph_with_names() -> None:
    """34 shapes; 544 in two colours (OEIS A000666), 34 of them twice in one colour."""
    found = placements()
    assert len(found) == 544 - 2 * 34
    assert len({place.links for place in found}) == 34
    assert sum(place.count for place in found) == 1024 * 30
    in_vain = unelectable()
    assert sum(place.count for place in in_vain) == _in_vain_by_names() == 1085
    assert len(in_vain) == len(unelectable_lines()) == 21
    assert (
        "links 1-2 1-3 1-4 1-5: the better log at 2 3 4 (20 ways to name the nodes)"
        in unelectable_lines()
    )


def _in_vain_by_names() -> int:
    """Graphs with a hub and better logs by which nobody is electable, one by one."""
    total = 0
    for graph in graphs():
        near = [{node, *(b for a, b in graph if a == node)} for node in FIVE]
        if max(map(len, near)) < 3:
            continue
        for better in (b for size in range(1, 5) for b in combinations(FIVE, size)):
            votes = [
                near[node - 1] if node in better else near[node - 1] - {*better}
                for node in FIVE
            ]
            total += max(map(len, votes)) < 3
    return total


@pytest.mark.parametrize(
    ("better", "expected"),
    [((2,), (1,)), ((2, 3), (1,)), ((2, 3, 4), ()), ((1, 2, 3, 4), (1,))],
)
def test_a_hub_is_electable_with_a_majority_that_knows_no_better(
    better: Names, expected: Names
) -> None:
    assert electable(LinkWorld(5, STAR, 0, 0, "longer", better)) == expected


# -- the promises ---------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, *FIVE])
@pytest.mark.parametrize(
    "graph",
    [STAR, CHAIN, RING, BRIDGE, BOW_TIE, THREE_IN_A_ROW, TRIANGLE, COMPLETE],
    ids=["star", "chain", "ring", "bridge", "bow-tie", "row", "triangle", "complete"],
)
def test_a_named_graph_of_five_gets_its_stable_leader(
    graph: links.Links, before: int
) -> None:
    for seed in range(4):
        outcome = judge(LinkWorld(5, graph, seed, before))
        assert not outcome.problem
        assert outcome.leader in hubs(LinkWorld(5, graph, 0))
        assert outcome.ticks <= DEADLINE_TICKS


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_three_nodes_get_over_the_link_that_cloudflare_lost(before: int) -> None:
    """2020: one of three etcd nodes reached both others, which didn't each other."""
    for seed in range(4):
        outcome = judge(LinkWorld(3, THREE_IN_A_ROW, seed, before))
        assert outcome.leader in ({before} if before else {1, 2, 3})
        assert not outcome.problem


def test_the_only_hub_leads_when_its_log_is_good_enough_and_else_nobody() -> None:
    """The constrained election of OmniPaxos: what Raft can't do is known exactly."""
    for seed in range(4):
        assert judge(LinkWorld(5, STAR, seed, 0, "longer", (2, 3))).leader == 1
        outcome = judge(LinkWorld(5, STAR, seed, 0, "longer", (2, 3, 4)))
        assert (outcome.leader, outcome.problem) == (0, "")


@pytest.mark.slow
def test_a_sample_of_all_worlds_keeps_every_promise() -> None:
    """`quorate simulate --exhaustive links` judges all of them."""
    seed = random.SystemRandom().randrange(1, 1 << 32)
    print(f"sample {seed}")
    every = [world for group in links.groups() for world in group]
    for world in random.Random(seed).sample(every, 250):
        assert not judge(world).problem, world


def test_a_world_happens_the_same_way_each_time_and_by_its_seed() -> None:
    first = [judge(LinkWorld(5, COMPLETE, seed)) for seed in range(10)]
    assert first == [judge(LinkWorld(5, COMPLETE, seed)) for seed in range(10)]
    assert len({outcome.ticks for outcome in first}) > 2


def test_turns_that_are_left_out_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worlds = [LinkWorld(5, RING, 1, 0), LinkWorld(5, STAR, 2, 3), *_old_terms(3)]
    short = [judge(world) for world in worlds]
    monkeypatch.setattr(links, "has_news", lambda raft: True)  # pyright: ignore
    assert [judge(world) for world in worlds] == short


def _old_terms(seeds: int) -> list[LinkWorld]:
    """Only the hub may lead, and everybody else knows a higher term."""
    return [LinkWorld(5, STAR, seed, 0, OLD_TERM, (1,)) for seed in range(seeds)]


def test_the_report_has_a_line_for_each_family_and_the_summary_all_violations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes = {
        LinkWorld(5, STAR, 1): links.Outcome(1, 50),
        LinkWorld(5, STAR, 2): links.Outcome(1, 79),
        LinkWorld(5, STAR, 3, 1): links.Outcome(1, 0),
        LinkWorld(3, (), 4): links.Outcome(),
        LinkWorld(5, RING, 5, 0, "longer", (1,)): links.Outcome(2, 9, "broken"),
    }
    worlds = list(outcomes)
    monkeypatch.setattr(links, "groups", lambda: [worlds[:3], worlds[3:]])
    monkeypatch.setattr(links, "judge", outcomes.__getitem__)
    lines: list[str] = []
    summary = enumerate_links(lines.append)
    assert lines == [
        "5 nodes, nobody leads before: 2 worlds, 2 with a stable leader, found after"
        " 50 ticks in the median, 79 at most (1.0 election timeouts), 0 violations",
        "5 nodes, the leader keeps its quorum: 1 worlds, 1 with a stable leader, found"
        " after 0 ticks in the median, 0 at most (0.0 election timeouts), 0 violations",
        "3 nodes, nobody leads before: 1 worlds, 0 with a stable leader, found after"
        " 0 ticks in the median, 0 at most (0.0 election timeouts), 0 violations",
        "5 nodes, the better log is longer: 1 worlds, 0 with a stable leader, found"
        " after 0 ticks in the median, 0 at most (0.0 election timeouts), 1 violations",
    ]
    assert (summary.worlds, summary.leaders) == (5, 3)
    assert (summary.ticks_median, summary.ticks_max) == (50, 79)
    assert summary.violations == [f"broken: {worlds[4]}"]


# -- teeth: each rule is needed somewhere ---------------------------------------------


def first_problem(world: LinkWorld, seeds: int = 200) -> str:
    """What goes wrong first when only the seed differs; nothing: the empty string."""
    for seed in range(seeds):
        again = LinkWorld(
            world.size, world.links, seed, world.leader, world.kind, world.better
        )
        problem = judge(again).problem
        if problem:
            return problem
    return ""


def _never(*_: object) -> bool:
    return False


def _always(*_: object) -> bool:
    return True


def test_without_stickiness_a_leader_is_deposed_that_keeps_its_quorum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I-12: in a ring somebody else doesn't hear it, and its neighbours would help."""
    monkeypatch.setattr(rules, "sticks_to_leader", _never)
    problem = first_problem(LinkWorld(5, RING, 0, 1))
    assert problem == "1 kept its quorum and was deposed"


def test_with_stickiness_for_ever_nobody_is_elected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "sticks_to_leader", _always)
    problem = first_problem(LinkWorld(5, COMPLETE, 0))
    assert problem == "no stable leader within the deadline"


def test_without_the_check_of_its_quorum_a_leader_is_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I-13: the only hub still hears it, and sticks."""
    monkeypatch.setattr(leader, "_check_quorum", _always)
    problem = first_problem(LinkWorld(5, STAR, 0, 2))
    assert problem == "no stable leader within the deadline"
    problem = first_problem(LinkWorld(5, (), 0, 2))
    assert problem == "2 leads and nobody is electable"


@pytest.mark.slow
def test_without_pre_votes_who_can_not_win_keeps_the_only_hub_from_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I-11a: each of their terms starts its election timer again."""

    def start_at_once(raft: Raft, reason: str) -> None:
        del reason
        candidate.start_election(raft, transfer=False)

    monkeypatch.setattr(candidate, "start_pre_vote", start_at_once)
    problem = first_problem(LinkWorld(5, STAR, 0, 0, OLD_TERM, (1, 2, 3, 4)))
    assert problem == "no stable leader within the deadline"


def test_pre_votes_for_worse_logs_are_as_bad_as_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """5.4.1 for pre-votes; votes go by it all the same."""

    def by_the_log(
        own: tuple[int, int], asked: tuple[int, int], vote: int, who: int
    ) -> bool:
        return vote in (0, who) and asked >= own

    monkeypatch.setattr(rules, "log_up_to_date", _always)
    monkeypatch.setattr(rules, "grants_vote", by_the_log)
    problem = first_problem(LinkWorld(5, TRIANGLE, 0, 0, OLD_TERM, (1,)))
    assert problem == "no stable leader within the deadline"


def test_votes_for_worse_logs_elect_who_may_not_lead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """5.4.1; here three of five may hold a committed entry."""

    def first_wins(
        own: tuple[int, int], asked: tuple[int, int], vote: int, who: int
    ) -> bool:
        del own, asked
        return vote in (0, who)

    monkeypatch.setattr(rules, "log_up_to_date", _always)
    monkeypatch.setattr(rules, "grants_vote", first_wins)
    problem = first_problem(LinkWorld(5, STAR, 0, 0, "longer", (2, 3, 4)))
    assert problem == "1 leads and nobody is electable"


def test_pre_candidates_that_claim_to_hear_a_leader_wait_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I-11c: etcd's deadlock of 2017, here for longer than the deadline."""
    real: Callable[[Raft, str], None] = candidate.start_pre_vote

    def keep_the_leader(raft: Raft, reason: str) -> None:
        known = raft.leader_id
        real(raft, reason)
        if raft.role is Role.PRE_CANDIDATE:
            raft.leader_id = known

    monkeypatch.setattr(candidate, "start_pre_vote", keep_the_leader)
    problem = first_problem(LinkWorld(5, THREE_IN_A_ROW, 0, 5))
    assert problem == "no stable leader within the deadline"


def test_a_leader_that_is_not_told_of_a_higher_term_loses_a_follower_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I-11d: the candidate that came too late never follows again."""

    def stay_silent(raft: Raft, message: links.Message) -> None:
        del raft, message

    monkeypatch.setattr(follower, "answer_older_term", stay_silent)
    problem = first_problem(LinkWorld(5, COMPLETE, 0, 0, "newer and shorter", (3,)))
    assert problem.endswith("does not follow")


def test_pre_votes_of_older_terms_that_nobody_answers_are_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I-11e: openraft's deadlock, the longest log against the highest term."""
    real: Callable[[Raft, RequestPreVote], None] = candidate.on_request_pre_vote

    def answer_newer_terms(raft: Raft, message: RequestPreVote) -> None:
        if message.term > raft.term:
            real(raft, message)

    monkeypatch.setattr(candidate, "on_request_pre_vote", answer_newer_terms)
    [world] = _old_terms(1)
    assert first_problem(world) == "no stable leader within the deadline"
