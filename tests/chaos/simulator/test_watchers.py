"""The simulator's readers: where they go on, and what they object to at once."""

from dataclasses import dataclass, field
from typing import cast

import pytest
from quorate.chaos.histories import Change, Ended, Watch
from quorate.chaos.simulator.checkers.model import Model
from quorate.chaos.simulator.checkers.watches import check_watches
from quorate.chaos.simulator.node import Node
from quorate.chaos.simulator.shape import Shape
from quorate.chaos.simulator.watchers import Connection, Watcher
from quorate.chaos.simulator.world import SECOND, Violation, World
from quorate.node.replica import Request
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    REFUSED,
    ErrorCode,
    Outcome,
    Record,
    RequestKind,
    decode_watch,
    encode_created,
    encode_error,
    encode_event,
    encode_progress,
    error_reply,
)

from ...wire.watch_replies import encode_events


@dataclass
class FakeNode:
    """Takes requests, and answers what the test says."""

    name: str
    up: bool = True
    requests: list[Request] = field(default_factory=list[Request])
    left: list[object] = field(default_factory=list[object])

    def submit(self, request: Request) -> None:
        self.requests.append(request)

    def gone(self, sink: object) -> None:
        self.left.append(sink)


class Reader:
    """A steady watcher over everything, and the one or two nodes that it knows."""

    def __init__(self, nodes: int = 1) -> None:
        self.world = World(1)
        self.model = Model()
        self.model.revision = 50
        self.nodes = [FakeNode(f"n{number}") for number in range(nodes)]
        known = cast("list[Node]", self.nodes)
        shape = Shape(self.world)
        self.watcher = Watcher(self.world, 1, known, shape, self.model)
        self.watcher.start()
        self.watcher.wish, self.watcher.next = Watch(b"", b""), 0
        self.watcher.mend()
        self.wait(1)

    def wait(self, seconds: float) -> None:
        self.world.run_until(self.world.now_us + int(seconds * SECOND))

    @property
    def connection(self) -> Connection:
        assert self.watcher.connection is not None
        return self.watcher.connection

    def asked(self) -> list[int]:
        """From which revision on, each time that a watch was asked for."""
        return [
            decode_watch(request.body, DEFAULT_LIMITS).revision
            for node in self.nodes
            for request in node.requests
            if request.kind == RequestKind.WATCH
        ]

    def push(self, *bodies: bytes) -> None:
        for body in bodies:
            self.connection.push(1, RequestKind.WATCH, body)

    def end(self, code: ErrorCode, revision: int = 0) -> None:
        error = error_reply(code, Outcome.NONE, "a reason", revision)
        body = encode_error(error, DEFAULT_LIMITS)
        self.connection.reply(1, RequestKind.WATCH, REFUSED, body)


def event(revision: int) -> bytes:
    record = Record(b"k", b"v%d" % revision, revision, revision, 1, 0)
    return encode_events(revision, [encode_event(True, record)])[0]


@pytest.fixture
def reader() -> Reader:
    return Reader()


# -- where it goes on ------------------------------------------------------------------


def test_it_goes_on_behind_what_it_was_told_when_its_node_goes_down(
    reader: Reader,
) -> None:
    reader.push(encode_created(5), event(6), encode_progress(8))
    node = cast("Node", reader.nodes[0])
    reader.watcher.went_down(node)
    reader.wait(1)
    assert reader.asked() == [0, 9]


def test_before_it_is_created_it_asks_for_the_next_again(reader: Reader) -> None:
    reader.end(ErrorCode.NO_LEADER)
    reader.wait(1)
    assert reader.asked() == [0, 0]
    assert reader.watcher.watches[0].told == [Ended("no_leader")]


def test_a_node_that_answers_no_ping_is_left(reader: Reader) -> None:
    reader.push(encode_created(5))
    first = reader.connection
    reader.wait(6)
    (ping,) = [r for r in reader.nodes[0].requests if r.kind == RequestKind.PING]
    first.reply(ping.request_id, RequestKind.PING, OK, b"")
    reader.wait(6)
    assert reader.connection is first
    reader.wait(9)
    assert reader.nodes[0].left[0] is first
    assert reader.asked()[:2] == [0, 6]


def test_what_was_compacted_ends_it_and_it_wants_something_else(
    reader: Reader,
) -> None:
    reader.push(encode_created(5))
    wish = reader.watcher.wish
    reader.end(ErrorCode.COMPACTED, 20)
    reader.wait(1)
    assert reader.watcher.wish is not wish
    assert reader.watcher.watches[0].told[-1] == Ended("compacted", 20)


def test_it_can_not_go_on_after_an_error_that_should_not_be(reader: Reader) -> None:
    with pytest.raises(Violation, match="I-59"):
        reader.end(ErrorCode.INTERNAL)


# -- what it takes ---------------------------------------------------------------------


def test_a_slow_reader_has_no_room_until_it_reads(reader: Reader) -> None:
    watcher = reader.watcher
    watcher.slow_us, reader.connection.limit = SECOND, 100
    reader.push(encode_created(5), event(6), event(7))
    assert reader.connection.room() <= 0
    with pytest.raises(Violation, match="I-62"):
        reader.push(event(8))
    reader.wait(1)
    assert reader.connection.room() == 100
    assert watcher.next == 8


def test_nothing_is_told_that_nobody_has_applied(reader: Reader) -> None:
    reader.push(encode_created(50))
    with pytest.raises(Violation, match="I-58"):
        reader.push(encode_progress(51))
    with pytest.raises(Violation, match="I-58"):
        reader.push(event(51))


# -- at the end ------------------------------------------------------------------------


def test_it_is_settled_when_all_that_concerns_it_was_told(reader: Reader) -> None:
    watcher = reader.watcher
    assert not watcher.settled(), "no node has taken it"
    reader.push(encode_created(5))
    assert watcher.settled()
    reader.model.every.append(Change(6, b"k", b"v6"))
    assert not watcher.settled()
    reader.push(event(6))
    assert watcher.settled()


def test_what_a_reader_was_told_is_judged_beside_the_log(reader: Reader) -> None:
    model = reader.model
    model.every += [Change(6, b"k", b"v6"), Change(7, b"j", b"a")]
    reader.push(encode_created(5), event(6))
    told = [("w1", reader.watcher.watches)]
    check_watches(reader.world, model, told, to_the_end=False)
    with pytest.raises(Violation, match=r"I-58.*complete"):
        check_watches(reader.world, model, told, to_the_end=True)
    reader.push(event(8))
    with pytest.raises(Violation, match=r"I-58.*atomic"):
        check_watches(reader.world, model, told, to_the_end=False)
