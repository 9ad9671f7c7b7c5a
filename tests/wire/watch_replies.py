"""What a watch is told, as bytes."""

from collections.abc import Sequence

from quorate.wire import encode_part, parts_of


def encode_events(revision: int, events: Sequence[bytes]) -> list[bytes]:
    """The replies of one revision; `events` are `encode_event`'s."""
    return [encode_part(revision, part, more=more) for part, more in parts_of(events)]
