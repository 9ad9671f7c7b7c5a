"""When an entry is committed and when it is applied: 5.4.2, I-4, I-5, figure 8."""

import msgspec
from quorate.raft import COMMAND, NOOP, AppendEntries, AppendEntriesReply

from .alone import FIVE, alone, make_leader, speak, with_logs
from .network import SMALL, Network


def test_a_new_leader_first_appends_an_entry_of_its_own_term() -> None:
    """I-5."""
    raft = make_leader(alone(1, 1, 1))
    last = raft.log.entry(raft.log.last_index)
    assert (last.index, last.term, last.kind) == (3, 2, NOOP)


def test_a_leader_does_not_commit_an_older_term_by_counting() -> None:
    """I-4: figure 8 (c); a majority holds the entry, and it may still be lost."""
    raft = make_leader(alone(1, 1, 2, term=3, configuration=FIVE))
    speak(raft)
    for member in (2, 3, 4, 5):
        raft.step(AppendEntriesReply(member, 1, 4, True, 2, 0, 0))
    assert raft.log.commit_index == 0


def test_an_entry_of_the_current_term_commits_all_before_it() -> None:
    """I-4: figure 8 (e)."""
    raft = make_leader(alone(1, 1, 2, term=3, configuration=FIVE))
    speak(raft)
    for member in (2, 3):
        raft.step(AppendEntriesReply(member, 1, 4, True, 3, 0, 0))
    assert raft.log.commit_index == 3


def test_the_schedule_of_figure_8_loses_nothing_committed() -> None:
    """I-4. Letters are those of the figure; it begins at the end of (b)."""
    options = msgspec.structs.replace(SMALL, append_entries_max=1)
    network = with_logs((1, 2), (1, 2), (1,), (1,), (1, 3), term=3, options=options)
    # (c) S1 leads in term 4, copies its entry of term 2 to a majority, and no more.
    network.isolate(5)
    network.loses = lambda message: (
        isinstance(message, AppendEntries)
        and message.previous_index == 2
        and network.raft(message.to).log.term(2) == 2
    )
    network.elect(1)
    holders = [m for m in (1, 2, 3, 4) if network.nodes[m].log()[1:2] == [(2, 2)]]
    assert holders == [1, 2, 3, 4]
    assert network.nodes[1].applied == []
    # (d) S1 crashes; S5, whose last term is newer, replaces that entry everywhere.
    network.crash(1)
    network.heal()
    network.elect(5)
    network.write(5, b"after")
    network.restart(1)
    network.tick(4)
    logs = [network.nodes[member].log() for member in (1, 2, 3, 4, 5)]
    assert logs == [[(1, 1), (2, 3), (3, 5), (4, 5)]] * 5


def test_entries_are_applied_in_order_once_and_the_same_everywhere() -> None:
    """State machine safety; the network compares every application."""
    network = Network()
    network.elect(1)
    for number in range(20):
        network.write(1, f"{number}".encode())
    expected = [f"{number}".encode() for number in range(20)]
    assert [node.commands for node in network.nodes.values()] == [expected] * 3


def test_one_turn_applies_no_more_than_its_limit() -> None:
    """I-76: a long backlog does not hold the loop."""
    network = Network((1,))
    network.elect(1)
    network.propose(1, *[b"x"] * 10000)
    network.turn(1)
    ready = network.turn(1)
    assert len(ready.committed) == network.options.apply_entries_max
    network.settle()
    assert len(network.nodes[1].commands) == 10000


def test_a_deposed_leaders_uncommitted_entry_is_replaced() -> None:
    """5.3: it is lost in the definite sense only when another took its place."""
    network = Network()
    network.elect(1)
    network.isolate(1)
    network.write(1, b"lost")
    network.elect(2)
    network.write(2, b"kept")
    network.heal()
    network.tick(4)
    assert network.nodes[1].commands == [b"kept"]
    kinds = [entry.data for entry in network.nodes[1].applied if entry.kind == COMMAND]
    assert kinds == [b"kept"]


def test_an_entry_that_a_crashed_leader_had_committed_survives_it() -> None:
    """5.4: leader completeness; it reached a majority, one of which is elected."""
    network = Network((1, 2, 3, 4, 5))
    network.elect(1)
    network.cut(1, 4, 5)
    network.write(1, b"kept")
    assert network.nodes[1].commands == [b"kept"]
    network.crash(1)
    network.heal()
    network.tick(60)
    assert network.leader() in (2, 3)
    for member in (2, 3, 4, 5):
        assert network.nodes[member].commands == [b"kept"]
