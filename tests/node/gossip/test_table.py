"""What a table holds: precedence, conflicts, tombstones, graves, bounds."""

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.gossip import Claim, Counts, State
from quorate.node.gossip.limits import (
    GRAVES_MAX,
    INCARNATION_MAX,
    JUMP_MAX,
    MEMBERS_MAX,
    TOMBSTONE_TICKS,
)
from quorate.node.gossip.table import Change, Table

from .kit import BOOT, claim

ACCUSED = (State.SUSPECT, State.DEAD)


def table() -> Table:
    return Table(Counts())


def of(state: State, incarnation: int, accuser: int = 5) -> Claim:
    return claim(9, incarnation, state, accuser if state in ACCUSED else 0)


@pytest.mark.parametrize(
    ("held", "said"), list(itertools.product(State, State)), ids=str
)
@pytest.mark.parametrize("later", [-1, 0, 1])
def test_a_claim_wins_by_its_incarnation_and_then_by_its_state(
    held: State, said: State, later: int
) -> None:
    one = table()
    one.hear(of(held, BOOT), False, 0)
    news = one.hear(of(said, BOOT + later), False, 1)
    wins = later > 0 or (later == 0 and said > held)
    assert one.state_of(9) is (said if wins else held)
    assert news == wins


claims_about_nine = st.builds(
    of, st.sampled_from(State), st.integers(BOOT, BOOT + 3), st.integers(5, 7)
)


@given(st.lists(claims_about_nine, max_size=8), st.randoms(use_true_random=False))
def test_tables_that_heard_the_same_hold_the_same_in_whatever_order(
    said: list[Claim], dice: Random
) -> None:
    one, other = table(), table()
    for each in said:
        one.hear(each, False, 0)
    dice.shuffle(said)
    for each in said:
        other.hear(each, False, 0)
    for both in (one, other):
        both.live.sort()
    assert one.live == other.live
    assert one.suspects == other.suspects
    assert one.state_of(9) is other.state_of(9)


def test_newer_vitals_are_taken_and_are_no_news() -> None:
    one = table()
    one.hear(claim(9, beat=3), False, 0)
    assert not one.hear(claim(9, beat=5), False, 0)
    assert not one.hear(claim(9, beat=4), False, 0)
    assert one.records[9].claim.vitals.beat == 5
    one.hear(claim(9, state=State.SUSPECT, accuser=4, beat=2), False, 0)
    assert one.records[9].claim.vitals.beat == 5


def test_a_change_of_state_is_told_once() -> None:
    one = table()
    one.hear(claim(9), False, 0)
    one.hear(claim(9, BOOT + 1), False, 0)
    one.hear(of(State.DEAD, BOOT + 1), False, 0)
    one.hear(of(State.DEAD, BOOT + 1), False, 0)
    assert one.changes == [
        Change(9, None, State.ALIVE),
        Change(9, State.ALIVE, State.DEAD),
    ]


# -- addresses ---------------------------------------------------------------------


@pytest.mark.parametrize("held", [State.ALIVE, State.SUSPECT])
def test_a_live_member_is_not_moved_by_hearsay(held: State) -> None:
    one = table()
    one.hear(of(held, BOOT), False, 0)
    assert not one.hear(claim(9, 2 * BOOT, peer="elsewhere:1"), False, 0)
    assert one.records[9].claim.peer == "h9:1"
    assert one.counts.conflicts == 1


@pytest.mark.parametrize("held", [State.DEAD, State.LEFT])
def test_a_dead_or_absent_member_may_come_back_elsewhere(held: State) -> None:
    one = table()
    one.hear(of(held, BOOT), False, 0)
    assert one.hear(claim(9, 2 * BOOT, peer="elsewhere:1"), False, 0)
    assert one.records[9].claim.peer == "elsewhere:1"


def test_a_live_member_moves_by_its_own_word() -> None:
    one = table()
    one.hear(claim(9), False, 0)
    assert one.hear(claim(9, 2 * BOOT, peer="elsewhere:1"), True, 0)
    assert one.counts.conflicts == 0


def test_the_same_life_at_two_addresses_is_a_conflict_even_by_its_own_word() -> None:
    one = table()
    one.hear(claim(9), True, 0)
    assert not one.hear(claim(9, peer="elsewhere:1", beat=9), True, 0)
    assert one.records[9].claim.peer == "h9:1"
    assert one.counts.conflicts == 1


# -- incarnations ------------------------------------------------------------------


def test_an_absurd_leap_is_believed_of_the_member_itself_alone() -> None:
    one = table()
    one.hear(claim(9, BOOT), False, 0)
    leap = BOOT + JUMP_MAX
    assert not one.hear(claim(9, leap + 1), False, 0)
    assert one.counts.absurd == 1
    assert one.hear(claim(9, leap), False, 0)
    assert one.hear(claim(9, leap + JUMP_MAX + 1), True, 0)
    assert not table().hear(claim(9, INCARNATION_MAX), False, 0)


# -- the dead ----------------------------------------------------------------------


def test_a_tombstone_stands_its_time_and_then_only_a_new_incarnation_rises() -> None:
    one = table()
    one.hear(of(State.DEAD, BOOT), False, 0)
    one.bury(TOMBSTONE_TICKS - 1)
    assert 9 in one.records
    one.bury(TOMBSTONE_TICKS)
    assert 9 not in one.records
    assert one.state_of(9) is State.DEAD
    assert not one.hear(claim(9, BOOT), False, TOMBSTONE_TICKS)
    assert not one.hear(of(State.SUSPECT, BOOT), True, TOMBSTONE_TICKS)
    assert one.state_of(9) is State.DEAD
    assert one.hear(claim(9, BOOT + 1), False, TOMBSTONE_TICKS)
    assert one.state_of(9) is State.ALIVE


def test_a_live_member_is_never_buried() -> None:
    one = table()
    one.hear(claim(8), False, 0)
    one.hear(of(State.DEAD, BOOT), False, 0)
    one.hear(claim(9, BOOT + 1), False, 0)
    one.bury(2 * TOMBSTONE_TICKS)
    assert sorted(one.records) == [8, 9]


def test_a_buried_member_is_told_what_is_held_of_it() -> None:
    one = table()
    one.hear(of(State.DEAD, BOOT + 3), False, 0)
    one.bury(TOMBSTONE_TICKS)
    opinion = one.opinion(9, accuser=1)
    assert opinion is not None
    assert (opinion.incarnation, opinion.state) == (BOOT + 3, State.DEAD)


def test_a_removed_member_never_comes_back() -> None:
    one = table()
    one.hear(of(State.SUSPECT, BOOT), False, 0)
    one.remove(9)
    assert (one.live, one.suspects) == ([], [])
    assert not one.hear(claim(9, INCARNATION_MAX), True, 0)
    assert one.state_of(9) is State.LEFT
    assert one.opinion(9, accuser=1) is None


# -- bounds ------------------------------------------------------------------------


def test_a_full_table_takes_no_more_unless_a_dead_one_makes_room() -> None:
    one = table()
    for member in range(1, MEMBERS_MAX + 1):
        one.hear(claim(member), False, 0)
    assert not one.hear(claim(1000), False, 0)
    assert one.counts.full == 1
    one.hear(claim(3, state=State.DEAD, accuser=4), False, 5)
    assert one.hear(claim(1000), False, 6)
    assert len(one.records) == MEMBERS_MAX
    assert one.state_of(3) is State.DEAD


def test_graves_are_bounded_and_the_oldest_goes() -> None:
    one = table()
    for member in range(1, GRAVES_MAX + 2):
        one.remove(member)
    assert len(one.graves) == GRAVES_MAX
    assert one.state_of(1) is None
    assert one.state_of(2) is State.LEFT
