"""What happened, a line of JSON for each operation and fault, in the order of its end.

Law: written as it happens and never read back here; who judges keeps its own books. So
a history may be longer than memory. Times are seconds since the start of the run.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

_BUFFER_BYTES = 1 << 20


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
