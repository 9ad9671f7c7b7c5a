"""`/metrics`: the node's numbers as Prometheus text.

Law: a registry of our own, so that two nodes in one process do not mix. Names are
permanent; units are seconds and bytes; counters end in `_total`. Labels are members,
roles, operations and results, never keys.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..statistics import PeerStatistics, Statistics
from ..timings import BOUNDS_S, Histogram, NodeTimings, Timings
from .connections import ClientPort

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

ROLES: Final = ("follower", "candidate", "leader", "learner")

# name without `_total`, field of Statistics, help
_COUNTERS: Final = (
    (
        "quorate_raft_elections_started",
        "elections_started",
        "Elections this node has started.",
    ),
    (
        "quorate_raft_leader_changes",
        "leader_changes",
        "Changes of leader this node has seen.",
    ),
    ("quorate_raft_proposals", "proposals", "Writes handed to consensus."),
    (
        "quorate_raft_proposals_failed",
        "proposals_failed",
        "Writes handed to consensus that were not done, or whose fate was lost.",
    ),
    (
        "quorate_raft_read_index_rounds",
        "read_index_rounds",
        "Rounds that confirmed a leader for linearizable reads.",
    ),
    ("quorate_raft_snapshots_sent", "snapshots_sent", "Snapshots sent to peers."),
    (
        "quorate_raft_snapshots_installed",
        "snapshots_installed",
        "Snapshots taken over from peers.",
    ),
    ("quorate_journal_syncs", "journal_syncs", "Syncs of the journal."),
    (
        "quorate_journal_sync_seconds",
        "journal_sync_seconds",
        "Time spent in syncs of the journal.",
    ),
    ("quorate_journal_written_bytes", "journal_bytes", "Bytes put into the journal."),
    ("quorate_storage_checkpoints", "checkpoints", "Checkpoints written."),
    ("quorate_storage_healed", "healed", "Damaged states that were replaced."),
    (
        "quorate_storage_scrub_passes",
        "scrub_passes",
        "Times that all of the engine's files were read and checked.",
    ),
    (
        "quorate_storage_scrubbed_bytes",
        "scrubbed_bytes",
        "Bytes of the engine's files that were read and checked.",
    ),
    (
        "quorate_storage_cache_hits",
        "cache_hits",
        "Gets of what no memtable had that were answered from the cache of records.",
    ),
    (
        "quorate_storage_cache_misses",
        "cache_misses",
        "Gets that looked into that cache in vain, and then into tables.",
    ),
    ("quorate_database_puts", "puts", "Keys put."),
    ("quorate_database_deletes", "deletes", "Keys deleted."),
    ("quorate_database_gets", "gets", "Keys read."),
    (
        "quorate_requests_failed",
        "requests_failed",
        "Client requests answered with an error.",
    ),
    (
        "quorate_peers_refused",
        "refused_peers",
        "Strangers turned away at the peer port.",
    ),
    (
        "quorate_client_handshakes_failed",
        "client_handshakes_failed",
        "TLS handshakes at the client port that came to nothing.",
    ),
    (
        "quorate_client_tls_reloads",
        "client_tls_reloads",
        "Times that the client port's certificate was read again.",
    ),
    (
        "quorate_client_tls_reloads_failed",
        "client_tls_reloads_failed",
        "Times that it could not be used, and the old one was kept.",
    ),
    ("quorate_gossip_probes", "gossip_probes", "Members asked whether they are there."),
    (
        "quorate_gossip_probes_failed",
        "gossip_probes_failed",
        "Probes that nobody answered, neither directly nor over others.",
    ),
    (
        "quorate_gossip_suspicions",
        "gossip_suspicions",
        "Suspicions raised by this node.",
    ),
    (
        "quorate_gossip_deaths",
        "gossip_deaths",
        "Members declared dead by this node.",
    ),
    (
        "quorate_gossip_refutations",
        "gossip_refutations",
        "Accusations of this node that it has refuted.",
    ),
    (
        "quorate_gossip_conflicts",
        "gossip_conflicts",
        "Claims that were not believed: another address of a live member, or an"
        " incarnation that can't be.",
    ),
    (
        "quorate_gossip_refused",
        "gossip_refused",
        "Connections ended for garbage or another cluster's gossip.",
    ),
    (
        "quorate_certificate_renewals",
        "certificate_renewals",
        "New certificates that this node has got.",
    ),
)

_GAUGES: Final = (
    (
        "quorate_certificate_seconds_left",
        "certificate_seconds_left",
        "Until this node's certificate for peers ends.",
    ),
    (
        "quorate_authority_seconds_left",
        "authority_seconds_left",
        "Until the first CA that it trusts for peers ends.",
    ),
    ("quorate_raft_term", "term", "Current term."),
    ("quorate_raft_commit_index", "commit_index", "Highest committed index."),
    ("quorate_raft_applied_index", "applied_index", "Highest applied index."),
    ("quorate_raft_last_index", "last_index", "Last index of the log."),
    (
        "quorate_raft_proposals_pending",
        "proposals_pending",
        "Writes proposed and not yet done.",
    ),
    (
        "quorate_raft_reads_pending",
        "reads_pending",
        "Reads that wait for a leader's confirmation or for apply.",
    ),
    ("quorate_journal_size_bytes", "journal_size_bytes", "Size of the journal."),
    (
        "quorate_journal_sync_max_seconds",
        "journal_sync_seconds_max",
        "Longest sync of the journal.",
    ),
    (
        "quorate_storage_compared_index",
        "compared_index",
        "Up to there the state was found equal to that of a majority.",
    ),
    (
        "quorate_storage_checkpoint_index",
        "checkpoint_index",
        "Index of the last checkpoint.",
    ),
    (
        "quorate_storage_free_bytes",
        "disk_free_bytes",
        "Free space where the data is.",
    ),
    ("quorate_database_revision", "revision", "Newest revision of the store."),
    (
        "quorate_database_compacted_revision",
        "compacted",
        "Oldest revision that can be read, 0 when all can.",
    ),
    ("quorate_database_keys", "keys", "Keys in the store."),
    (
        "quorate_client_certificate_ends_timestamp_seconds",
        "client_certificate_ends_seconds",
        "When the client port's certificate ends, since 1970; 0 without TLS.",
    ),
    (
        "quorate_gossip_strain",
        "gossip_strain",
        "How far this node distrusts its own judgement, 0 to 8.",
    ),
    (
        "quorate_process_loop_lag_max_seconds",
        "loop_lag_seconds_max",
        "Longest time the event loop was late.",
    ),
    (
        "quorate_process_uptime_seconds",
        "uptime_seconds",
        "Time since this node started.",
    ),
)

# The same for each peer.
_PEER_COUNTERS: Final = (
    ("quorate_peer_sent_bytes", "sent_bytes", "Bytes sent to the peer."),
    ("quorate_peer_received_bytes", "received_bytes", "Bytes received from the peer."),
    (
        "quorate_peer_send_failures",
        "send_failures",
        "Messages that could not be sent to the peer.",
    ),
)
_PEER_GAUGES: Final = (
    ("quorate_peer_connected", "connected", "1 while a link to the peer is up."),
    (
        "quorate_peer_match_index",
        "match_index",
        "Highest index known to be on the peer (leader only).",
    ),
)


class Exposition:
    """Renders one port's numbers and its service's."""

    def __init__(self, port: ClientPort) -> None:
        self._registry: CollectorRegistry = CollectorRegistry(auto_describe=False)
        self._registry.register(_NodeCollector(port))
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """The exposition of this moment."""
        return generate_latest(self._registry)


class _NodeCollector(Collector):
    def __init__(self, port: ClientPort) -> None:
        self._port: ClientPort = port

    def describe(self) -> list[Metric]:
        """Nothing to check beforehand: registering must not ask the service."""
        return []

    def collect(self) -> Iterator[Metric]:
        statistics = self._port.service.statistics()
        yield from _node(statistics)
        yield from _peers(statistics.peers)
        yield from _port(self._port)
        yield from _own_durations(self._port.service.timings())
        yield _durations("quorate_http", "HTTP requests", self._port.http_timings)
        yield _durations("quorate_native", "Native requests", self._port.native_timings)


def _node(statistics: Statistics) -> Iterator[Metric]:
    info = {
        "name": statistics.name,
        "member_id": statistics.member_id,
        "cluster_id": statistics.cluster_id,
        "version": statistics.version,
    }
    yield InfoMetricFamily("quorate_node", "Who this node is.", info)
    for name, field, text in _COUNTERS:
        yield CounterMetricFamily(name, text, _value(statistics, field))
    for name, field, text in _GAUGES:
        yield GaugeMetricFamily(name, text, _value(statistics, field))
    role = GaugeMetricFamily(
        "quorate_raft_role", "1 for the role this node has.", labels=("role",)
    )
    for each in ROLES:
        role.add_metric((each,), float(statistics.role == each))
    yield role
    yield GaugeMetricFamily(
        "quorate_raft_has_leader",
        "1 while this node knows a leader.",
        float(statistics.leader is not None),
    )


def _peers(peers: list[PeerStatistics]) -> Iterator[Metric]:
    labels = ("member_id", "name")
    for name, field, text in _PEER_COUNTERS:
        counter = CounterMetricFamily(name, text, labels=labels)
        for peer in peers:
            counter.add_metric((peer.member_id, peer.name), _value(peer, field))
        yield counter
    for name, field, text in _PEER_GAUGES:
        gauge = GaugeMetricFamily(name, text, labels=labels)
        for peer in peers:
            gauge.add_metric((peer.member_id, peer.name), _value(peer, field))
        yield gauge


def _port(port: ClientPort) -> Iterator[Metric]:
    open_now = GaugeMetricFamily(
        "quorate_client_connections",
        "Open client connections by what they speak.",
        labels=("protocol",),
    )
    counts = port.counts()
    for protocol in ("http", "native", "unknown"):
        open_now.add_metric((protocol,), counts.get(protocol, 0))
    yield open_now
    yield CounterMetricFamily(
        "quorate_client_connections_refused",
        "Client connections closed because there were too many.",
        port.refused,
    )
    yield GaugeMetricFamily(
        "quorate_client_partial_bytes",
        "Bytes held of client requests that have not arrived whole.",
        port.partial.held_bytes,
    )


def _own_durations(timings: NodeTimings) -> Iterator[Metric]:
    for name, text, histogram in (
        (
            "quorate_process_loop_lag_seconds",
            "How late each of a hundred ticks a second was.",
            timings.loop_lag,
        ),
        (
            "quorate_journal_sync_duration_seconds",
            "Syncs of the journal.",
            timings.journal_sync,
        ),
    ):
        family = HistogramMetricFamily(name, text)
        family.add_metric((), _buckets(histogram), histogram.total_s)
        yield family


def _durations(prefix: str, what: str, timings: Timings) -> Metric:
    family = HistogramMetricFamily(
        f"{prefix}_request_duration_seconds",
        f"{what} by operation and result, from reception to reply.",
        labels=("operation", "result"),
    )
    for labels, histogram in sorted(timings.histograms.items()):
        family.add_metric(labels, _buckets(histogram), histogram.total_s)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """As Prometheus has them: each with all that is below it."""
    bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
    return list(zip(bounds, accumulate(map(float, histogram.counts)), strict=True))


def _value(numbers: Statistics | PeerStatistics, field: str) -> float:
    value: object = getattr(numbers, field)
    assert isinstance(value, int | float), (field, value)
    return float(value)
