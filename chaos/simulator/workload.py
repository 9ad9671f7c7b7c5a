"""Clients that write and read through any node, and remember what they were told.

Law: a client believes replies and nothing else. Every write has a value of its own, so
that what is read names the write that made it.
"""

from ...node.replica import Request
from ...wire import (
    DEFAULT_LIMITS,
    OK,
    ErrorCode,
    GetRequest,
    Level,
    Outcome,
    RequestKind,
    decode_error,
    decode_get_reply,
    decode_write_reply,
    encode_delete,
    encode_get,
    encode_put,
)
from .checkers import Change, Model
from .node import Node
from .world import MILLISECOND, World

_TIMEOUT_MS = 1500


class Operation:
    """One operation of a history; `end_us` None: nobody knows whether it happened."""

    __slots__ = (
        "applied",
        "end_us",
        "expected",
        "key",
        "kind",
        "mod_revision",
        "revision",
        "start_us",
        "value",
    )

    def __init__(self, kind: str, key: bytes, start_us: int) -> None:
        self.kind = kind
        self.key = key
        self.start_us = start_us
        self.end_us: int | None = None
        self.value: bytes | None = None
        self.expected: int | None = None
        self.revision = 0
        self.mod_revision = 0
        self.applied: bool | None = None


class Client:
    """A closed loop: one operation at a time, then a pause, at some node."""

    def __init__(
        self, world: World, number: int, nodes: list[Node], keys: int, pause_us: int
    ) -> None:
        self.world = world
        self.number = number
        self.nodes = nodes
        self.keys = keys
        self.pause_us = pause_us
        self.history: list[Operation] = []
        self.current: Operation | None = None
        self.node: Node | None = None
        self.request_id = 0
        self.last_seen = 0
        self.stopped = False
        self.completed = 0

    def start(self) -> None:
        self.world.at(self.world.random.randrange(self.pause_us + 1), self._next)

    def _next(self) -> None:
        if self.stopped:
            return
        world, dice = self.world, self.world.random
        up = [node for node in self.nodes if node.up]
        if not up:
            world.at(20 * MILLISECOND, self._next)
            return
        self.node = dice.choice(up)
        self.request_id += 1
        key = b"k%d" % dice.randrange(self.keys)
        kind = dice.choice(("put", "put", "get", "get", "delete", "cas"))
        operation = Operation(kind, key, world.now_us)
        self.current = operation
        self.history.append(operation)
        self.node.submit(
            Request(
                self,
                self.request_id,
                RequestKind.GET if kind == "get" else RequestKind.WRITE,
                self._body(operation),
                _TIMEOUT_MS,
            )
        )
        self._watch(self.request_id)

    def _body(self, operation: Operation) -> bytes:
        value = b"c%d-%d" % (self.number, self.request_id)
        if operation.kind == "get":
            wanted = GetRequest(Level.LINEARIZABLE, 0, 0, operation.key)
            return encode_get(wanted)
        if operation.kind == "delete":
            return encode_delete(operation.key)
        operation.value = value
        if operation.kind == "cas":
            operation.expected = self.last_seen
        return encode_put(operation.key, value, operation.expected)

    def _watch(self, request_id: int) -> None:
        """The node may die or sleep with the answer: then nobody knows."""
        node = self.node
        assert node is not None
        epoch = node.epoch

        def look() -> None:
            if self.request_id != request_id or self.current is None:
                return
            waited = self.world.now_us - self.current.start_us
            gone = node.epoch != epoch
            if gone or waited > 3 * _TIMEOUT_MS * MILLISECOND:
                self._finish(None)
            else:
                self.world.at(50 * MILLISECOND, look)

        self.world.at(50 * MILLISECOND, look)

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        operation = self.current
        if operation is None or request_id != self.request_id:
            return
        if status != OK:
            self._refused(operation, body)
        elif kind == RequestKind.GET:
            read = decode_get_reply(body)
            operation.revision = read.header.revision
            record = read.record
            operation.value = None if record is None else record.value
            operation.mod_revision = 0 if record is None else record.mod_revision
            self.last_seen = operation.mod_revision
            self._finish(True)
        else:
            written = decode_write_reply(body)
            operation.revision = written.revision
            operation.mod_revision = written.count
            self._finish(True)

    def _refused(self, operation: Operation, body: bytes) -> None:
        error = decode_error(body, DEFAULT_LIMITS)
        if error.code == ErrorCode.PRECONDITION_FAILED:
            self.last_seen = error.revision
            operation.mod_revision = error.revision
            self._finish(False)
        elif error.outcome == Outcome.UNKNOWN:
            self._finish(None)
        else:
            self._finish(False)

    def _finish(self, applied: bool | None) -> None:
        operation = self.current
        assert operation is not None
        self.current = None
        operation.applied = applied
        if applied is not None:
            operation.end_us = self.world.now_us
            self.completed += applied
        delay = self.pause_us if applied else self.pause_us + 10 * MILLISECOND
        self.world.trace(
            f"c{self.number}",
            f"{operation.kind} {operation.key.decode()} -> {applied}"
            f" r{operation.revision}",
        )
        self.world.at(self.world.random.randrange(delay + 1), self._next)


def check_histories(world: World, clients: list[Client], model: Model) -> None:
    """Replay along revisions: every reply is what the agreed log says.

    Acknowledged writes are in it at their revision, refused ones are not, and nothing
    is answered from a state older than what had been acknowledged before it was asked.
    """
    operations = [op for client in clients for op in client.history]
    by_value = {c.value: c for c in model.changes if c.value is not None}
    by_revision = {c.revision: c for c in model.changes}
    for operation in operations:
        if operation.kind == "get":
            if operation.applied:
                _check_read(world, operation, model)
        else:
            _check_write(world, operation, by_value, by_revision)
    _check_real_time(world, operations)


def _check_read(world: World, operation: Operation, model: Model) -> None:
    change = model.at(operation.key, operation.revision)
    value = None if change is None else change.value
    revision = 0 if change is None else change.revision
    if (value, revision) != (operation.value, operation.mod_revision):
        world.fail(
            "I-44",
            f"a read of {operation.key!r} at revision {operation.revision} gave"
            f" {operation.value!r}, the log says {value!r}",
        )


def _check_write(
    world: World,
    operation: Operation,
    by_value: dict[bytes, Change],
    by_revision: dict[int, Change],
) -> None:
    if operation.applied is True and operation.mod_revision:
        change = by_revision.get(operation.revision)
        if change is None or (change.key, change.value) != (
            operation.key,
            operation.value if operation.kind != "delete" else None,
        ):
            world.fail(
                "I-16",
                f"the acknowledged {operation.kind} of {operation.key!r} at revision"
                f" {operation.revision} is not in the log",
            )
    elif (
        operation.applied is False
        and operation.value is not None
        and operation.value in by_value
    ):
        world.fail("I-54", f"the refused write {operation.value!r} was applied")


def _check_real_time(world: World, operations: list[Operation]) -> None:
    """I-40: an operation's revision is not before any that ended before it began."""
    done = [op for op in operations if op.applied and op.end_us is not None]
    ends = sorted(done, key=lambda op: op.end_us or 0)
    newest, position = 0, 0
    for operation in sorted(done, key=lambda op: op.start_us):
        while (
            position < len(ends) and (ends[position].end_us or 0) < operation.start_us
        ):
            newest = max(newest, ends[position].revision)
            position += 1
        made = operation.kind != "get" and operation.mod_revision > 0
        if operation.revision < newest + made:
            world.fail(
                "I-40",
                f"{operation.kind} of {operation.key!r} at revision"
                f" {operation.revision} began after revision {newest} was answered",
            )
