"""Majority arithmetic against its definition, counted out over all subsets."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from quorate.raft import Configuration
from quorate.raft.quorum import active, agreed, majority, won

MEMBERS = st.integers(1, 7)
VOTERS = st.sets(MEMBERS, min_size=1, max_size=5).map(lambda s: tuple(sorted(s)))
OUTGOING = st.one_of(st.just(()), VOTERS)
CONFIGURATIONS = st.builds(Configuration, VOTERS, OUTGOING)


def _quorums(configuration: Configuration) -> list[set[int]]:
    """Every set of members that has both majorities."""
    members = configuration.all_voters()
    sides = [configuration.voters, configuration.outgoing or configuration.voters]
    return [
        set(chosen)
        for count in range(len(members) + 1)
        for chosen in combinations(members, count)
        if all(2 * len(set(side) & set(chosen)) > len(side) for side in sides)
    ]


def test_a_majority_is_more_than_half() -> None:
    assert [majority(n) for n in range(1, 8)] == [1, 2, 2, 3, 3, 4, 4]


@given(CONFIGURATIONS)
def test_any_two_quorums_share_a_voter(configuration: Configuration) -> None:
    quorums = _quorums(configuration)
    assert all(one & other for one in quorums for other in quorums)


@given(CONFIGURATIONS, st.dictionaries(MEMBERS, st.integers(1, 9)))
def test_the_agreed_number_is_the_highest_that_a_quorum_reached(
    configuration: Configuration, values: dict[int, int]
) -> None:
    expected = max(
        min(values.get(member, 0) for member in quorum)
        for quorum in _quorums(configuration)
    )
    assert agreed(configuration, values) == expected


@given(CONFIGURATIONS, st.dictionaries(MEMBERS, st.booleans()))
def test_an_election_is_won_lost_or_open_as_the_quorums_say(
    configuration: Configuration, votes: dict[int, bool]
) -> None:
    quorums = _quorums(configuration)
    granted = {member for member, yes in votes.items() if yes}
    refused = {member for member, yes in votes.items() if not yes}
    if any(quorum <= granted for quorum in quorums):
        expected = True
    elif all(quorum & refused for quorum in quorums):
        expected = False
    else:
        expected = None
    assert won(configuration, votes) == expected


@given(CONFIGURATIONS, st.dictionaries(MEMBERS, st.booleans()))
def test_a_leader_is_heard_by_a_quorum_or_it_is_not(
    configuration: Configuration, heard: dict[int, bool]
) -> None:
    near = {member for member, yes in heard.items() if yes}
    expected = any(quorum <= near for quorum in _quorums(configuration))
    assert active(configuration, heard) == expected
