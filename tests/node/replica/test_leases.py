"""Who leads keeps the time: a lease is never shorter than anybody was told (I-64)."""

import pytest
from quorate.node.replica import PeerMessage, leases, rules
from quorate.raft import AppendEntries, HeartbeatReply
from quorate.wire import (
    OK,
    ErrorCode,
    Grant,
    KeepAlive,
    LeaseCommand,
    ListLeases,
    Revoke,
    TimeToLive,
    decode_lease_list,
)

from .together import TICK_MS, TTL_MS, Together, granted

# The leader looks for ends every 50 ms, and ends what was over before this tick: what
# was asked in the middle of one counts from its begin.
LATE_MS = 110


def in_time(took_ms: int, after_ms: int = TTL_MS) -> bool:
    return after_ms <= took_ms <= after_ms + LATE_MS


# -- the usual -------------------------------------------------------------------------


def test_a_lease_ends_after_its_time_everywhere_at_once() -> None:
    together = granted()
    assert in_time(together.lives_until(7))
    together.run(10)
    assert together.has(7) == [False] * 3
    for replica in together.replicas.values():
        assert replica.database.get(b"a") is None
    hashes = {r.database.state_hash() for r in together.replicas.values()}
    assert len(hashes) == 1
    together.nothing_is_left()


def test_leases_that_were_revoked_are_forgotten_before_their_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Story: one that was granted for a day and revoked was remembered for a day."""
    monkeypatch.setattr(leases, "_GONE_MAX", 10)
    together = granted()
    kept = together.replicas[together.leader].lease_keeper.leases
    for lease in range(100, 160):
        together.done(Grant(lease, 1000 * TTL_MS))
        together.done(Revoke(lease))
        together.run(1)
    assert len(kept._queue) <= 13
    assert len(kept._deadlines) <= 13
    assert in_time(together.lives_until(7), TTL_MS - 60 * TICK_MS)


def test_who_led_forgets_what_it_knew_little_by_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Story: a hundred thousand leases were let go in one step, which held the loop."""
    monkeypatch.setattr(leases, "_A_TICK", 10)
    together = granted()
    for lease in range(100, 125):
        together.done(Grant(lease, 1000 * TTL_MS))
    kept = together.replicas[together.leader].lease_keeper.leases
    together.run(30)
    kept.resign()
    assert (kept._deadlines, kept._queue, kept._untidy) == ({}, [], [])
    left = [sum(map(len, kept._outdated))]
    while kept._outdated:
        kept.tick()
        left.append(sum(map(len, kept._outdated)))
    assert left == [52, 42, 32, 26, 16, 6, 0]


@pytest.mark.parametrize("through", ["leader", "follower"])
def test_a_lease_that_is_kept_alive_has_its_whole_time_again(through: str) -> None:
    together = granted()
    for _ in range(4):
        together.run_ms(TTL_MS * 3 // 4)
        at = together.leader if through == "leader" else together.follower
        answer = together.answer(together.ask(KeepAlive(7), at))
        assert (answer.lease, answer.ttl_ms, answer.left_ms) == (7, TTL_MS, TTL_MS)
    assert in_time(together.lives_until(7))
    together.nothing_is_left()


def test_asking_for_the_time_that_is_left_prolongs_nothing() -> None:
    together = granted()
    together.put(b"b", 7)
    together.run_ms(500)
    answer = together.answer(together.ask(TimeToLive(7, keys=True), together.follower))
    assert TTL_MS - 500 <= answer.left_ms <= TTL_MS - 500 + LATE_MS
    assert answer.keys == (b"a", b"b")
    assert together.answer(together.ask(TimeToLive(7))).keys == ()
    assert in_time(together.lives_until(7), TTL_MS - 500)


def test_leases_are_listed_by_number() -> None:
    together = granted()
    for lease in (2**64 - 1, 3):
        together.done(Grant(lease, TTL_MS))
    _, status, body = together.caller.replies[together.ask(ListLeases())]
    assert status == OK
    assert decode_lease_list(body).leases == (3, 7, 2**64 - 1)


def test_leases_are_listed_page_by_page() -> None:
    together = granted()
    numbers = [2, 3, 7, 2**63, 2**64 - 1]
    for lease in (2**64 - 1, 3, 2**63, 2):
        together.done(Grant(lease, TTL_MS))
    for after in (0, 1, 2, 5, 7, 2**63, 2**64 - 1):
        for limit in (1, 2, 9):
            number = together.ask(ListLeases(after, limit), together.follower)
            _, status, body = together.caller.replies[number]
            assert status == OK
            expected = [lease for lease in numbers if lease > after][:limit]
            assert list(decode_lease_list(body).leases) == expected


def test_a_page_goes_past_those_that_are_ending() -> None:
    """Else it would be taken for the last one."""
    together = granted()
    together.done(Grant(8, TTL_MS))
    together.done(Grant(9, TTL_MS))
    leader = together.replicas[together.leader]
    known = leader.database.lease_table.leases[7]
    leader.lease_keeper.leases.ending([(7, known.since)])
    _, _, body = together.caller.replies[together.ask(ListLeases(0, 1))]
    assert decode_lease_list(body).leases == (8,)


@pytest.mark.parametrize("question", [KeepAlive(8), TimeToLive(8), TimeToLive(8, True)])
def test_what_is_not_there_is_not_found(question: LeaseCommand) -> None:
    together = granted()
    for at in together.replicas:
        number = together.ask(question, at)
        assert together.code(number) is ErrorCode.LEASE_NOT_FOUND
    together.nothing_is_left()


def test_a_lease_that_was_revoked_is_not_found() -> None:
    together = granted()
    together.done(Revoke(7), together.follower)
    assert together.code(together.ask(KeepAlive(7))) is ErrorCode.LEASE_NOT_FOUND
    assert together.code(together.ask(Revoke(7))) is ErrorCode.LEASE_NOT_FOUND
    together.run_ms(2 * TTL_MS)
    together.nothing_is_left()


# -- ids that are given again ----------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [(9000, 1000), (1000, 3000)])
def test_an_id_that_is_given_again_has_its_own_time(first: int, second: int) -> None:
    """Story: the later lease had the earlier one's deadline if that was later, and so
    lived for nine seconds instead of one.
    """
    together = Together()
    together.done(Grant(7, first))
    together.run(10)
    together.done(Revoke(7))
    together.done(Grant(7, second))
    assert in_time(together.lives_until(7), second)


def test_an_id_that_is_given_again_at_its_end_is_another_lease() -> None:
    """Story: its end and its next grant were applied in one turn; so it never was
    seen to be gone, was not found for ever, and never ended.
    """
    together = granted()
    leader = together.replicas[together.leader]
    together.loses = lambda message: isinstance(message, AppendEntries)
    together.wait_for(lambda: not leader.lease_keeper.leases.alive(7))
    again = together.ask(Grant(7, TTL_MS))
    together.heal()
    together.wait_for(lambda: together.answered(again))
    assert together.code(again) is None
    answer = together.answer(together.ask(KeepAlive(7)))
    assert answer.left_ms == TTL_MS
    assert in_time(together.lives_until(7))


def test_an_end_does_not_meet_the_next_lease_of_its_id() -> None:
    """I-63. Story: while its revocation and its next grant were on their way, the
    leader wrote the old one's end behind them, and the new one was gone at once.
    """
    together = granted()
    together.run_ms(TTL_MS - 300)
    together.loses = lambda message: isinstance(message, AppendEntries)
    numbers = [together.ask(Revoke(7)), together.ask(Grant(7, TTL_MS))]
    leader = together.replicas[together.leader]
    together.wait_for(lambda: not leader.lease_keeper.leases.alive(7))
    together.heal()
    together.wait_for(lambda: together.answered(numbers[1]))
    assert [together.code(number) for number in numbers] == [None, None]
    assert in_time(together.lives_until(7))


# -- the end is in the log -------------------------------------------------------------


def test_a_lease_whose_end_is_in_the_log_is_not_found() -> None:
    """Else it would be told that it lives, and then end all the same."""
    together = granted()
    leader = together.replicas[together.leader]
    together.loses = lambda message: isinstance(message, AppendEntries)
    together.wait_for(lambda: not leader.lease_keeper.leases.alive(7))
    assert together.has(7) == [True] * 3
    for question in (KeepAlive(7), TimeToLive(7)):
        number = together.ask(question)
        together.run(3)
        assert together.code(number) is ErrorCode.LEASE_NOT_FOUND
    together.heal()
    together.wait_for(lambda: not any(together.has(7)))


def test_a_question_that_waits_while_the_end_is_written_finds_nothing() -> None:
    """It was asked in time, but is answered by what is known when it is confirmed."""
    together = granted()
    leader = together.replicas[together.leader]
    together.run_ms(TTL_MS - 100)
    together.loses = lambda message: isinstance(message, AppendEntries | HeartbeatReply)
    number = together.ask(KeepAlive(7))
    together.wait_for(lambda: not leader.lease_keeper.leases.alive(7))
    assert not together.answered(number)
    together.heal()
    together.wait_for(lambda: together.answered(number))
    assert together.code(number) is ErrorCode.LEASE_NOT_FOUND


def test_without_the_rule_it_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "ending_leases_are_gone", lambda: False)
    together = granted()
    leader = together.replicas[together.leader]
    together.loses = lambda message: isinstance(message, AppendEntries)
    last = leader.raft.log.last_index
    together.wait_for(lambda: leader.raft.log.last_index > last)
    number = together.ask(KeepAlive(7))
    together.run(3)
    assert together.code(number) is None


# -- another leader --------------------------------------------------------------------


def test_a_new_leader_gives_every_lease_its_whole_time() -> None:
    together = granted()
    old = together.leader
    together.run_ms(TTL_MS - 200)
    together.cut.add(old)
    together.other_leader(old)
    since = together.replicas[together.leader].leader_since_ms
    assert all(together.has(7))
    together.heal()
    together.lives_until(7)
    assert in_time(together.now_ms - since)


def test_a_paused_leader_does_not_end_a_lease_early() -> None:
    """I-63: its ticks have stood still, and what it writes comes too late."""
    together = granted()
    old = together.leader
    together.run_ms(TTL_MS - 200)
    together.paused.add(old)
    together.other_leader(old)
    since = together.replicas[together.leader].leader_since_ms
    answer = together.answer(together.ask(KeepAlive(7)))
    told = together.now_ms + answer.left_ms
    together.run_ms(TTL_MS // 2)
    together.heal()
    together.run(2)
    assert together.leader != old
    assert all(together.has(7))
    together.lives_until(7)
    assert together.now_ms >= max(told, since + TTL_MS)


def test_the_end_that_a_lost_leader_wrote_is_not_found_by_the_next() -> None:
    """It may be committed by the next leader, which answers only when it has been."""
    together = granted()
    old = together.leader
    heir = next(m for m in together.replicas if m != old)
    last = next(m for m in together.replicas if m not in (old, heir))

    def loses(message: PeerMessage) -> bool:
        # The end comes to one of two, and the leader never hears of that.
        if message.sender == heir:
            return message.to == old
        return isinstance(message, AppendEntries) and message.to == last

    together.loses = loses
    leader = together.replicas[old]
    together.wait_for(lambda: not leader.lease_keeper.leases.alive(7))
    end = leader.raft.log.last_index
    together.wait_for(lambda: together.replicas[heir].raft.log.last_index >= end)
    together.cut.add(old)
    together.loses = lambda message: False
    together.wait_for(lambda: heir in together.leaders())
    number = together.ask(KeepAlive(7), heir)
    together.wait_for(lambda: together.answered(number))
    assert together.code(number) is ErrorCode.LEASE_NOT_FOUND


def test_a_deposed_leader_answers_nothing_from_its_own_clock() -> None:
    together = granted()
    old = together.leader
    together.cut.add(old)
    number = together.ask(KeepAlive(7), old)
    together.other_leader(old)
    together.run_ms(TTL_MS // 2)
    assert not together.answered(number)
    together.heal()
    together.wait_for(lambda: together.answered(number))
    # Who leads now was asked, and counts from then on.
    new = together.replicas[together.leader].lease_keeper.leases
    assert together.leader != old
    assert together.answer(number).left_ms <= new.left_ms(7) + LATE_MS
    together.nothing_is_left()


def test_a_question_from_before_does_not_shorten_what_a_leader_gives() -> None:
    """Story: a question that had waited through another's lead began the time of its
    lease where it was asked, and that leader had promised more.
    """
    together = granted()
    leases = together.replicas[together.leader].lease_keeper.leases
    leases.lead()
    began = leases.now_ms
    assert leases.keep(7, began - 1500) == TTL_MS
    leases.learn()
    assert leases.left_ms(7) == TTL_MS


def test_wall_clocks_that_jump_change_nothing() -> None:
    year_ms = 365 * 24 * 3600 * 1000
    together = granted()
    together.wall_ms = {1: year_ms, 2: -year_ms, 3: 10 * year_ms}
    together.run_ms(TTL_MS - 200)
    together.wall_ms = {1: -year_ms, 2: year_ms, 3: 0}
    assert all(together.has(7))
    assert in_time(together.lives_until(7), 200)


def test_a_new_leader_learns_of_many_leases_little_by_little() -> None:
    """None ends before its leader has given it its time."""
    together = Together()
    leader = together.replicas[together.leader]
    table = leader.database.lease_table
    together.done(Grant(1, TTL_MS))
    kept = table.leases[1]
    table.leases.update(dict.fromkeys(range(2, 4502), kept))
    leases = leader.lease_keeper.leases
    leases.lead()
    for learnt in (2000, 4000, 4501):
        assert leases.due() == []
        leases.learn()
        assert len(leases._deadlines) == learnt  # pyright: ignore[reportPrivateUsage]
    leases.ticks += TTL_MS // TICK_MS
    assert leases.due() == []
    leases.ticks += 1
    assert len(leases.due()) == 100


def test_what_is_gone_is_forgotten_little_by_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Story: a hundred thousand revoked leases were gone through in one tick, which
    took half a second. Those among them that live end in time.
    """
    monkeypatch.setattr(leases, "_A_TICK", 10)
    monkeypatch.setattr(leases, "_GONE_MAX", 10)
    together = granted()
    for lease in range(100, 160):
        together.done(Grant(lease, 1000 * TTL_MS))
    together.done(Grant(8, 2 * TTL_MS))
    together.run(10)
    leader = together.replicas[together.leader]
    kept, table = leader.lease_keeper.leases, leader.database.lease_table
    for lease in range(100, 160):
        del table.leases[lease]
    before = len(kept._deadlines)
    for _ in range(7):
        kept.learn()
        assert before - 10 <= len(kept._deadlines)
        before = len(kept._deadlines)
    assert sorted(kept._deadlines) == [7, 8]
    assert not kept._untidy
    kept.ticks += 2 * TTL_MS // TICK_MS
    assert [lease for lease, _ in kept.due()] == [7, 8]


def test_a_lease_ends_in_time_while_what_is_gone_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "_A_TICK", 1)
    monkeypatch.setattr(leases, "_GONE_MAX", 10)
    together = granted()
    for lease in range(100, 130):
        together.done(Grant(lease, 1000 * TTL_MS))
    together.run(10)
    leader = together.replicas[together.leader]
    kept, table = leader.lease_keeper.leases, leader.database.lease_table
    for lease in range(100, 130):
        del table.leases[lease]
    kept.learn()
    assert len(kept._untidy) == 30
    kept.ticks += TTL_MS // TICK_MS
    assert [lease for lease, _ in kept.due()] == [7]


def test_what_was_kept_alive_is_looked_at_little_by_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Very many that were granted, and then kept alive, at one time."""
    monkeypatch.setattr(leases, "_A_TICK", 10)
    together = Together()
    for lease in range(1, 26):
        together.done(Grant(lease, TTL_MS))
    together.run(10)
    kept = together.replicas[together.leader].lease_keeper.leases
    kept.ticks += TTL_MS // TICK_MS // 2
    for lease in range(2, 26):
        kept.keep(lease, kept.now_ms)
    until = kept.now_ms + TTL_MS
    kept.ticks += TTL_MS // TICK_MS // 2 + 1
    ended: list[int] = []
    for renewed in (9, 19, 24):
        ended += [lease for lease, _ in kept.due()]
        assert [deadline for deadline, _, _ in kept._queue].count(until) == renewed
    assert ended == [1]
