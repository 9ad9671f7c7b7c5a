"""How long a suspect has to answer."""

import pytest
from quorate.node.gossip.limits import (
    SUSPICION_MAX_MULT,
    SUSPICION_TICKS_MIN,
    suspicion_ticks_min,
    transmissions_max,
)
from quorate.node.gossip.suspicion import Suspicion


def test_a_lone_accuser_waits_longest_and_each_other_one_shortens_it() -> None:
    suspicion = Suspicion(100, accuser=1, live=10)
    times = [suspicion.deadline - 100]
    for accuser in (2, 3):
        assert suspicion.confirm(accuser)
        times.append(suspicion.deadline - 100)
    assert times[0] == SUSPICION_TICKS_MIN * SUSPICION_MAX_MULT
    assert times[0] > times[1] > times[2] == SUSPICION_TICKS_MIN


def test_whoever_accuses_twice_counts_once() -> None:
    suspicion = Suspicion(0, accuser=1, live=10)
    assert not suspicion.confirm(1)
    assert suspicion.confirm(2)
    assert not suspicion.confirm(2)
    assert suspicion.confirmations == 1


def test_more_accusers_than_matter_are_no_news() -> None:
    suspicion = Suspicion(0, accuser=1, live=10)
    assert [suspicion.confirm(n) for n in (2, 3, 4)] == [True, True, False]


@pytest.mark.parametrize(("live", "wanted"), [(2, 0), (3, 1), (4, 2), (100, 2)])
def test_nobody_waits_for_accusers_that_can_not_be(live: int, wanted: int) -> None:
    suspicion = Suspicion(0, accuser=1, live=live)
    assert suspicion.wanted == wanted
    if not wanted:
        assert suspicion.deadline == SUSPICION_TICKS_MIN


def test_the_time_that_was_lost_is_given_back() -> None:
    suspicion = Suspicion(0, accuser=1, live=10)
    before = suspicion.deadline
    suspicion.delay(50)
    assert suspicion.deadline == before + 50
    suspicion.confirm(2)
    suspicion.confirm(3)
    assert suspicion.deadline == 50 + SUSPICION_TICKS_MIN


def test_times_and_repetitions_grow_with_the_logarithm_of_members() -> None:
    assert [suspicion_ticks_min(n) for n in (1, 10, 100, 1000)] == [20, 20, 30, 45]
    assert [transmissions_max(n) for n in (3, 9, 10, 100)] == [16, 16, 20, 24]
