"""The data as the agreed log makes it: a few plain lines that share no code with ours.

Law: no import of the database. What it knows of the bytes is the client's side of them.
"""

from ....wire import (
    Compact,
    Compare,
    Delete,
    Put,
    Relation,
    Target,
    Transaction,
    TxnDelete,
    TxnPut,
    decode_command,
    decode_envelope,
)
from ....wire.limits import Limits
from ...histories import Change

_LIMITS = Limits()
# Keys that begin so are written in pairs, by transactions alone (workload).
PAIR = b"p"
# Keys that begin so hang on leases, or did.
LEASED = b"q"


class Model:
    """The key space, revision by revision; `pairs` are the keys that come in twos."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        # All of them; those of clients' own keys; those of pairs.
        self.every: list[Change] = []
        self.changes: list[Change] = []
        self.pairs: list[Change] = []
        self.newest: dict[bytes, Change] = {}
        self.values: set[bytes] = set()

    def apply(self, data: bytes) -> tuple[int, bytes | None]:
        """Apply an agreed command; its cluster time, and a value that came twice.

        Every client writes each value once, so a second one was sent by somebody else.
        """
        envelope = decode_envelope(data)
        command = decode_command(envelope.payload, _LIMITS)
        writes: dict[bytes, bytes | None] = {}
        match command:
            case Compact(revision):
                if self.compacted < revision <= self.revision:
                    self.compacted = revision
            case Transaction(compares, then, otherwise):
                holds = all(self._holds(compare) for compare in compares)
                for operation in then if holds else otherwise:
                    if isinstance(operation, TxnPut):
                        writes[operation.key] = operation.value
                    elif isinstance(operation, TxnDelete):
                        writes[operation.key] = None
                asked = {op.value for op in then if isinstance(op, TxnPut)}
                return envelope.cluster_time_ms, self._write(writes, asked)
            case Put() | Delete():
                value = command.value if isinstance(command, Put) else None
                if command.expected in (None, self._mod_revision(command.key)):
                    writes[command.key] = value
                asked = {value} if value is not None else set[bytes]()
                return envelope.cluster_time_ms, self._write(writes, asked)
            case _:
                raise AssertionError("no client here has leases")
        return envelope.cluster_time_ms, None

    def _write(
        self, writes: dict[bytes, bytes | None], asked: set[bytes]
    ) -> bytes | None:
        repeated = next((value for value in asked if value in self.values), None)
        self.values |= asked
        live = {k: v for k, v in writes.items() if v is not None or self._there(k)}
        self.revision += bool(live)
        for key, value in live.items():
            change = Change(self.revision, key, value)
            self.every.append(change)
            (self.pairs if key.startswith(PAIR) else self.changes).append(change)
            self.newest[key] = change
        return repeated

    def _there(self, key: bytes) -> bool:
        newest = self.newest.get(key)
        return newest is not None and newest.value is not None

    def _mod_revision(self, key: bytes) -> int:
        return self.newest[key].revision if self._there(key) else 0

    def _holds(self, compare: Compare) -> bool:
        assert (compare.target, compare.relation) == (
            Target.MOD_REVISION,
            Relation.EQUAL,
        ), "no client here compares anything else"
        return self._mod_revision(compare.key) == compare.operand
