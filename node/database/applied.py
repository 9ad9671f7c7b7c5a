"""What applying an entry came to.

Law: a value, the same on every replica: it is a function of state and entry.
"""

import msgspec


class Applied(msgspec.Struct, frozen=True, gc=False):
    """What one entry did. `code` 0 is done; else nothing changed.

    `revision` is the store's after a write, the key's own when a precondition failed.
    `reply` is the whole answer of a transaction.
    """

    code: int
    revision: int
    count: int
    reply: bytes = b""
