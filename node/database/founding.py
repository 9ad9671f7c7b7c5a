"""The first state of a new cluster."""

from ...storage.engine import Engine
from .core import Database
from .meta import FORMAT, STORE, Meta, encode_meta

FIRST_REVISION = 1


def begin(
    store: Engine, cluster_id: int, index: int, term: int, configuration: bytes
) -> Database:
    """A new cluster's state, as if all up to `index` had been applied and did nothing.

    It counts once the store has flushed it.
    """
    meta = Meta(
        FORMAT,
        cluster_id,
        STORE,
        term,
        configuration,
        FIRST_REVISION,
        compacted=0,
        cluster_time_ms=0,
        keys=0,
        chain=0,
        digest_sum=bytes(16),
    )
    store.write({}, index, encode_meta(meta))
    store.flush()
    return Database(store, cluster_id)
