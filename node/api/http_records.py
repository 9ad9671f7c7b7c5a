"""How HTTP shows a record: the shape that lists and transactions share.

Law: keys and values are bytes, and JSON has none: base64 carries them, and a key that
is text is there as text, too. Both base64s are the standard one, padded.
"""

import base64

import msgspec

from ...wire.records import Record


class ShownRecord(msgspec.Struct):
    """`key` is null when it is not UTF-8; `value64` is absent where none is wanted."""

    key: str | None
    key64: str
    value64: str | msgspec.UnsetType
    create_revision: int
    mod_revision: int
    version: int


def shown(record: Record, *, keys_only: bool = False) -> ShownRecord:
    """A record for JSON."""
    try:
        text = record.key.decode()
    except UnicodeDecodeError:
        text = None
    return ShownRecord(
        text,
        base64.b64encode(record.key).decode(),
        msgspec.UNSET if keys_only else base64.b64encode(record.value).decode(),
        record.create_revision,
        record.mod_revision,
        record.version,
    )
