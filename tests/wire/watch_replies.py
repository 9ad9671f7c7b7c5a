"""What a watch is told, as bytes."""

from collections.abc import Sequence

from quorate.wire import encode_part, parts_of


def encode_events(revision: int, events: Sequence[bytes]) -> list[bytes]:
    """The replies of one revision; `events` are `encode_event`'s."""
    *most, last = parts_of(events)
    replies = [encode_part(revision, part, more=True) for part in most]
    return [*replies, encode_part(revision, last, more=False)]
