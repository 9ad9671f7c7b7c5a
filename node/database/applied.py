"""What is applied, what that came to, and what the state is then.

Law: values, the same on every replica: they are functions of state and entry.
"""

from typing import Protocol

import msgspec

_LOW = (1 << 64) - 1


class LogEntry(Protocol):
    """What the database needs of a log entry."""

    @property
    def index(self) -> int: ...
    @property
    def term(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def data(self) -> bytes: ...


class Applied(msgspec.Struct, frozen=True, gc=False):
    """What one entry did. `code` 0 is done; else nothing changed.

    `revision` is the store's after a write, the key's own when a precondition failed.
    `reply` is the whole answer of a transaction.
    """

    code: int
    revision: int
    count: int
    reply: bytes = b""


class StateAt(msgspec.Struct, frozen=True, gc=False):
    """The state's hash at the entry of `index`; `total` has 128 bits."""

    index: int
    chain: int
    total: int

    def halves(self) -> tuple[int, int]:
        """The higher and the lower half of `total`."""
        return self.total >> 64, self.total & _LOW
