"""One member's gossip, message by message."""

import pytest
from quorate.node.gossip import (
    Ack,
    Gossip,
    GossipError,
    Message,
    Nack,
    News,
    Ping,
    PingRequest,
    State,
    Sync,
)
from quorate.node.gossip.limits import (
    INCARNATION_MAX,
    JUMP_MAX,
    KNOCK_INTERVAL_TICKS,
    PROBE_INTERVAL_TICKS,
    PROBE_TIMEOUT_TICKS,
    STRAIN_MAX,
    SUSPICION_TICKS_MIN,
    SYNC_INTERVAL_TICKS,
    transmissions_max,
)

from .kit import BOOT, CLUSTER, claim, dead, gossip, met, said_of, ticks


def news(sender: int, *claims: object) -> News:
    return News(CLUSTER, sender, claims)  # type: ignore[arg-type]


def suspect(member: int, accuser: int, incarnation: int = BOOT) -> News:
    return news(accuser, claim(member, incarnation, State.SUSPECT, accuser))


def pings(said: list[tuple[int, Message]]) -> list[tuple[int, Ping]]:
    return [(to, each) for to, each in said if isinstance(each, Ping)]


# -- who may speak -----------------------------------------------------------------


def test_gossip_of_another_cluster_is_refused_before_it_is_looked_at() -> None:
    one = met(1, 2)
    with pytest.raises(GossipError):
        one.receive(2, News(CLUSTER + 1, 2, (claim(3),)))
    assert one.state_of(3) is None


def test_gossip_in_another_members_name_is_refused() -> None:
    one = met(1, 2)
    with pytest.raises(GossipError):
        one.receive(2, news(3, claim(3)))


# -- incarnations ------------------------------------------------------------------


def test_a_later_boot_outranks_all_that_earlier_ones_said() -> None:
    old = gossip(1)
    for number in range(1000):
        old.receive(2, suspect(1, 2, BOOT + number))
    assert gossip(1, boot=2).incarnation > old.incarnation


def test_an_accusation_is_refuted_with_the_next_incarnation() -> None:
    one = met(1, 2, 3)
    one.receive(2, suspect(1, 2))
    assert one.incarnation == BOOT + 1
    assert one.counts.refutations == 1
    said = [each for _, each in ticks(one, 3) for each in said_of(each, 1)]
    assert said[0].incarnation == BOOT + 1
    assert said[0].state is State.ALIVE


def test_an_accusation_of_an_earlier_life_is_not_worth_an_answer() -> None:
    one = gossip(1, boot=5)
    one.receive(2, suspect(1, 2, 4 * BOOT))
    assert one.incarnation == 5 * BOOT


@pytest.mark.parametrize("absurd", [BOOT + JUMP_MAX + 1, INCARNATION_MAX])
def test_an_absurd_accusation_is_counted_and_not_followed(absurd: int) -> None:
    one = met(1, 2)
    one.receive(2, news(2, claim(1, absurd, State.DEAD, 2)))
    assert one.incarnation == BOOT
    assert one.counts.absurd == 1


def test_who_accuses_does_not_raise_the_incarnation() -> None:
    one = met(1, 2, 3)
    ticks(one, 2 * PROBE_INTERVAL_TICKS + 2)
    accused = one.claim_of(3) if one.state_of(3) is State.SUSPECT else one.claim_of(2)
    assert accused is not None
    assert (accused.state, accused.incarnation) == (State.SUSPECT, BOOT)


def test_a_copy_of_this_member_elsewhere_is_a_conflict_and_no_war() -> None:
    one = met(1, 2)
    one.receive(2, news(2, claim(1, 2 * BOOT, peer="elsewhere:1")))
    assert one.counts.conflicts == 1
    assert one.incarnation == BOOT


# -- probes ------------------------------------------------------------------------


def test_every_live_member_is_asked_once_in_a_round() -> None:
    one = met(1, 2, 3, 4)
    asked: list[int] = []
    for _ in range(6 * PROBE_INTERVAL_TICKS):
        for to, ping in pings(one.tick(1, 0)):
            asked.append(to)
            one.receive(to, Ack(CLUSTER, to, ping.number, to, ()))
    by_chance, ring = asked[::2], asked[1::2]
    assert sorted(by_chance) == sorted(ring) == [2, 3, 4]


def test_a_member_that_does_not_answer_is_asked_over_others() -> None:
    one = met(1, 2, 3, 4, 5, 6)
    said = ticks(one, PROBE_INTERVAL_TICKS)
    ((target, ping),) = pings(said)
    requests = [(to, m) for to, m in said if isinstance(m, PingRequest)]
    assert len({to for to, _ in requests}) == 3
    assert all(m.target == target and m.number == ping.number for _, m in requests)
    assert target not in [to for to, _ in requests]


def test_an_answer_over_others_is_as_good() -> None:
    one = met(1, 2, 3)
    ((target, ping),) = pings(ticks(one, PROBE_INTERVAL_TICKS))
    helper = 5 - target
    one.receive(helper, Ack(CLUSTER, helper, ping.number, target, ()))
    ticks(one, 1)
    assert one.state_of(target) is State.ALIVE


def test_who_is_asked_to_ask_passes_the_answer_on() -> None:
    helper = met(2, 1, 3)
    out = helper.receive(1, PingRequest(CLUSTER, 1, 70, 3, (claim(1),)))
    ((to, ping),) = pings(out)
    assert to == 3
    ((origin, ack),) = helper.receive(3, Ack(CLUSTER, 3, ping.number, 3, ()))
    assert origin == 1
    assert isinstance(ack, Ack)
    assert (ack.number, ack.target) == (70, 3)


def test_who_is_asked_to_ask_says_when_it_hears_nothing() -> None:
    helper = met(2, 1, 3)
    helper.receive(1, PingRequest(CLUSTER, 1, 70, 3, (claim(1),)))
    said = ticks(helper, PROBE_TIMEOUT_TICKS)
    nacks = [(to, each) for to, each in said if isinstance(each, Nack)]
    assert [(to, each.number) for to, each in nacks] == [(1, 70)]


def test_another_members_answer_is_not_the_one_that_was_asked_for() -> None:
    helper = met(2, 1, 3, 4)
    out = helper.receive(1, PingRequest(CLUSTER, 1, 70, 3, (claim(1),)))
    ((_, ping),) = pings(out)
    assert helper.receive(4, Ack(CLUSTER, 4, ping.number, 4, ())) == []


def test_the_suspect_is_told_first() -> None:
    one = met(1, 2, 3)
    said = ticks(one, PROBE_INTERVAL_TICKS + 1)
    ((target, _), *_) = pings(said)
    told = [each for to, each in said if to == target and isinstance(each, News)]
    assert said_of(told[0], target)[0].state is State.SUSPECT


def test_a_suspect_hears_of_it_with_every_message() -> None:
    one = met(1, 2, 3)
    one.receive(3, suspect(2, 3))
    one.news.items.clear()
    ((_, ack),) = one.receive(2, Ping(CLUSTER, 2, 1, (claim(2),)))
    assert [each.state for each in said_of(ack, 2)] == [State.SUSPECT]


def test_two_members_clear_a_suspicion_up_by_one_message_each() -> None:
    one, two = met(1, 2, 3), met(2, 1, 3)
    one.receive(3, suspect(2, 3))
    ((_, ack),) = one.receive(2, Ping(CLUSTER, 2, 1, (two.own,)))
    two.receive(1, ack)
    one.receive(2, Ping(CLUSTER, 2, 2, (two.own,)))
    assert one.state_of(2) is State.ALIVE


def test_a_suspect_that_says_nothing_is_dead_when_its_time_is_over() -> None:
    one = met(1, 2)
    ticks(one, PROBE_INTERVAL_TICKS + 1)
    assert one.state_of(2) is State.SUSPECT
    ticks(one, SUSPICION_TICKS_MIN)
    assert one.state_of(2) is State.DEAD
    assert one.counts.deaths == 1


# -- local health ------------------------------------------------------------------


def test_a_member_that_hears_nobody_slows_down() -> None:
    one = met(1, *range(2, 40))
    intervals: list[int] = []
    last = 0
    for _ in range(200):
        if pings(one.tick(1, 0)):
            intervals.append(one.now - last)
            last = one.now
    assert intervals[1] < intervals[2] < intervals[3]
    assert max(intervals) == PROBE_INTERVAL_TICKS * (STRAIN_MAX + 1)


def test_those_who_answer_that_they_heard_nothing_clear_the_asker() -> None:
    strains: list[int] = []
    for answered in (0, 3):
        one = met(1, 2, 3, 4, 5)
        for _ in range(PROBE_INTERVAL_TICKS + 1):
            for to, said in one.tick(1, 0):
                if isinstance(said, PingRequest) and answered:
                    one.receive(to, Nack(CLUSTER, to, said.number, ()))
        strains.append(one.health.strain)
    assert strains == [3, 0]


def test_an_answered_probe_eases_and_an_accusation_strains() -> None:
    one = met(1, 2)
    one.receive(2, suspect(1, 2))
    assert one.health.strain == 1
    ((_, ping),) = pings(ticks(one, 1))
    one.receive(2, Ack(CLUSTER, 2, ping.number, 2, ()))
    assert one.health.strain == 0


def test_a_member_that_was_paused_judges_nobody_by_it() -> None:
    one = met(1, 2, 3)
    one.receive(3, suspect(2, 3))
    pings(ticks(one, 2))
    out = one.tick(1000, 999)
    assert one.state_of(2) is State.SUSPECT
    assert one.state_of(3) is State.ALIVE
    assert one.counts.probes_failed == 0
    assert one.health.strain == STRAIN_MAX
    # It asks anew, at once.
    assert len(pings(out)) == 1


# -- spreading ---------------------------------------------------------------------


def test_news_are_told_so_often_and_no_more() -> None:
    one = met(1, 2, 3)
    one.receive(2, news(2, claim(9)))
    told = 0
    for _ in range(200):
        for to, said in one.tick(1, 0):
            told += 0 if isinstance(said, Sync) else len(said_of(said, 9))
            if isinstance(said, Ping):
                one.receive(to, Ack(CLUSTER, to, said.number, to, ()))
    assert told == transmissions_max(4)
    assert not one.news


def test_what_a_member_held_of_others_while_it_was_alone_is_no_news() -> None:
    """Else it would come back with the news that all others are dead."""
    one = met(1, 2, 3)
    ticks(one, 2000)
    assert one.table.live == []
    one.receive(2, news(2, claim(2, BOOT + 1)))
    said = [m for _, m in ticks(one, 20) if isinstance(m, Ping | News)]
    assert said
    assert not [each for message in said for each in said_of(message, 3)]


def test_each_independent_accuser_is_passed_on_and_a_refutation_ends_it() -> None:
    one = met(1, 2, 3, 4, 5)
    one.receive(3, suspect(2, 3))
    one.receive(4, suspect(2, 4))
    one.receive(4, suspect(2, 4))
    assert sorted(item.claim.accuser for item in one.news.items) == [3, 4]
    one.receive(2, news(2, claim(2, BOOT + 1)))
    assert [item.claim.state for item in one.news.items] == [State.ALIVE]


def test_tables_are_exchanged_now_and_then_and_the_other_answers() -> None:
    one, two = met(1, 2, 3), met(2, 1, 4)
    said = [(to, m) for to, m in ticks(one, SYNC_INTERVAL_TICKS) if to == 2]
    table = next(m for _, m in said if isinstance(m, Sync))
    ((to, answer),) = two.receive(1, table)
    assert to == 1
    assert isinstance(answer, Sync)
    assert one.receive(2, answer) == []
    assert one.state_of(4) is State.ALIVE
    assert two.state_of(3) is not None


def test_a_death_in_a_table_is_asked_about_and_one_in_the_news_is_not() -> None:
    said = dead(claim(3), accuser=9)
    for message, state in (
        (Sync(CLUSTER, 2, True, (said,)), State.SUSPECT),
        (news(2, said), State.DEAD),
    ):
        one = met(1, 2, 3)
        one.receive(2, message)
        assert one.state_of(3) is state


def test_however_many_tables_tell_of_a_death_that_is_one_accuser() -> None:
    one = met(1, 2, 3, 4, 5)
    for teller in (2, 4, 5):
        one.receive(teller, Sync(CLUSTER, teller, True, (dead(claim(3), teller),)))
    suspicion = one.table.records[3].suspicion
    assert suspicion is not None
    assert suspicion.confirmations == 0


def test_whoever_is_dead_and_can_be_reached_is_knocked_at() -> None:
    one = met(1, 2, 3)
    one.receive(3, news(3, dead(claim(2), 3)))
    said = ticks(one, KNOCK_INTERVAL_TICKS)
    tables = [m for to, m in said if to == 2 and isinstance(m, Sync)]
    assert said_of(tables[0], 2)[0].state is State.DEAD
    one.contacts = (3,)
    said = ticks(one, 3 * KNOCK_INTERVAL_TICKS)
    assert 2 not in [to for to, _ in said]


def test_a_new_member_learns_all_from_one_that_it_can_reach() -> None:
    new, old = gossip(1), met(2, 3, 4)
    new.contacts = (2,)
    table = next(m for _, m in ticks(new, 2) if isinstance(m, Sync))
    ((_, answer),) = old.receive(1, table)
    new.receive(2, answer)
    assert [new.state_of(member) for member in (2, 3, 4)] == [State.ALIVE] * 3
    assert old.state_of(1) is State.ALIVE


# -- coming and going --------------------------------------------------------------


def test_a_member_that_leaves_says_so_to_all_and_is_not_held_dead() -> None:
    one, two = met(1, 2, 3), met(2, 1, 3)
    farewells = dict(one.leave())
    assert sorted(farewells) == [2, 3]
    two.receive(1, farewells[2])
    assert two.state_of(1) is State.LEFT
    ticks(two, 100)
    assert two.state_of(1) is State.LEFT


def test_a_member_that_left_comes_back_with_its_next_boot() -> None:
    one, two = met(1, 2), met(2, 1)
    two.receive(1, one.leave()[0][1])
    again = gossip(1, boot=2)
    two.receive(1, Ping(CLUSTER, 1, 1, (again.own,)))
    assert two.state_of(1) is State.ALIVE


def test_a_member_that_was_said_to_have_left_refutes_it() -> None:
    one = met(1, 2)
    one.receive(2, news(2, claim(1, state=State.LEFT)))
    assert one.incarnation == BOOT + 1


def test_a_removed_member_is_forgotten_with_its_news() -> None:
    one = met(1, 2, 3)
    one.receive(3, suspect(2, 3))
    one.remove(2)
    assert not one.news
    assert 2 not in [to for to, _ in ticks(one, 50)]


def test_what_a_member_reports_is_heard_with_its_next_message() -> None:
    one, two = met(1, 2), met(2, 1)
    one.report(applied_index=77, lag_ms=12)
    ((_, ping), *_) = pings(ticks(one, 2))
    two.receive(1, ping)
    held = two.claim_of(1)
    assert held is not None
    assert (held.vitals.applied_index, held.vitals.lag_ms) == (77, 12)


def test_the_same_arguments_give_the_same_messages() -> None:
    def run() -> list[tuple[int, Message]]:
        one: Gossip = met(1, 2, 3, 4)
        return ticks(one, 50)

    assert run() == run()
