"""Clients that write and read through any node, and remember what they were told.

Law: a client believes replies and nothing else. Every write has a value of its own, so
that what is read names the write that made it. What a history may look like is judged
in chaos/histories; only what needs this world's time is judged here.
"""

from ...node.replica import Request
from ...wire import (
    DEFAULT_LIMITS,
    OK,
    Compare,
    ErrorCode,
    GetRequest,
    Level,
    Outcome,
    Relation,
    RequestKind,
    Target,
    Transaction,
    TxnGet,
    TxnPut,
    decode_error,
    decode_get_reply,
    decode_txn_reply,
    decode_write_reply,
    encode_compact,
    encode_delete,
    encode_get,
    encode_put,
    encode_transaction,
)
from ..histories import UNSEEN, Kind, Operation
from ..histories import Outcome as Ending
from .node import Node
from .pairs import PairOperation
from .shape import Shape
from .world import MILLISECOND, World

# Weights of what a client does next.
_LINEARIZABLE = Level.LINEARIZABLE
_WEIGHTS: tuple[tuple[Kind, Level], ...] = (
    ("put", _LINEARIZABLE),
    ("put", _LINEARIZABLE),
    ("put", _LINEARIZABLE),
    ("get", _LINEARIZABLE),
    ("get", _LINEARIZABLE),
    ("get", _LINEARIZABLE),
    ("delete", _LINEARIZABLE),
    ("cas", _LINEARIZABLE),
    ("get", Level.BOUNDED),
    ("get", Level.LOCAL),
)
# Of all operations: those of pairs of keys, and compactions.
_PAIRS = 0.1
_COMPACTIONS = 0.01
# Of reads that may be of the past, and of conditional writes that are transactions.
_OLD = 0.3
_TRANSACTIONS = 0.5
# So many revisions back the past is read, and compacted.
_BACK = 40
_GIVE_UP_US = 4_500 * MILLISECOND
_AGAIN_US = 20 * MILLISECOND


class WeakRead:
    """A bounded or local read, or one of the past: what was asked for, what came.

    One that is linearizable is of the past of a pair.

    `revision` is the one to be read, 0 the newest. One that was refused because that
    one is gone has the oldest one kept as its operation's `mod_revision`.
    """

    __slots__ = ("level", "max_staleness_ms", "min_revision", "operation", "revision")

    def __init__(
        self,
        operation: Operation,
        level: Level,
        staleness: int,
        min_revision: int,
        revision: int,
    ) -> None:
        self.operation = operation
        self.level = level
        self.max_staleness_ms = staleness
        self.min_revision = min_revision
        self.revision = revision


class Client:
    """A closed loop: one operation at a time, then a pause, at some node."""

    def __init__(
        self, world: World, number: int, nodes: list[Node], shape: Shape
    ) -> None:
        self.world = world
        self.number = number
        self.nodes = nodes
        self.keys = shape.keys
        self.pause_us = shape.pause_us
        self.timeout_ms = world.random.choice([200, 1500, 1500])
        self.history: list[Operation] = []
        self.weak: list[WeakRead] = []
        # Operations that stand neither in `history` nor in `weak`.
        self.others = 0
        # What is asked now is a pair of keys, or a transaction of one key.
        self.pair: PairOperation | None = None
        self.transacts = False
        self.current: Operation | None = None
        self.node: Node | None = None
        self.request_id = 0
        self.seen: dict[bytes, tuple[int, bytes | None]] = {}
        self.newest = 0
        self.stopped = False
        self.completed = 0
        self.turn = 0
        # Reads still to be made at the end, through these nodes; None: at random.
        self.script: list[tuple[bytes, Node]] | None = None

    def start(self) -> None:
        self._go_on(self.world.below(self.pause_us + 1))

    def _go_on(self, delay_us: int) -> None:
        """Begin the next operation then, unless something else is decided before."""
        self.turn += 1
        self.world.at(delay_us, self._next, self.turn)

    def _next(self, turn: int) -> None:
        if self.stopped or turn != self.turn:
            return
        if self.script is not None:
            self._follow_script(self.script)
            return
        up = [node for node in self.nodes if node.up]
        if not up:
            self._go_on(_AGAIN_US)
            return
        if self.world.chance(_PAIRS + _COMPACTIONS):
            self._begin_other(self.world.random.choice(up))
            return
        key = b"k%d" % self.world.below(self.keys)
        kind, level = self.world.random.choice(_WEIGHTS)
        self.begin(kind, level, key, self.world.random.choice(up))

    def read_all(self, wanted: list[tuple[bytes, Node]]) -> None:
        """Read these keys through these nodes, one after the other, until it works."""
        self.script, self.stopped = wanted, False
        self._go_on(1)

    def _follow_script(self, script: list[tuple[bytes, Node]]) -> None:
        if not script:
            return
        key, node = script[-1]
        if node.up:
            self.begin("get", _LINEARIZABLE, key, node)
        else:
            self._go_on(_AGAIN_US)

    def begin(self, kind: Kind, level: Level, key: bytes, node: Node) -> None:
        """Ask `node` for something now; one at a time. `level` is for reads."""
        assert self.current is None
        self.request_id += 1
        operation = Operation(self.number, kind, key, self.world.now_us)
        if kind == "get":
            wanted, body = RequestKind.GET, self._read(operation, level)
        else:
            wanted, body = RequestKind.WRITE, self._write(operation)
        if level is _LINEARIZABLE:
            self.history.append(operation)
        self._ask(operation, node, wanted, body)

    def _ask(
        self, operation: Operation, node: Node, kind: RequestKind, body: bytes
    ) -> None:
        self.current, self.node = operation, node
        node.submit(Request(self, self.request_id, kind, body, self.timeout_ms))
        self.world.at(_GIVE_UP_US, self._give_up, self.request_id)

    def _begin_other(self, node: Node) -> None:
        """What is of no single key: a pair of keys, or a compaction."""
        assert self.current is None
        world = self.world
        self.request_id += 1
        if world.chance(_COMPACTIONS / (_PAIRS + _COMPACTIONS)):
            self.others += 1
            revision = max(0, self.newest - world.below(_BACK))
            operation = Operation(self.number, "put", b"compact", world.now_us)
            self._ask(operation, node, RequestKind.WRITE, encode_compact(revision))
            return
        pair = PairOperation(world.random, self._value(), self.newest, _BACK)
        self.pair = pair
        operation = Operation(self.number, pair.kind, pair.key, world.now_us)
        operation.value = pair.value
        if pair.weak:
            self.weak.append(WeakRead(operation, pair.level, 0, 0, pair.revision))
        else:
            self.history.append(operation)
        self._ask(operation, node, pair.wanted, pair.body)

    def _read(self, operation: Operation, level: Level) -> bytes:
        staleness = least = revision = 0
        if level is not _LINEARIZABLE:
            if level is Level.BOUNDED:
                staleness = self.world.random.choice([10, 100, 1000])
            if self.world.chance(0.5):
                least = self.newest
            if self.world.chance(_OLD):
                revision = max(0, self.newest - self.world.below(_BACK))
            read = WeakRead(operation, level, staleness, least, revision)
            self.weak.append(read)
        return encode_get(GetRequest(level, staleness, least, operation.key, revision))

    def _value(self) -> bytes:
        """One that no other operation of this world writes."""
        return b"c%d-%d" % (self.number, self.request_id)

    def _write(self, operation: Operation) -> bytes:
        if operation.kind == "delete":
            return encode_delete(operation.key)
        operation.value = self._value()
        if operation.kind == "cas":
            expected, value = self.seen.get(operation.key, (0, None))
            operation.expected, operation.expected_value = expected, value
            if expected and value is None:
                operation.expected_value = UNSEEN
            if self.world.chance(_TRANSACTIONS):
                return self._transaction(operation, expected, operation.value)
        return encode_put(operation.key, operation.value, operation.expected)

    def _transaction(self, operation: Operation, expected: int, value: bytes) -> bytes:
        """The same conditional put, which reads what stands in its way."""
        self.transacts = True
        key = operation.key
        compare = Compare(key, Target.MOD_REVISION, Relation.EQUAL, expected)
        return encode_transaction(
            Transaction((compare,), (TxnPut(key, value),), (TxnGet(key),))
        )

    # -- ends ------------------------------------------------------------------------

    def _give_up(self, request_id: int) -> None:
        """The node sleeps, or the answer is lost: nobody knows."""
        if self.request_id == request_id and self.current is not None:
            self._finish("unknown")

    def went_down(self, node: Node) -> None:
        """The connection to the node broke."""
        if node is self.node and self.current is not None:
            self.world.at(MILLISECOND, self._give_up, self.request_id)

    def reply(self, request_id: int, kind: int, status: int, body: bytes) -> None:
        operation = self.current
        if operation is None or request_id != self.request_id:
            return
        if status != OK:
            self._refused(operation, body)
        elif self.pair is not None:
            self._paired(operation, self.pair, body)
        elif self.transacts:
            self._transacted(operation, body)
        elif kind == RequestKind.GET:
            read = decode_get_reply(body)
            operation.revision = read.header.revision
            record = read.record
            operation.value = None if record is None else record.value
            operation.mod_revision = 0 if record is None else record.mod_revision
            self._saw(operation.key, operation.mod_revision, operation.value)
            self._finish("ok")
        else:
            written = decode_write_reply(body)
            operation.revision = written.revision
            operation.count = written.count
            revision = 0 if operation.value is None else written.revision
            self._saw(operation.key, revision, operation.value)
            self._finish("ok")

    def _paired(self, operation: Operation, pair: PairOperation, body: bytes) -> None:
        pair.answer(operation, body)
        if not pair.whole:
            detail = f"c{self.number} was told of half of the pair {pair.key!r}"
            self.world.fail("I-36", f"{detail} at revision {operation.revision}")
        newest = self.newest
        self._finish("ok")
        if pair.revision:
            # Who asks for the past goes on from what it knew before.
            self.newest = newest

    def _transacted(self, operation: Operation, body: bytes) -> None:
        done = decode_txn_reply(body)
        if done.succeeded:
            operation.revision = done.revision
            self._saw(operation.key, done.revision, operation.value)
            self._finish("ok")
            return
        record = done.results[0].record
        operation.mod_revision = 0 if record is None else record.mod_revision
        value = None if record is None else record.value
        self._saw(operation.key, operation.mod_revision, value)
        self._finish("refused")

    def _saw(self, key: bytes, revision: int, value: bytes | None) -> None:
        self.seen[key] = (revision, value)

    def _refused(self, operation: Operation, body: bytes) -> None:
        error = decode_error(body, DEFAULT_LIMITS)
        if error.code == ErrorCode.COMPACTED:
            operation.mod_revision = error.revision
            self._finish("refused")
        elif error.code == ErrorCode.PRECONDITION_FAILED:
            operation.mod_revision = error.revision
            self._saw(operation.key, error.revision, None)
            self._finish("refused")
        elif error.outcome == Outcome.UNKNOWN or operation.kind == "get":
            self._finish("unknown")
        else:
            self._finish("refused")

    def _finish(self, outcome: Ending) -> None:
        operation = self.current
        assert operation is not None
        self.current = self.pair = None
        self.transacts = False
        operation.outcome = outcome
        if outcome != "unknown":
            operation.end = self.world.now_us
        done = outcome == "ok"
        if done:
            self.completed += 1
            if self.script:
                self.script.pop()
            self.newest = max(self.newest, operation.revision)
        self.world.trace(
            f"c{self.number}",
            outcome,
            f"{operation.kind} {operation.key.decode()} r{operation.revision}",
        )
        delay = self.pause_us if done else self.pause_us + 10 * MILLISECOND
        self._go_on(self.world.below(delay + 1))
