"""When a replica tells those who watch, and when it ends what it tells (I-59, I-61)."""

from itertools import count

import pytest
from quorate.node.database import begin as begin_database
from quorate.node.replica import Effects, Replica, ReplicaOptions
from quorate.node.replica.requests import Request
from quorate.raft import (
    AppendEntries,
    Configuration,
    HardState,
    InstallSnapshot,
    Options,
    Raft,
    SnapshotMark,
    encode_configuration,
)
from quorate.storage.engine import Engine
from quorate.storage.errors import CorruptionError
from quorate.storage.memory_env import MemoryEnv
from quorate.wire import (
    ErrorCode,
    RequestKind,
    WatchRequest,
    encode_put,
    encode_watch,
)

from ..database.support import (
    BEGIN,
    CLUSTER,
    CONFIGURATION,
    command,
    new_database,
    sent_by,
)
from .watching import ALL, PLENTY, FakeSink, deliver

LEADER = 2
TICKS_OF_PATIENCE = 300
_ids = count(1)


class Follower:
    """A replica that follows by hand; its disk is durable at once."""

    def __init__(self) -> None:
        configuration = Configuration((1, 2, 3), (), (4,))
        mark = SnapshotMark(BEGIN, 1, configuration)
        raft = Raft(Options(id=1, jitter=lambda n: 0), mark, HardState(1, 0, BEGIN))
        assert encode_configuration(configuration) == CONFIGURATION
        engine = Engine(MemoryEnv(), "/e", lambda: next(_ids).to_bytes(16, "little"))
        database = begin_database(engine, CLUSTER, BEGIN, 1, CONFIGURATION)
        self.replica = Replica(ReplicaOptions(), raft, database, lambda n: 0)
        self.written = 0
        self.now_ms = 0

    def turn(self) -> Effects:
        effects = self.replica.turn(True)
        for reply in effects.replies:
            reply.sink.reply(reply.request_id, reply.kind, reply.status, reply.body)
        deliver(effects.pushes)
        if effects.ack is not None:
            self.replica.persisted(effects.ack)
        return effects

    def turns(self) -> None:
        while self.turn().again:
            pass
        self.turn()

    def hear(self, puts: int = 0) -> None:
        """The leader says that it is there, and what there is to be applied."""
        last = BEGIN + self.written
        entries = [
            command(self.written + n, encode_put(b"k", b"v"), term=2)
            for n in range(1, puts + 1)
        ]
        self.written += puts
        term = self.replica.raft.log.term(last)
        assert term is not None
        self.replica.step(
            AppendEntries(
                sender=LEADER,
                to=1,
                term=2,
                previous_index=last,
                previous_term=term,
                entries=tuple(entries),
                commit_index=BEGIN + self.written,
            )
        )

    def tick(self, count: int) -> None:
        for _ in range(count):
            self.now_ms += self.replica.options.tick_ms
            self.replica.advance(self.now_ms, 0)
            self.replica.tick()

    def watch(
        self, sink: FakeSink, wanted: WatchRequest = ALL, number: int = 1
    ) -> None:
        body = encode_watch(wanted)
        request = Request(sink, number, RequestKind.WATCH, body, self.now_ms + 5000)
        self.replica.submit(request)


@pytest.fixture
def follower() -> Follower:
    follower = Follower()
    follower.hear()
    follower.turns()
    assert follower.replica.raft.leader_id == LEADER
    return follower


def revisions(sink: FakeSink) -> list[int]:
    return [revision for revision, _, _ in sink.events()]


def test_what_is_applied_is_told_in_the_same_turn(follower: Follower) -> None:
    sink = FakeSink(1)
    follower.watch(sink)
    follower.hear(3)
    follower.turns()
    assert revisions(sink) == [2, 3, 4]


def test_no_deadline_ends_a_watch(follower: Follower) -> None:
    sink = FakeSink(1)
    follower.watch(sink)
    for _ in range(100):
        follower.tick(20)
        follower.hear()
        follower.turns()
    assert sink.ended == {}
    assert follower.now_ms > 10_000
    assert sink.progress(), "it was told how far it is"


@pytest.mark.parametrize("how", ["prepare_stop", "end"])
def test_a_node_that_stops_answers_all_watches(follower: Follower, how: str) -> None:
    sinks = [FakeSink(number, room) for number, room in ((1, PLENTY), (2, 0))]
    for sink in sinks:
        follower.watch(sink)
    follower.turns()
    for sink in sinks:
        follower.watch(sink, number=2)
    if how == "prepare_stop":
        follower.replica.prepare_stop()
        follower.turns()
    else:
        replies, _ = follower.replica.end()
        for reply in replies:
            reply.sink.reply(reply.request_id, reply.kind, reply.status, reply.body)
    for sink in sinks:
        assert sink.ended == dict.fromkeys((1, 2), ErrorCode.STOPPING)
    assert follower.replica.watching.watches.open == 0
    follower.watch(sinks[0], number=3)
    replies, _ = follower.replica.end()
    assert [reply.request_id for reply in replies] == [3]


def test_after_a_while_without_a_leader_watches_end(follower: Follower) -> None:
    sink = FakeSink(1)
    follower.watch(sink)
    follower.hear(2)
    follower.turns()
    while follower.replica.raft.leader_id:
        follower.tick(1)
        follower.turns()
    follower.tick(TICKS_OF_PATIENCE - 10)
    follower.turns()
    assert sink.ended == {}
    follower.tick(20)
    assert follower.replica.has_work(True), "there is something to be said"
    follower.turns()
    assert sink.ended == {1: ErrorCode.NO_LEADER}
    assert revisions(sink) == [2, 3]


def test_none_begins_there_until_a_leader_is_known(follower: Follower) -> None:
    """Else it would begin and end for ever, and the client not go on elsewhere."""
    follower.tick(3 * TICKS_OF_PATIENCE)
    sink = FakeSink(1)
    follower.watch(sink)
    follower.turns()
    assert (sink.ended, sink.told) == ({1: ErrorCode.NO_LEADER}, {})
    follower.replica.raft.become_follower(2, LEADER, "it is back")
    follower.tick(5)
    follower.watch(sink, number=2)
    follower.turns()
    assert sink.created(2) == 1


def test_a_reader_that_has_room_again_makes_work(follower: Follower) -> None:
    """A shell that leaves out turns without work would never tell it the rest."""
    sink = FakeSink(1, room=0)
    follower.watch(sink)
    follower.hear(2)
    follower.turns()
    assert revisions(sink) == []
    assert not follower.replica.has_work(True), "there is nothing that it would take"
    sink.left = PLENTY
    assert follower.replica.has_work(True)
    follower.turns()
    assert revisions(sink) == [2, 3]
    assert not follower.replica.has_work(True)


def damage(follower: Follower) -> None:
    follower.replica.healing.found(CorruptionError("a table", 0, "a bad block"))


def heal(follower: Follower, puts: int) -> None:
    """The leader's state after so many puts comes, and what was there is redone."""
    leader = new_database()
    leader.apply([command(n, encode_put(b"k", b"v")) for n in range(1, puts + 1)])
    replica = follower.replica
    incoming = replica.database.store.receive("a test")
    incoming.feed(sent_by(leader))
    for _ in incoming.check():
        pass
    index = leader.applied_index
    term = replica.raft.log.term(index)
    assert term is not None
    configuration = replica.raft.snapshot.configuration
    message = InstallSnapshot(LEADER, 1, 2, index, term, configuration)
    assert replica.install(message, incoming)


def test_nothing_is_told_of_a_damaged_state_and_all_of_it_after_healing(
    follower: Follower,
) -> None:
    live, late, slow = FakeSink(1), FakeSink(2), FakeSink(3, room=0)
    for sink in (live, slow):
        follower.watch(sink)
    follower.hear(4)
    follower.turns()
    damage(follower)
    follower.watch(late)
    follower.hear(3)
    follower.turns()
    assert (revisions(live), revisions(late)) == ([2, 3, 4, 5], [])
    slow.left = PLENTY
    follower.turns()
    assert revisions(slow) == []
    heal(follower, 2)
    follower.turns()
    follower.hear(1)
    follower.turns()
    for sink in (live, late, slow):
        assert revisions(sink) == list(range(2, 10))
        assert sink.ended == {}


def test_what_is_applied_in_the_turn_of_the_damage_is_told_after_healing(
    follower: Follower,
) -> None:
    """A read met it behind the apply: what was applied was never told to anybody."""
    sink = FakeSink(1)
    follower.watch(sink)
    follower.hear(4)
    follower.turns()
    follower.hear(3)
    while not follower.replica.raft.log.can_apply():
        follower.turn()
    follower.replica.reads.damage = CorruptionError("a table", 0, "a bad block")
    follower.turns()
    assert follower.replica.healing.damage is not None
    assert revisions(sink) == [2, 3, 4, 5]
    assert follower.replica.database.revision == 8
    follower.replica.watching.watches.progress(sink, 1)
    heal(follower, 2)
    follower.turns()
    follower.hear(1)
    follower.turns()
    assert revisions(sink) == list(range(2, 10))
    assert max(sink.progress(), default=0) <= 5


def test_damage_met_while_a_watch_catches_up_is_healed(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower.hear(5)
    follower.turns()
    sink = FakeSink(1)
    follower.watch(sink)
    watches = follower.replica.watching.watches

    def broken() -> bool:
        raise CorruptionError("a table", 0, "a bad block")

    with monkeypatch.context() as patch:
        patch.setattr(watches, "catch_up", broken)
        follower.turn()
    assert follower.replica.healing.damage is not None
    follower.turns()
    assert revisions(sink) == []
    heal(follower, 3)
    follower.turns()
    assert revisions(sink) == [2, 3, 4, 5, 6]
