"""What a watch is told, as bytes."""

from collections.abc import Sequence

from quorate.wire import encode_part, parts_of


def encode_events(revision: int, events: Sequence[bytes]) -> list[bytes]:
    """The replies of one revision; `events` are `encode_event`'s."""
    parts = parts_of(events)
    return [
        encode_part(revision, part, more=number < len(parts))
        for number, part in enumerate(parts, start=1)
    ]
