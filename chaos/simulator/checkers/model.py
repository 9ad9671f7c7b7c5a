"""The data as the agreed log makes it: a few plain lines that share no code with ours.

Law: no import of the database. What it knows of the bytes is the client's side of them.
"""

from ....wire import Compact, Put, Transaction, decode_command, decode_envelope
from ....wire.limits import Limits
from ...histories import Change

_LIMITS = Limits()


class Model:
    """The key space, revision by revision."""

    def __init__(self) -> None:
        self.revision = 1
        self.changes: list[Change] = []
        self.newest: dict[bytes, Change] = {}
        self.values: set[bytes] = set()

    def apply(self, data: bytes) -> tuple[int, bytes | None]:
        """Apply an agreed command; its cluster time, and a value that came twice.

        Every client writes each value once, so a second one was sent by somebody else.
        """
        envelope = decode_envelope(data)
        command = decode_command(envelope.payload, _LIMITS)
        assert not isinstance(command, Transaction | Compact), "no client does that"
        value = command.value if isinstance(command, Put) else None
        repeated = value if value in self.values else None
        if value is not None:
            self.values.add(value)
        newest = self.newest.get(command.key)
        exists = newest is not None and newest.value is not None
        if command.expected is not None:
            current = newest.revision if newest is not None and exists else 0
            if current != command.expected:
                return envelope.cluster_time_ms, repeated
        if value is not None or exists:
            self.revision += 1
            change = Change(self.revision, command.key, value)
            self.changes.append(change)
            self.newest[command.key] = change
        return envelope.cluster_time_ms, repeated
