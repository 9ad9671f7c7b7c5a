"""What happened, a line of JSON for each operation and fault, in the order of its end.

Law: the file is written as it happens and never read back here, so that it may be
longer than memory; times in it are seconds since the start of the run. For the checkers
of histories the run's first operations are kept beside it, up to a number.
"""

from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from ..histories import NOT_TOLD, Operation
from .ledger import Attempt

_BUFFER_BYTES = 1 << 20
# About 400 bytes each, and as much again while they are checked.
OPERATIONS_MAX: Final = 1_000_000
_MICROSECONDS: Final = 1_000_000


class Put(msgspec.Struct, frozen=True, gc=False, tag="put", tag_field="event"):
    """A write; `expected` is the revision that it was conditional on, if it was."""

    key: str
    counter: int
    node: str
    began_s: float
    ended_s: float
    outcome: str
    revision: int
    expected: int | None
    reason: str


class Get(msgspec.Struct, frozen=True, gc=False, tag="get", tag_field="event"):
    """A linearizable read; `counter` is None when there was nothing to find."""

    key: str
    node: str
    began_s: float
    ended_s: float
    counter: int | None
    revision: int
    version: int
    reason: str


class Kill(msgspec.Struct, frozen=True, gc=False, tag="kill", tag_field="event"):
    """Nodes were ended by force, all at once."""

    at_s: float
    round: int
    kind: str
    nodes: tuple[str, ...]
    leader: str | None


class Start(msgspec.Struct, frozen=True, gc=False, tag="start", tag_field="event"):
    """A node's process was started, and answered at `answered_s`."""

    at_s: float
    node: str
    answered_s: float


class History:
    """The file, open as long as the run lasts."""

    def __init__(self, path: Path) -> None:
        self._encoder = msgspec.json.Encoder()
        self._file = path.open("wb", buffering=_BUFFER_BYTES)

    def record(self, event: Put | Get | Kill | Start) -> None:
        """Append one line."""
        self._file.write(self._encoder.encode(event) + b"\n")

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Recording:
    """The operations of a run as the checkers take them, in the order of their starts.

    In the place of a value stands what names it, `key:counter`: the ledger has compared
    the bytes. When so many have begun no more are kept. Then reads that are still in
    flight tell nothing: what they find may be the value of one that is not kept.
    """

    def __init__(self, operations_max: int = OPERATIONS_MAX) -> None:
        self.operations: list[Operation] = []
        self.operations_max = operations_max
        self.left_out = 0

    def write_begins(
        self, attempt: Attempt, expected: int | None, client: int
    ) -> Operation:
        """A put is about to be sent; `expected` is the revision it is conditional on.

        That is the revision of what the ledger knew when the attempt began.
        """
        kind = "put" if expected is None else "cas"
        key, start = attempt.key, _microseconds(attempt.began_s)
        operation = Operation(client, kind, key.encode(), start)
        operation.value = _value(key, attempt.counter)
        if expected is not None:
            operation.expected = expected
            operation.expected_value = (
                _value(key, attempt.base) if attempt.base else None
            )
        return self._keep(operation)

    def write_ends(
        self, operation: Operation, attempt: Attempt, met: int = NOT_TOLD
    ) -> None:
        """The attempt has an outcome; `met` is the key's revision if it was refused."""
        if attempt.outcome == "unknown":
            return
        operation.end = _microseconds(attempt.ended_s)
        if attempt.outcome == "acknowledged":
            operation.outcome, operation.revision = "ok", attempt.revision
        else:
            operation.outcome, operation.mod_revision = "refused", met

    def read_begins(self, key: str, client: int, now_s: float) -> Operation:
        """A linearizable read is about to be sent."""
        return self._keep(Operation(client, "get", key.encode(), _microseconds(now_s)))

    def read_ends(
        self, operation: Operation, counter: int | None, revision: int, now_s: float
    ) -> None:
        """It found the value of that counter at a revision of the key, or nothing."""
        if self.left_out:
            return
        operation.outcome, operation.end = "ok", _microseconds(now_s)
        operation.mod_revision = revision
        if counter is not None:
            operation.value = _value(operation.key.decode(), counter)

    def _keep(self, operation: Operation) -> Operation:
        if len(self.operations) < self.operations_max:
            self.operations.append(operation)
        else:
            self.left_out += 1
        return operation


def _value(key: str, counter: int) -> bytes:
    return f"{key}:{counter}".encode()


def _microseconds(seconds: float) -> int:
    return int(seconds * _MICROSECONDS)
