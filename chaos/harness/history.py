"""What happened, a line of JSON for each operation and fault, in the order of its end.

Law: the file is written as it happens, and read back one line at a time if at all, so
that it may be longer than memory; times in it are seconds since the start of the run.
Its format is promised to other programs (docs/testing.md). For the checkers of
histories operations are kept beside it, up to a number: of a long run those of some
keys, and of these all.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias
from zlib import crc32

import msgspec

from ..histories import NOT_TOLD, Operation
from .errors import NotRecorded
from .ledger import Attempt, Found, read_counter

HISTORY_FILE: Final = "history.jsonl"
# The client that has the last word; all others are counted from 0.
LAST_READER: Final = 9999
# In the place of a value that no attempt can have written.
UNREADABLE: Final = "?"
_BUFFER_BYTES = 1 << 20
# About 400 bytes each, and as much again while they are checked.
OPERATIONS_MAX: Final = 1_000_000
MICROSECONDS: Final = 1_000_000


class Input(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a client asked for beside the key: of a get nothing.

    `value` names the value, `key:counter`; what is sent begins with it. `if_revision`
    is the mod revision that a cas is conditional on, 0 for no such key; `expected` has
    those of a transaction, `writes` what it puts or appends, by keys. `fence` is the
    revision of a lock's token. What is left is what a lease or a read was asked for.
    """

    value: str | None = None
    if_revision: int | None = None
    expected: dict[str, int] | None = None
    writes: dict[str, str] | None = None
    fence: int | None = None
    lease: int | None = None
    ttl_s: float | None = None
    max_staleness_s: float | None = None
    min_revision: int | None = None


class Output(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What it was told.

    Of a write that is ok its `revision`; of a get that is ok `value` (None: no such
    key), `mod_revision` and `version`; of a refused cas the `mod_revision` that stood
    in its way. `found` has values and mod revisions of several keys, `lengths` how many
    elements their lists have.
    """

    revision: int = 0
    value: str | None = None
    mod_revision: int = 0
    version: int = 0
    found: dict[str, tuple[str | None, int]] | None = None
    lengths: dict[str, int] | None = None


class Done(msgspec.Struct, frozen=True, gc=False, tag="operation", tag_field="event"):
    """An operation as its client saw it.

    Of unknown outcome are a write that may have happened, or may happen after its end,
    and a get that was not answered. `error` is what the client was told instead.
    """

    client: int
    node: str
    kind: str
    key: str
    start_s: float
    end_s: float
    outcome: str
    input: Input
    output: Output | None
    error: str = ""
    workload: str = "registers"


class Kill(msgspec.Struct, frozen=True, gc=False, tag="kill", tag_field="event"):
    """Nodes were ended by force, all at once."""

    at_s: float
    round: int
    kind: str
    nodes: tuple[str, ...]


class Start(msgspec.Struct, frozen=True, gc=False, tag="start", tag_field="event"):
    """A node's process was started, and answered at `answered_s`."""

    at_s: float
    node: str
    answered_s: float


class Struck(msgspec.Struct, frozen=True, gc=False, tag="fault", tag_field="event"):
    """A fault that is over: `until_s` is when it was healed and its nodes were back."""

    start_s: float
    until_s: float
    round: int
    kind: str
    targets: tuple[str, ...]


Line: TypeAlias = Done | Kill | Start | Struck


class History:
    """The file, open as long as the run lasts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encoder = msgspec.json.Encoder()
        with self._writing():
            self._file = path.open("wb", buffering=_BUFFER_BYTES)

    def record(self, event: Line) -> None:
        """Append one line. Raises NotRecorded."""
        with self._writing():
            self._file.write(self._encoder.encode(event) + b"\n")

    def close(self) -> None:
        """Write what is left. Raises NotRecorded."""
        with self._writing():
            self._file.close()

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise NotRecorded(f"{self._path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except NotRecorded:
            # What ended the run before this is told instead.
            if error is None:
                raise


def record_get(
    history: History,
    client: int,
    node: str,
    key: str,
    began_s: float,
    ended_s: float,
    found: Found | None,
    value_bytes: int,
    error: str = "",
) -> int | None:
    """Record a get; the counter of what it found, None when there is none."""
    counter, output = None, None
    if not error:
        output = Output()
    if found is not None:
        counter = read_counter(key, found.value, value_bytes)
        name = UNREADABLE if counter is None else value_name(key, counter)
        output = Output(0, name, found.revision, found.version)
    outcome = "unknown" if error else "ok"
    history.record(
        Done(
            *(client, node, "get", key, began_s, ended_s, outcome),
            Input(),
            output,
            error,
        )
    )
    return counter


def read_history(path: Path) -> Iterator[Line]:
    """The lines of a history in their order, one at a time; none that was cut off."""
    decoder = msgspec.json.Decoder(Line)
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield decoder.decode(line)


class Recording:
    """The operations of a run as the checkers take them, in the order of their starts.

    In the place of a value stands what names it, `key:counter`: the ledger has compared
    the bytes. When there are more than `operations_max`, half of the keys are given up,
    by their hash, with all their operations: what is left is one key in `one_in`, from
    the beginning of the run to its end. Keys of workloads are few, and stay as long as
    no more than half of the room is theirs.
    """

    def __init__(self, operations_max: int = OPERATIONS_MAX) -> None:
        self.operations: list[Operation] = []
        self.operations_max = operations_max
        self.one_in = 1
        self.left_out = 0
        self._spared: set[bytes] = set()
        self._sparing = True

    def begin(self, operation: Operation, now_s: float) -> Operation:
        """One of a workload, and so no attempt of the ledger's, is about to be sent."""
        operation.start = _microseconds(now_s)
        if self._sparing:
            self._spared.add(operation.key)
        return self._keep(operation)

    @property
    def spares(self) -> bool:
        """Whether keys of workloads stay, whatever is given up."""
        return bool(self._spared)

    def judged(self, prefix: str) -> int:
        """How many operations of keys that begin with this have been kept."""
        before = prefix.encode()
        return sum(one.key.startswith(before) for one in self.operations)

    def write_begins(
        self, attempt: Attempt, expected: int | None, client: int
    ) -> Operation:
        """A put is about to be sent; `expected` is the revision it is conditional on.

        That is the revision of what the ledger knew when the attempt began.
        """
        kind = "put" if expected is None else "cas"
        key, start = attempt.key, _microseconds(attempt.began_s)
        operation = Operation(client, kind, key.encode(), start)
        operation.value = value_name(key, attempt.counter).encode()
        if expected is not None:
            operation.expected = expected
            operation.expected_value = (
                value_name(key, attempt.base).encode() if attempt.base else None
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
        operation.outcome, operation.end = "ok", _microseconds(now_s)
        operation.mod_revision = revision
        if counter is not None:
            operation.value = value_name(operation.key.decode(), counter).encode()

    def _keep(self, operation: Operation) -> Operation:
        if self._kept(operation):
            self.operations.append(operation)
        else:
            self.left_out += 1
        # Where all of many are of one key, it goes with the others at last.
        while len(self.operations) > self.operations_max:
            self._halve()
        return operation

    def _halve(self) -> None:
        before = len(self.operations)
        self.one_in *= 2
        spared = sum(one.key in self._spared for one in self.operations)
        if spared > self.operations_max // 2:
            self._sparing = False
            self._spared.clear()
        self.operations = list(filter(self._kept, self.operations))
        self.left_out += before - len(self.operations)

    def _kept(self, operation: Operation) -> bool:
        key = operation.key
        return crc32(key) % self.one_in == 0 or key in self._spared


def value_name(key: str, counter: int) -> str:
    """What stands for a value in histories: no two writes have the same."""
    return f"{key}:{counter}"


def _microseconds(seconds: float) -> int:
    return int(seconds * MICROSECONDS)
