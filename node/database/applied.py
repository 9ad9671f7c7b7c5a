"""What applying an entry came to, and what the state is then.

Law: values, the same on every replica: they are functions of state and entry.
"""

import msgspec

_LOW = (1 << 64) - 1


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
