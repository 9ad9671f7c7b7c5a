"""The state beside the records, as the engine keeps it with its applied index.

Law: pure. These bytes enter the engine in one step with the effects of the entries they
stand behind (I-31), and travel with every copy of it (docs/formats.md section 5).
"""

import msgspec

from ...storage.errors import CorruptionError

FORMAT = 2
STORE = 1


class Meta(msgspec.Struct, frozen=True, array_like=True):
    """`configuration` is as in CONFIGURATION entries, `term` the last entry's.

    `keys` counts live keys. `compacted` is the oldest revision that can be read, 0 when
    none was ever let go. `chain` and `digest_sum` (16 bytes, little-endian) are the
    two halves of the state hash.
    """

    format: int
    cluster_id: int
    store: int
    term: int
    configuration: bytes
    revision: int
    compacted: int
    cluster_time_ms: int
    keys: int
    chain: int
    digest_sum: bytes


_encoder = msgspec.msgpack.Encoder()


def encode_meta(meta: Meta) -> bytes:
    return _encoder.encode(meta)


def decode_meta(data: bytes, cluster_id: int, path: str) -> Meta:
    """Raises `CorruptionError`, also when it is of another cluster or store."""
    try:
        meta = msgspec.msgpack.decode(data, type=Meta)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise CorruptionError(path, 0, f"the state's meta: {error}") from None
    if meta.format != FORMAT or len(meta.digest_sum) != 16:
        raise CorruptionError(path, 0, f"not a state of format {FORMAT}")
    if (meta.cluster_id, meta.store) != (cluster_id, STORE):
        raise CorruptionError(path, 0, "it is of another cluster or store")
    return meta
