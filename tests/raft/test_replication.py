"""AppendEntries, logs that disagree, and conflict hints: 5.3, I-6, I-7, I-9."""

import msgspec
import pytest
from quorate.raft import (
    AppendEntries,
    AppendEntriesReply,
    Entry,
    HardState,
    HeartbeatReply,
    Refused,
    SnapshotMark,
)

from .alone import (
    START,
    accepted,
    alone,
    answer,
    append,
    command,
    log_of,
    make_leader,
    only,
    speak,
    terms,
    with_logs,
)
from .network import SMALL, Network


def test_a_leader_appends_sends_to_all_and_commits_by_majority() -> None:
    """5.3."""
    network = Network()
    network.elect(1)
    index = network.propose(1, b"x")
    network.turn(1)
    sent = [m for m in network.sent if isinstance(m, AppendEntries)]
    assert [m.to for m in sent] == [2, 3]
    assert network.raft(1).log.commit_index < index
    network.settle()
    assert network.raft(1).log.commit_index == index
    assert [node.commands for node in network.nodes.values()] == [[b"x"]] * 3


def test_followers_learn_of_a_commit_without_waiting_for_new_entries() -> None:
    """5.3."""
    network = Network()
    network.elect(1)
    index = network.write(1, b"x")
    assert [network.raft(m).log.commit_index for m in (1, 2, 3)] == [index] * 3


def test_a_slow_follower_does_not_hold_up_the_majority() -> None:
    """5.3."""
    network = Network()
    network.elect(1)
    network.isolate(3)
    network.write(1, b"x")
    assert network.nodes[1].commands == [b"x"]
    assert network.nodes[3].commands == []


def test_nothing_commits_without_a_majority() -> None:
    """5.3."""
    network = Network()
    network.elect(1)
    network.isolate(1)
    index = network.write(1, b"x")
    assert network.raft(1).log.commit_index < index
    assert network.nodes[1].commands == []


def test_only_a_leader_takes_proposals() -> None:
    """I-54: a definite refusal; nothing of it ever happens."""
    network = Network()
    network.elect(1)
    assert network.raft(2).propose([b"x"]) is Refused.NOT_LEADER
    network.settle()
    assert network.raft(2).log.last_index == network.raft(1).log.last_index


def test_commands_are_numbered_in_the_order_given() -> None:
    network = Network()
    raft = network.elect(1)
    first = raft.log.last_index + 1
    assert raft.propose([b"a", b"b"]) == (first, 1)
    assert raft.propose([b"c"]) == (first + 2, 1)
    network.settle()
    assert network.nodes[3].commands == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("previous", "hint"),
    [((3, 2), (3, 1)), ((9, 2), (3, 1)), ((3, 1), None), ((2, 1), None)],
)
def test_entries_follow_only_a_matching_previous_entry(
    previous: tuple[int, int], hint: tuple[int, int] | None
) -> None:
    """5.3: the consistency check; a refusal says where the logs may still agree."""
    raft = alone(2, 1, 1, 1)
    new = command(previous[0] + 1, 3)
    reply = answer(raft, append(previous, new, term=3), AppendEntriesReply)
    if hint is None:
        assert accepted(reply) == previous[0] + 1
        assert terms(raft) == [1] * previous[0] + [3]
    else:
        assert (reply.index, reply.hint_index, reply.hint_term) == (previous[0], *hint)
        assert terms(raft) == [1, 1, 1]


FIGURE_7 = {
    "a: lacks an entry": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b: lacks many": (1, 1, 1, 4),
    "c: one too many": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d: two of a later term": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e: lacks some, has others": (1, 1, 1, 4, 4, 4, 4),
    "f: two lost terms": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


@pytest.mark.parametrize("log", FIGURE_7.values(), ids=FIGURE_7.keys())
def test_a_leader_brings_every_log_of_figure_7_into_line(log: tuple[int, ...]) -> None:
    """5.3, figure 7."""
    own = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
    network = with_logs(own, log, own, term=7)
    network.cut(1, 2)
    network.elect(1)
    network.heal()
    network.tick(4)
    assert network.nodes[2].log() == network.nodes[1].log()
    assert terms(network.raft(2)) == [*own, 8]


def test_an_older_shorter_append_that_comes_late_truncates_nothing() -> None:
    """I-7: only a real conflict removes entries."""
    raft = alone(2)
    early = append((0, 0), *log_of(1, 1), term=1)
    late = append((2, 1), *log_of(1, 1, first=3), term=1)
    assert accepted(answer(raft, early, AppendEntriesReply)) == 2
    assert accepted(answer(raft, late, AppendEntriesReply)) == 4
    assert accepted(answer(raft, early, AppendEntriesReply)) == 2
    empty = append((1, 1), term=1)
    assert accepted(answer(raft, empty, AppendEntriesReply)) == 1
    assert terms(raft) == [1, 1, 1, 1]


def test_appends_in_the_wrong_order_are_refused_then_taken() -> None:
    """I-7."""
    raft = alone(2)
    first = append((0, 0), command(1, 1), term=1)
    second = append((1, 1), command(2, 1), term=1)
    assert accepted(answer(raft, second, AppendEntriesReply)) is None
    assert accepted(answer(raft, first, AppendEntriesReply)) == 1
    assert accepted(answer(raft, second, AppendEntriesReply)) == 2
    assert accepted(answer(raft, second, AppendEntriesReply)) == 2


def test_a_conflict_removes_the_entry_and_all_that_follow() -> None:
    """Figure 2, AppendEntries 3."""
    raft = alone(2, 1, 1, 1, 1)
    reply = answer(raft, append((1, 1), command(2, 2), term=2), AppendEntriesReply)
    assert accepted(reply) == 2
    assert terms(raft) == [1, 2]


def test_entries_that_agree_stay_when_an_append_overlaps_them() -> None:
    """Figure 2, AppendEntries 3 and 4: nothing is written twice."""
    raft = alone(2, 1, 1, 1)
    raft.step(append((0, 0), *log_of(1, 1, 1, 2), term=2))
    persist = raft.ready(can_persist=True).persist
    assert persist is not None
    assert persist.first_index == 4
    assert persist.entries == log_of(2, first=4)


def test_a_stale_append_below_the_commit_is_acknowledged_at_the_commit() -> None:
    """I-7: it never reaches what is committed."""
    raft = alone(2, 1, 1, 1, commit_index=3)
    stale = append((0, 0), command(1, 1), term=1)
    assert accepted(answer(raft, stale, AppendEntriesReply)) == 3
    crossing = append((1, 1), *log_of(1, 1, 1, first=2), term=1)
    assert accepted(answer(raft, crossing, AppendEntriesReply)) == 4


def test_a_committed_entry_is_never_dropped() -> None:
    """I-7: a bug stops the process."""
    raft = alone(2, 1, 1, commit_index=2)
    with pytest.raises(AssertionError, match="never dropped"):
        raft.truncate_log(2)


def test_a_commit_index_covers_only_what_this_append_has_proved() -> None:
    """Figure 2, AppendEntries 5: the rest of the log may still disagree."""
    raft = alone(2, 1, 1, 1, 1)
    raft.step(append((1, 1), command(2, 1), term=2, commit_index=4))
    assert raft.log.commit_index == 2


def test_a_commit_index_beyond_the_log_waits_for_the_entries() -> None:
    raft = alone(2)
    raft.step(append((0, 0), command(1, 1), term=1, commit_index=9))
    assert raft.log.commit_index == 1


def test_a_commit_index_never_goes_back() -> None:
    raft = alone(2, 1, 1, 1, commit_index=3)
    raft.step(append((3, 1), term=1, commit_index=1))
    assert raft.log.commit_index == 3


def test_hints_skip_long_divergent_terms() -> None:
    """End of 5.3: one exchange for each term, not for each entry."""
    mine = (1,) * 5 + (4,) * 60
    other = (1,) * 5 + (2,) * 50 + (3,) * 50
    network = with_logs(mine, other, mine, term=4)
    network.cut(1, 2)
    network.elect(1)
    network.heal()
    refusals: list[AppendEntriesReply] = []
    network.on_message = lambda what, message: (
        refusals.append(message)
        if isinstance(message, AppendEntriesReply) and not message.accepted
        else None
    )
    network.tick(4)
    assert network.nodes[2].log() == network.nodes[1].log()
    assert len({message.index for message in refusals}) <= 3


def test_hints_converge_when_terms_alternate_between_two_logs() -> None:
    """The worst case: terms that only one side has, interleaved."""
    odd = tuple(term for term in range(1, 40, 2) for _ in range(5))
    even = tuple(term for term in range(2, 40, 2) for _ in range(5))
    network = with_logs((*odd, 41), (1, *even), (*odd, 41), term=41)
    network.cut(1, 2)
    network.elect(1)
    network.heal()
    network.tick(6)
    assert network.nodes[2].log() == network.nodes[1].log()


def test_a_refusal_that_comes_late_moves_nothing_back() -> None:
    """I-9: below what is known to match, it is stale."""
    raft = make_leader(alone(1, 1, 1, 1))
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 2, True, 4, 0, 0))
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 2, False, 3, 0, 0))
    assert raft.progress[2].match_index == 4
    assert raft.progress[2].next_index == 5


def test_an_acknowledgement_that_comes_late_moves_nothing_back() -> None:
    """I-9: match_index only grows within a term."""
    raft = make_leader(alone(1, 1, 1, 1))
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 2, True, 4, 0, 0))
    raft.step(AppendEntriesReply(2, 1, 2, True, 2, 0, 0))
    assert raft.progress[2].match_index == 4
    assert raft.log.commit_index == 4


def test_an_acknowledgement_of_what_was_never_sent_is_ignored() -> None:
    """I-9."""
    raft = make_leader(alone(1, 1))
    speak(raft)
    raft.step(AppendEntriesReply(2, 1, 2, True, 77, 0, 0))
    assert raft.progress[2].match_index == 0
    assert raft.log.commit_index == 0


def test_answers_of_strangers_are_ignored() -> None:
    raft = make_leader(alone(1, 1))
    speak(raft)
    raft.step(AppendEntriesReply(9, 1, 2, True, 2, 0, 0))
    raft.step(HeartbeatReply(9, 1, 2, 0))
    assert set(raft.progress) == {2, 3}
    assert raft.log.commit_index == 0


def test_lost_appends_are_found_out_by_heartbeats() -> None:
    """5.3: retried until all followers have everything."""
    network = Network()
    network.elect(1)
    network.propose(1, b"lost")
    network.turn(1)
    network.drop_all()
    network.tick(6)
    assert [node.commands for node in network.nodes.values()] == [[b"lost"]] * 3


def test_appends_lost_before_the_first_commit_are_found_out_too() -> None:
    """The first leader of a cluster may have nothing committed: 0 is not "told"."""
    options = msgspec.structs.replace(SMALL, append_entries_max=1)
    network = Network(options=options)
    network.add(1, START, HardState(1, 0, 0), log_of(1, 1, 1))
    network.crash(3)
    raft = network.raft(1)
    raft.campaign()
    while not raft.is_leader or raft.progress[2].match_index == 0:
        network.turn(1)
        network.turn(2)
        sent, network.sent = network.sent, []
        for message in sent:
            network.deliver(message)
    network.turn(1)
    assert [m for m in network.sent if isinstance(m, AppendEntries)]
    network.drop_all()
    network.tick(10)
    assert network.raft(1).log.commit_index == 4
    assert network.nodes[2].log() == network.nodes[1].log()


def test_a_follower_repeats_no_acknowledgement_of_an_older_leader() -> None:
    """I-9: what it acknowledged was about that leader's log."""
    raft = alone(2)
    raft.step(append((0, 0), command(1, 1), term=1))
    raft.step(append((0, 0), Entry(1, 2, 1, b"other"), term=2, sender=3))
    reply = only(speak(raft), AppendEntriesReply)
    assert (reply.to, reply.term, accepted(reply)) == (3, 2, 1)


def test_one_turn_acknowledges_many_appends_once() -> None:
    """The highest of them, after one sync."""
    raft = alone(2)
    for index in range(1, 6):
        previous = (index - 1, 1 if index > 1 else 0)
        raft.step(append(previous, command(index, 1), term=1))
    assert accepted(only(speak(raft), AppendEntriesReply)) == 5


def test_equal_entries_mean_equal_prefixes_after_any_election() -> None:
    """I-6: the log matching property, over a run with three leaders."""
    network = Network((1, 2, 3, 4, 5))
    for number, leader in enumerate((1, 4, 2)):
        network.heal()
        network.elect(leader)
        network.write(leader, b"shared")
        network.isolate(leader)
        network.write(leader, b"alone", f"{number}".encode())
    network.heal()
    network.tick(40)
    leader = network.leader()
    logs = [network.nodes[member].log() for member in (1, 2, 3, 4, 5)]
    assert logs == [network.nodes[leader].log()] * 5


def test_a_restarted_replica_starts_at_its_snapshot_and_its_commit_hint() -> None:
    network = Network()
    network.elect(1)
    network.write(1, b"a")
    network.checkpoint(2)
    network.write(1, b"b", b"c")
    network.crash(2)
    raft = network.restart(2)
    assert raft.snapshot == SnapshotMark(2, 1, raft.configuration)
    assert (raft.log.base_index, raft.log.last_index) == (2, 4)
    assert raft.log.commit_index == 2
    network.settle()
    assert network.nodes[2].commands[0] == b"a"
    network.tick(4)
    assert network.nodes[2].commands == [b"a", b"b", b"c"]
