"""Pairs of keys: what their clients are told is judged, however it is wrong."""

from typing import cast

import pytest
from quorate.chaos.histories import check_replay
from quorate.chaos.simulator.checkers.model import PAIR, Model
from quorate.chaos.simulator.checkers.reads import check_weak_reads
from quorate.chaos.simulator.node import Node
from quorate.chaos.simulator.shape import Shape
from quorate.chaos.simulator.workload import Client
from quorate.chaos.simulator.world import MILLISECOND, SECOND, Violation, World
from quorate.node.replica import Request
from quorate.wire import (
    DEFAULT_LIMITS,
    OK,
    EnvelopeKind,
    ErrorCode,
    Level,
    Outcome,
    ReadHeader,
    Record,
    RequestKind,
    Transaction,
    TxnDelete,
    TxnGet,
    TxnPut,
    TxnResult,
    decode_command,
    decode_range,
    encode_envelope_head,
    encode_error,
    encode_range_reply,
    encode_txn_reply,
    error_reply,
)

REFUSED = 1
KEYED = (TxnPut, TxnDelete, TxnGet)
HEAD = encode_envelope_head(EnvelopeKind.CLIENT_COMMAND, 0, 0)


class Store:
    """A node that serves pairs alone; `lie` names what it does wrong."""

    up = True

    def __init__(self, world: World, lie: str) -> None:
        self.world = world
        self.lie = lie
        self.model = Model()
        # What there is, by revision; there is none before 1.
        self.states: list[dict[bytes, Record]] = [{}, {}]

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    def submit(self, request: Request) -> None:
        self.world.at(MILLISECOND, self.answer, request)

    def answer(self, request: Request) -> None:
        status, body = OK, b""
        if request.kind == RequestKind.RANGE:
            status, body = self.read(request.body)
        elif request.kind == RequestKind.WRITE:
            status, body = self.write(request.body)
        if not body:
            status, body = REFUSED, error(ErrorCode.NO_LEADER, Outcome.UNKNOWN)
        request.sink.reply(request.request_id, request.kind, status, body)

    # -- reads -------------------------------------------------------------------------

    def read(self, data: bytes) -> tuple[int, bytes]:
        asked = decode_range(data, DEFAULT_LIMITS)
        revision = self.revision
        linearizable = asked.level is Level.LINEARIZABLE
        if linearizable and self.lie == ("old past" if asked.revision else "old"):
            revision = max(1, revision - 1)
        at = asked.revision or revision
        if asked.revision and self.lie == "another past":
            at = max(1, at - 1)
        if asked.revision and self.lie == "gone":
            return REFUSED, error(ErrorCode.COMPACTED, Outcome.NONE, revision)
        records = [
            record
            for key, record in sorted(self.states[min(at, self.revision)].items())
            if asked.start <= key < asked.end
        ]
        if self.lie == "half of a range":
            records = records[:1]
        header = ReadHeader(revision, 0, asked.level)
        return OK, encode_range_reply(header, records, more=False)

    # -- transactions ------------------------------------------------------------------

    def write(self, data: bytes) -> tuple[int, bytes]:
        command = decode_command(data, DEFAULT_LIMITS)
        if not isinstance(command, Transaction):
            return OK, b""
        operations = [op for op in command.then if isinstance(op, KEYED)]
        if not all(op.key.startswith(PAIR) for op in operations):
            return OK, b""
        seen = self.states[-2 if self.lie == "old transaction" else -1]
        results = [
            TxnResult(
                op.key in seen, seen.get(op.key) if isinstance(op, TxnGet) else None
            )
            for op in operations
        ]
        if self.lie == "half of a transaction":
            results[1] = TxnResult(not results[0].found)
        revision = self.revision
        changed = self.changed(command)
        if changed is not None:
            revision += 1
            if self.lie != "lost write":
                self.states.append(changed)
                self.model.apply(HEAD + data, revision, 0)
        if changed is not None and self.lie == "refused":
            return REFUSED, error(ErrorCode.NO_LEADER, Outcome.NOT_APPLIED)
        old = "another revision" if changed is not None else "old transaction"
        if self.lie == old:
            revision -= 1
        return OK, encode_txn_reply(True, revision, results)

    def changed(self, command: Transaction) -> dict[bytes, Record] | None:
        before, after = self.states[-1], dict(self.states[-1])
        for op in command.then:
            if isinstance(op, TxnPut):
                at = self.revision + 1
                after[op.key] = Record(op.key, op.value, at, at, 1, 0)
            elif isinstance(op, TxnDelete):
                after.pop(op.key, None)
        return None if before == after else after


def error(code: ErrorCode, outcome: Outcome, revision: int = 0) -> bytes:
    return encode_error(error_reply(code, outcome, "", revision), DEFAULT_LIMITS)


def objection(lie: str) -> str | None:
    """Of two clients' histories at such a store; None: they are right."""
    world = World(3)
    store = Store(world, lie)
    node = cast("Node", store)
    shape = Shape(world)
    clients = [Client(world, number, [node], shape) for number in (1, 2)]
    for client in clients:
        client.start()
    world.run_until(60 * SECOND)
    history = [operation for client in clients for operation in client.history]
    assert sum(o.outcome == "ok" for o in history) > 20 or lie
    found = check_replay(history, store.model.changes, store.model.revision)
    if found is not None:
        return found.invariant
    check_weak_reads(world, clients, store.model, history)
    return None


def test_an_honest_store_is_not_objected_to() -> None:
    assert objection("") is None


@pytest.mark.parametrize(
    ("lie", "invariant"),
    [
        ("lost write", "I-40"),
        ("another revision", "I-16"),
        ("refused", "I-54"),
        ("old transaction", "I-40"),
        ("old", "I-40"),
        ("old past", "I-40"),
        ("another past", "I-44"),
        ("gone", "I-39"),
        ("half of a range", "I-36"),
        ("half of a transaction", "I-36"),
    ],
)
def test_a_store_that_lies_about_pairs_is_objected_to(lie: str, invariant: str) -> None:
    try:
        found = objection(lie)
    except Violation as violation:
        found = violation.invariant
    assert found == invariant
