"""A store that is right, and clients of it: histories that no checker may object to.

Law: what it does follows from the dice. It answers late, loses answers, applies lost
writes late or never, refuses at will, and is right all the same.
"""

from heapq import heappop, heappush
from random import Random

from quorate.chaos.histories import UNSEEN, Change, Operation, Unseen

# What happens to an operation; of what happens at one time the first comes first.
_BEGIN, _APPLY, _END = range(3)


class Store:
    """Keys, and every change of them."""

    def __init__(self) -> None:
        self.revision = 1
        self.changes: list[Change] = []
        self.records: dict[bytes, tuple[int, bytes]] = {}

    def apply(self, operation: Operation) -> None:
        """Do it, and say so in the operation's own fields."""
        found = self.records.get(operation.key)
        at = 0 if found is None else found[0]
        operation.outcome = "ok"
        if operation.kind == "get":
            operation.value = None if found is None else found[1]
            operation.mod_revision = at
        elif operation.kind == "cas" and operation.expected != at:
            operation.outcome = "refused"
            operation.mod_revision = at
            return
        elif operation.kind == "delete":
            operation.count = 0 if found is None else 1
            if found is not None:
                self._change(operation.key, None)
        else:
            self._change(operation.key, operation.value)
        operation.revision = self.revision

    def _change(self, key: bytes, value: bytes | None) -> None:
        self.revision += 1
        self.changes.append(Change(self.revision, key, value))
        if value is None:
            del self.records[key]
        else:
            self.records[key] = (self.revision, value)


class History:
    """Clients in closed loops at one store, on a clock of whole numbers."""

    def __init__(
        self,
        dice: Random,
        *,
        clients: int,
        operations: int,
        keys: int,
        lost: float = 0.1,
        pause: int = 10,
        patience: int = 10,
    ) -> None:
        self.dice = dice
        self.store = Store()
        self.operations: list[Operation] = []
        self.keys = [b"k%d" % number for number in range(keys)]
        self.lost = lost
        self.pause = pause
        self.patience = patience
        self._seen: dict[int, tuple[bytes, int, bytes | Unseen | None]] = {}
        self._events: list[tuple[int, int, float, Operation, Operation]] = []
        self._left = operations
        for client in range(clients):
            self._plan(client, 0)
        while self._events:
            time, what, _, operation, told = heappop(self._events)
            if what == _BEGIN:
                self._begin(operation, time)
            elif what == _APPLY:
                self.store.apply(told)
            else:
                self._end(operation, told, time)

    @property
    def changes(self) -> list[Change]:
        """The agreed log."""
        return self.store.changes

    def _push(
        self, time: int, what: int, operation: Operation, told: Operation
    ) -> None:
        heappush(self._events, (time, what, self.dice.random(), operation, told))

    def _plan(self, client: int, time: int) -> None:
        if self._left:
            self._left -= 1
            operation = self._draw(client)
            start = time + self.dice.randrange(self.pause + 1)
            self._push(start, _BEGIN, operation, operation)

    def _draw(self, client: int) -> Operation:
        dice = self.dice
        kind = dice.choice(("put", "put", "get", "get", "delete", "cas"))
        operation = Operation(client, kind, dice.choice(self.keys), 0)
        if kind in ("put", "cas"):
            operation.value = b"%d-%d" % (client, self._left)
        return operation

    def _begin(self, operation: Operation, time: int) -> None:
        operation.start = time
        if operation.kind == "cas":
            nothing = (operation.key, 0, None)
            key, revision, value = self._seen.get(operation.client, nothing)
            operation.key, operation.expected = key, revision
            operation.expected_value = value
        self.operations.append(operation)
        # Whether it is applied and what came of it, told to the client or not.
        twin = Operation(
            operation.client,
            operation.kind,
            operation.key,
            time,
            value=operation.value,
            expected=operation.expected,
        )
        end = time + self.dice.randrange(self.patience + 1)
        fate = self.dice.random()
        if fate < self.lost:
            if self.dice.random() < 0.6:
                late = time + self.dice.randrange(4 * self.patience + 1)
                self._push(late, _APPLY, operation, twin)
        elif fate < 1.5 * self.lost:
            twin.outcome = "refused"
        else:
            point = self.dice.randint(time, end)
            self._push(point, _APPLY, operation, twin)
            self._push(end, _END, operation, twin)
            return
        self._push(
            end, _END, operation, twin if twin.outcome == "refused" else operation
        )

    def _end(self, operation: Operation, told: Operation, time: int) -> None:
        if told is not operation:
            operation.end = time
            operation.outcome = told.outcome
            operation.revision = told.revision
            operation.mod_revision = told.mod_revision
            operation.count = told.count
            operation.value = told.value
            self._remember(operation)
        self._plan(operation.client, time)

    def _remember(self, operation: Operation) -> None:
        """What the client will base its next cas on."""
        client, key = operation.client, operation.key
        if operation.kind == "get" and operation.outcome == "ok":
            self._seen[client] = (key, operation.mod_revision, operation.value)
        elif operation.kind in ("put", "cas") and operation.outcome == "ok":
            self._seen[client] = (key, operation.revision, operation.value)
        elif operation.kind == "cas" and operation.mod_revision >= 0:
            value = UNSEEN if operation.mod_revision else None
            self._seen[client] = (key, operation.mod_revision, value)
