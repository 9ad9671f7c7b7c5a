"""How HTTP shows a record: the shape that lists and transactions share.

Law: keys and values are bytes, and JSON has none: base64 carries them, and a key that
is text is there as text, too. Both base64s are the standard one, padded.
"""

import base64

import msgspec

from ...wire.ids import id_name
from ...wire.records import Record


class ShownRecord(msgspec.Struct):
    """`key` is null when it is not UTF-8; `value64` is absent where none is wanted.

    `lease` is absent when the key hangs on none.
    """

    key: str | None
    key64: str
    value64: str | msgspec.UnsetType
    create_revision: int
    mod_revision: int
    version: int
    lease: str | msgspec.UnsetType


def shown_key(key: bytes) -> tuple[str | None, str]:
    """A key as text, where it is text, and in base64."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        text = None
    return text, base64.b64encode(key).decode()


def shown(record: Record, *, keys_only: bool = False) -> ShownRecord:
    """A record for JSON."""
    return ShownRecord(
        *shown_key(record.key),
        msgspec.UNSET if keys_only else base64.b64encode(record.value).decode(),
        record.create_revision,
        record.mod_revision,
        record.version,
        id_name(record.lease) if record.lease else msgspec.UNSET,
    )
