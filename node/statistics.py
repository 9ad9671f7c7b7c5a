"""What a node tells about itself: plain numbers, read by status, metrics and tests."""

import msgspec


class PeerStatistics(msgspec.Struct, kw_only=True):
    """One peer as this node sees it."""

    member_id: str
    name: str = ""
    connected: bool = False
    match_index: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    send_failures: int = 0


class Statistics(msgspec.Struct, kw_only=True):
    """Counters (monotonic since the process started) and gauges of one node."""

    # identity
    name: str = ""
    member_id: str = ""
    cluster_id: str = ""
    version: str = ""
    # raft
    role: str = "follower"
    leader: str | None = None
    leader_url: str | None = None
    term: int = 0
    commit_index: int = 0
    applied_index: int = 0
    last_index: int = 0
    elections_started: int = 0
    leader_changes: int = 0
    proposals: int = 0
    proposals_pending: int = 0
    proposals_failed: int = 0
    read_index_rounds: int = 0
    reads_pending: int = 0
    # disk
    journal_syncs: int = 0
    journal_bytes: int = 0
    journal_size_bytes: int = 0
    journal_sync_seconds: float = 0.0
    journal_sync_seconds_max: float = 0.0
    checkpoints: int = 0
    checkpoint_index: int = 0
    snapshots_sent: int = 0
    snapshots_installed: int = 0
    healed: int = 0
    compared_index: int = 0
    scrub_passes: int = 0
    scrubbed_bytes: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    disk_free_bytes: int = 0
    # database
    revision: int = 1
    compacted: int = 0
    keys: int = 0
    state_hash: str = ""
    puts: int = 0
    deletes: int = 0
    gets: int = 0
    # requests and process
    requests_failed: int = 0
    connections: int = 0
    client_handshakes_failed: int = 0
    client_tls_reloads: int = 0
    client_tls_reloads_failed: int = 0
    client_tls_problem: str | None = None
    client_certificate_ends_seconds: float = 0.0
    refused_peers: int = 0
    gossip_probes: int = 0
    gossip_probes_failed: int = 0
    gossip_suspicions: int = 0
    gossip_deaths: int = 0
    gossip_refutations: int = 0
    gossip_conflicts: int = 0
    gossip_refused: int = 0
    gossip_strain: int = 0
    certificate_seconds_left: float = 0.0
    authority_seconds_left: float = 0.0
    certificate_renewals: int = 0
    certificate_waits_for: str = ""
    loop_lag_seconds_max: float = 0.0
    uptime_seconds: float = 0.0
    peers: list[PeerStatistics] = []
