"""The caretaker keeps as many voters as are wanted, and never at anybody's risk."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quorate.node.database.caretaking import CaretakerRecord
from quorate.node.database.member_records import MemberRecord
from quorate.node.database.members import MemberTable
from quorate.node.replica import PeerMessage, Replica, rules
from quorate.node.replica.caretaker import REST_MS, SETTLE_MS, Sight, decide
from quorate.raft import COMMAND, AppendEntries, Configuration, TimeoutNow
from quorate.wire import (
    Action,
    Decide,
    ErrorCode,
    MemberRole,
    Place,
    Reassign,
    SetCaretaker,
    encode_in_session,
    encode_member_command,
    encode_put,
)

from .test_steward import cluster, configuration, done, goes_to, joined
from .together import Together

# Whole clusters for many seconds of their time.
pytestmark = pytest.mark.slow

VOTER, REPLICA, LEAVING, SPARE = MemberRole
SILENCE_MS, STABLE_MS = 6_000, 1_000


def tended(members: int = 3, spares: tuple[int, ...] = (4,)) -> Together:
    """A cluster whose leader has settled, with spares that have caught up."""
    together = cluster(members)
    done(together, SetCaretaker(silence_ms=SILENCE_MS, stable_ms=STABLE_MS))
    for member in spares:
        joined(together, member, SPARE)
    together.wait_for(lambda: configuration(together).learners == spares)
    together.run_ms(SETTLE_MS + STABLE_MS)
    return together


def led(together: Together) -> Replica:
    return together.replicas[together.leader]


def waits_for(together: Together) -> str:
    return led(together).steward.caretaker.waits_for


def reasons(together: Together) -> list[str]:
    """What it did, as all replicas that are there know it."""
    together.run(10)
    found = {
        tuple(d.reason for d in replica.database.member_table.caretaker.decisions)
        for member, replica in together.replicas.items()
        if member in configuration(together).members()
        and member not in together.paused | together.cut
    }
    (known,) = found
    return list(known)


def role(together: Together, member: int) -> tuple[MemberRole | None, int]:
    known = led(together).database.member_table.members[member]
    return known.role, known.successor


def rest(together: Together, gone: int, *others: int) -> tuple[int, ...]:
    """All first voters but one, and others."""
    first = led(together).raft.configurations[0][1].voters
    return tuple(sorted({*first, *others} - {gone}))


# -- a voter that is lost ------------------------------------------------------------


def test_a_spare_takes_the_place_of_a_voter_that_is_silent() -> None:
    together = tended()
    together.done(encode_put(b"a", b"b"))
    lost = together.follower
    together.paused.add(lost)
    together.run_ms(SILENCE_MS - 500)
    assert configuration(together).voters == (1, 2, 3)
    assert waits_for(together) == f"n{lost} not heard: replaced after 6 s"
    together.run_ms(1_000)
    goes_to(together, rest(together, lost, 4), (lost,))
    assert reasons(together) == [f"n{lost} not heard for 6 s, replaced by n4"]
    assert waits_for(together) == ""
    together.done(encode_put(b"c", b"d"))
    assert together.replicas[4].database.get(b"a") is not None
    # It comes back as a spare, and later takes the next one's place.
    together.heal()
    together.run_ms(STABLE_MS)
    assert role(together, lost) == (SPARE, 0)
    together.paused.add(4)
    together.run_ms(SILENCE_MS + 500)
    goes_to(together, (1, 2, 3), (4,))


def test_a_new_leader_counts_anew() -> None:
    together = tended()
    lost, was = together.follower, together.leader
    together.paused.add(lost)
    together.run_ms(SILENCE_MS - 500)
    heir = together.follower
    led(together).raft.transfer_leadership(heir)
    together.other_leader(was)
    together.run_ms(SILENCE_MS - 500)
    assert configuration(together).voters == (1, 2, 3)
    together.run_ms(1_000)
    goes_to(together, rest(together, lost, 4), (lost,))


def test_who_led_before_counts_anew_as_well() -> None:
    together = tended()
    was, lost = together.leader, together.follower
    together.paused.add(lost)
    (other,) = {1, 2, 3} - {was, lost}
    for heir in (other, was):
        before = together.leader
        led(together).raft.transfer_leadership(heir)
        together.other_leader(before)
        together.run_ms(SILENCE_MS - 500)
        assert configuration(together).voters == (1, 2, 3)
    together.run_ms(1_000)
    goes_to(together, rest(together, lost, 4), (lost,))


def test_without_a_healthy_spare_nobody_is_replaced() -> None:
    together = tended(spares=())
    lost = together.follower
    together.paused.add(lost)
    together.run_ms(SILENCE_MS + 500)
    assert waits_for(together) == f"n{lost} not heard, and no healthy spare"
    joined(together, 4, SPARE)
    together.cut.add(4)
    together.run_ms(2 * STABLE_MS)
    expected = f"n{lost} not heard, and no healthy spare; n4 is not heard"
    assert waits_for(together) == expected
    together.cut.clear()
    together.run_ms(STABLE_MS // 2)
    assert waits_for(together).endswith("n4 has yet to be heard for 1 s")
    together.run_ms(STABLE_MS)
    goes_to(together, rest(together, lost, 4), (lost,))


def test_a_replica_is_no_spare() -> None:
    together = tended(spares=())
    joined(together, 4, REPLICA)
    lost = together.follower
    together.paused.add(lost)
    together.run_ms(SILENCE_MS + 2 * STABLE_MS)
    assert configuration(together) == Configuration((1, 2, 3), (), (4,))
    done(together, Reassign(4, SPARE, 0))
    goes_to(together, rest(together, lost, 4), (lost,))


def test_a_spare_that_comes_and_goes_gets_no_vote() -> None:
    together = tended()
    lost = together.follower
    together.paused.add(lost)
    for _ in range(8):
        together.run_ms(STABLE_MS - 300)
        together.cut.add(4)
        together.run_ms(600)
        together.cut.clear()
    assert configuration(together).voters == (1, 2, 3)
    together.run_ms(STABLE_MS + 500)
    goes_to(together, rest(together, lost, 4), (lost,))


def test_a_spare_whose_link_breaks_now_and_then_gets_no_vote() -> None:
    together = tended()
    lost = together.follower
    together.paused.add(lost)
    for _ in range(10):
        together.run_ms(STABLE_MS - 200)
        led(together).peer_lost(4)
        # It is heard again at once, and that is no time without a break.
        together.run(5 - led(together).ticks % 5)
        together.loses = lambda message: 4 in (message.sender, message.to)
        led(together).peer_lost(4)
        together.run(5)
        together.heal()
        together.paused.add(lost)
    assert configuration(together).voters == (1, 2, 3)


def test_a_spare_that_is_behind_gets_no_vote() -> None:
    together = tended()
    lost = together.follower
    together.paused.add(lost)
    together.loses = lambda m: m.to == 4 and isinstance(m, AppendEntries)
    for number in range(80):
        together.done(encode_put(b"%d" % number, b""))
    together.run_ms(SILENCE_MS + 500)
    assert waits_for(together).endswith("n4 has yet to catch up")
    assert configuration(together).voters == (1, 2, 3)
    together.loses = lambda message: False
    goes_to(together, rest(together, lost, 4), (lost,))


def test_of_two_lost_voters_one_is_replaced_after_the_other() -> None:
    together = tended(5, spares=(6, 7))
    lost = [member for member in range(1, 6) if member != together.leader][:2]
    together.paused.update(lost)
    seen: list[set[int]] = []
    for _ in range(800):
        together.tick()
        voters = set(configuration(together).voters)
        if not seen or seen[-1] != voters:
            seen.append(voters)
    first, second, third = seen
    assert len(first & second) == len(second & third) == 4
    assert not third & set(lost)
    assert len(reasons(together)) == 2


def test_no_vote_is_taken_while_the_others_are_not_heard() -> None:
    together = tended()
    lost = together.follower
    together.paused.add(lost)
    together.run_ms(SILENCE_MS - 200)
    # The leader does not know it yet, and counts itself alone.
    leader = led(together)
    together.paused.update({1, 2, 3, 4} - {leader.raft.id})
    sight = leader.steward.caretaker.sight()
    lonely = sight._replace(
        heard=[leader.raft.id, 4],
        silent_ms={**sight.silent_ms, lost: SILENCE_MS},
        caught_up=[4],
    )
    found = decide(lonely)
    assert found == f"n{lost} not heard, and no majority of the others either"


# -- who has decided before ----------------------------------------------------------


def decided(together: Together, command: Decide) -> None:
    """As an earlier leader had it written."""
    assert led(together).propose(encode_member_command(command))
    together.settle()


def test_what_an_earlier_leader_decided_is_not_done_to_one_that_is_heard() -> None:
    together = tended()
    well = together.follower
    decided(together, Decide(Action.REPLACE, well, 4, "not heard there"))
    assert role(together, well) == (SPARE, 4)
    together.run(3)
    assert configuration(together).voters == (1, 2, 3)
    together.run_ms(STABLE_MS)
    assert role(together, well) == (VOTER, 0)
    assert role(together, 4) == (SPARE, 0)
    assert reasons(together)[-1] == f"n{well} is heard again and keeps its vote"
    goes_to(together, (1, 2, 3), (4,))


def test_nor_to_the_one_that_leads_now() -> None:
    together = tended()
    leader = together.leader
    decided(together, Decide(Action.REPLACE, leader, 4, "not heard there"))
    together.run(10)
    assert together.leader == leader
    assert role(together, leader) == (VOTER, 0)


def test_an_heir_that_is_lost_as_well_is_replaced_by_another_one() -> None:
    together = tended(spares=(4, 5))
    lost = together.follower
    together.paused.update((lost, 4))
    together.run_ms(500)
    decided(together, Decide(Action.REPLACE, lost, 4, "not heard there"))
    together.run_ms(SILENCE_MS + 500)
    goes_to(together, rest(together, lost, 5), tuple(sorted((lost, 4))))
    assert role(together, 4) == (SPARE, 0)


def test_an_heir_of_the_caretaker_takes_the_place_that_people_give_it() -> None:
    """It was held back for one that is heard; who says that this one goes needs no
    silence.
    """
    together = tended()
    well = together.follower
    decided(together, Decide(Action.REPLACE, well, 4, "not heard there"))
    assert configuration(together).voters == (1, 2, 3)
    done(together, Reassign(well, LEAVING, 4))
    goes_to(together, rest(together, well, 4))
    assert well in led(together).database.member_table.gone


def test_nobody_waits_for_the_vote_of_one_that_has_none() -> None:
    """It was waited for its silence: it had a vote to lose no more, and was heard."""
    together = tended(spares=(4, 5))
    leader = led(together)
    members = leader.database.member_table.members
    members[5] = msgspec.structs.replace(members[5], successor=4)
    assert not leader.steward.caretaker.holds(4)
    well = together.follower
    members[well] = msgspec.structs.replace(members[well], role=SPARE, successor=4)
    assert leader.steward.caretaker.holds(4)


def test_a_wish_of_somebody_else_comes_first() -> None:
    together = tended(spares=(4, 5))
    lost = together.follower
    together.paused.update((lost, 4))
    together.run_ms(500)
    done(together, Reassign(lost, LEAVING, 4))
    together.run_ms(SILENCE_MS)
    assert configuration(together).voters == (1, 2, 3)
    assert waits_for(together) == f"n{lost} has to leave first"


def test_a_decision_that_comes_to_nothing_is_not_repeated_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = tended()
    together.paused.add(together.follower)
    together.run_ms(SILENCE_MS - 500)
    # The leader wishes for it, and no replica does it.
    monkeypatch.setattr(MemberTable, "_still_right", _never)
    together.run_ms(5_500)
    assert configuration(together).voters == (1, 2, 3)
    wished = [
        entry
        for entry in led(together).raft.log.entries
        if entry.kind == COMMAND and b"replaced by n4" in entry.data
    ]
    assert 5 <= len(wished) <= 6


def _never(table: MemberTable, command: Decide) -> bool:
    del table, command
    return False


def test_no_client_decides_for_the_caretaker() -> None:
    together = tended()
    said = encode_member_command(Decide(Action.REPLACE, together.follower, 4, "why"))
    place = Place(b"s" * 16, since=1, sequence=1, lowest=1)
    for body in (said, encode_in_session(place, said)):
        for at in (together.leader, together.follower):
            refused = together.ask(body, at)
            assert together.code(refused) == ErrorCode.INVALID_REQUEST


# -- too few voters ------------------------------------------------------------------


def test_a_spare_votes_when_one_is_missing() -> None:
    together = tended()
    gone = together.follower
    done(together, Reassign(gone, LEAVING, 0))
    goes_to(together, rest(together, gone, 4))
    assert reasons(together) == ["n4 votes: there were 2 of 3 voters"]


def test_one_voter_becomes_three_and_not_two() -> None:
    together = tended(1, spares=(2,))
    expected = "1 of 3 voters: for two more, two healthy spares"
    assert waits_for(together) == expected
    assert configuration(together).voters == (1,)
    joined(together, 3, SPARE)
    together.run_ms(STABLE_MS)
    goes_to(together, (1, 2, 3))


def test_five_are_wanted_once_somebody_says_so() -> None:
    together = tended(spares=(4, 5, 6))
    assert configuration(together).voters == (1, 2, 3)
    done(together, SetCaretaker(voters=5))
    goes_to(together, (1, 2, 3, 4, 5), (6,))
    together.run_ms(STABLE_MS)
    assert configuration(together).voters == (1, 2, 3, 4, 5)


def test_a_spare_does_not_vote_in_place_of_somebody_who_is_on_its_way() -> None:
    together = tended()
    gone = together.follower
    done(together, SetCaretaker(paused=True))
    done(together, Reassign(gone, LEAVING, 0))
    goes_to(together, rest(together, gone), (4,))
    together.loses = lambda m: m.to == 5 and isinstance(m, AppendEntries)
    joined(together, 5, VOTER)
    done(together, SetCaretaker(paused=False))
    together.run_ms(SILENCE_MS)
    assert waits_for(together) == "2 of 3 voters, and n5 is to vote"
    together.heal()
    goes_to(together, rest(together, gone, 5), (4,))


def test_who_was_let_in_and_does_not_come_far_holds_up_no_replacement() -> None:
    together = tended()
    together.loses = lambda m: m.to == 5 and isinstance(m, AppendEntries)
    joined(together, 5, VOTER)
    lost = together.follower
    together.paused.add(lost)
    together.run_ms(SILENCE_MS + 500)
    assert configuration(together).voters == rest(together, lost, 4)


# -- pauses --------------------------------------------------------------------------


def test_a_paused_caretaker_does_nothing_until_it_goes_on() -> None:
    together = tended()
    lost = together.follower
    done(together, SetCaretaker(paused=True))
    together.paused.add(lost)
    together.run_ms(SILENCE_MS + 1_000)
    assert configuration(together).voters == (1, 2, 3)
    assert waits_for(together) == ""
    done(together, SetCaretaker(paused=False))
    goes_to(together, rest(together, lost, 4), (lost,))


def test_a_pause_also_stops_what_is_on_its_way() -> None:
    together = tended()
    lost = together.follower
    together.paused.update((lost, 4))
    together.run_ms(500)
    decided(together, Decide(Action.REPLACE, lost, 4, "not heard there"))
    together.run_ms(SILENCE_MS)
    done(together, SetCaretaker(paused=True))
    together.paused.discard(4)
    together.run_ms(STABLE_MS)
    assert configuration(together).voters == (1, 2, 3)
    done(together, SetCaretaker(paused=False))
    goes_to(together, rest(together, lost, 4), (lost,))


# -- a late loop ---------------------------------------------------------------------


def runs_late(together: Together, late_ms: int, milliseconds: int) -> None:
    """Every leader's loop is late, all the time."""
    for _ in range(milliseconds // 10):
        for leader in together.leaders():
            together.replicas[leader].steward.caretaker.late(late_ms)
        together.tick()


def test_the_leadership_moves_away_from_a_late_loop_once() -> None:
    together = tended(spares=())
    was = together.leader
    runs_late(together, 400, 6_100)
    together.run(30)
    now = together.leader
    assert now != was
    (reason,) = reasons(together)
    assert reason == f"the loop of n{was} is late, by up to 400 ms: n{now} leads"
    # The next one is late as well: then it is not the node.
    runs_late(together, 400, 12_000)
    assert together.leader == now
    expected = f"the loop of n{now} is late, but the leader was moved in the last"
    assert waits_for(together) == f"{expected} {REST_MS // 60_000} minutes"
    done(together, Reassign(together.follower, REPLICA, 0))


def test_a_hand_over_that_fails_is_tried_again() -> None:
    together = tended(spares=())
    was = together.leader
    together.loses = lambda message: isinstance(message, TimeoutNow)
    runs_late(together, 400, 6_100)
    together.run(30)
    assert together.leader == was
    together.heal()
    runs_late(together, 400, 6_100)
    together.run(30)
    assert together.leader != was
    assert len(reasons(together)) == 1


def test_after_one_that_does_not_take_over_another_is_asked() -> None:
    """The same one, the furthest, was asked each time."""
    together = tended(spares=())
    was = together.leader
    asked: list[int] = []

    def loses(message: PeerMessage) -> bool:
        if isinstance(message, TimeoutNow) and message.to not in asked:
            asked.append(message.to)
        return isinstance(message, TimeoutNow) and message.to == asked[0]

    together.loses = loses
    runs_late(together, 400, 6_100)
    runs_late(together, 400, 5_500)
    together.run(30)
    assert len(asked) == 2
    assert together.leader == asked[1] != was


def test_whom_the_caretaker_asked_in_vain_the_steward_does_not_ask_again() -> None:
    """Each of the two kept its own list, and began with the one that is furthest."""
    together = tended(spares=())
    was = together.leader
    asked: list[int] = []

    def loses(message: PeerMessage) -> bool:
        if isinstance(message, TimeoutNow):
            asked.append(message.to)
        return isinstance(message, TimeoutNow) and message.to == asked[0]

    together.loses = loses
    while not asked:
        runs_late(together, 400, 10)
    together.run_ms(300)
    assert together.leader == was
    assert set(asked) == {asked[0]}
    del asked[1:]
    done(together, Reassign(was, LEAVING, 0))
    together.other_leader(was)
    assert asked[0] not in asked[1:]
    assert together.leader == asked[1]


def test_a_pause_ends_what_was_begun_of_a_hand_over() -> None:
    together = tended(spares=())
    was = together.leader
    caretaker = led(together).steward.caretaker
    together.loses = lambda message: isinstance(message, TimeoutNow)
    runs_late(together, 400, 6_100)
    done(together, SetCaretaker(paused=True))
    together.run_ms(1_000)
    together.heal()
    done(together, SetCaretaker(paused=False))
    together.run_ms(1_000)
    # In time again by now: nothing is left of it that would move the leadership.
    runs_late(together, 0, 6_100)
    assert together.leader == was
    assert not caretaker.lateness.for_long()


def test_one_long_hold_moves_nothing() -> None:
    together = tended(spares=())
    was = together.leader
    for _ in range(8):
        led(together).steward.caretaker.late(5_000)
        together.run_ms(2_100)
        led(together).steward.caretaker.late(0)
        together.run_ms(1_100)
        led(together).steward.caretaker.late(0)
    assert together.leader == was
    assert reasons(together) == []


def test_a_loop_that_is_a_little_late_leads_on() -> None:
    together = tended(spares=())
    was = together.leader
    runs_late(together, 200, 8_000)
    assert together.leader == was
    done(together, SetCaretaker(lag_ms=100))
    runs_late(together, 200, 8_000)
    together.run(30)
    assert together.leader != was


def test_nobody_leads_instead_who_is_not_heard() -> None:
    together = tended(1, spares=())
    runs_late(together, 400, 6_100)
    assert together.leader == 1
    late = "the loop of n1 is late, but no other voter is heard and caught up"
    assert waits_for(together) == f"{late}; 1 of 3 voters, and no healthy spare"


# -- every rule ----------------------------------------------------------------------


def _first_seconds() -> None:
    """A leader that was just elected changes nothing, whoever is missing."""
    together = tended()
    gone = together.follower
    done(together, SetCaretaker(paused=True))
    done(together, Reassign(gone, LEAVING, 0))
    goes_to(together, rest(together, gone), (4,))
    was = together.leader
    (heir,) = set(rest(together, gone)) - {was}
    led(together).raft.transfer_leadership(heir)
    together.other_leader(was)
    done(together, SetCaretaker(paused=False))
    together.run_ms(STABLE_MS + 1_000)
    assert configuration(together).voters == rest(together, gone)
    assert waits_for(together) == "nothing is changed in the first 5 s of a leader"
    together.run_ms(SETTLE_MS)
    assert configuration(together).voters == rest(together, gone, 4)


def test_a_leader_settles_first() -> None:
    _first_seconds()


def _unsettled() -> None:
    """Rules about what a leader that has not committed, or is joint, may do."""
    assert rules.leads_for_sure(7, 7)
    assert not rules.leads_for_sure(6, 7)
    assert not rules.leads_for_sure(None, 7)
    assert rules.voters_are_settled(False, 5, 5)
    assert not rules.voters_are_settled(True, 5, 5)
    assert not rules.voters_are_settled(False, 6, 5)
    together = tended()
    lost = together.follower
    together.paused.add(lost)
    together.run_ms(SILENCE_MS + 500)
    assert configuration(together).voters == rest(together, lost, 4)


STORIES: dict[str, list[Callable[[], None]]] = {
    "silent_too_long": [test_a_spare_takes_the_place_of_a_voter_that_is_silent],
    "stable_for_long": [test_a_spare_that_comes_and_goes_gets_no_vote],
    "more_are_wanted": [test_five_are_wanted_once_somebody_says_so],
    "bears_more_losses": [test_one_voter_becomes_three_and_not_two],
    "others_go_on": [
        test_no_vote_is_taken_while_the_others_are_not_heard,
        test_a_spare_takes_the_place_of_a_voter_that_is_silent,
    ],
    "one_at_a_time": [
        test_a_wish_of_somebody_else_comes_first,
        test_a_spare_takes_the_place_of_a_voter_that_is_silent,
    ],
    "has_settled": [_first_seconds],
    "leads_for_sure": [_unsettled],
    "voters_are_settled": [_unsettled],
    "loop_is_late": [test_a_loop_that_is_a_little_late_leads_on],
    "late_for_long": [
        test_one_long_hold_moves_nothing,
        test_the_leadership_moves_away_from_a_late_loop_once,
    ],
    "may_move_again": [test_the_leadership_moves_away_from_a_late_loop_once],
}


def _objects(story: Callable[[], None]) -> bool:
    try:
        story()
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("rule", STORIES)
def test_each_rule_is_missed_when_it_is_broken(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., bool] = getattr(rules, rule)

    def inverted(*arguments: object) -> bool:
        return not real(*arguments)

    broken: list[Callable[..., bool]] = [inverted, lambda *_: True, lambda *_: False]
    for other in broken:
        monkeypatch.setattr(rules, rule, other)
        assert any(_objects(story) for story in STORIES[rule]), other
    monkeypatch.undo()


# -- what is decided, whatever is seen -----------------------------------------------

IDS = range(1, 8)
NUMBERS = st.fixed_dictionaries({m: st.sampled_from([0, 3, 9]) for m in IDS})


@st.composite
def sights(draw: st.DrawFn) -> Sight:
    kinds = {m: draw(st.sampled_from(["voter", "learner", "none"])) for m in IDS}
    kinds[1] = "voter"
    of = {kind: tuple(m for m in IDS if kinds[m] == kind) for kind in kinds.values()}
    current = Configuration(of["voter"], (), of.get("learner", ()))
    members = {
        m: MemberRecord(
            draw(st.sampled_from(MemberRole)), f"n{m}", "", "", b"", heir, 1
        )
        for m in IDS
        if draw(st.booleans())
        for heir in [draw(st.sampled_from([0, 0, 0, 5]))]
        if heir != m
    }
    silent, steady = draw(NUMBERS), draw(NUMBERS)
    return Sight(
        1,
        draw(st.sampled_from([0, SETTLE_MS])),
        current,
        members,
        CaretakerRecord(False, draw(st.sampled_from([1, 3, 5])), 9, 3),
        [m for m in IDS if m == 1 or not silent[m]],
        [m for m in current.learners if draw(st.booleans())],
        {**silent, 1: 0},
        steady,
    )


@given(sights())
def test_whatever_is_seen_one_vote_is_given_for_each_that_is_taken(
    sight: Sight,
) -> None:
    found = decide(sight)
    if isinstance(found, str):
        return
    assert sight.led_ms >= SETTLE_MS
    voters = sight.configuration.voters
    if found.action is Action.KEEP:
        assert sight.members[found.member].successor
        assert sight.silent_ms[found.member] < 9
        return
    taker = found.successor or found.member
    assert sight.members[taker].role is SPARE
    assert taker in sight.configuration.learners
    assert taker in sight.caught_up
    assert sight.steady_ms[taker] >= 3
    if found.action is Action.PROMOTE:
        assert len(voters) < sight.told.voters
        after = {*voters, taker}
    else:
        assert found.action is Action.REPLACE
        assert sight.silent_ms[found.member] >= 9
        assert found.member != sight.own
        after = {*voters, taker} - {found.member}
    assert len(after) >= len(voters)
    # Who takes the vote has caught up, and so was heard.
    heard = sum(member in sight.heard or member == taker for member in after)
    assert 2 * heard > len(after)
    if not any(each.successor for each in sight.members.values()):
        leaving = [m for m, each in sight.members.items() if each.role is LEAVING]
        assert not leaving
