"""Whatever happens in whatever order, these hold after each step.

One leader a term (I-1); logs that share an entry share all before it (I-6); what is
committed stays (I-4, I-7) and every later leader has it; replicas apply the same; the
commit of a node never goes back; nothing leaves in a term that is not durable (I-2); a
read's index covers all that was committed anywhere when it was asked (I-40). At the
end everything is healed, and the cluster must serve again (I-73).

Here Hypothesis looks for such an order and makes it short; test_walks.py walks further
over the same events. `QUORATE_LONG=1` runs for minutes, on new seeds each time;
`QUORATE_EXAMPLES` says how many.
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from quorate.raft import CONFIGURATION, Entry, Message, Ready, Refused, RequestPreVote

from .network import ELECTION_TICKS, Network, Node

MEMBERS = (1, 2, 3, 4, 5)
ANY = st.sampled_from(MEMBERS)
NUMBER = st.integers(0, 999)


class Cluster(RuleBasedStateMachine):
    """Five nodes, three to five of them voters at first."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(MEMBERS)
        self.committed: list[Entry] = []
        self.commits: dict[tuple[int, int], int] = {}
        self.led: set[int] = set()
        self.asked: dict[tuple[int, int], int] = {}
        self.written = 0
        self.changes = 0

    @initialize(voters=st.integers(3, 5), learner=st.booleans(), leader=st.booleans())
    def start(self, voters: int, learner: bool, leader: bool) -> None:
        rest = MEMBERS[voters:]
        learners = rest[:1] if learner else ()
        spares = rest[len(learners) :]
        self.network = Network(MEMBERS[:voters], learners, spares)
        self.network.on_turn = self._on_turn
        self.network.on_message = self._on_message
        if leader:
            self.network.elect(1)

    def node(self, member: int) -> Node:
        return self.network.nodes[member]

    def alive(self, member: int) -> bool:
        return self.node(member).alive

    # -- what may happen ---------------------------------------------------------

    @rule(ticks=st.integers(1, 3 * ELECTION_TICKS))
    def time_passes(self, ticks: int) -> None:
        self.network.tick(ticks)

    @rule(member=ANY, ticks=st.integers(1, 2 * ELECTION_TICKS), turn=st.booleans())
    def time_passes_for_one(self, member: int, ticks: int, turn: bool) -> None:
        if self.alive(member):
            for _ in range(ticks):
                self.node(member).raft.tick()
            if turn:
                self.network.turn(member)

    @rule()
    def all_take_turns_and_hear_each_other_once(self) -> None:
        for member in self.network.living():
            self.network.turn(member)
        sent, self.network.sent = self.network.sent, []
        for message in sent:
            self.network.deliver(message)

    @precondition(lambda self: self.network.sent)
    @rule(picks=st.lists(st.tuples(NUMBER, st.booleans()), min_size=1, max_size=8))
    def messages_arrive_in_any_order(self, picks: list[tuple[int, bool]]) -> None:
        """True: another copy of the message will come."""
        for which, again in picks:
            if self.network.sent:
                message = self._pick(which, keep=again)
                self.network.deliver(message)
                if self.alive(message.to):
                    self.network.turn(message.to)

    @precondition(lambda self: self.network.sent)
    @rule(picks=st.lists(NUMBER, min_size=1, max_size=8))
    def messages_are_lost(self, picks: list[int]) -> None:
        self.network.loses = lambda message: True
        for which in picks:
            if self.network.sent:
                self.network.deliver(self._pick(which, keep=False))
        self.network.loses = lambda message: False

    @rule(member=ANY, settle=st.booleans())
    def one_campaigns(self, member: int, settle: bool) -> None:
        """Twice: the first time it may only learn of a term."""
        for _ in range(2):
            for other in self.network.living():
                raft = self.node(other).raft
                raft.leader_unreachable(raft.leader_id)
            if self.alive(member):
                self.node(member).raft.campaign()
            if not settle:
                return
            self.network.settle()

    @rule(count=st.integers(1, 4), settle=st.booleans())
    def the_leaders_are_written_to(self, count: int, settle: bool) -> None:
        """All that believe to lead."""
        for member in self._leaders():
            data = [f"{self.written + n}".encode() for n in range(count)]
            self.written += count
            self.node(member).raft.propose(data)
            if not settle:
                self.network.turn(member)
        if settle:
            self.network.settle()

    @rule(member=ANY, settle=st.booleans())
    def one_asks_to_read(self, member: int, settle: bool) -> None:
        if self.alive(member):
            read_id = self.node(member).raft.read_index()
            if read_id is not None:
                assert (member, read_id) not in self.asked, "an id was used twice"
                self.asked[member, read_id] = len(self.committed)
        if settle:
            self.network.settle()

    @rule(member=ANY, back=st.booleans())
    def one_crashes(self, member: int, back: bool) -> None:
        if self.alive(member):
            self.network.crash(member)
            if back:
                self.network.restart(member)

    @rule()
    def all_crash_and_come_back(self) -> None:
        for member in MEMBERS:
            if self.alive(member):
                self.network.crash(member)
            self.network.restart(member)

    @rule()
    def all_come_back(self) -> None:
        for member in MEMBERS:
            if not self.alive(member):
                self.network.restart(member)

    @rule(members=st.sets(ANY, min_size=1, max_size=3))
    def disks_hang(self, members: set[int]) -> None:
        for member in sorted(members):
            self.network.hold_disk(member)

    @rule(member=ANY)
    def one_disk_finishes_a_batch(self, member: int) -> None:
        if self.node(member).flight is not None:
            self.network.release(member)

    @rule()
    def all_disks_work_again(self) -> None:
        for member in MEMBERS:
            self.network.free_disk(member)

    @rule(member=ANY, keep=st.integers(0, 4))
    def one_makes_a_checkpoint(self, member: int, keep: int) -> None:
        if self.alive(member):
            self.network.checkpoint(member, keep)

    @rule(side=st.sets(ANY, min_size=1, max_size=3), write=st.booleans())
    def the_network_splits(self, side: set[int], write: bool) -> None:
        self.network.heal()
        for member in sorted(side):
            self.network.cut(member, *(m for m in MEMBERS if m not in side))
        if write:
            self.the_leaders_are_written_to(1, settle=True)

    @rule(sender=ANY, to=ANY)
    def a_link_fails_one_way(self, sender: int, to: int) -> None:
        self.network.cut_one_way(sender, to)

    @rule(sender=ANY, to=ANY)
    def a_connection_breaks(self, sender: int, to: int) -> None:
        if self.alive(sender):
            self.node(sender).raft.peer_unreachable(to)

    @rule()
    def the_network_heals(self) -> None:
        self.network.heal()

    @precondition(lambda self: self.changes < 3)
    @rule(
        voters=st.sets(ANY, min_size=2),
        learners=st.sets(ANY, max_size=2),
        settle=st.booleans(),
    )
    def the_configuration_changes(
        self, voters: set[int], learners: set[int], settle: bool
    ) -> None:
        self.changes += 1
        for member in self._leaders():
            raft = self.node(member).raft
            raft.change_configuration(sorted(voters), sorted(learners - voters))
        if settle:
            self.network.settle()

    @rule(heir=ANY)
    def leadership_is_handed_over(self, heir: int) -> None:
        for member in self._leaders():
            self.node(member).raft.transfer_leadership(heir)

    # -- what must hold ----------------------------------------------------------

    @invariant()
    def what_is_committed_is_the_same_everywhere_and_stays(self) -> None:
        for member in self.network.living():
            self._note_commits(member)

    def _note_commits(self, member: int) -> None:
        node = self.node(member)
        log, boot = node.raft.log, node.options.boot
        before = self.commits.get((member, boot), log.base_index)
        assert log.commit_index >= before, "a commit index went back"
        assert log.applied_index <= log.commit_index <= log.last_index
        assert log.applied_index <= log.stable_index <= log.last_index
        self.commits[member, boot] = log.commit_index
        for index in range(max(before, log.base_index) + 1, log.commit_index + 1):
            entry = log.entry(index)
            if index == len(self.committed) + 1:
                self.committed.append(entry)
            assert self.committed[index - 1] == entry, "a committed entry changed"

    @invariant()
    def logs_that_share_an_entry_share_all_before_it(self) -> None:
        logs = [self.node(member).raft.log for member in self.network.living()]
        for position, one in enumerate(logs):
            for other in logs[position + 1 :]:
                shared = False
                low = max(one.base_index, other.base_index)
                for index in range(min(one.last_index, other.last_index), low, -1):
                    same = one.term(index) == other.term(index)
                    assert same or not shared, f"logs differ below {index + 1}"
                    shared = same
                    if same:
                        assert one.entry(index) == other.entry(index)

    def _on_turn(self, member: int, ready: Ready) -> None:
        raft = self.node(member).raft
        self._note_commits(member)
        if raft.is_leader and raft.term not in self.led:
            self.led.add(raft.term)
            self._expect_complete(member)
        for read_id, index in ready.reads:
            assert index >= self.asked[member, read_id], "a stale read"

    def _expect_complete(self, member: int) -> None:
        """A new leader holds everything that was ever committed (5.4)."""
        log = self.node(member).raft.log
        assert log.last_index >= len(self.committed)
        for entry in self.committed[log.base_index :]:
            assert log.entry(entry.index) == entry, "a leader lacks a committed entry"

    def _on_message(self, what: str, message: Message) -> None:
        if what == "send" and not isinstance(message, RequestPreVote):
            durable = self.node(message.sender).disk.hard_state.term
            assert message.term <= durable, "sent in a term that is not durable"

    def teardown(self) -> None:
        """I-73: once faults stop, the cluster serves; all members have everything."""
        self.network.heal()
        for member in MEMBERS:
            self.network.free_disk(member)
            if not self.alive(member):
                self.network.restart(member)
        for _ in range(30):
            self.network.tick(ELECTION_TICKS)
            if self._serves():
                return
        raise AssertionError("healed, and still does not serve")

    def _serves(self) -> bool:
        """A write commits, and every member of the configuration applies it."""
        leader = self.network.leader()
        if not leader:
            return False
        answer = self.node(leader).raft.propose([b"end"])
        if isinstance(answer, Refused):
            return False
        self.network.tick(ELECTION_TICKS)
        self.what_is_committed_is_the_same_everywhere_and_stays()
        members = self.node(leader).raft.configuration.members()
        return all(self.node(m).raft.log.applied_index >= answer[0] for m in members)

    def _leaders(self) -> list[int]:
        return [m for m in self.network.living() if self.node(m).raft.is_leader]

    def _pick(self, which: int, keep: bool) -> Message:
        sent = self.network.sent
        position = which % len(sent)
        return sent[position] if keep else sent.pop(position)


class DamagedCluster(Cluster):
    """The same, and last batches that can't be read after a crash.

    Any number may be torn, which nobody was told of. A batch that was durable is
    damaged on one node at a time, and only among voters that all agree who they are:
    more is beyond what is promised (docs/decisions/0004).
    """

    def __init__(self) -> None:
        super().__init__()
        self.struck: int = 0

    @rule(member=ANY)
    def one_crashes_with_a_torn_batch(self, member: int) -> None:
        node = self.node(member)
        if not self.alive(member) or node.flight is None:
            return
        node.disk.write(node.flight.persist, node.flight.doubt)
        self.network.crash(member, damaged=True)

    @rule(member=ANY)
    def one_crashes_and_its_last_batch_is_damaged(self, member: int) -> None:
        node = self.node(member)
        if not self.alive(member) or self._struck_still() or not self._settled():
            return
        batches = node.disk.batches
        if not batches or node.flight is not None or not batches[-1].persist.entries:
            return
        if any(entry.kind == CONFIGURATION for entry in batches[-1].persist.entries):
            return
        self.struck = member
        self.network.crash(member, damaged=True)

    def _struck_still(self) -> bool:
        """Has the last damage not been repaired, durably?"""
        if not self.struck:
            return False
        node = self.node(self.struck)
        if not node.alive or node.raft.doubt is not None or node.flight is not None:
            return True
        log = node.raft.log
        return log.stable_index < log.last_index

    def _settled(self) -> bool:
        """Everybody knows the same three or more voters."""
        known = {node.raft.configuration for node in self.network.nodes.values()}
        return len(known) == 1 and all(
            len(configuration.voters) >= 3 and not configuration.joint
            for configuration in known
        )


LONG = os.environ.get("QUORATE_LONG") == "1"
CHECKS = (HealthCheck.too_slow, HealthCheck.filter_too_much)

if LONG:
    examples = int(os.environ.get("QUORATE_EXAMPLES", "5000"))
    profile = settings(
        max_examples=examples,
        stateful_step_count=150,
        suppress_health_check=CHECKS,
    )
else:
    profile = settings(
        max_examples=30,
        stateful_step_count=60,
        derandomize=True,
        suppress_health_check=CHECKS,
    )


def test_no_order_of_events_breaks_a_promise() -> None:
    run_state_machine_as_test(Cluster, settings=profile)


def test_no_order_of_events_with_damaged_batches_breaks_a_promise() -> None:
    run_state_machine_as_test(DamagedCluster, settings=profile)
