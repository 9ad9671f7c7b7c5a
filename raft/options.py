"""Raft's knobs. Time is a count of ticks; chance is an argument."""

from collections.abc import Callable

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Knobs of one replica's Raft.

    `jitter(n)` gives a number from 0 to n-1; it is the only chance that Raft takes.
    `boot` is unique among this member's boots: read ids are made of it. The defaults
    suit ticks of 10 ms: heartbeats every 50 ms, elections after 400 to 800 ms.
    """

    id: int
    jitter: Callable[[int], int]
    boot: int = 1
    election_timeout_ticks: int = 40
    heartbeat_ticks: int = 5
    append_bytes_max: int = 1 << 20
    append_entries_max: int = 4096
    inflight_messages_max: int = 8
    uncommitted_entries_max: int = 16384
    uncommitted_bytes_max: int = 32 << 20
    apply_entries_max: int = 512
    reads_pending_max: int = 4096

    def __post_init__(self) -> None:
        assert self.id > 0
        assert 0 < self.boot < 1 << 31
        assert 0 < self.heartbeat_ticks < self.election_timeout_ticks
        assert self.inflight_messages_max > 0
        assert self.append_entries_max > 0
