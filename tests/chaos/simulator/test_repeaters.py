"""Clients that send everything again: whatever a copy is told wrongly is noticed."""

from typing import cast

import pytest
from quorate.chaos.simulator.checkers.book import Book
from quorate.chaos.simulator.checkers.model import Model
from quorate.chaos.simulator.node import Node
from quorate.chaos.simulator.repeaters import Repeater
from quorate.chaos.simulator.shape import Shape
from quorate.chaos.simulator.world import MILLISECOND, SECOND, Violation, World
from quorate.node.replica import Request
from quorate.raft import Configuration
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    Delete,
    EnvelopeKind,
    ErrorCode,
    InSession,
    OpenSession,
    Outcome,
    Put,
    Record,
    Transaction,
    TxnPut,
    TxnResult,
    decode_command,
    encode_envelope_head,
    encode_error,
    encode_session_opened,
    encode_txn_reply,
    encode_write_reply,
    error_reply,
)

REFUSED = 1
HEAD = encode_envelope_head(EnvelopeKind.CLIENT_COMMAND, 0, 0)


class Store:
    """A node that keeps sessions, and refuses much; `lie` names what it does wrong."""

    up = True

    def __init__(self, world: World, model: Model, lie: str) -> None:
        self.world = world
        self.model = model
        self.lie = lie
        self.index = 1
        self.told: set[tuple[int, int]] = set()

    def submit(self, request: Request) -> None:
        self.world.at(MILLISECOND, self.answer, request)

    def answer(self, request: Request) -> None:
        if self.world.chance(0.2):
            status, body = refusal(ErrorCode.NO_LEADER)
        else:
            status, body = self.carry_out(request.body)
            if self.world.chance(0.2):
                status, body = refusal(ErrorCode.UNKNOWN_OUTCOME, 0, Outcome.UNKNOWN)
        request.sink.reply(request.request_id, request.kind, status, body)

    def carry_out(self, data: bytes) -> tuple[int, bytes]:
        command, sessions = decode_command(data, DEFAULT_LIMITS), self.model.sessions
        self.index += 1
        if isinstance(command, InSession) and not sessions.knows(command.place):
            return refusal(ErrorCode.SESSION_NOT_FOUND)
        self.model.apply(HEAD + data, self.index, 0)
        if isinstance(command, OpenSession):
            since = sessions.open[command.session]
            return OK, encode_session_opened(self.model.revision, since)
        if not isinstance(command, InSession):
            return OK, encode_write_reply(self.model.revision, 0)
        place = command.place
        at = place.since, place.sequence
        again = at in self.told
        self.told.add(at)
        code, revision, count = sessions.done[at]
        if self.lie == "is over" and self.world.chance(0.1):
            return refusal(ErrorCode.SESSION_NOT_FOUND)
        match command.command:
            case Put() if code is None and self.lie == "refused what it did":
                return refusal(ErrorCode.PRECONDITION_FAILED, revision)
            case Put() if code is None and again and self.lie == "refused at last":
                return refusal(ErrorCode.LEASE_NOT_FOUND, revision)
            case Put() if code is not None:
                if again and self.lie == "another refusal":
                    code = ErrorCode.LEASE_NOT_FOUND
                if self.lie == "refused for another":
                    revision += 1
                return refusal(code, revision)
            case Delete() if self.lie == "deleted nothing":
                count = 0
            case Transaction(_, operations, _):
                put = operations[0]
                assert isinstance(put, TxnPut)
                value = b"?" if self.lie == "another's" else put.value
                version = 2 if again and self.lie == "another version" else 1
                record = Record(put.key, value, revision, revision, version, 0)
                results = TxnResult(True), TxnResult(True, record)
                return OK, encode_txn_reply(True, revision, results)
            case _:
                pass
        return OK, encode_write_reply(revision, count)


def refusal(
    code: ErrorCode, revision: int = 0, outcome: Outcome = Outcome.NOT_APPLIED
) -> tuple[int, bytes]:
    error = error_reply(code, outcome, "", revision)
    return REFUSED, encode_error(error, DEFAULT_LIMITS)


def repeat(lie: str) -> Repeater:
    """A minute of one client at such a store."""
    world = World(5)
    shape = Shape(world)
    book = Book(world, Configuration((1,), (), ()), shape, changes=False)
    node = cast("Node", Store(world, book.model, lie))
    repeater = Repeater(world, 1, [node], shape, book)
    repeater.start()
    world.run_until(60 * SECOND)
    return repeater


def test_copies_that_nobody_took_may_be_told_anything_that_says_so() -> None:
    repeater = repeat("")
    assert repeater.again > 100
    assert repeater.over > 0, "one session was closed"


@pytest.mark.parametrize(
    ("lie", "invariant"),
    [
        ("refused what it did", "I-55"),
        ("refused at last", "I-55"),
        ("another refusal", "I-55"),
        ("refused for another", "I-55"),
        ("deleted nothing", "I-55"),
        ("another version", "I-55"),
        ("is over", "I-55"),
        ("another's", "I-36"),
    ],
)
def test_a_store_that_tells_a_copy_something_else_is_objected_to(
    lie: str, invariant: str
) -> None:
    with pytest.raises(Violation) as caught:
        repeat(lie)
    assert caught.value.invariant == invariant
