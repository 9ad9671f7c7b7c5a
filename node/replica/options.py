"""The replica's knobs. Time is in milliseconds of the shell's monotonic clock."""

import msgspec

from ...wire import Limits
from ..database.before import STEP_READ_BYTES


class ReplicaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`requests_max` writes are in flight, and `queued_max` more wait for room.

    `checkpoint_*`: so much log was applied, and the engine flushes, however little.

    `stalled_times` as many entries, and nothing is applied until it has.

    `log_keep_entries` stay in memory behind a flush for followers that are a little
    behind; `log_bytes_max` bounds what a snapshot transfer may hold back.
    `unstable_bytes_max`: so much waits for the journal's disk, and no more is taken.

    `step_read_bytes` of the state were read in a step: other entries wait for the next.

    `history_revisions` are kept, and what is younger than `history_ms`; the leader has
    older ones compacted, unless the first is 0.

    `unreadable_ticks` without a state on its way, and a replica whose disk does not
    read gives up: a start may find that it reads again.

    `hint_*`: how a broken link to the leader speeds up an election (decision 0006).
    """

    limits: Limits = Limits()
    requests_max: int = 16384
    requests_bytes_max: int = 64 << 20
    queued_max: int = 16384
    forward_limit: int = 8192
    checkpoint_entries: int = 65536
    checkpoint_bytes: int = 16 << 20
    stalled_times: int = 4
    log_keep_entries: int = 4096
    log_bytes_max: int = 64 << 20
    unstable_bytes_max: int = 32 << 20
    step_read_bytes: int = STEP_READ_BYTES
    history_revisions: int = 0
    history_ms: int = 0
    unreadable_ticks: int = 3000
    tick_ms: int = 10
    hint_rank_ms: int = 30
    hint_jitter_ms: int = 10
    hint_retry_ms: int = 60
