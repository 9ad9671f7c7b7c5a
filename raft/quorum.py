"""Majority arithmetic, for one set of voters or two. Votes, commits and reads use it.

Law: functions of values. A learner never appears here (I-47).
"""

from collections.abc import Collection, Mapping

from . import rules
from .configuration import Configuration


def majority(count: int) -> int:
    """The smallest number of `count` voters that is more than half."""
    return count // 2 + 1


def _groups(configuration: Configuration) -> tuple[tuple[int, ...], ...]:
    """The sets of voters of whom a majority each is needed."""
    voters = rules.counting_voters(configuration.voters, configuration.learners)
    if not configuration.outgoing:
        return (voters,)
    return rules.deciding_groups(voters, configuration.outgoing, configuration.learners)


def _agreed_by(voters: tuple[int, ...], values: Mapping[int, int]) -> int:
    """The highest number that a majority of `voters` has reached."""
    reached = sorted((values.get(voter, 0) for voter in voters), reverse=True)
    return reached[majority(len(voters)) - 1]


def agreed(configuration: Configuration, values: Mapping[int, int]) -> int:
    """The highest number reached by a majority, by both of them while joint.

    `values` maps a voter to its match index (commits) or acknowledged round (reads);
    a missing voter has 0.
    """
    return min([_agreed_by(voters, values) for voters in _groups(configuration)])


def _tally(voters: tuple[int, ...], votes: Mapping[int, bool]) -> bool | None:
    granted = sum(1 for voter in voters if votes.get(voter) is True)
    refused = sum(1 for voter in voters if votes.get(voter) is False)
    if granted >= majority(len(voters)):
        return True
    if len(voters) - refused < majority(len(voters)):
        return False
    return None


def won(configuration: Configuration, votes: Mapping[int, bool]) -> bool | None:
    """True: a majority (both while joint) granted; False: it can't; None: open."""
    results = [_tally(voters, votes) for voters in _groups(configuration)]
    if False in results:
        return False
    return None if None in results else True


def active(configuration: Configuration, heard: Mapping[int, bool]) -> bool:
    """Has a majority (both while joint) been heard?"""
    return won(configuration, {m: True for m, yes in heard.items() if yes}) is True


def may_be_durable(
    configuration: Configuration, unheard: Collection[int], doubted: Collection[int]
) -> bool:
    """Could a quorum hold an entry durably, now or later? (the doubt rule)

    Damage to durable copies hits a minority f of the voters at most, so of `doubted`
    copies at most f were durable; the others were torn before any acknowledgement.

    While joint it is enough that one of the two sets could: what is damaged may have
    left the joint configuration, and then the new voters alone decided.
    """
    return any(
        _may_have_a_majority(voters, unheard, doubted)
        for voters in rules.may_have_decided(_groups(configuration))
    )


def _may_have_a_majority(
    voters: tuple[int, ...], unheard: Collection[int], doubted: Collection[int]
) -> bool:
    silent = sum(voter in unheard for voter in voters)
    doubting = sum(voter in doubted for voter in voters)
    faults = len(voters) - majority(len(voters))
    return silent + rules.durable_among(doubting, faults) >= majority(len(voters))
